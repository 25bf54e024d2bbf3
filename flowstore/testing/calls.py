"""Every public call of a backend, for the parts of the contract that go through all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from flowstore import BaseResultBackend, TaskResult, TaskStatus

Call = Callable[[BaseResultBackend], Coroutine[Any, Any, object]]


async def _drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


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
}
"""Each public method but open and close, on a backend that holds the finished t0 to t9."""

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
}
"""Those that may ask for nothing, doing so."""
