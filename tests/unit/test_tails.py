"""What an operator's tail shows, while the storage is out of reach or messages are lost."""

from __future__ import annotations

import asyncio
import random
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from flowstore import InMemoryBackend, StorageUnavailable, TaskResult
from flowstore._core import watching
from flowstore._waiting import tails
from flowstore.engine import Change
from flowstore.testing import ManualClock
from flowstore.testing.insides import core_of, engine_of
from flowstore.testing.support import EFFORT

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


async def test_a_consumer_that_falls_behind_is_shown_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in order, from the history; also what is stored while it is read. A task may come again."""
    monkeypatch.setattr(tails, "MOST_IDS", 10)
    clock = ManualClock()
    async with InMemoryBackend(clock=clock, op_timeout=OP_TIMEOUT, recheck_interval=10_000) as backend:
        entering = backend.watch_status("running")
        first = asyncio.ensure_future(anext(entering))
        await asyncio.sleep(0)
        stored, shown = [], []

        async def store(n: int) -> None:
            task_id = f"t{n % 1_500}" if n < 2_000 else f"u{n}"
            await backend.store(task_id, TaskResult.running(task_id, retries=n // 1_500))
            clock.advance(0.1)
            stored.append(task_id)

        for n in range(2_000):
            await store(n)
        shown.append(await first)
        while len(shown) < len(stored):
            shown.append(await anext(entering))
            if len(stored) < 2_600:
                await store(len(stored))
        assert shown == stored
        assert len(core_of(backend).waiters._followers) == 1
        [tail] = core_of(backend).waiters._followers
        assert isinstance(tail, tails.Tail)
        assert len(tail._recent) < 2_000, "it remembers more than a few times what op_timeout asks for"
        await entering.aclose()


async def test_a_stuck_consumer_costs_no_memory() -> None:
    """However much is stored meanwhile."""
    tail = tails.Tail(["running"], lambda: 0, 1_000_000, 100)
    tracemalloc.start()
    try:
        for n in range(20_000):
            tail.heard([f"t{n}"], "running")
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", [{"history": False}, {"history_limit": 1}])
async def test_where_the_history_is_not_complete_all_is_kept(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """It could not be read from there."""
    monkeypatch.setattr(tails, "MOST_IDS", 10)
    async with InMemoryBackend(recheck_interval=10_000, **options) as backend:
        entering = backend.watch_status("running")
        first = asyncio.ensure_future(anext(entering))
        await asyncio.sleep(0)
        for n in range(100):
            await backend.store(f"t{n % 50}", TaskResult.running(f"t{n % 50}", retries=n // 50))
        shown = [await first, *[await anext(entering) for _ in range(99)]]
        assert shown == [f"t{n % 50}" for n in range(100)]
        await entering.aclose()


@pytest.mark.parametrize("most", [5, 50_000])
@pytest.mark.parametrize("seed", range(20 * EFFORT))
async def test_a_slow_consumer_in_any_trouble(monkeypatch: pytest.MonkeyPatch, seed: int, most: int) -> None:
    """Lost and late messages, outages, looks at any time: in the end each store was shown exactly once."""
    monkeypatch.setattr(tails, "MOST_IDS", most)
    monkeypatch.setattr(watching, "STEP", 3)
    chance, clock = random.Random(seed), ManualClock()
    async with InMemoryBackend(clock=clock, op_timeout=OP_TIMEOUT, recheck_interval=10_000) as backend:
        outage, entering = Outage(backend), backend.watch_status(["running"])
        late: list[tuple[int, tuple[Any, ...]]] = []
        tell, is_late = outage._changed, seed % 2
        if is_late:
            outage._changed = lambda *change: late.append((clock(), change))

        def deliver(is_end: bool = False) -> None:
            for message in [*late]:
                if is_end or chance.random() < 0.3 or clock() - message[0] > OP_TIMEOUT * 700_000:
                    late.remove(message)
                    tell(*message[1])

        stored: Counter[str] = Counter()
        shown: Counter[str] = Counter()
        following: asyncio.Task[str] | None = None
        for n in range(400):
            if following is None:
                following = asyncio.ensure_future(anext(entering))
            if chance.random() < 0.8:
                task_id = f"t{chance.randrange(60)}"
                await outage.store(task_id, n)
                stored[task_id] += 1
            clock.advance(chance.choice([0.0, 0.001, 0.3] if is_late else [0.0, 0.5, OP_TIMEOUT / 2]))
            deliver()
            outage.lasts = chance.random() < (0.9 if outage.lasts else 0.05)
            if chance.random() < 0.1:
                await outage.look_again()
            elif chance.random() < 0.4:
                await asyncio.sleep(0)
            if following.done():
                shown[following.result()] += 1
                following = None
            assert shown <= stored
        outage.lasts = False
        deliver(is_end=True)
        outage._changed = tell
        for _ in range(3):
            clock.advance(2 * OP_TIMEOUT)
            await outage.look_again()
            while True:
                following = following or asyncio.ensure_future(anext(entering))
                for _ in range(20):
                    await asyncio.sleep(0)
                if not following.done():
                    break
                shown[following.result()] += 1
                following = None
        assert shown == stored
        assert following is not None
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


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
