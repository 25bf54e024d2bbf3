"""What is inside of ``watch_changes``: the state of the feed, and its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    ChangesMissed,
    InMemoryBackend,
    SQLiteBackend,
    TaskChange,
    TaskResult,
    WrongLoop,
)
from flowstore._core import changes
from flowstore._core.core import Core
from flowstore._core.matching import Matching, matching_of
from flowstore._core.rows import Row
from flowstore.testing.insides import core_of, meanwhile


async def test_a_query_about_values() -> None:
    """No change comes with values, so that is an error, and not a change that is passed over in silence."""
    async with InMemoryBackend() as backend:
        with pytest.raises(ValueError, match=r"query: .* values, .* 'name:n text'"):
            backend.watch_changes("name:n text")
        assert backend.waiting == 0


async def test_a_reader_that_is_cancelled() -> None:
    """As when all tasks of a loop are: another one goes on, and what was being read still comes."""
    async with InMemoryBackend() as backend, aclosing(backend.watch_changes()) as listening:
        await backend.store("a", TaskResult.pending("a"))
        assert places([await anext(listening)]) == [("a", 1)]
        feed = core_of(backend).feed
        assert feed is not None
        for n in range(5):
            reader = feed.reader
            assert reader is not None
            meanwhile(backend, "read", partial(_cancelled, reader))
            await backend.store(f"t{n}", TaskResult.pending(f"t{n}"))
            async with asyncio.timeout(30):
                assert places([await anext(listening)]) == [(f"t{n}", 1)]
            assert feed.reader is not reader


async def _cancelled(reader: asyncio.Task[None]) -> None:
    reader.cancel()
    await asyncio.sleep(0)


def places(found: list[TaskChange | ChangesMissed]) -> list[tuple[str, int]]:
    return [(one.task_id, one.seq) for one in found if isinstance(one, TaskChange)]


class _Tests:
    """Counts how often queries are tested, and how often at most until others have had their turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = self.longest = self._run = 0
        monkeypatch.setattr(changes, "matching_of", self._matching)

    async def _matching(self, core: Core, query: Any, limit: int) -> Matching:
        matching = await matching_of(core, query, limit)
        return matching._replace(tests=[*matching.tests, self._count])

    def _count(self, row: Row) -> bool:
        self.count += 1
        self._run += 1
        self.longest = max(self.longest, self._run)
        return True

    async def watch_turns(self) -> None:
        while True:
            self._run = 0
            await asyncio.sleep(0)


@pytest.mark.parametrize(("terms", "times"), [("status:pending", 1), ("status:pending since:1h", 20)])
async def test_many_who_ask_the_same(monkeypatch: pytest.MonkeyPatch, terms: str, times: int) -> None:
    """They share the answer, unless it depends on when they asked; and nobody is kept from the loop."""
    tests = _Tests(monkeypatch)
    async with InMemoryBackend() as backend:
        listening = [backend.watch_changes(terms) for _ in range(20)]
        firsts = [asyncio.ensure_future(anext(each)) for each in listening]
        await asyncio.sleep(0)
        await backend.store("first", TaskResult.pending("first"))
        await asyncio.gather(*firsts)
        tests.count = tests.longest = 0
        turns = asyncio.ensure_future(tests.watch_turns())
        await backend.store_many(TaskResult.pending(f"t{n:03}") for n in range(200))
        for each in listening:
            assert len([await anext(each) for _ in range(200)]) == 200
            await each.aclose()
        turns.cancel()
    assert tests.count == 200 * times
    assert tests.longest <= 2 * 64


async def test_a_question_that_cannot_be_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks it is told why; others go on."""
    tests = _Tests(monkeypatch)
    async with (
        InMemoryBackend() as backend,
        aclosing(backend.watch_changes("status:pending")) as asking,
        aclosing(backend.watch_changes()) as every,
    ):
        await backend.store("a", TaskResult.pending("a"))
        assert places([await anext(asking), await anext(every)]) == [("a", 1)] * 2
        monkeypatch.setattr(tests, "longest", "no number")
        await backend.store("b", TaskResult.pending("b"))
        assert places([await anext(every)]) == [("b", 1)]
        with pytest.raises(TypeError, match="not supported"):
            await anext(asking)


def test_left_open_at_the_end_of_the_loop(tmp_path: Path) -> None:
    """No new reader begins in a loop that ends, where it would be in the way of its end."""
    backend, kept, troubles = SQLiteBackend(tmp_path / "x.db"), list[Any](), list[Any]()

    async def listen() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, trouble: troubles.append(trouble))
        listening = backend.watch_changes()
        kept.append(listening)
        await backend.store("t", TaskResult.pending("t"))
        assert places([await anext(listening)]) == [("t", 1)]

    asyncio.run(listen())
    assert troubles == []
    asyncio.run(backend.close())


@pytest.mark.parametrize("is_closed_first", [False, True])
def test_from_loop_to_loop(is_closed_first: bool) -> None:
    """Whoever listens in the next loop hears of changes there; the iterations of the old one are over."""
    backend = InMemoryBackend()
    old: list[AsyncGenerator[TaskChange | ChangesMissed, None]] = []

    async def listen() -> None:
        listening = backend.watch_changes()
        await backend.store("t", TaskResult.pending("t"), overwrite=True)
        async with asyncio.timeout(30):
            assert places([await anext(listening)])[0][0] == "t"
        old.append(listening)
        if is_closed_first:
            await listening.aclose()

    for _ in range(3):
        loop = asyncio.new_event_loop()  # without the end that asyncio.run gives to generators
        loop.run_until_complete(listen())
        loop.close()
    asyncio.run(backend.close())
    for listening in old:
        with pytest.raises((StopAsyncIteration, BackendClosed, WrongLoop)):
            asyncio.run(_next(listening))


async def _next(listening: AsyncGenerator[TaskChange | ChangesMissed, None]) -> object:
    return await anext(listening)
