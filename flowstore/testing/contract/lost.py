"""The contract of dead workers: their tasks are requeued or failed, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Progress,
    TaskError,
    TaskFailed,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Point
from flowstore.testing.insides import know_only, meanwhile, plant
from flowstore.testing.support import START, ids, waiting

Rescue = Callable[[BaseResultBackend], Awaitable[list[str]]]

RESCUES: dict[str, Rescue] = {
    "requeue": lambda backend: backend.workers.requeue("w"),
    "fail_lost": lambda backend: backend.workers.fail_lost("w"),
}
"""What an operator can do with the running tasks of the worker "w"."""


def running(task_id: str, second: int = 0, **fields: Any) -> TaskResult:
    """Submitted ``second`` seconds after START, and running on "w"."""
    at = START + timedelta(seconds=second)
    return TaskResult.running(task_id, **{"submitted_at": at, "worker_id": "w", **fields})


async def read(backend: BaseResultBackend, task_id: str) -> TaskResult:
    result = await backend.get(task_id)
    assert result is not None
    return result


async def crowd(backend: BaseResultBackend) -> None:
    """Two tasks running on "w", t1 before t2, one that it is to try again, and others not in its hands."""
    others: Iterable[TaskResult] = (
        TaskResult.pending("pending", worker_id="w"),
        TaskResult.retrying("of another, retrying", ValueError(), worker_id="w2"),
        TaskResult.success("done", worker_id="w"),
        TaskResult.running("of another", worker_id="w2"),
        TaskResult.running("of nobody"),
    )
    retrying: TaskResult = TaskResult.retrying(running("t3", 3), ValueError("busy"))
    await backend.store_many([running("t2", 2), retrying, *others, running("t1", 1)])


class LostWorkersContract(Contract):
    async def test_running_tasks(self, backend: BaseResultBackend) -> None:
        """Those running on the worker, registered or not, with their values, in order of submission."""
        await crowd(backend)
        await backend.store("t1", running("t1", 1, args=(1,)))
        found = [task async for task in backend.workers.running_tasks("w")]
        assert ids(found) == ["t1", "t2"]
        assert found[0].args == (1,)
        assert [task async for task in backend.workers.running_tasks("w*")] == []

    async def test_requeued_task_is_pending_for_the_next_try(self, make_backend: MakeBackend) -> None:
        """The next attempt, without worker, start and progress; everything else as it was."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            task = running(
                "t",
                task_name="add",
                args=(1, [2]),
                kwargs={"k": (None,)},
                labels={"x"},
                parent_id="p",
                retries=2,
                progress=Progress(done=1),
            )
            await backend.store("t", task)
            clock.advance(5)
            assert await backend.workers.requeue("w") == ["t"]
            again = await read(backend, "t")
            assert (again.status, again.retries, again.version) == (TaskStatus.PENDING, 3, 2)
            assert (again.worker_id, again.started_at, again.progress) == (None, None, None)
            same = {"task_name", "args", "kwargs", "labels", "parent_id", "submitted_at"}
            assert again.model_dump(include=same) == task.model_dump(include=same)
            entry = (await backend.history.of("t"))[-1]
            assert (entry.status, entry.retries, entry.worker_id) == (TaskStatus.PENDING, 3, None)
            assert entry.at == START + timedelta(seconds=5)

    async def test_failed_task_says_that_its_worker_was_lost(self, make_backend: MakeBackend) -> None:
        """Its waiters are woken; the worker, the attempt and the progress remain visible."""
        clock = ManualClock()
        async with make_backend(clock=clock, failure_ttl=60) as backend:
            await backend.store("t", running("t", args=(1,), progress=Progress(done=1)))
            waiter = await waiting(backend, "t")
            clock.advance(5)
            assert await backend.workers.fail_lost("w") == ["t"]
            with pytest.raises(TaskFailed, match="WorkerLost: worker 'w' was lost"):
                (await waiter).unwrap()
            failed = await read(backend, "t")
            assert (failed.status, failed.worker_id, failed.retries) == (TaskStatus.FAILED, "w", 0)
            assert (failed.args, failed.progress) == ((1,), Progress(done=1))
            assert failed.finished_at == START + timedelta(seconds=5)
            assert failed.expires_at == START + timedelta(seconds=65)

    async def test_failed_with_an_error_of_the_operator(self, backend: BaseResultBackend) -> None:
        """An exception or a TaskError; anything else is refused, and nothing is changed."""
        own = TaskError(type="OOMKilled", message="137")
        for task_id, error in (("t1", own), ("t2", ValueError("gone"))):
            await backend.store(task_id, running(task_id))
            await backend.workers.fail_lost("w", error)
        assert (await read(backend, "t1")).error == own
        assert (await read(backend, "t2")).error == TaskError.from_exception(ValueError("gone"))
        await backend.store("t3", running("t3"))
        for bad in ("lost", 7, ValueError):
            not_an_error: Any = bad
            with pytest.raises(TypeError, match=r"^error: expected an exception or TaskError"):
                await backend.workers.fail_lost("w", not_an_error)
        assert (await read(backend, "t3")).status is TaskStatus.RUNNING

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_only_what_the_worker_runs_is_changed(
        self, backend: BaseResultBackend, rescue: str
    ) -> None:
        """In order of submission, each once; a second call has nothing left to do."""
        await crowd(backend)
        untouched = ["pending", "of another, retrying", "done", "of another", "of nobody"]
        before = await backend.get_many(untouched)
        assert await RESCUES[rescue](backend) == ["t1", "t2", "t3"]
        assert await RESCUES[rescue](backend) == []
        assert await backend.get_many(untouched) == before

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_more_tasks_than_one_step(self, backend: BaseResultBackend, rescue: str) -> None:
        """A worker with 250 tasks: all of them are changed, in order."""
        await backend.store_many(running(f"t{n:03}", n) for n in range(250))
        assert await RESCUES[rescue](backend) == [f"t{n:03}" for n in range(250)]
        assert (await backend.count_by_status())[TaskStatus.RUNNING] == 0

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_task_that_finishes_meanwhile_stays_finished(
        self, backend: BaseResultBackend, rescue: str
    ) -> None:
        """Finished between the read and the write: its result stands, and the others are changed."""
        await backend.store_many(running(f"t{n}", n) for n in range(3))
        meanwhile(backend, "scan", lambda: backend.store("t1", TaskResult.success("t1", "result")))
        assert await RESCUES[rescue](backend) == ["t0", "t2"]
        assert (await read(backend, "t1")).unwrap() == "result"

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_task_that_goes_or_moves_meanwhile_is_left_alone(
        self, backend: BaseResultBackend, rescue: str
    ) -> None:
        """Deleted, or restarted by another worker in the same attempt: it is not this worker's any more."""
        await backend.store_many(running(f"t{n}", n) for n in range(3))
        meanwhile(backend, "scan", lambda: _delete_and_move(backend))
        assert await RESCUES[rescue](backend) == ["t2"]
        assert await backend.get("t0") is None
        moved = await read(backend, "t1")
        assert (moved.status, moved.worker_id) == (TaskStatus.RUNNING, "alive")

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_each_task_has_one_outcome(self, backend: BaseResultBackend, rescue: str) -> None:
        """While the worker, still alive, stores its results: each task is either rescued or done."""
        names = [f"t{n:03}" for n in range(150)]
        await backend.store_many(running(name, n) for n, name in enumerate(names))

        async def work() -> list[str]:
            return [
                name
                for name in reversed(names)
                if await backend.store(name, TaskResult.success(name, retries=0, worker_id="w"))
            ]

        rescued, done, again = await asyncio.gather(
            RESCUES[rescue](backend), work(), RESCUES[rescue](backend)
        )
        assert sorted([*rescued, *done, *again]) == names
        found = await backend.get_many(names)
        assert {name for name, result in found.items() if result.is_success} == set(done)

    async def test_zombie_loses_after_requeue(self, backend: BaseResultBackend) -> None:
        """A late write of the attempt that was taken from the worker changes nothing."""
        await backend.store("t", running("t"))
        await backend.workers.requeue("w")
        assert await backend.store("t", TaskResult.success("t", "late", worker_id="w")) is False
        assert await backend.store("t", TaskResult.running("t", retries=1, worker_id="w2")) is True

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_values_are_left_as_they_are(self, make_backend: MakeBackend, rescue: str) -> None:
        """The rescuer need not know the types of the arguments."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store("t", running("t", args=(Point(1, 2),), kwargs={"p": Point(3, 4)}))
            know_only(backend)
            assert await RESCUES[rescue](backend) == ["t"]
            know_only(backend, SAMPLE_TYPES)
            rescued = await read(backend, "t")
            assert (rescued.args, rescued.kwargs) == ((Point(1, 2),), {"p": Point(3, 4)})

    @pytest.mark.parametrize("rescue", RESCUES)
    async def test_unreadable_task_does_not_hold_up_the_others(
        self, backend: BaseResultBackend, rescue: str
    ) -> None:
        """It is named once all others have been changed."""
        await backend.store_many(running(f"t{n}", n) for n in range(3))
        await plant(backend, running("t1", 1), head=b"[]")
        with pytest.raises(CorruptRecord, match="'t1'"):
            await RESCUES[rescue](backend)
        counts = await backend.count_by_status()
        assert counts[TaskStatus.RUNNING] == 1
        assert counts[TaskStatus.PENDING] + counts[TaskStatus.FAILED] == 2


async def _delete_and_move(backend: BaseResultBackend) -> None:
    await backend.delete("t0")
    await backend.store("t1", TaskResult.running("t1", worker_id="alive"))
