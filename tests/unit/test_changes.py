"""What is inside of ``watch_changes``: the state of the feed, and its reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

import pytest

from flowstore import BackendClosed, ChangesMissed, InMemoryBackend, TaskChange, TaskResult, WrongLoop
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
