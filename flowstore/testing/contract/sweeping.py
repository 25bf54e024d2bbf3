"""The contract of sweeps: which tasks are freed, how, and that nothing is done twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, StorageUnavailable, Swept, SweptTask, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.crews import RARELY
from flowstore.testing.insides import faulty, meanwhile, plant, plant_kept
from flowstore.testing.support import START, stored, waiting

NOTHING: dict[str, Any] = {"silent": "leave", "lost": "leave", "overdue": "leave", "pending": "leave"}


async def sweep(backend: BaseResultBackend, **rules: Any) -> Swept:
    """With little patience, by the clock of the test: before a worker is freed it waits for a 12th of it."""
    return await backend.workers.sweep(**{"silent_after": 0.06, **rules})


def at(second: float) -> Any:
    return START + timedelta(seconds=second)


async def silent_worker(backend: BaseResultBackend, clock: ManualClock) -> None:
    """A worker that died 100 s ago, with a running task, a retrying one, and one that it has finished."""
    await backend.workers.register("w", host="h", pid=7)
    running: TaskResult = TaskResult.running(
        "running", at=START, worker_id="w", submitted_at=START, args=((1,),)
    )
    begun: TaskResult = TaskResult.running("retrying", at=START, worker_id="w", retries=2)
    retrying: TaskResult = TaskResult.retrying(begun, ValueError("no"))
    await backend.store_many([running, retrying, TaskResult.success("done", worker_id="w")])
    clock.advance(100)


class SweepContract(Contract):
    async def test_tasks_of_a_silent_worker(self, make_backend: MakeBackend) -> None:
        """Running and retrying ones get another attempt, the worker goes; a second sweep finds nothing."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            await backend.workers.register("alive")
            await backend.store("other", TaskResult.running("other", worker_id="alive"))
            swept = await sweep(backend)
            assert swept.workers == ["w"]
            pending = TaskStatus.PENDING
            assert swept.tasks == [
                SweptTask(task_id="retrying", reason="silent", status=pending, retries=3),
                SweptTask(task_id="running", reason="silent", status=pending, retries=1),
            ]
            assert (swept.requeued, swept.failed) == (["retrying", "running"], [])
            again = await stored(backend, "running")
            assert (again.status, again.retries, again.args) == (TaskStatus.PENDING, 1, ((1,),))
            assert [worker.worker_id for worker in await backend.workers.all()] == ["alive"]
            assert (await stored(backend, "other")).status is TaskStatus.RUNNING
            second = await sweep(backend)
            assert (second.workers, second.tasks, second.unreadable) == ([], [], [])

    async def test_policies(self, make_backend: MakeBackend) -> None:
        """Failed, with a reason that waiters get; or left alone, with the worker."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            nothing = await sweep(backend, **NOTHING)
            assert (nothing.workers, nothing.tasks) == ([], [])
            waiter = await waiting(backend, "running")
            swept = await sweep(backend, silent="fail")
            assert (swept.workers, swept.failed, swept.requeued) == (["w"], ["retrying", "running"], [])
            failed = await waiter
            assert failed.error is not None
            assert failed.error.type == "WorkerLost"
            assert "'w' has been silent since" in failed.error.message

    async def test_attempts_that_are_used_up(self, make_backend: MakeBackend) -> None:
        """A task that has had ``max_retries`` is failed instead: perhaps it is what kills the workers."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            swept = await sweep(backend, max_retries=2)
            assert (swept.requeued, swept.failed) == (["running"], ["retrying"])

    async def test_what_was_written_lately_is_left_to_the_next_sweep(self, make_backend: MakeBackend) -> None:
        """A worker whose last heartbeat is old, but whose task began since: it may be alive."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            await backend.store("late", TaskResult.running("late", at=at(100), worker_id="w"))
            swept = await sweep(backend)
            assert (swept.workers, swept.requeued) == ([], ["retrying", "running"])
            clock.advance(61)
            swept = await sweep(backend)
            assert (swept.workers, swept.requeued) == (["w"], ["late"])

    async def test_worker_that_beats_meanwhile_stays(self, make_backend: MakeBackend) -> None:
        """As all do after an outage in which they could not. If its tasks are freed already, it is fenced."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            meanwhile(backend, "items", lambda: backend.workers.heartbeat("w"))
            swept = await sweep(backend)
            assert (swept.workers, swept.tasks) == ([], [])
            clock.advance(100)
            meanwhile(backend, "scan", lambda: backend.workers.heartbeat("w"))
            swept = await sweep(backend)
            assert (swept.workers, swept.requeued) == ([], ["retrying", "running"])
            assert await backend.workers.get("w") is not None

    async def test_worker_that_says_how_often_it_beats(self, make_backend: MakeBackend) -> None:
        """It is given the time of one more heartbeat, by which it is alive again."""
        clock = ManualClock()
        async with (
            make_backend(clock=clock) as backend,
            backend.worker("w", every=0.1) as worker,
            worker.track("t"),
        ):
            clock.advance(100)
            swept = await backend.workers.sweep(silent_after=30)
            assert (swept.workers, swept.tasks) == ([], [])

    async def test_what_others_write_decides_nothing(self, make_backend: MakeBackend) -> None:
        """By other clocks than that of the worker: neither that a task is lost, nor that it is not."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend, backend.worker("w", every=RARELY) as worker:
            clock.advance(10)
            await worker.beat()
            async with worker.track("held"):
                clock.advance(-5)  # the next write is one of a process whose clock is behind
                await backend.history.record("held", "seen")
                clock.advance(5)
                assert (await sweep(backend, silent_after=60)).tasks == []
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            assert await backend.history.record("running", "seen") is True
            assert (await sweep(backend)).requeued == ["retrying", "running"]

    async def test_task_that_is_to_be_cancelled(self, make_backend: MakeBackend) -> None:
        """It gets no other attempt, neither by a sweep nor by hand."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            assert await backend.cancel("running", "enough") is True
            swept = await sweep(backend)
            assert swept.requeued == ["retrying"]
            cancelled = await stored(backend, "running")
            assert (cancelled.status, cancelled.retries) == (TaskStatus.CANCELLED, 0)
            assert cancelled.cancel_request is not None
            await backend.store("other", TaskResult.running("other", worker_id="v"))
            await backend.cancel("other")
            assert await backend.workers.requeue("v") == []
            assert (await stored(backend, "other")).status is TaskStatus.CANCELLED

    @pytest.mark.parametrize("is_carried_out", [False, True])
    async def test_sweep_in_an_outage(self, make_backend: MakeBackend, is_carried_out: bool) -> None:
        """It rides out a short one. After a long one it tells what was done before; nothing is forgotten."""
        clock = ManualClock()
        backend = make_backend(clock=clock, op_timeout=1)
        faults = faulty(backend)
        async with backend:
            await silent_worker(backend, clock)
            trouble = StorageUnavailable("injected")
            faults.fail("write", error=trouble, times=1, is_carried_out=is_carried_out)
            assert (await sweep(backend)).requeued == ["retrying", "running"]
            await backend.workers.register("v")
            await backend.store_many(TaskResult.running(f"t{n}", at=START, worker_id="v") for n in range(20))
            clock.advance(100)
            before = faults.calls["write"]
            faults.fail("write", error=trouble, skip=10, times=None, is_carried_out=is_carried_out)
            told: list[str] = []
            try:
                swept = await sweep(backend)
                assert is_carried_out or isinstance(swept.error, StorageUnavailable)
                told += swept.requeued
            except StorageUnavailable:
                assert faults.calls["write"] - before <= 10
            faults.heal()
            told += (await sweep(backend)).requeued
            assert sorted(told) == sorted(f"t{n}" for n in range(20))
            pending = await backend.count_by_status()
            assert pending[TaskStatus.PENDING] == 22

    async def test_tasks_that_a_living_worker_has_lost(self, make_backend: MakeBackend) -> None:
        """Stored as running on it, and not among those that it has under way."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend, backend.worker("w", every=RARELY) as worker:
            await backend.store("lost", TaskResult.running("lost", at=START, worker_id="w"))
            async with worker.track("held"):
                assert (await sweep(backend)).tasks == []  # nothing is known of the last moment
                clock.advance(1)
                await worker.beat()
                async with worker.track("new"):  # since the heartbeat
                    swept = await sweep(backend)
                assert swept.workers == []
                assert [(task.task_id, task.reason) for task in swept.tasks] == [("lost", "lost")]
            assert (await stored(backend, "lost")).status is TaskStatus.PENDING
            assert (await stored(backend, "held")).is_success

    async def test_worker_that_does_not_tell_its_tasks(self, make_backend: MakeBackend) -> None:
        """With plain heartbeats nobody can say what it has lost."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.workers.register("w")
            await backend.store("t", TaskResult.running("t", worker_id="w"))
            clock.advance(3_600)
            await backend.workers.heartbeat("w")
            assert (await sweep(backend)).tasks == []

    async def test_overdue_retries(self, make_backend: MakeBackend) -> None:
        """Due for longer than allowed, whoever had them. Others stay, also those that nobody knows when."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for name, due in [("overdue", 10), ("due", 50), ("later", 900), ("unknown", None)]:
                due_at = None if due is None else at(due)
                await backend.store(name, TaskResult.retrying(name, ValueError("no"), due_at=due_at))
            clock.advance(100)
            swept = await sweep(backend, overdue_after=60)
            assert [(task.task_id, task.reason, task.retries) for task in swept.tasks] == [
                ("overdue", "overdue", 1)
            ]
            swept = await sweep(backend, overdue_after=timedelta(seconds=10), overdue="fail")
            assert swept.failed == ["due"]

    async def test_tasks_that_nobody_begins(self, make_backend: MakeBackend) -> None:
        """Pending for longer than allowed, by their submission or the time when they were due."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for name, due in [("old", None), ("planned", at(90)), ("far", at(900))]:
                await backend.store(name, TaskResult.pending(name, at=START, due_at=due))
            clock.advance(80)
            await backend.store("new", TaskResult.pending("new", at=at(80)))
            assert (await sweep(backend)).tasks == []
            assert (await sweep(backend, pending_after=60)).failed == ["old"]
            clock.advance(71)
            swept = await sweep(backend, pending_after=60, pending="requeue")
            assert [(task.task_id, task.reason) for task in swept.tasks] == [
                ("new", "pending"),
                ("planned", "pending"),
            ]
            assert (await sweep(backend, pending_after=60)).tasks == []  # requeued just now

    async def test_sweeps_at_once(self, make_backend: MakeBackend) -> None:
        """Each task is freed by one of them, for one attempt."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.workers.register("w")
            await backend.store_many(TaskResult.running(f"t{n}", at=START, worker_id="w") for n in range(250))
            clock.advance(100)
            sweeps = await asyncio.gather(*(sweep(backend) for _ in range(5)))
            assert sorted(task for sweep in sweeps for task in sweep.requeued) == sorted(
                f"t{n}" for n in range(250)
            )
            assert sorted(worker for sweep in sweeps for worker in sweep.workers) == ["w"]
            assert {(await stored(backend, f"t{n}")).retries for n in range(250)} == {1}

    async def test_task_that_moves_on_meanwhile(self, make_backend: MakeBackend) -> None:
        """What its worker stored between the look and the write stands."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            meanwhile(backend, "scan", lambda: backend.store("running", TaskResult.success("running", 1)))
            swept = await sweep(backend)
            assert swept.requeued == ["retrying"]
            assert (await stored(backend, "running")).unwrap() == 1

    async def test_what_cannot_be_read_hides_nothing(self, make_backend: MakeBackend) -> None:
        """It is named; all others are freed, and its worker stays until it can be."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await silent_worker(backend, clock)
            bad: TaskResult = TaskResult.running("bad", at=START, worker_id="w")
            await plant(backend, bad, is_checked=False, submitted_at=7)
            await plant_kept(backend, "worker", "", "broken", b"{}")
            clock.advance(100)
            swept = await sweep(backend)
            assert (swept.workers, swept.requeued) == ([], ["retrying", "running"])
            assert (swept.unreadable, swept.unreadable_workers) == (["bad"], ["broken"])

    async def test_bad_rules(self, backend: BaseResultBackend) -> None:
        """Refused by name, before anything is read."""
        bad: list[tuple[str, Any]] = [
            ("silent_after", -1),
            ("silent", "drop"),
            ("lost", None),
            ("overdue_after", "1"),
            ("overdue", ""),
            ("pending_after", float("nan")),
            ("pending", 7),
            ("max_retries", -1),
        ]
        for name, value in bad:
            with pytest.raises((TypeError, ValueError), match=f"^{name}: "):
                await backend.workers.sweep(**{name: value})
