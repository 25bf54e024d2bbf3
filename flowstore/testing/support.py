"""Small factories and steps that tests of backends share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from flowstore import BaseResultBackend, Page, TaskResult, TaskStatus
from flowstore.testing.faults.shuffling import ShuffleLoop
from flowstore.testing.insides import is_read

IS_STRESS = bool(os.environ.get("FLOWSTORE_STRESS"))
START = datetime(2026, 1, 1, tzinfo=UTC)

EFFORT = 10 if IS_STRESS else 1
"""The factor for the number of examples and seeds."""


def failed(task_id: str, second: int | None = 0, **fields: Any) -> TaskResult:
    """A failed result, submitted ``second`` seconds after START; None: without a submission time."""
    at = None if second is None else START + timedelta(seconds=second)
    return TaskResult.failed(task_id, ValueError(task_id), at=START, submitted_at=at, **fields)


def ids(results: list[TaskResult]) -> list[str]:
    return [result.task_id for result in results]


async def stored(backend: BaseResultBackend, task_id: str) -> TaskResult:
    result = await backend.get(task_id)
    assert result is not None, f"there is no record of {task_id!r}"
    return result


def as_given(read: TaskResult) -> TaskResult:
    """A result as it was handed to ``store``: without what the backend itself has added."""
    return read.model_copy(update={"version": 0, "updated_at": None})


async def store_family(backend: BaseResultBackend, *edges: str) -> None:
    """Each is "parent child" or "root", submitted a second after the one before."""
    for second, edge in enumerate(edges):
        *parent, task_id = edge.split()
        await backend.store(task_id, failed(task_id, second, parent_id=parent[0] if parent else None))


async def walk(backend: BaseResultBackend, statuses: Any = TaskStatus.FAILED, **filters: Any) -> list[Page]:
    """Every page of a listing."""
    pages = [await backend.page(statuses, **filters)]
    while pages[-1].next_cursor is not None:
        pages.append(await backend.page(statuses, cursor=pages[-1].next_cursor, **filters))
    return pages


async def waiting(backend: BaseResultBackend, task_id: str, timeout: float = 30) -> asyncio.Task[TaskResult]:
    """A task that waits, and has registered its wait."""
    task = asyncio.ensure_future(backend.wait_for(task_id, timeout))
    await asyncio.sleep(0)  # its first step registers
    return task


async def seen(backend: BaseResultBackend, task: asyncio.Task[Any], task_id: str) -> None:
    """Return once the waits of this backend have read the storage: a later wait has been answered."""
    marker = f"marker of {task_id}"
    await backend.store(marker, TaskResult.success(marker))
    await backend.wait_for(marker, 30)
    while not task.done() and not is_read(backend, task_id):  # noqa: ASYNC110  # another part of the storage
        await asyncio.sleep(0.001)
    assert not task.done(), f"the wait for {task_id!r} ended before anything was stored: {task!r}"


def loop_like(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """A new loop of the same kind, which starts its tasks in the same way."""
    made = type(loop)()
    made.set_task_factory(loop.get_task_factory())
    return made


async def in_any_order(seed: int, live: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``live`` on a ShuffleLoop of its own, which starts its tasks as the current loop does."""
    begins = asyncio.get_running_loop().get_task_factory()

    def shuffled() -> asyncio.AbstractEventLoop:
        loop = ShuffleLoop(seed)
        loop.set_task_factory(begins)
        return loop

    def run() -> None:
        with asyncio.Runner(loop_factory=shuffled) as runner:
            runner.run(live())

    await asyncio.to_thread(run)
