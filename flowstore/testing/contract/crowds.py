"""The contract of very many waits: what they leave in memory, and what they cost while they are woken."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flowstore import BaseResultBackend, TaskResult, WaitTimeout
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.insides import count_decodes
from flowstore.testing.support import IS_STRESS, START, seen

WAITS = 1_000_000 if IS_STRESS else 20_000
AT_ONCE = 500


class CrowdsContract(Contract):
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
                    await _wait_in_each_way(backend, [f"t{n}" for n in range(start, start + AT_ONCE)])
                gc.collect()
                sizes.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
        assert max(sizes) - sizes[0] < 2**20, sizes
        assert backend.waiting == 0

    async def test_10000_waiters_on_one_large_result(self, make_backend: MakeBackend) -> None:
        """One read and one decode for all, and no turn of the loop takes 100 ms of work."""
        value = ["x" * 100] * 10_000
        async with make_backend(recheck_interval=1_000) as backend:
            waits: list[asyncio.Task[TaskResult[Any]]] = []
            for _ in range(10):
                waits += [asyncio.ensure_future(backend.wait_for("t")) for _ in range(1_000)]
                await asyncio.sleep(0)
            await seen(backend, waits[0], "t")
            trips, decoded = count_trips(backend), count_decodes(backend)
            every = asyncio.gather(*waits)
            with turns_of_the_loop() as turns:
                await backend.store("t", TaskResult.success("t", value))
                results = await every
            assert trips == {"commit": 1, "fetch": 1}
            assert decoded == ["t"]
            assert {id(result) for result in results} == {id(results[0])}
            assert results[0].unwrap() == value
            assert max(turns) < 0.1, max(turns)


async def _wait_in_each_way(backend: BaseResultBackend, names: list[str]) -> None:
    finished, late, cancelled = names[::3], names[1::3], names[2::3]
    waits = {
        name: asyncio.ensure_future(backend.wait_for(name, 0.01 if name in late else 600)) for name in names
    }
    await asyncio.sleep(0)
    # the same text in each, because pydantic keeps the last 16,384 that it parsed
    await backend.store_many(TaskResult.success(name, at=START) for name in finished)
    for name in cancelled:
        waits[name].cancel()
    outcomes = await asyncio.gather(*waits.values(), return_exceptions=True)
    for name, outcome in zip(names, outcomes, strict=True):
        kind = TaskResult if name in finished else WaitTimeout if name in late else asyncio.CancelledError
        assert isinstance(outcome, kind), outcome
    assert await backend.delete_many(finished) == len(finished)


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
