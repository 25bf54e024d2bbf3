"""What waits may cost on the machines that test flowstore itself; other backends need not meet it."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from flowstore import BaseResultBackend, TaskResult
from flowstore.testing.contract import MakeBackend
from flowstore.testing.contract.base import Contract
from flowstore.testing.contract.crowds import LARGE, wait_10000_times, wait_in_each_way
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.support import IS_STRESS

WAITS = 1_000_000 if IS_STRESS else 10_000
AT_ONCE = 500


class Limits(Contract):
    async def test_waits_leave_no_memory(self, backend: BaseResultBackend) -> None:
        """Finished, cancelled and timed out, a third each: after a tenth of them less than 1 MiB is added.

        Counted by tracemalloc, since what the process takes from the system depends on what it did before.
        """
        tenth = WAITS // 10
        sizes = []
        tracemalloc.start()
        try:
            for first in range(0, WAITS, tenth):
                for start in range(first, first + tenth, AT_ONCE):
                    await wait_in_each_way(backend, [f"t{n}" for n in range(start, start + AT_ONCE)])
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert max(sizes) - sizes[0] < 2**20, sizes
        assert backend.waiting == 0

    async def test_many_large_results_are_read_in_portions(self, make_backend: MakeBackend) -> None:
        """A hundred of 1 MB, awaited at once: no turn takes 100 ms of work, and few are in memory unread."""
        async with make_backend(recheck_interval=1_000) as backend:
            for n in range(100):
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", LARGE))
            trips = count_trips(backend)
            with turns_of_the_loop() as turns:
                waits = [asyncio.ensure_future(backend.wait_for(f"t{n}")) for n in range(100)]
                for wait in asyncio.as_completed(waits):
                    assert (await wait).unwrap() == LARGE
            assert max(turns) < 0.1, max(turns)
            assert trips["watch"] >= 2

    async def test_no_turn_of_the_loop_is_long(self, make_backend: MakeBackend) -> None:
        """While 10,000 waiters are woken with a result of 1 MB: none takes 100 ms of work."""
        async with make_backend(recheck_interval=1_000) as backend:
            every = asyncio.gather(*await wait_10000_times(backend))
            with turns_of_the_loop() as turns:
                await backend.store("t", TaskResult.success("t", LARGE))
                await every
            assert max(turns) < 0.1, max(turns)


@contextmanager
def turns_of_the_loop() -> Iterator[list[float]]:
    """How long the loop's thread worked in each of its turns, in seconds.

    The work counts, not the time: others may have the processor meanwhile. The garbage collector is left out,
    since its pauses depend on all that is in the process.
    """
    loop = asyncio.get_running_loop()
    turns: list[float] = []
    gc.collect()
    began, is_over = time.thread_time(), False

    def turn() -> None:
        nonlocal began
        now = time.thread_time()
        turns.append(now - began)
        began = now
        if not is_over:
            loop.call_soon(turn)

    gc.disable()
    loop.call_soon(turn)
    try:
        yield turns
    finally:
        is_over = True
        gc.enable()
