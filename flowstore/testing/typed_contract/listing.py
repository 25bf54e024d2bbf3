"""Ids in their order and by whole parts, and entries by model and time."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from flowstore import InvalidCursor, ModelNotRegistered
from flowstore.testing import ManualClock
from flowstore.testing.support import EFFORT, START
from flowstore.testing.typed_contract.base import Loss, Place, Report, Summary, TypedContractBase, walked
from flowstore.typed import WriteBehavior
from flowstore.typed.ids import parts_of, spelling

OVERWRITE = WriteBehavior.OVERWRITE

HOSTILE = [
    ["..", "..", "etc", "passwd"],
    ["."],
    ["%"],
    ["_"],
    ["*"],
    ["a%b", "_"],
    ["a/b"],
    ["a", "b"],
    ["a\\", "b"],
    ["a\\/b"],
    ["con"],
    ["CON"],
    ["nul.json"],
    ["x.json", "y"],
    ["x"],
    ["X"],
    [" lead", "trail ", "dot."],
    ["\N{GRINNING FACE}", "\N{LATIN SMALL LETTER E WITH ACUTE}"],
    ["e\N{COMBINING ACUTE ACCENT}"],
    ["\N{LATIN SMALL LETTER E WITH ACUTE}"],
    ["'; DROP TABLE records; --"],
    ["a\nb\t\x00\x7f"],
    [".flowstore", "locks"],
    ['<>:"|?*'],
    ["\N{LATIN SMALL LETTER SHARP S}", "SS", "ss"],
    ["{}", "$model", "[1]"],
]


class EntryIdsContract(TypedContractBase):
    async def test_parts_are_opaque(self, place: Place) -> None:
        """Each id has an entry of its own, whatever is in it, and comes back."""
        async with place.manager() as manager:
            for number, parts in enumerate(HOSTILE):
                assert await manager.set(parts, Report(score=number)) is True
            for number, parts in enumerate(HOSTILE):
                assert await manager.get(parts, Report) == Report(score=number)
                assert await manager.get(spelling(parts), Report) == Report(score=number)
            listed = await manager.list_ids()
            assert listed == sorted(map(spelling, HOSTILE))
            assert sorted(map(parts_of, listed)) == sorted(HOSTILE)
            for parts in HOSTILE:
                assert spelling(parts) in await manager.list_ids(parts[:1])
                assert await manager.delete(parts) is True
            assert await manager.list_ids() == []

    async def test_whole_parts_count(self, place: Place) -> None:
        """ "users" is not "users2"; the entry of the prefix itself comes first."""
        async with place.manager() as manager:
            ids = [
                "users",
                "users/7",
                "users/7/x",
                "users/8",
                "users-a",
                "users2",
                "users2/7",
                "u",
                "Users/7",
            ]
            await manager.set_many({id: Report(score=1) for id in ids})
            assert await manager.list_ids("users") == ["users", "users/7", "users/7/x", "users/8"]
            assert await manager.list_ids("users/7") == ["users/7", "users/7/x"]
            assert await manager.list_ids("users/7/x") == ["users/7/x"]
            assert await manager.list_ids("user") == []
            assert await manager.list_ids(["users"], limit=2) == ["users", "users/7"]
            assert await manager.list_ids("users", after="users/7", limit=1) == ["users/7/x"]
            assert await manager.list_ids("users", after="users-a") == ["users/7", "users/7/x", "users/8"]
            assert await manager.list_ids(limit=0) == []
            assert await manager.list_ids() == sorted(ids)

    @pytest.mark.parametrize("seed", range(2 * EFFORT))
    async def test_lists_are_as_by_hand(self, place: Place, seed: int) -> None:
        """For every prefix and page of random ids, with parts that sort around the separator."""
        dice = random.Random(seed)

        def some_id() -> list[str]:
            alphabet = ("a", "b", "a-", "a.", "a/", "ab", "\\", "a\\", "\N{SNOWMAN}")
            return [dice.choice(alphabet) for _ in range(dice.randint(1, 4))]

        all_parts = list({spelling(parts): parts for parts in (some_id() for _ in range(120))}.values())
        async with place.manager() as manager:
            await manager.set_many([(parts, Report(score=1)) for parts in all_parts])
            for prefix in [*all_parts, ["a"], ["\\"], ["none"]]:
                for shorter in (prefix, prefix[:1]):
                    wanted = sorted(spelling(p) for p in all_parts if p[: len(shorter)] == shorter)
                    assert await manager.list_ids(shorter) == wanted
            ids: list[str] = []
            wanted = sorted(map(spelling, all_parts))
            while step := await manager.list_ids(limit=7, after=ids[-1] if ids else None):
                ids += step
            assert ids == wanted
            assert [id async for id in manager.iter_ids(batch_size=11)] == wanted

    async def test_walks_are_stable(self, place: Place) -> None:
        """What is there all the while comes once, in order, while others come and go around it."""
        async with place.manager() as manager, place.manager() as other:
            stay = [f"w/{n:03}" for n in range(0, 200, 2)]
            await manager.set_many({id: Report(score=1) for id in stay})
            over = asyncio.Event()

            async def disturb() -> None:
                number = 1
                while not over.is_set():
                    id = f"w/{number % 200:03}"
                    await other.set(id, Report(score=1), OVERWRITE)
                    await other.set(f"w/{number % 200:03}/x", Report(score=1), OVERWRITE)
                    await other.set(stay[number % 100], Report(score=2), OVERWRITE)
                    await other.delete(id)
                    await other.delete(f"w/{number % 200:03}/x")
                    number += 2

            disturbing = asyncio.ensure_future(disturb())
            for _ in range(3):
                walked = [id async for id in manager.iter_ids("w", batch_size=10)]
                assert walked == sorted(set(walked))
                assert [id for id in walked if id in stay] == stay
            over.set()
            await disturbing

    async def test_bad_arguments(self, place: Place) -> None:
        """At the call, with the name of the argument."""
        async with place.manager() as manager:
            for bad, said in [
                ({"prefix": "a/"}, "^prefix: expected one or more parts"),
                ({"after": ""}, "^after: expected one or more parts"),
                ({"limit": -1}, "^limit: expected at least 0"),
            ]:
                with pytest.raises(ValueError, match=said):
                    await manager.list_ids(**bad)  # type: ignore[arg-type]  # on purpose
            with pytest.raises(ValueError, match=r"^batch_size: expected 1 to"):
                manager.iter_ids(batch_size=0)
            with pytest.raises(ValueError, match=r"^prefix: expected"):
                manager.iter_ids("")
            with pytest.raises(ValueError, match=r"^prefix: expected"):
                manager.watch("")


class EntryListingContract(TypedContractBase):
    async def test_by_time(self, place: Place) -> None:
        """By the last write, the newest first, ties by id; bounds and pages as everywhere."""
        clock = ManualClock()
        async with place.manager(clock=clock) as manager:
            for number in range(10):
                if number % 2:
                    clock.advance(1)
                await manager.set(f"a/{number}", Report(score=number))
            order = ["9", "7", "8", "5", "6", "3", "4", "1", "2", "0"]
            assert [entry.parts[1] for entry in await walked(manager, limit=3)] == order
            assert [entry.parts[1] for entry in await walked(manager, limit=50)] == order
            since, until = START + timedelta(seconds=1), START + timedelta(seconds=3)
            found = await walked(manager, limit=2, since=since, until=until)
            assert [entry.parts[1] for entry in found] == ["3", "4", "1", "2"]
            assert await walked(manager, since=until, until=since) == []
            clock.advance(1)
            await manager.set("a/0", Report(score=0), OVERWRITE)
            assert (await manager.list(limit=1)).items[0].id == "a/0"

    async def test_by_model_and_namespace(self, place: Place) -> None:
        """An entry that is overwritten by another model moves over."""
        async with place.manager() as manager:
            await manager.set_many({"r1": Report(score=1), "r2": Report(score=1), "s": Summary(score=1)})
            await manager.set("l", Loss(value=1))
            assert {entry.id for entry in await walked(manager, Report)} == {"r1", "r2"}
            assert {entry.id for entry in await walked(manager, Loss)} == {"l"}
            assert {entry.id for entry in await walked(manager, namespace="default")} == {"r1", "r2", "s"}
            assert {entry.id for entry in await walked(manager, namespace="metrics", limit=1)} == {"l"}
            assert await walked(manager, namespace="none") == []
            await manager.set("r1", Loss(value=2), OVERWRITE)
            await manager.delete("l")
            assert {entry.id for entry in await walked(manager, Report)} == {"r2"}
            assert {entry.id for entry in await walked(manager, Loss)} == {"r1"}
            with pytest.raises(ModelNotRegistered):
                await manager.list(Report, "metrics")

    async def test_what_is_known_of_an_entry(self, place: Place) -> None:
        """The same from ``entry`` and ``list``; the size is that of the encoded value."""
        clock = ManualClock()
        async with place.manager(clock=clock) as manager:
            await manager.set(["a", "b/c"], Report(score=1, notes={"x": "y" * 10_000}), ttl=60)
            [listed] = (await manager.list()).items
            assert listed == await manager.entry(["a", "b/c"])
            assert (listed.id, listed.parts) == ("a/b\\/c", ["a", "b/c"])
            assert (listed.model_type, listed.namespace, listed.version) == ("Report", "default", 1)
            assert listed.created_at == listed.updated_at == START
            assert listed.expires_at == START + timedelta(seconds=60)
            assert 10_000 < listed.size < 10_200

    async def test_cursors_belong_to_their_query(self, place: Place) -> None:
        """Elsewhere they raise InvalidCursor, as what never was one does."""
        async with place.manager() as manager:
            await manager.set_many({id: Report(score=1) for id in "abc"})
            cursor = (await manager.list(limit=2)).next_cursor
            assert cursor is not None
            for bad in ({"namespace": "default"}, {"model_class": Report}, {"since": START}):
                with pytest.raises(InvalidCursor):
                    await manager.list(cursor=cursor, **bad)
            with pytest.raises(InvalidCursor):
                await manager.list(cursor="x")
            with pytest.raises(ValueError, match=r"^limit: expected 1 to"):
                await manager.list(limit=0)
            with pytest.raises(ValueError, match=r"^since: expected an aware datetime"):
                await manager.list(since=START.replace(tzinfo=None))
