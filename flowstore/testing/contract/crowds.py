"""The contract of very many waits: how they end, and what it costs to wake them."""

from __future__ import annotations

import asyncio
from typing import Final

from flowstore import BaseResultBackend, TaskResult, WaitTimeout
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.insides import count_decodes
from flowstore.testing.support import START, seen

LARGE: Final = ["x" * 100] * 10_000
"""A result of 1 MB."""


class CrowdsContract(Contract):
    async def test_waits_that_end_in_each_way(self, backend: BaseResultBackend) -> None:
        """Finished, timed out and cancelled, a third each, all at once: none leaves anything behind."""
        await wait_in_each_way(backend, [f"t{n}" for n in range(1_500)])
        assert backend.waiting == 0

    async def test_10000_waiters_on_one_large_result(self, make_backend: MakeBackend) -> None:
        """One read and one decode for all."""
        async with make_backend(recheck_interval=1_000) as backend:
            waits = await wait_10000_times(backend)
            trips, decoded = count_trips(backend), count_decodes(backend)
            await backend.store("t", TaskResult.success("t", LARGE))
            results = await asyncio.gather(*waits)
            assert trips == {"write": 1, "read": 1}
            assert decoded == ["t"]
            assert {id(result) for result in results} == {id(results[0])}
            assert results[0].unwrap() == LARGE


async def wait_10000_times(backend: BaseResultBackend) -> list[asyncio.Task[TaskResult]]:
    """Waits for "t", begun and registered."""
    waits: list[asyncio.Task[TaskResult]] = []
    for _ in range(10):
        waits += [asyncio.ensure_future(backend.wait_for("t")) for _ in range(1_000)]
        await asyncio.sleep(0)
    await seen(backend, waits[0], "t")
    return waits


async def wait_in_each_way(backend: BaseResultBackend, names: list[str]) -> None:
    """Wait for all at once: a third each finishes, times out, and is cancelled."""
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
