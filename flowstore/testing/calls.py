"""Every public call of a backend, for the parts of the contract that go through all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from flowstore import BaseResultBackend, TaskResult, TaskStatus

Call = Callable[[BaseResultBackend], Coroutine[Any, Any, object]]


async def _drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _registered_and_seen(backend: BaseResultBackend) -> None:
    await backend.register_worker("w")
    await backend.heartbeat("w")


async def _tracked(backend: BaseResultBackend) -> None:
    async with backend.track("new"):
        await asyncio.sleep(0)


CALLS: dict[str, Call] = {
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
    "get_datum": lambda backend: backend.get_datum("t0", "k"),
    "all_data": lambda backend: backend.all_data("t0"),
    "delete_data": lambda backend: backend.delete_data("t0", "k"),
    "save_checkpoint": lambda backend: backend.save_checkpoint("t0", 1, keep=2),
    "latest_checkpoint": lambda backend: backend.latest_checkpoint("t0"),
    "checkpoints": lambda backend: backend.checkpoints("t0"),
    "register_worker": lambda backend: backend.register_worker("w"),
    "heartbeat": lambda backend: _registered_and_seen(backend),
    "get_worker": lambda backend: backend.get_worker("w"),
    "get_workers": lambda backend: backend.get_workers(),
    "find_workers": lambda backend: backend.find_workers("w"),
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
    "watch_status": lambda backend: _drain(backend.watch_status([])),
    "history": lambda backend: backend.history("t0"),
    "iter_history": lambda backend: _drain(backend.iter_history(batch_size=3)),
    "iter_task_ids": lambda backend: _drain(backend.iter_task_ids(batch_size=3)),
    "track": lambda backend: _tracked(backend),
}
"""Each public method but open and close, on a backend that holds the finished t0 to t9, each the child of
the one before.
"""

IDLE_CALLS: dict[str, Call] = {
    "store_many": lambda backend: backend.store_many([]),
    "get_many": lambda backend: backend.get_many([]),
    "wait_for_many": lambda backend: backend.wait_for_many([]),
    "wait_for_many, one look": lambda backend: backend.wait_for_many([], 0),
    "as_completed": lambda backend: _drain(backend.as_completed([])),
    "as_completed, one look": lambda backend: _drain(backend.as_completed([], 0)),
    "delete_many": lambda backend: backend.delete_many([]),
    "purge_expired": lambda backend: backend.purge_expired(0),
    "list_by_status": lambda backend: backend.list_by_status(TaskStatus.SUCCESS, 0),
    "page": lambda backend: backend.page([]),
    "iter_by_status": lambda backend: _drain(backend.iter_by_status([])),
    "watch_status": lambda backend: _drain(backend.watch_status([])),
}
"""Those that may ask for nothing, doing so."""
