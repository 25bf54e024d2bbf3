"""The contract of the history backwards, page by page, and of several tasks at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, InvalidCursor, TaskResult, Transition
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import faulty
from flowstore.testing.support import START, failed, store_family, stored


def _places(steps: list[Transition]) -> list[tuple[str, int]]:
    return [(step.task_id, step.seq) for step in steps]


async def _lives(backend: BaseResultBackend, clock: ManualClock, count: int) -> None:
    """So many tasks, with three transitions each and an event; several at each moment."""
    for make in (TaskResult.pending, TaskResult.running, TaskResult.success):
        for n in range(count):
            await backend.store(f"t{n}", make(f"t{n}"))
            if n % 3 == 0:
                clock.advance(1)
    for n in range(count):
        await backend.history.record(f"t{n}", "seen")


async def _pages(backend: BaseResultBackend, **arguments: Any) -> list[list[Transition]]:
    """Every page, in order."""
    page = await backend.history.page(**arguments)
    pages = [page.items]
    while page.next_cursor is not None:
        page = await backend.history.page(cursor=page.next_cursor, **arguments)
        pages.append(page.items)
    return pages


class LookingBackContract(Contract):
    async def test_iter_backwards(self, make_backend: MakeBackend) -> None:
        """Exactly the reverse order, in any steps and within any bounds; ids by their last transition."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await _lives(backend, clock, 10)
            moment = START + timedelta(seconds=4)
            bounds: list[tuple[datetime | None, datetime | None]] = [
                *((None, None), (moment, None), (None, moment), (moment, moment + timedelta(seconds=3))),
                *((moment, moment), (moment, START)),
            ]
            for start, end in bounds:
                forward = [step async for step in backend.history.iter(start, end)]
                for size in (1, 3, 1_000):
                    walk = backend.history.iter(start, end, batch_size=size, newest_first=True)
                    assert [step async for step in walk] == forward[::-1]
                ids = [one async for one in backend.history.iter_ids(start, end, newest_first=True)]
                assert ids == list(dict.fromkeys(step.task_id for step in reversed(forward)))
            events = [step async for step in backend.history.iter(newest_first=True, events="seen")]
            assert {step.event for step in events} == {"seen"}
            assert len(events) == 10

    async def test_page_by_page(self, make_backend: MakeBackend) -> None:
        """What happened last comes first, or last; each once, through many of one time."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await _lives(backend, clock, 7)
            every = [step async for step in backend.history.iter()]
            assert (await backend.history.page(limit=5)).items == every[:-6:-1]
            for limit in (1, 4, 7, 14, 28, 29):
                for newest_first in (True, False):
                    pages = await _pages(backend, limit=limit, newest_first=newest_first)
                    assert [len(page) for page in pages[:-1]] == [limit] * (len(pages) - 1)
                    assert len(pages) == -(-28 // limit)
                    found = [step for page in pages for step in page]
                    assert found == (every[::-1] if newest_first else every)
            cases: list[tuple[dict[str, Any], list[Transition]]] = [
                ({"events": ()}, [step for step in every if step.event is None]),
                ({"statuses": "running"}, [step for step in every if step.status == "running"]),
                ({"statuses": ["success"], "events": ["seen"]}, every[-7:]),
            ]
            for filters, wanted in cases:
                for limit in (2, 100):
                    pages = await _pages(backend, limit=limit, **filters)
                    assert [step for page in pages for step in page] == wanted[::-1]
            once: dict[str, Any] = {"statuses": iter(["success"]), "events": iter(["seen"])}
            assert (await backend.history.page(**once)).items == every[:-8:-1]

    async def test_a_page_costs_what_it_shows(self, make_backend: MakeBackend) -> None:
        """One read, wherever it is; with a filter that nothing satisfies it ends its search and goes on."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await backend.store_many(TaskResult.running(f"t{n % 50}", retries=n // 50) for n in range(6_000))
            before = faults.calls["timeline"]
            page = await backend.history.page(limit=20)
            deep = await backend.history.page(limit=20, cursor=page.next_cursor)
            assert len(page.items) == len(deep.items) == 20
            assert faults.calls["timeline"] - before == 2
            nothing = await backend.history.page(limit=20, statuses="failed")
            assert nothing.items == []
            assert nothing.next_cursor is not None
            assert faults.calls["timeline"] - before <= 2 + 11
            rest = await backend.history.page(limit=20, statuses="failed", cursor=nothing.next_cursor)
            assert (rest.items, rest.next_cursor) == ([], None)

    async def test_pages_while_others_store(self, make_backend: MakeBackend) -> None:
        """What was stored before is on exactly one page; what comes meanwhile is behind the reader."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await _lives(backend, clock, 8)
            before = [step async for step in backend.history.iter()]
            page = await backend.history.page(limit=5)
            found = page.items
            while page.next_cursor is not None:
                clock.advance(1)
                await backend.store("t0", TaskResult.running("t0", retries=len(found)))
                await asyncio.sleep(0)
                page = await backend.history.page(limit=5, cursor=page.next_cursor)
                found += page.items
            assert found == before[::-1]

    async def test_cursors_of_other_pages(self, backend: BaseResultBackend) -> None:
        """Those of other arguments, of listings, and what is none at all."""
        await backend.store_many(failed(f"t{n}", n) for n in range(5))
        page = await backend.history.page(limit=2)
        listed = await backend.page(limit=2)
        cursor = page.next_cursor
        assert cursor is not None
        moved = f"{int(cursor[:16]) + 1:016}{cursor[16:]}"
        digits = "\N{ARABIC-INDIC DIGIT ONE}" * 16
        for bad in (listed.next_cursor, "", "x", cursor[:-1], cursor[16:], moved, digits + cursor[16:]):
            with pytest.raises(InvalidCursor):
                await backend.history.page(limit=2, cursor=bad)
        others: list[dict[str, Any]] = [
            *({"newest_first": False}, {"statuses": "failed"}, {"events": ()}, {"start": START}),
            {"end": START + timedelta(days=90_000)},
        ]
        for other in others:
            with pytest.raises(InvalidCursor):
                await backend.history.page(cursor=cursor, **other)
        assert len((await backend.history.page(limit=4, cursor=cursor)).items) == 3
        with pytest.raises(InvalidCursor):
            await backend.page(cursor=cursor)

    async def test_an_id_as_long_as_can_be(self, backend: BaseResultBackend) -> None:
        """It has a place in a cursor, too."""
        names = [letter * 512 for letter in "abc"]
        await backend.store_many(TaskResult.pending(name) for name in names)
        pages = await _pages(backend, limit=1, newest_first=False)
        assert sorted(step.task_id for page in pages for step in page) == names

    async def test_of_many(self, make_backend: MakeBackend) -> None:
        """As of each, in the order of the ids, also of those that are not there; in few round trips."""
        backend, clock = make_backend(), ManualClock()
        faults = faulty(backend)
        async with backend:
            await _lives(backend, clock, 5)
            names = ["t3", "nobody", "t0", "t3", "t4"]
            found = await backend.history.of_many(names)
            assert list(found) == ["t3", "nobody", "t0", "t4"]
            assert found == {name: await backend.history.of(name) for name in found}
            seen = await backend.history.of_many(iter(["t1", "t2"]), statuses="success", events="seen")
            assert [_places(steps) for steps in seen.values()] == [[("t1", 4)], [("t2", 4)]]
            assert await backend.history.of_many([]) == {}
            before = faults.calls["items"]
            assert len(await backend.history.of_many(f"t{n}" for n in range(1_000))) == 1_000
            assert faults.calls["items"] - before == 2

    async def test_of_a_family(self, make_backend: MakeBackend) -> None:
        """Task by task, the root among them, in a few round trips; nothing of others."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await store_family(backend, "r", "r a", "other", "a b", "other c", "r d")
            await backend.store("a", TaskResult.running(await stored(backend, "a"), retries=1))
            before = faults.calls.copy()
            found = [step async for step in backend.history.of_family("r")]
            assert sum((faults.calls - before).values()) <= 3
            assert _places(found) == [("r", 1), ("a", 1), ("a", 2), ("b", 1), ("d", 1)]
            running = [step async for step in backend.history.of_family("r", statuses="running")]
            assert _places(running) == [("a", 2)]
            assert [step async for step in backend.history.of_family("nobody")] == []

    @pytest.mark.parametrize(
        ("call", "error", "name"),
        [
            (lambda history: history.of_many("t"), TypeError, "task_ids"),
            (lambda history: history.of_many(["t", ""]), ValueError, "task_ids"),
            (lambda history: history.of_family(""), ValueError, "root_id"),
            (lambda history: history.of_family("r", events=7), TypeError, "events"),
            (lambda history: history.iter(newest_first=1), TypeError, "newest_first"),
            (lambda history: history.iter_ids(newest_first=None), TypeError, "newest_first"),
            (lambda history: history.page(limit=0), ValueError, "limit"),
            (lambda history: history.page(limit=10_001), ValueError, "limit"),
            (lambda history: history.page(newest_first="yes"), TypeError, "newest_first"),
            (lambda history: history.page(cursor=7), TypeError, "cursor"),
            (lambda history: history.page(start=7), TypeError, "start"),
            (lambda history: history.page(statuses="done"), ValueError, "statuses"),
        ],
    )
    async def test_bad_arguments_of_histories(
        self, backend: BaseResultBackend, call: Callable[[Any], Any], error: type[Exception], name: str
    ) -> None:
        """Each is named, at the call."""
        with pytest.raises(error, match=name):
            await call(backend.history)
