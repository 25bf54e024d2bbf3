"""The contract of scan: every index, in both directions, from any place."""

from __future__ import annotations

from dataclasses import replace

from flowstore.engine import STATUSES, Engine, Position, Query, sort_key
from flowstore.testing.engine_contract.base import EngineContractBase, expiring, listed, store, stored
from flowstore.testing.samples import NOW, SECOND, sample_write

HOSTILE = (
    "a",
    "a:",
    "a:b",
    "a\0b",
    "a%",
    "a_",
    "a*",
    "a/",
    "a'b",
    'a"b',
    "a\\",
    "{a}",
    "[a]",
    "é",
    "\U0001f600",
)
"""Facets that look alike to a storage that gives a character a meaning, or ends a text at one."""


def at(second: int) -> int:
    return NOW + second * SECOND


class ListingContract(EngineContractBase):
    async def test_order_of_submission(self, engine: Engine) -> None:
        """Newest first, then those without a time; the other direction is exactly the reverse."""
        for n, second in enumerate((3, None, 5, -(10**7), 4, None)):
            await stored(engine, sample_write(f"t{n}", submitted_at=None if second is None else at(second)))
        order = ["t2", "t4", "t0", "t3", "t1", "t5"]
        assert await listed(engine) == order
        assert await listed(engine, newest_first=False) == order[::-1]

    async def test_ties_are_in_the_order_of_ids(self, engine: Engine) -> None:
        """By code point, whatever the order of writing: not by UTF-16, locale or case."""
        ids = ["B", "a", "a\0", "a b", "b", "é", "\uffff", "\U00010000", "\U0001f600"]
        await store(engine, *ids[::2], *ids[1::2])
        assert await listed(engine) == sorted(ids)
        assert await listed(engine, newest_first=False) == sorted(ids, reverse=True)

    async def test_statuses_are_merged(self, engine: Engine) -> None:
        """One order over all that are asked for, and none of the others."""
        for n, status in enumerate(STATUSES * 2):
            await stored(engine, sample_write(f"t{n:02}", status, submitted_at=at(n)))
        assert await listed(engine) == [f"t{n:02}" for n in reversed(range(12))]
        assert await listed(engine, statuses=["pending", "failed"]) == ["t10", "t06", "t04", "t00"]
        assert await listed(engine, statuses=["failed"], newest_first=False) == ["t04", "t10"]

    async def test_list_by_facet(self, engine: Engine) -> None:
        """Only those that have it, be it fixed or not, whatever else they have."""
        await stored(
            engine,
            sample_write("a", facets=("x", "y"), submitted_at=at(1)),
            sample_write("b", facets=("y",), submitted_at=at(2)),
            sample_write("c", fixed=("x",), facets=("z",), submitted_at=at(3)),
            sample_write("d", "running", facets=("x",), submitted_at=at(4)),
            sample_write("e", submitted_at=at(5)),
        )
        assert await listed(engine, ["x"]) == ["d", "c", "a"]
        assert await listed(engine, ["x"], statuses=["pending"], newest_first=False) == ["a", "c"]
        assert await listed(engine, ["y"]) == ["b", "a"]
        assert await listed(engine, ["nothing"]) == []
        assert await listed(engine) == ["e", "d", "c", "b", "a"]

    async def test_list_by_a_group_of_facets(self, engine: Engine) -> None:
        """Those that have one of them, in one order."""
        for n in range(6):
            await stored(engine, sample_write(f"t{n}", facets=("xyz"[n % 3],), submitted_at=at(n)))
        assert await listed(engine, ["x", "z"]) == ["t5", "t3", "t2", "t0"]
        assert await listed(engine, ["nothing", "y"], newest_first=False) == ["t1", "t4"]

    async def test_list_by_several_groups(self, engine: Engine) -> None:
        """A record qualifies that has one facet of each; the limit counts those that do."""
        for n in range(12):
            facets = ("even" if n % 2 == 0 else "odd", f"third{n % 3}")
            await stored(engine, sample_write(f"t{n:02}", facets=facets, fixed=("f",), submitted_at=at(n)))
        assert await listed(engine, ["even"], ["third0", "third1"]) == ["t10", "t06", "t04", "t00"]
        assert await listed(engine, ["third2"], ["odd"], ["f"]) == ["t11", "t05"]
        assert await listed(engine, ["f"], ["third2"], ["odd"], limit=1) == ["t11"]
        assert await listed(engine, ["f"], ["third0"], ["even"], limit=1) == ["t06"]
        assert await listed(engine, ["even"], ["odd"]) == []

    async def test_list_by_fixed_facets_or_none(self, engine: Engine) -> None:
        """Tested on the way, beside other groups and in pages that are full."""
        for n in range(40):
            fixed = ("p",) if n % 10 else ()
            await stored(
                engine, sample_write(f"t{n:02}", fixed=fixed, facets=("xy"[n % 2],), submitted_at=at(n))
            )
        query = Query(STATUSES, 3, has_fixed=False)
        page = await engine.scan(query, NOW)
        assert [entry.id for entry in page] == ["t30", "t20", "t10"]
        rest = await engine.scan(replace(query, after=page[-1].position), NOW)
        assert [entry.id for entry in rest] == ["t00"]
        assert [entry.id for entry in await engine.scan(replace(query, newest_first=False), NOW)] == [
            *("t00", "t10", "t20")
        ]
        query = Query(("pending",), 99, (("x",), ("p",)), has_fixed=True)
        assert len(await engine.scan(query, NOW)) == 16
        assert await engine.scan(replace(query, has_fixed=False), NOW) == []
        found = await engine.scan(Query(STATUSES, 99, (("y",),), with_body=False, has_fixed=True), NOW)
        assert len(found) == 20
        assert not any(entry.body for entry in found)

    async def test_facets_are_any_text(self, engine: Engine) -> None:
        """No character has a meaning, and none is the beginning of another."""
        for n, facet in enumerate(HOSTILE):
            await stored(engine, sample_write(f"t{n}", facets=(facet, "all")))
        for n, facet in enumerate(HOSTILE):
            assert await listed(engine, [facet]) == [f"t{n}"], facet
            assert await listed(engine, ["all"], [facet]) == [f"t{n}"], facet

    async def test_a_record_with_as_many_facets_as_there_may_be(self, engine: Engine) -> None:
        """It is listed by each, and by none of them afterwards."""
        facets = tuple(f"label:{n}" + "x" * 500 for n in range(256))
        await stored(engine, sample_write("t", fixed=("a", "b", "c"), facets=facets))
        for facet in ("a", "c", facets[0], facets[-1]):
            assert await listed(engine, [facet]) == ["t"]
        await engine.remove(["t"], NOW)
        assert await listed(engine, [facets[-1]]) == []

    async def test_a_record_leaves_the_listings_it_was_in(self, engine: Engine) -> None:
        """After a write with another status, other facets or another time, and after its removal."""
        await stored(engine, sample_write("t", facets=("x", "y")), sample_write("u", submitted_at=at(1)))
        await stored(engine, sample_write("t", "running", facets=("y", "z"), submitted_at=at(2)))
        assert await listed(engine, statuses=["pending"]) == ["u"]
        assert await listed(engine) == ["t", "u"]
        assert [await listed(engine, [facet]) for facet in "xyz"] == [[], ["t"], ["t"]]
        await engine.remove(["t"], NOW)
        assert await listed(engine) == ["u"]
        assert [await listed(engine, [facet]) for facet in "xyz"] == [[], [], []]

    async def test_expired_records_are_in_no_listing(self, engine: Engine) -> None:
        """From the very moment of their expiry on. The limit is filled with live ones behind them."""
        for n in range(20):
            expires_at = NOW + 1 if n % 2 else NOW + 2
            await stored(engine, expiring(f"t{n:02}", expires_at, facets=("x",), submitted_at=at(n)))
        assert len(await listed(engine)) == 20
        for groups in ((), (["x"],)):
            assert await listed(engine, *groups, now=NOW + 1, limit=3) == ["t18", "t16", "t14"]
        assert await listed(engine, now=NOW + 2) == []

    async def test_listing_without_bodies(self, engine: Engine) -> None:
        """Everything but the body is there, as ``read`` has it."""
        await stored(engine, sample_write("t", facets=("x",), progress=b"half"), sample_write("u"))
        for with_body in (True, False):
            entries = await engine.scan(Query(STATUSES, 5, with_body=with_body), NOW)
            assert entries == await engine.read(["t", "u"], with_body=with_body)

    async def test_listing_with_the_beginnings_of_bodies(self, engine: Engine) -> None:
        """As ``read`` has them, whether one filter is asked for, several or none."""
        for n in range(6):
            facets = ("x", "y") if n % 2 else ("x",)
            body = b"b" * 10**n
            await stored(engine, sample_write(f"t{n}", facets=facets, body=body, submitted_at=at(n)))
        for groups in ((), (("x",),), (("x",), ("y",))):
            entries = await engine.scan(Query(STATUSES, 5, groups, max_body=100), NOW)
            assert entries == await engine.read([entry.id for entry in entries], max_body=100)
            assert [entry.body_size for entry in entries if entry.id in {"t5", "t1"}] == [10**5, None]
            whole = await engine.scan(Query(STATUSES, 5, groups, with_body=False, max_body=100), NOW)
            assert [(entry.body, entry.body_size) for entry in whole] == [(None, None)] * len(entries)


