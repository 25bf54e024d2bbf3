"""The contract of places and at_places: together they are a scan, and a record may change in between."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from flowstore.engine import STATUSES, Engine, Entry, Expiry, Listed, Position, Query, sort_key
from flowstore.testing.engine_contract.base import EngineContractBase, expiring, found, store, stored
from flowstore.testing.engine_contract.listing import at
from flowstore.testing.samples import NOW, sample_write


async def placed(engine: Engine, query: Query, now: int = NOW) -> list[Entry]:
    """All records of the range, by way of their places, in steps of ``limit``."""
    entries: list[Entry] = []
    is_end = False
    while not is_end:
        places = await engine.places(query, now)
        positions = [place.position for place in places]
        assert positions == sorted(set(positions), reverse=not query.newest_first)
        assert len(places) <= query.limit
        at_places = await engine.at_places(query, places, now)
        entries += [one for one in at_places if one is not None]
        for place, one in zip(places, at_places, strict=True):
            assert one is None or place.status == one.status
        is_end = len(places) < query.limit
        query = replace(query, after=positions[-1] if positions else None)
    return entries


async def kept_at(
    engine: Engine, query: Query, places: Sequence[Listed], now: int = NOW
) -> list[tuple[str, int] | None]:
    """What stands at places: id and version."""
    entries = await engine.at_places(query, places, now)
    return [entry and (entry.id, entry.version) for entry in entries]


class PlacesContract(EngineContractBase):
    async def test_places_are_those_of_a_scan(self, engine: Engine) -> None:
        """In order, with any groups, bounds and limits, in both directions, by submission and by finish."""
        for n in range(24):
            await stored(
                engine,
                sample_write(
                    f"t{n:02}",
                    ("pending", "running", "failed")[n % 3],
                    fixed=("f",) if n % 4 else (),
                    facets=("~", "xy"[n % 2], f"z{n % 5}"),
                    submitted_at=None if n % 8 == 7 else at(n // 3),
                    finished_at=at(n * 7 % 5),
                ),
            )
        groups: list[Any] = [(), (("x",),), (("x", "y"),), (("~",),), (("x",), ("z1", "z2")), (("no",),)]
        bounds: list[dict[str, Any]] = [
            {},
            {"within": (sort_key(at(5)), sort_key(at(2)))},
            {"after": Position(sort_key(at(3)), "t10"), "has_fixed": True},
        ]
        ranges: list[Any] = [(STATUSES, 7), (("running", "failed"), 24)]
        for some, bound, newest_first in itertools.product(groups, bounds, (True, False)):
            for statuses, limit in ranges:
                query = Query(statuses, limit, some, newest_first=newest_first, **bound)
                expected = await engine.scan(replace(query, limit=100), NOW)
                assert await placed(engine, query) == expected, query

    async def test_bodies_at_places(self, engine: Engine) -> None:
        """As a scan has them: whole, left out, or their beginnings."""
        for n in range(5):
            facets = ("x", "y") if n % 2 else ("x",)
            await stored(engine, sample_write(f"t{n}", facets=facets, body=b"b" * 10**n, submitted_at=at(n)))
        several: list[Any] = [(), (("x",),), (("x",), ("y",))]
        for groups, with_body, most in itertools.product(several, (True, False), (None, 100)):
            query = Query(STATUSES, 3, groups, with_body=with_body, max_body=most)
            assert await placed(engine, query) == await engine.scan(replace(query, limit=9), NOW)

    async def test_expired_records_are_at_no_place(self, engine: Engine) -> None:
        """Whether they have a place or not, and whether they expire before it is asked for or then."""
        for n in range(12):
            await stored(engine, expiring(f"t{n:02}", NOW + 1 + n % 2, facets=("x",), submitted_at=at(n)))
        for groups in ((), (("x",),)):
            query = Query(STATUSES, 5, groups)
            assert [entry.id for entry in await placed(engine, query, NOW + 1)] == [
                *("t11", "t09", "t07", "t05", "t03", "t01")
            ]
            places = await engine.places(replace(query, limit=12), NOW)
            left = await kept_at(engine, query, places, NOW + 1)
            assert left == [(f"t{n:02}", 1) if n % 2 else None for n in reversed(range(12))]

    async def test_what_changes_before_its_place_is_asked_for(self, engine: Engine) -> None:
        """What does not belong there any more is not there; what still does is as it is by then."""
        await self._change_between(engine, (("x",),))

    async def test_what_changes_between_of_several_groups(self, engine: Engine) -> None:
        """As of one."""
        await self._change_between(engine, (("x",), ("y",)))

    async def _change_between(self, engine: Engine, groups: tuple[tuple[str, ...], ...]) -> None:
        ids = ["gone", "status", "time", "facet", "back", "new", "expired", "same"]
        await stored(engine, *(sample_write(task_id, facets=("x", "y")) for task_id in ids))
        query = Query(("pending", "running"), 20, groups)
        places = await engine.places(query, NOW)
        await engine.remove(["gone", "back"], NOW)
        entry = await found(engine, "expired")
        await engine.expire([Expiry("expired", NOW, 1, entry.version, entry.check)], NOW)
        await stored(
            engine,
            sample_write("status", "failed", facets=("x", "y")),
            sample_write("time", facets=("x", "y"), submitted_at=at(1)),
            sample_write("facet", facets=("y",)),
            sample_write("back", facets=("x", "y")),
            sample_write("new", "running", facets=("x", "y")),
        )
        by_id = dict(
            zip((one.position.id for one in places), await kept_at(engine, query, places), strict=True)
        )
        kept = {"back": 1, "new": 2, "same": 1}
        assert by_id == {task_id: (task_id, kept[task_id]) if task_id in kept else None for task_id in ids}

    async def test_places_one_by_one(self, engine: Engine) -> None:
        """Through ties and missing times, each once."""
        for n in range(9):
            await stored(engine, sample_write(f"t{n}", submitted_at=None if n > 6 else at(n // 3)))
        for newest_first in (True, False):
            query = Query(STATUSES, 1, newest_first=newest_first)
            assert await placed(engine, query) == await engine.scan(replace(query, limit=9), NOW)

    async def test_some_of_the_places(self, engine: Engine) -> None:
        """In the order in which they are asked for; of none there is nothing."""
        await store(engine, *(f"t{n}" for n in range(9)))
        for with_body in (True, False):
            query = Query(STATUSES, 9, with_body=with_body)
            places = await engine.places(query, NOW)
            assert await kept_at(engine, query, places[::-2]) == [(f"t{n}", 1) for n in (8, 6, 4, 2, 0)]
            assert await engine.at_places(query, [], NOW) == []
