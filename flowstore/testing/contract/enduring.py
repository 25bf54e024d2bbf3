"""The contract under faults: calls cancelled at any await, tasks in any order, lost hints."""

from __future__ import annotations

import asyncio

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.calls import CALLS
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.faults import (
    History,
    Recorder,
    UnreliableHints,
    cancel_at_each_await,
    crowd,
)
from flowstore.testing.insides import calls_in_flight, wrap_engine
from flowstore.testing.support import EFFORT, in_any_order

SEEDS = range(10 * EFFORT)


class FaultsContract(Contract):
    @pytest.mark.parametrize("name", CALLS)
    async def test_cancelled_at_each_await(self, backend: BaseResultBackend, name: str) -> None:
        """No waiter is left behind, the cancellation is not swallowed, and the next call works."""
        results = [
            TaskResult[int].success(f"t{n}", n, task_name="run", parent_id=f"t{n - 1}" if n else None)
            for n in range(10)
        ]
        await backend.store_many(results)

        async def check() -> None:
            assert backend.waiting == 0
            assert calls_in_flight(backend) == 0
            await backend.store_many(results)
            assert (await backend.wait_for("t0", 30)).unwrap() == 0

        await cancel_at_each_await(lambda: CALLS[name](backend), check)

    async def test_opening_and_closing_cancelled_at_each_await(self, make_backend: MakeBackend) -> None:
        """A cancelled open can be repeated, and so can a cancelled close."""
        made: list[BaseResultBackend] = []

        async def live() -> None:
            made.append(make_backend())
            await made[-1].open()
            await made[-1].close()

        async def check() -> None:
            await made[-1].close()

        async def open_again() -> None:
            async with made[-1]:
                assert await made[-1].get("t") is None

        await cancel_at_each_await(live, check)

        async def open_only() -> None:
            made.append(make_backend())
            await made[-1].open()

        await cancel_at_each_await(open_only, open_again)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_tasks_in_any_order(self, make_backend: MakeBackend, seed: int) -> None:
        """Writers, waiters and waiters that give up, all at once: every wait ends as the records say."""
        await in_any_order(seed, lambda: self._crowd(make_backend(recheck_interval=NO_RECHECK)))

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_an_order_of_all_calls_explains_them(self, make_backend: MakeBackend, seed: int) -> None:
        """Five clients with the same ids, some calls cancelled, tasks in any order."""

        async def live() -> None:
            history = History()
            async with make_backend(recheck_interval=NO_RECHECK) as backend:
                await crowd([Recorder(backend, history.note) for _ in range(5)], seed, 60)
            history.check()
            assert len(history) > 200

        await in_any_order(seed, live)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_hints_that_get_lost(self, make_backend: MakeBackend, seed: int) -> None:
        """Lost, doubled or late: no wait is missed, and none ends with anything that was not stored."""
        backend = make_backend(recheck_interval=0.2)
        wrap_engine(backend, lambda engine: UnreliableHints(engine, seed))
        await self._crowd(backend)

    async def _crowd(self, backend: BaseResultBackend) -> None:
        async with backend:
            names = [f"t{n}" for n in range(40)]
            waits = {
                name: [asyncio.ensure_future(backend.wait_for(name, 30)) for _ in range(3)] for name in names
            }

            async def live(name: str) -> None:
                await backend.store(name, TaskResult.pending(name))
                await backend.store(name, TaskResult.running(name))
                waits[name][2].cancel()
                await backend.store(name, TaskResult.success(name, name))
                assert await backend.store(name, TaskResult.failed(name, ValueError("late"))) is False

            await asyncio.gather(*map(live, names))
            for name in names:
                for result in await asyncio.gather(*waits[name][:2]):
                    assert result.unwrap() == name
            await asyncio.gather(*(wait[2] for wait in waits.values()), return_exceptions=True)
            assert backend.waiting == 0
            assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 40
            assert await backend.clear() == 40
