"""What an operator's tail shows, while the storage is out of reach or messages are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from flowstore import InMemoryBackend, StorageUnavailable, TaskResult
from flowstore.engine import Change
from flowstore.testing import ManualClock
from flowstore.testing.insides import core_of, engine_of

OP_TIMEOUT = 10.0


class Outage:
    """A backend that hears and reads nothing while ``lasts``; the others on its storage go on."""

    def __init__(self, backend: InMemoryBackend) -> None:
        self.lasts = False
        self.found: asyncio.Queue[str] = asyncio.Queue()
        self.backend = backend
        engine = engine_of(backend)
        waiters: Any = core_of(backend).waiters
        self._timeline, self._changed = engine.timeline, waiters.changed
        engine.timeline, waiters.changed = self.timeline, self.changed

    async def timeline(self, *asked: Any) -> Any:
        if self.lasts:
            raise StorageUnavailable("down")
        return await self._timeline(*asked)

    def changed(self, *change: Any) -> None:
        if not self.lasts:
            self._changed(*change)

    async def store(self, task_id: str, retries: int = 0) -> None:
        await self.backend.store(task_id, TaskResult.running(task_id, retries=retries))

    async def look_again(self) -> None:
        """As after a re-check or a new connection; returns when all that comes of it has come."""
        core_of(self.backend).waiters.look_again()
        for _ in range(20):
            await asyncio.sleep(0)

    def take(self) -> list[str]:
        return [self.found.get_nowait() for _ in range(self.found.qsize())]


@asynccontextmanager
async def tailed(clock: ManualClock) -> AsyncIterator[Outage]:
    async with InMemoryBackend(clock=clock, op_timeout=OP_TIMEOUT, recheck_interval=10_000) as backend:
        outage = Outage(backend)

        async def tail() -> None:
            async for task_id in backend.watch_status():
                outage.found.put_nowait(task_id)

        async with asyncio.TaskGroup() as group:
            tailing = group.create_task(tail())
            await outage.look_again()
            yield outage
            tailing.cancel()


async def test_what_was_stored_during_a_long_outage_is_shown() -> None:
    """However often it was looked for in vain meanwhile: since the last time that all was read."""
    clock = ManualClock()
    async with tailed(clock) as outage:
        await outage.store("before")
        clock.advance(60)
        outage.lasts = True
        for n in range(4):
            await outage.store(f"lost{n}")
            clock.advance(60)
            await outage.look_again()
        outage.lasts = False
        await outage.look_again()
        await outage.store("heard")
        await outage.look_again()
        assert outage.take() == ["before", *(f"lost{n}" for n in range(4)), "heard"]


async def test_what_filled_a_gap_swallows_nothing() -> None:
    """A task that was found in the history is shown again when it enters the status again."""
    clock = ManualClock()
    async with tailed(clock) as outage:
        outage.lasts = True
        await outage.store("t")
        clock.advance(2 * OP_TIMEOUT)
        outage.lasts = False
        await outage.look_again()
        assert outage.take() == ["t"]
        await outage.store("t", retries=1)
        await outage.look_again()
        assert outage.take() == ["t"]


async def test_what_was_taken_for_the_message_on_its_way_is_found() -> None:
    """A store right behind one whose message was lost, in the same status: at the next look."""
    clock = ManualClock()
    async with tailed(clock) as outage:
        outage.lasts = True
        await outage.store("t")
        outage.lasts = False
        await outage.look_again()
        assert outage.take() == ["t"]
        clock.advance(1)
        await outage.store("t", retries=1)
        clock.advance(2 * OP_TIMEOUT)
        await outage.look_again()
        assert outage.take() == ["t"]
        await outage.look_again()
        assert outage.take() == []


async def test_a_message_that_is_later_than_two_looks_shows_nothing_twice() -> None:
    """As under load: the store was found in the history meanwhile, and the next one is shown as ever."""
    clock = ManualClock()
    async with tailed(clock) as outage:
        outage.lasts = True
        await outage.store("t")
        outage.lasts = False
        for _ in range(3):
            await outage.look_again()
            clock.advance(1)
        assert outage.take() == ["t"]
        outage.changed(("t",), Change.RUNNING)
        await outage.store("t", retries=1)
        await outage.look_again()
        assert outage.take() == ["t"]
