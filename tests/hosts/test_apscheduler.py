"""Jobs of APScheduler 4 in flowstore: with what became of them, and why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apscheduler import AsyncScheduler, Job, JobOutcome, JobResult
from apscheduler.datastores.memory import MemoryDataStore
from apscheduler.eventbrokers.local import LocalEventBroker
from apscheduler.triggers.date import DateTrigger

import flowstore
from flowstore import InMemoryBackend, TaskStatus
from flowstore.integrations.apscheduler import FlowstoreObserver
from flowstore.observing import CallEnded, Event
from flowstore.testing.support import stored
from tests.conftest import KINDS


def add(a: int, b: int) -> tuple[int, int]:
    return a, b


async def fail(text: str) -> None:
    raise LookupError(text) from OSError("no such host")


async def wait_for_ever(begun: asyncio.Event) -> None:
    begun.set()
    await asyncio.Event().wait()


class Opaque:
    def __repr__(self) -> str:
        return "<opaque>"


def opaque(value: Opaque) -> Opaque:
    return value


@asynccontextmanager
async def scheduling(
    backend: Any, scheduler: AsyncScheduler | None = None
) -> AsyncIterator[tuple[AsyncScheduler, FlowstoreObserver]]:
    async with (
        scheduler or AsyncScheduler() as opened,
        FlowstoreObserver(opened, backend) as observer,
    ):
        await opened.start_in_background()
        yield opened, observer


async def test_success_and_failure(url: str) -> None:
    """Of threads and of coroutines; the scheduler's own result is still there."""
    async with scheduling(url) as (scheduler, observer):
        added = await scheduler.add_job(add, args=[1], kwargs={"b": 2}, result_expiration_time=60)
        failed = await scheduler.add_job(fail, args=["no such user"])
        done = await observer.wait(added, 10)
        assert (done.unwrap(), done.args, done.kwargs) == ((1, 2), (1,), {"b": 2})
        assert done.task_name == f"{__name__}:add"
        assert done.submitted_at is not None
        assert done.started_at is not None
        assert done.submitted_at <= done.started_at
        own = await scheduler.get_job_result(added)
        assert own is not None
        assert own.return_value == (1, 2)

        error = (await observer.wait(failed, 10)).error
        assert error is not None
        assert (error.type, error.message) == ("LookupError", "no such user")
        assert error.cause is not None
        assert "test_apscheduler.py" in (error.traceback or "")
        page = await observer.backend.page("failed", name=f"{__name__}:fail")
        assert [each.task_id for each in page.items] == [str(failed)]
        [worker] = await observer.backend.workers.all()
        assert worker.info["scheduler"] == scheduler.identity
        assert worker.worker_id == done.worker_id


