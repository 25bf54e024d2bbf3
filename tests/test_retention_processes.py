"""Retention by several real processes: one at a time, and nothing is left behind by one that is killed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

import flowstore
from flowstore import RetentionBusy, RetentionPolicy, TaskResult
from tests.test_processes import go, url, workers

__all__ = ["url"]

POLICY = RetentionPolicy(max_per_group=100)
START = datetime(2026, 1, 1, tzinfo=UTC)


def later(seconds: float) -> Callable[[], int]:
    """A clock that is ahead, as if that time had passed."""
    return lambda: time.time_ns() // 1_000 + round(seconds * 1_000_000)


async def test_killed_in_the_midst_and_resumed_by_another(url: str) -> None:
    """Others are refused while it lives, and for half a minute after its death; then one goes on.

    In the end exactly those have stayed that one undisturbed call would have left, with all that is theirs.
    """
    tasks = [
        TaskResult.success(
            f"t{n:04}", n, task_name=f"name {n % 2}", submitted_at=START + timedelta(seconds=n)
        )
        for n in range(1_200)
    ]
    async with flowstore.connect(url) as backend:
        await backend.store_many(tasks)
        await asyncio.gather(*(backend.data.set(task.task_id, "k", 1) for task in tasks[-5:]))
        with workers(["retain", url, "100"]) as [process]:
            go(process)
            assert process.stdout is not None
            first = int(await asyncio.to_thread(process.stdout.readline))
            assert 0 < first <= 200
            with pytest.raises(RetentionBusy) as busy:
                await backend.retention.apply(POLICY)
            assert busy.value.holder.endswith(f":{process.pid}")
            process.kill()
            await asyncio.to_thread(process.wait)
        with pytest.raises(RetentionBusy):
            await backend.retention.apply(POLICY)
        async with flowstore.connect(url, clock=later(31)) as other:
            outcome = await other.retention.apply(POLICY)
        assert (outcome.removed, outcome.changed, outcome.kept) == (1_000 - first, 0, 200)
        left = [task_id async for task_id in backend.iter_ids()]
        assert left == [task.task_id for task in reversed(tasks[-200:])]
        assert all([await backend.data.get(task.task_id, "k") == 1 for task in tasks[-5:]])
        assert (await backend.retention.apply(POLICY)).removed == 0  # nobody is kept out any more


async def test_four_processes_at_once(url: str) -> None:
    """Each either does it or is refused, at least one does it, and what is removed is removed once."""
    async with flowstore.connect(url) as backend:
        await backend.store_many(TaskResult.success(f"t{n}", n, task_name="a") for n in range(500))
        with workers(*(["retain-all", url, "100"] for _ in range(4))) as processes:
            for process in processes:
                go(process)
            outputs = [(await asyncio.to_thread(process.communicate))[0].strip() for process in processes]
        removed = [int(output) for output in outputs if output != "busy"]
        assert len(removed) >= 1
        assert sum(removed) == 400
        assert len([task_id async for task_id in backend.iter_ids()]) == 100
