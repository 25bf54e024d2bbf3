"""The contract under faults: calls that are cancelled anywhere, tasks in any order, hints that get lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.faults import (
    History,
    Recorder,
    ShuffleLoop,
    UnreliableHints,
    cancel_at_each_await,
    crowd,
)
from flowstore.testing.support import EFFORT, Contract, MakeBackend

SEEDS = range(20 * EFFORT)


async def _drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _registered_and_seen(backend: BaseResultBackend) -> None:
    await backend.register_worker("w")
    await backend.heartbeat("w")


async def _tracked(backend: BaseResultBackend) -> None:
    async with backend.track("new"):
        await asyncio.sleep(0)


CALLS: dict[str, Callable[[BaseResultBackend], Coroutine[Any, Any, object]]] = {
    "store": lambda backend: backend.store("new", TaskResult.success("new", 1), overwrite=True),
    "store_many": lambda backend: backend.store_many(TaskResult.pending(f"n{n}") for n in range(1_200)),
    "get": lambda backend: backend.get("t0"),
    "get_many": lambda backend: backend.get_many(f"t{n}" for n in range(600)),
    "exists": lambda backend: backend.exists("t0"),
    "wait_for": lambda backend: backend.wait_for("t0"),
    "wait_for, one look": lambda backend: backend.wait_for("t0", 0),
    "wait_for_many": lambda backend: backend.wait_for_many(["t0", "t1"], 30),
    "as_completed": lambda backend: _drain(backend.as_completed(["t0", "t1"], 30)),
    "delete": lambda backend: backend.delete("t9"),
    "delete_many": lambda backend: backend.delete_many(f"n{n}" for n in range(600)),
    "clear": lambda backend: backend.clear(),
    "purge_expired": lambda backend: backend.purge_expired(),
    "list_by_status": lambda backend: backend.list_by_status(TaskStatus.SUCCESS, offset=1),
    "page": lambda backend: backend.page(TaskStatus.SUCCESS),
    "iter_by_status": lambda backend: _drain(backend.iter_by_status(TaskStatus.SUCCESS, batch_size=3)),
    "count_by_status": lambda backend: backend.count_by_status(),
    "set_data": lambda backend: backend.set_data("t0", "k", 1),
    "get_data": lambda backend: backend.get_data("t0", "k"),
    "all_data": lambda backend: backend.all_data("t0"),
    "delete_data": lambda backend: backend.delete_data("t0", "k"),
    "save_checkpoint": lambda backend: backend.save_checkpoint("t0", 1, keep=2),
    "latest_checkpoint": lambda backend: backend.latest_checkpoint("t0"),
    "checkpoints": lambda backend: backend.checkpoints("t0"),
    "register_worker": lambda backend: backend.register_worker("w"),
    "heartbeat": lambda backend: _registered_and_seen(backend),
    "remove_worker": lambda backend: backend.remove_worker("w"),
    "stale_workers": lambda backend: backend.stale_workers(60),
    "running_tasks": lambda backend: _drain(backend.running_tasks("w")),
    "requeue": lambda backend: backend.requeue("w"),
    "fail_lost": lambda backend: backend.fail_lost("w"),
    "register_app": lambda backend: backend.register_app({"name": "x"}),
    "app_info": lambda backend: backend.app_info(),
    "namespaces": lambda backend: backend.namespaces(),
    "children": lambda backend: _drain(backend.children("t0")),
    "descendants": lambda backend: _drain(backend.descendants("t0")),
    "delete with descendants": lambda backend: backend.delete("t1", descendants=True),
    "workflow_types": lambda backend: backend.workflow_types(),
    "workflow_runs": lambda backend: backend.workflow_runs("run"),
    "workflow": lambda backend: backend.workflow("t0"),
    "set_progress": lambda backend: backend.set_progress("t0", 1),
    "watch": lambda backend: _drain(backend.watch("t0")),
    "history": lambda backend: backend.history("t0"),
    "iter_history": lambda backend: _drain(backend.iter_history(batch_size=3)),
    "iter_task_ids": lambda backend: _drain(backend.iter_task_ids(batch_size=3)),
    "track": lambda backend: _tracked(backend),
}
"""Each public method, on a backend that holds the finished t0 to t9, each the child of the one before."""


class FaultsContract(Contract):
    @pytest.mark.parametrize("name", CALLS)
    async def test_cancelled_at_each_await(self, backend: BaseResultBackend, name: str) -> None:
        """No waiter is left, the cancellation is not swallowed, and the next call works."""
        results = [
            TaskResult[int].success(f"t{n}", n, task_name="run", parent_id=f"t{n - 1}" if n else None)
            for n in range(10)
        ]
        await backend.store_many(results)

        async def check() -> None:
            assert backend.waiting == 0
            assert backend._life._calls == 0
            await backend.store_many(results)
            assert (await backend.wait_for("t0", 30)).unwrap() == 0

        await cancel_at_each_await(lambda: CALLS[name](backend), check)

    async def test_opening_and_closing_cancelled_at_each_await(self, make_backend: MakeBackend) -> None:
        """An opening that was cancelled can be made again, and so can a closing."""
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
        """Writers, waiters and those who give up, all at once: each wait ends as the records say."""

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: ShuffleLoop(seed)) as runner:
                runner.run(self._crowd(make_backend()))

        await asyncio.to_thread(run)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_an_order_of_all_calls_explains_them(self, make_backend: MakeBackend, seed: int) -> None:
        """Five clients with the same ids, some calls cancelled, tasks in any order."""

        async def live() -> None:
            history = History()
            async with make_backend() as backend:
                await crowd([Recorder(backend, history.note) for _ in range(5)], seed, 60)
            history.check()
            assert len(history) > 200

        def run() -> None:
            with asyncio.Runner(loop_factory=lambda: ShuffleLoop(seed)) as runner:
                runner.run(live())

        await asyncio.to_thread(run)

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_hints_that_get_lost(self, make_backend: MakeBackend, seed: int) -> None:
        """Or come twice, or late: no wait is missed, and none ends with what was not stored."""
        backend = make_backend(recheck_interval=0.2)
        engine: Any = backend._engine
        backend._engine = UnreliableHints(engine, seed)
        backend._life._open = lambda: backend._engine.open(backend._waiters)
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