class Calls:
    """How often the storage was called about records."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, CallEnded) and not event.is_background and event.verb in ("read", "write"):
            self.verbs.append(event.verb)


async def test_calls_of_a_job() -> None:
    """Three writes, and one look before the second. That it was released tells nothing new."""
    calls = Calls()
    async with flowstore.connect("memory://", observers=[calls]) as backend:
        async with scheduling(backend) as (scheduler, _):
            jobs = [await scheduler.add_job(add, args=[n, n], result_expiration_time=60) for n in range(10)]
            for job in jobs:
                await scheduler.get_job_result(job)
        assert sorted(calls.verbs) == ["read"] * 10 + ["write"] * 30
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 10


async def test_values_that_cannot_be_stored() -> None:
    async with scheduling("memory://") as (scheduler, observer):
        done = await observer.wait(await scheduler.add_job(opaque, args=[Opaque()]), 10)
        assert (done.result, done.args) == ("<opaque>", ("<opaque>",))


@pytest.mark.parametrize(("name", "known_as"), [("\N{SNOWMAN}" * 300, "\N{SNOWMAN}" * 170), ("\ud800", "?")])
async def test_names_that_flowstore_cannot_have(name: str, known_as: str) -> None:
    """The job runs as it would without an observer, and is recorded with as much of them as there can be."""
    async with scheduling("memory://") as (scheduler, observer):
        await scheduler.configure_task(name, func=add)
        job = Job(task_id=name, executor="threadpool", schedule_id=name, args=[1, 2])  # type: ignore[list-item]
        await scheduler.data_store.add_job(job)
        done = await observer.wait(job.id, 10)
        assert (done.result, done.task_name) == ((1, 2), known_as)
        page = await observer.backend.page(label=min(done.labels), name=known_as)
        assert [each.task_id for each in page.items] == [str(job.id)]


async def test_jobs_of_a_schedule() -> None:
    async with scheduling("memory://") as (scheduler, observer):
        schedule_id = await scheduler.add_schedule(add, DateTrigger(datetime.now(UTC)), args=[1, 2])
        async for task_id in observer.backend.watch_status("success"):
            done = await stored(observer.backend, task_id)
            break
        assert done.meta["schedule_id"] == schedule_id
        page = await observer.backend.page(label=f"schedule:{schedule_id}")
        assert [each.task_id for each in page.items] == [done.task_id]


async def test_the_stop_of_the_scheduler_cancels() -> None:
    async with InMemoryBackend() as backend:
        async with scheduling(backend) as (scheduler, observer):
            begun = asyncio.Event()
            job_id = await scheduler.add_job(wait_for_ever, args=[begun])
            await begun.wait()
            assert (await stored(backend, str(job_id))).status is TaskStatus.RUNNING
            executors = dict(scheduler.job_executors)
        assert (await observer.wait(job_id, 10)).status is TaskStatus.CANCELLED
        assert scheduler.job_executors.keys() == executors.keys()
        assert not set(scheduler.job_executors.values()) & set(executors.values())
        assert await backend.workers.all() == []


async def test_a_job_whose_deadline_is_missed_has_failed() -> None:
    async with scheduling("memory://") as (scheduler, observer):
        task = await scheduler.configure_task(add)
        job = Job(task_id=task.id, executor="async", start_deadline=datetime.now(UTC) - timedelta(1))
        await scheduler.data_store.add_job(job)
        error = (await observer.wait(job.id, 10)).error
        assert error is not None
        assert error.type == "JobDeadlineMissed"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (JobOutcome.success, TaskStatus.SUCCESS),
        (JobOutcome.error, TaskStatus.FAILED),
        (JobOutcome.cancelled, TaskStatus.CANCELLED),
        (JobOutcome.abandoned, TaskStatus.FAILED),
        (JobOutcome.deserialization_failed, TaskStatus.FAILED),
    ],
)
async def test_jobs_of_schedulers_that_nobody_observes(outcome: JobOutcome, status: TaskStatus) -> None:
    """Two schedulers share a store and a broker: what the other one runs is known by its events."""
    data_store, broker = MemoryDataStore(), LocalEventBroker()
    observed = AsyncScheduler(data_store, broker, identity="observed")
    async with observed, FlowstoreObserver(observed, "memory://") as observer:
        task = await observed.configure_task(add)
        job = Job(task_id=task.id, args=[1, 2], executor="async")  # type: ignore[list-item]  # a bare tuple there
        await data_store.add_job(job)
        changes = observer.backend.watch(str(job.id))
        assert (await anext(changes)).status is TaskStatus.PENDING
        [acquired] = await data_store.acquire_jobs("other", timedelta(seconds=60))
        assert (await anext(changes)).status is TaskStatus.RUNNING
        error = ValueError("no") if outcome is JobOutcome.error else None
        result = JobResult.from_job(acquired, outcome, exception=error)
        await data_store.release_job("other", acquired, result)
        done = await observer.wait(job.id, 10)
        assert (done.status, done.args, done.result) == (status, (1, 2), None)
        if error is not None:
            assert done.error is not None
            assert (done.error.type, done.error.message) == ("ValueError", "no")
        await changes.aclose()


async def test_a_storage_that_is_away_breaks_no_job(caplog: pytest.LogCaptureFixture) -> None:
    """The job runs, and its scheduler's result is there; that it is not recorded is logged."""
    async with InMemoryBackend() as backend, scheduling(backend) as (scheduler, _):
        await backend.close()
        job_id = await scheduler.add_job(add, args=[1, 2], result_expiration_time=60)
        own = await scheduler.get_job_result(job_id)
        assert own is not None
        assert own.return_value == (1, 2)
    assert f"task '{job_id}': its beginning is not recorded" in caplog.text


@pytest.mark.parametrize("kind", ["sqlite", KINDS[0]])
async def test_a_killed_scheduler_is_swept(
    kind: str, tmp_path: Path, empty_database: Callable[[str], str]
) -> None:
    """Whoever waits for its job in another process is told that its worker was lost."""
    url = f"sqlite:///{tmp_path}/jobs.db" if kind == "sqlite" else empty_database(kind)
    command = [sys.executable, "-m", "tests.hosts.apscheduler_app", url]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    lines = {(await process.stdout.readline()).decode().strip() for _ in range(2)}
    [job_id] = lines - {"begun"}
    async with flowstore.connect(url) as backend:
        waiting = asyncio.create_task(backend.wait_for(job_id, 50))
        process.kill()
        await process.wait()
        [worker] = await backend.workers.all()
        assert await backend.workers.fail_lost(worker.worker_id) == [job_id]
        error = (await waiting).error
        assert error is not None
        assert error.type == "WorkerLost"
