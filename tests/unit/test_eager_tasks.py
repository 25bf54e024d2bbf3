"""A loop whose tasks begin inside of ``create_task``: what flowstore does by itself begins later."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from flowstore import BaseResultBackend, InMemoryBackend, TaskResult
from flowstore._trips.shared import SharedTrips
from flowstore.backends.memory import MemoryEngine
from flowstore.engine import Entry, Outcome, Write
from flowstore.testing.insides import core_of, wrap_engine
from tests.support.loops import eager_loop

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")


def run(live: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=eager_loop) as runner:
        runner.run(live())


class BusyEngine(MemoryEngine):
    """Must not be asked while it does something else, as any engine may take for granted."""

    def __init__(self) -> None:
        super().__init__()
        self.trips: list[int] = []
        self._is_busy = False

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        self.trips.append(len(writes))
        self._is_busy = True
        try:
            return await super().write(writes, now)
        finally:
            self._is_busy = False

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        assert not self._is_busy, "asked by a hint that it was just giving"
        return await super().watch(ids, until)

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        assert not self._is_busy, "asked by a hint that it was just giving"
        return await super().read(ids, with_body=with_body, max_body=max_body)


def test_a_hint_does_not_ask_the_storage_that_gives_it() -> None:
    """Which is amid its write, and tells of it."""

    async def live() -> None:
        async with BaseResultBackend(BusyEngine(), namespace="default") as backend:
            wait = asyncio.ensure_future(backend.wait_for("t", 30))
            await asyncio.sleep(0)
            await backend.store("t", TaskResult.running("t"))
            await backend.store("t", TaskResult.success("t", 1))
            assert (await wait).unwrap() == 1

    run(live)


def test_a_wait_that_ends_at_once_leaves_no_timer() -> None:
    """What re-checks the waits rests while there are none."""

    async def live() -> None:
        async with InMemoryBackend() as backend:
            await backend.store("t", TaskResult.success("t", 1))
            assert (await backend.wait_for("t", 30)).unwrap() == 1
            assert not core_of(backend).waiters._recheck.is_started

    run(live)


def test_calls_at_once_share_a_trip() -> None:
    """The first does not leave before the others have come."""

    async def live() -> None:
        engine = BusyEngine()
        backend = BaseResultBackend(engine, namespace="default")
        wrap_engine(backend, lambda engine: SharedTrips(engine, 10.0))
        async with backend:
            await asyncio.gather(*(backend.store(f"t{n}", TaskResult.pending(f"t{n}")) for n in range(50)))
        assert engine.trips == [50]

    run(live)


def test_a_coroutine_that_is_closed_writes_later() -> None:
    """The garbage collector may close it, amid whatever else the program does."""

    async def live() -> None:
        engine = BusyEngine()
        async with BaseResultBackend(engine, namespace="default") as backend:

            async def work() -> None:
                async with backend.track("t"):
                    await asyncio.Event().wait()

            coroutine = work()
            coroutine.send(None)  # the memory backend does not wait, so this leads into the block
            coroutine.close()
            assert engine.trips == [1]
            assert (await backend.wait_for("t", 30)).status == "cancelled"
            assert engine.trips == [1, 1]

    run(live)