class RangesContract(EngineContractBase):
    async def _ties(self, engine: Engine) -> list[str]:
        """Store 18 records, three of each time, in two statuses; their order, newest first."""
        for n in range(18):
            at_ = None if n >= 15 else at(n // 3)
            status = "pending" if n % 2 else "running"
            await stored(engine, sample_write(f"t{n:02}", status, submitted_at=at_, facets=("x",)))
        times = [[f"t{n:02}" for n in range(first, first + 3)] for first in (12, 9, 6, 3, 0, 15)]
        return [task_id for same in times for task_id in same]

    async def test_walk_from_page_to_page(self, engine: Engine) -> None:
        """Each record once, in both directions and whatever the limit, through ties and missing times."""
        order = await self._ties(engine)
        for limit in (1, 2, 4, 18):
            for newest_first in (True, False):
                walked: list[str] = []
                after = None
                query = Query(STATUSES, limit, (("x",),), newest_first=newest_first)
                while page := await engine.scan(
                    Query(STATUSES, limit, query.groups, after, newest_first=newest_first), NOW
                ):
                    walked += [entry.id for entry in page]
                    after = page[-1].position
                assert walked == (order if newest_first else order[::-1])

    async def test_after_is_not_included(self, engine: Engine) -> None:
        """Neither in one direction nor in the other; nothing needs to be there any more."""
        await stored(engine, *(sample_write(f"t{n}", submitted_at=at(n)) for n in range(4)))
        place = Position(sort_key(at(2)), "t2")
        for _ in range(2):
            assert await listed(engine, after=place) == ["t1", "t0"]
            assert await listed(engine, after=place, newest_first=False) == ["t3"]
            await engine.remove(["t2"], NOW)

    async def test_a_place_between_records_of_one_time(self, engine: Engine) -> None:
        """The id decides, by code point."""
        await store(engine, "a", "b", "\uffff", "\U00010000")
        assert await listed(engine, after=Position(sort_key(NOW), "aa")) == ["b", "\uffff", "\U00010000"]
        assert await listed(engine, after=Position(sort_key(NOW), "\uffff")) == ["\U00010000"]
        assert await listed(engine, after=Position(sort_key(NOW), "b"), newest_first=False) == ["a"]

    async def test_within_includes_both_bounds(self, engine: Engine) -> None:
        """Sort keys from the first to the second, in both directions; all ids of the bounds are within."""
        await self._ties(engine)
        within = (sort_key(at(3)), sort_key(at(2)))
        inside = ["t09", "t10", "t11", "t06", "t07", "t08"]
        for groups in ((), (["x"],)):
            assert await listed(engine, *groups, within=within) == inside
            assert await listed(engine, *groups, within=within, newest_first=False) == inside[::-1]
        untimed = (sort_key(None), sort_key(None))
        assert await listed(engine, within=untimed) == ["t15", "t16", "t17"]
        assert await listed(engine, within=(sort_key(at(0)) + 1, sort_key(None) - 1)) == []

    async def test_after_and_within_together(self, engine: Engine) -> None:
        """Both hold, wherever the place is: inside of the bounds, before or behind them."""
        await self._ties(engine)
        within = (sort_key(at(3)), sort_key(at(2)))
        inside = Position(sort_key(at(3)), "t10")
        assert await listed(engine, within=within, after=inside, limit=2) == ["t11", "t06"]
        assert await listed(engine, within=within, after=inside, newest_first=False) == ["t09"]
        newer, older = Position(sort_key(at(9)), "z"), Position(sort_key(at(1)), "z")
        assert len(await listed(engine, within=within, after=newer)) == 6
        assert await listed(engine, within=within, after=older) == []
        assert await listed(engine, within=within, after=newer, newest_first=False) == []
        assert len(await listed(engine, within=within, after=older, newest_first=False)) == 6

    async def test_the_limit(self, engine: Engine) -> None:
        """Fewer come only at the end of the listing."""
        await self._ties(engine)
        assert [len(await listed(engine, ["x"], limit=limit)) for limit in (1, 17, 18, 19)] == [1, 17, 18, 18]


class ByFinishContract(EngineContractBase):
    async def _finished(self, engine: Engine) -> None:
        """Three tasks that finished in another order than they were submitted, and one that did not."""
        for n, finish in enumerate((7, 9, 8, None)):
            status, finished_at = ("running", None) if finish is None else ("failed", at(finish))
            facets = ("~x", "x")
            write = sample_write(f"t{n}", status, facets=facets, submitted_at=at(n), finished_at=finished_at)
            await stored(engine, write)

    async def test_list_by_finish(self, engine: Engine) -> None:
        """By a facet that begins with ~; those that are not finished come after all others."""
        await self._finished(engine)
        assert await listed(engine, ["~x"]) == ["t1", "t2", "t0", "t3"]
        assert await listed(engine, ["~x"], newest_first=False) == ["t3", "t0", "t2", "t1"]
        assert await listed(engine, ["~x"], ["x"]) == ["t1", "t2", "t0", "t3"]
        assert await listed(engine, ["x"], ["~x"]) == ["t3", "t2", "t1", "t0"]

    async def test_ranges_by_finish(self, engine: Engine) -> None:
        """``after`` and ``within`` are sort keys of the finish."""
        await self._finished(engine)
        assert await listed(engine, ["~x"], after=Position(sort_key(at(9)), "t1")) == ["t2", "t0", "t3"]
        within = (sort_key(at(8)), sort_key(at(7)))
        assert await listed(engine, ["~x"], within=within) == ["t2", "t0"]
        assert await listed(engine, ["~x"], within=within, newest_first=False) == ["t0", "t2"]

    async def test_several_facets_by_finish(self, engine: Engine) -> None:
        """A fixed one as well; merged in the order of finish, ties by id."""
        for task_id, facet in (("b", "~x"), ("a", "~y"), ("c", "~x")):
            write = sample_write(task_id, "success", fixed=(facet,), finished_at=at(5), submitted_at=None)
            await stored(engine, write)
        assert await listed(engine, ["~x", "~y"]) == ["a", "b", "c"]
        await stored(engine, sample_write("b", "success", ceiling=2, fixed=("~x",), finished_at=at(6)))
        assert await listed(engine, ["~x", "~y"]) == ["b", "a", "c"]
