"""Actions by several real processes: each task once, wherever one is killed, and aborted from elsewhere."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

import flowstore
from flowstore import BaseResultBackend, OperationBusy, TaskResult, TaskStatus
from flowstore.testing.support import IS_STRESS
from tests.test_processes import go, url, workers
from tests.test_retention_processes import later

__all__ = ["url"]

COUNT: Final = 120
"""In one step, and two calls of the storage that change them."""
CALLS: Final = range(1, 14) if IS_STRESS else (3, 5, 6, 8)
"""The lease, the first look, what is about to be done, one half, the other half, what was done, the end."""


async def filled(backend: BaseResultBackend, count: int) -> None:
    await backend.store_many(
        TaskResult.failed(f"t{n:04}", ValueError("x"), task_name="mail", args=(n,)) for n in range(count)
    )


async def check_requeued_once(backend: BaseResultBackend, count: int) -> None:
    """Each of them, with its arguments."""
    found = [task async for task in backend.iter_by_status("pending")]
    assert len(found) == count
    for task in found:
        assert (task.retries, task.version, task.args) == (1, 2, (int(task.task_id[1:]),))
    for task in found[::20]:
        history = await backend.history.of(task.task_id)
        assert [step.status for step in history] == [TaskStatus.FAILED, TaskStatus.PENDING]


@pytest.mark.parametrize("calls", CALLS)
async def test_killed_after_each_call_and_resumed_by_another(url: str, calls: int) -> None:
    """Each task is requeued once and counted once, and the host is told of each at least once."""
    async with flowstore.connect(url) as backend:
        await filled(backend, COUNT)
        operation = await backend.actions.start("requeue", "status:failed name:mail", by="ada")
        with workers(["act", url, operation.id, str(calls)]) as [process]:
            go(process)
            assert process.stdout is not None
            told = set[str]()
            while (line := await asyncio.to_thread(process.stdout.readline)).startswith("told "):
                told.update(line.split()[1:])
            assert line in ("stopped\n", "done\n")
            process.kill()
            await asyncio.to_thread(process.wait)
    async with flowstore.connect(url, clock=later(31)) as other:
        other.actions.on_requeue(lambda tasks: told.update(task.task_id for task in tasks))
        operation = await other.actions.resume(operation.id)
        assert (operation.state, operation.done, operation.skipped, operation.by) == ("done", COUNT, 0, "ada")
        assert operation.is_host_told
        assert len(told) == COUNT
        await check_requeued_once(other, COUNT)
        assert (await other.integrity.verify()).found == 0


async def test_four_at_one_operation(url: str) -> None:
    """Each either does it, finds it done, or is refused; at least one does it, and each task once."""
    async with flowstore.connect(url) as backend:
        await filled(backend, 300)
        operation = await backend.actions.start("requeue", "status:failed")
        with workers(*(["act-all", url, operation.id] for _ in range(4))) as processes:
            for process in processes:
                go(process)
            outputs = [(await asyncio.to_thread(process.communicate))[0].strip() for process in processes]
        assert {*outputs} - {"busy"} == {"300"}
        assert (await backend.actions.get(operation.id)).done == 300
        await check_requeued_once(backend, 300)


async def test_aborted_by_another_process(url: str) -> None:
    """It ends after the step under way; others are refused until then, and see how far it is."""
    async with flowstore.connect(url) as backend:
        await filled(backend, 1_200)
        operation = await backend.actions.start("requeue", "status:failed")
        with workers(["act-in-steps", url, operation.id]) as [process]:
            go(process)
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == "500\n"
            with pytest.raises(OperationBusy) as busy:
                await backend.actions.resume(operation.id)
            assert busy.value.holder.endswith(f":{process.pid}")
            assert (await backend.actions.get(operation.id)).done == 500
            asked = await backend.actions.abort(operation.id)
            assert (asked.state, asked.is_abort_requested) == ("running", True)
            output, _ = await asyncio.to_thread(process.communicate, "\n" * 9)
            assert output.split()[-1] == "aborted"
        operation = await backend.actions.get(operation.id)
        assert (operation.state, operation.done) == ("aborted", 500)
        assert (await backend.count_by_status())[TaskStatus.PENDING] == 500
