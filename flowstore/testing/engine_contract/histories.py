"""The contract of the history: what writes leave behind, of one record and of all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flowstore.engine import Engine, Item, Logged, Section, Span
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    items_of,
    store,
    stored,
    timeline,
)
from flowstore.testing.samples import NOW, sample_write

HISTORY = Section.HISTORY


async def log(
    engine: Engine, task_id: str, at: int = NOW, keep: int | None = None, value: bytes = b"v"
) -> None:
    await stored(engine, sample_write(task_id, updated_at=at, logged=Logged(value, 9, keep)))


def numbers(items: list[Item]) -> list[int]:
    return [int(item.key) for item in items]


class HistoryContract(EngineContractBase):
    async def test_an_applied_write_leaves_an_item(self, engine: Engine) -> None:
        """Its key is the version in 16 digits, its own version 1, its time that of the update."""
        await stored(engine, sample_write("t", updated_at=NOW - 5, logged=Logged(b"\0one", -(2**63))))
        await store(engine, "t")
        await stored(engine, sample_write("t", updated_at=NOW - 7, logged=Logged(b"\xff", 2)), now=NOW + 9)
        expected = [
            Item("t", f"{1:016}", 1, NOW - 5, -(2**63), b"\0one"),
            Item("t", f"{3:016}", 1, NOW - 7, 2, b"\xff"),
        ]
        assert await items_of(engine, "t", HISTORY) == expected
        assert await timeline(engine) == expected[::-1]

    async def test_a_refused_write_leaves_none(self, engine: Engine) -> None:
        """Neither one that comes late nor one with other fixed facets."""
        await stored(engine, sample_write("t", "success", fixed=("x",)))
        late = sample_write("t", logged=Logged(b"v", 1))
        other = sample_write("t", "success", ceiling=9, fixed=("y",), logged=Logged(b"v", 1))
        await engine.write([late, other], NOW)
        assert await items_of(engine, "t", HISTORY) == await timeline(engine) == []

    async def test_history_keeps_the_newest(self, engine: Engine) -> None:
        """By key, so in the order of writing, whatever the times; also in the timeline."""
        for n in range(1, 13):
            await log(engine, "t", NOW - n, keep=3)
            kept = list(range(max(1, n - 2), n + 1))
            assert numbers(await items_of(engine, "t", HISTORY)) == kept
            assert numbers(await timeline(engine)) == kept[::-1]

    async def test_history_keeps_fewer_from_now_on(self, engine: Engine) -> None:
        """A smaller limit drops what is above it; None drops nothing; other records lose nothing."""
        await log(engine, "u")
        for _ in range(5):
            await log(engine, "t")
        await log(engine, "t", keep=2)
        assert numbers(await items_of(engine, "t", HISTORY)) == [5, 6]
        await log(engine, "t")
        assert numbers(await items_of(engine, "t", HISTORY)) == [5, 6, 7]
        assert numbers(await items_of(engine, "u", HISTORY)) == [1]

    async def test_parts_of_a_history(self, engine: Engine) -> None:
        """It is read like any other section."""
        for _ in range(12):
            await log(engine, "t")
        assert numbers(await items_of(engine, "t", HISTORY, last=2)) == [11, 12]
        assert numbers(await items_of(engine, "t", HISTORY, keys=[f"{9:016}", f"{2:016}", "x"])) == [2, 9]

    async def test_history_goes_with_its_record(self, engine: Engine) -> None:
        """Removed, or expired and written anew: the new one begins with its first write."""
        await log(engine, "a")
        await stored(engine, expiring("b", NOW + 1, logged=Logged(b"old", 1)))
        await engine.remove(["a"], NOW)
        await log(engine, "a", NOW + 1, value=b"new")
        await stored(engine, sample_write("b", updated_at=NOW + 1, logged=Logged(b"new", 1)), now=NOW + 1)
        for task_id in "ab":
            assert [item.value for item in await items_of(engine, task_id, HISTORY)] == [b"new"]
        assert [(item.owner, item.value) for item in await timeline(engine)] == [("a", b"new"), ("b", b"new")]

    async def test_history_of_an_expired_record_is_not_shown(self, engine: Engine) -> None:
        """In the timeline it may be until the record is removed."""
        await stored(engine, expiring("t", NOW + 1, logged=Logged(b"v", 1)))
        assert await items_of(engine, "t", HISTORY, now=NOW + 1) == []
        await engine.purge(10, NOW + 1)
        assert await timeline(engine) == []


class TimelineContract(EngineContractBase):
    async def test_order_of_the_timeline(self, engine: Engine) -> None:
        """By time, then key, then owner by code point."""
        for at, task_id in ((3, "a"), (1, "\uffff"), (1, "\U00010000"), (1, "b"), (2, "b"), (1, "b")):
            await log(engine, task_id, NOW + at)
        order = [(item.at - NOW, int(item.key), item.owner) for item in await timeline(engine)]
        assert order == [
            (1, 1, "b"),
            (1, 1, "\uffff"),
            (1, 1, "\U00010000"),
            (1, 3, "b"),
            (2, 2, "b"),
            (3, 1, "a"),
        ]

    async def test_bounds_of_a_span_are_included(self, engine: Engine) -> None:
        """Both of them, and nothing beyond."""
        for n in range(6):
            await log(engine, f"t{n}", NOW + n)
        found = await timeline(engine, NOW + 2, NOW + 4)
        assert [item.owner for item in found] == ["t2", "t3", "t4"]
        assert await timeline(engine, NOW + 6) == []

    @pytest.mark.parametrize("newest_first", [False, True])
    async def test_page_through_the_timeline(self, engine: Engine, newest_first: bool) -> None:
        """Each item once, in order or exactly the reverse, through many of one time."""
        for n in range(20):
            await log(engine, f"t{n % 7}", NOW + n // 10)
        every = await timeline(engine)
        assert len(every) == 20
        for limit in (1, 3, 20):
            walked: list[Item] = []
            span = Span(limit, 0, NOW + 9, newest_first=newest_first)
            while page := await engine.timeline(span, NOW):
                walked += page
                span = replace(span, after=page[-1])
            assert walked == (every[::-1] if newest_first else every)

    async def test_the_timeline_backwards_within_bounds(self, engine: Engine) -> None:
        """Both bounds are included; of what lies behind a place only what is within them."""
        for n in range(6):
            await log(engine, f"t{n}", NOW + n)
        [*_, last] = every = await timeline(engine)
        for start, end, expected in [(2, 4, [4, 3, 2]), (5, 9, [5]), (6, 9, []), (4, 3, [])]:
            span = Span(9, NOW + start, NOW + end, newest_first=True)
            for behind in (None, last._replace(at=NOW + 9)):
                found = await engine.timeline(replace(span, after=behind), NOW)
                assert [item.owner for item in found] == [f"t{n}" for n in expected]
        below = await engine.timeline(Span(9, NOW + 1, NOW + 4, every[3], newest_first=True), NOW)
        assert below == [every[2], every[1]]
