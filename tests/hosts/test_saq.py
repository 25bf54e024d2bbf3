"""SAQ end to end: its own queue and workers on a server, its jobs recorded in each storage."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from saq import CronJob, Job, Status, Worker
from saq.queue.redis import RedisQueue

import flowstore
from flowstore import (
    StorageUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskResult,
    TaskStatus,
    WaitTimeout,
    current_task,
)
from flowstore.integrations._attempts import QueueRefused
from flowstore.integrations.saq import FlowstoreObserver
from flowstore.testing.insides import faulty, listening
from flowstore.testing.support import stored
from tests.conftest import KINDS
from tests.hosts.saq_app import queue_at

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning"),  # of SAQ on redis-py 8
]
TIMERS: Any = {"schedule": 1, "worker_info": 60, "sweep": 60, "abort": 0.02}


class Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


class Busy(Exception):
    pass


class Lab:
    """A queue, the functions of its workers, and an observer of both."""

    def __init__(self, broker: str, storage: str) -> None:
        self.broker = broker
        self.storage = storage
        self.observer = FlowstoreObserver(storage)
        self.backend = self.observer.backend
        self.queue: RedisQueue = self.observer.attach(queue_at(broker))
        self.begun = asyncio.Event()
        self.tries = 0

    async def add(self, ctx: Any, *, a: int, b: int) -> int:
        return a + b

    async def fail(self, ctx: Any) -> None:
        raise ValueError("no flour")

    async def fail_twice(self, ctx: Any) -> int:
        self.tries += 1
        if self.tries < 3:
            raise Busy(f"attempt {self.tries}")
        return self.tries

    async def hang(self, ctx: Any) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    async def submit(self, ctx: Any) -> str:
        job = await self.queue.enqueue("add", a=1, b=1)
        assert job is not None
        return job.key

    async def tick(self, ctx: Any) -> str:
        return "tock"

    def worker(self, **settings: Any) -> Worker[Any]:
        names = ("add", "fail", "fail_twice", "hang", "submit", "tick")
        functions = [(name, getattr(self, name)) for name in names]
        given = {"queue": self.queue, "functions": functions, "timers": TIMERS, "id": "mill", **settings}
        return Worker(**self.observer.settings(given))

    @asynccontextmanager
    async def working(self, **settings: Any) -> AsyncIterator[Worker[Any]]:
        worker = self.worker(**settings)
        # SAQ's sweep takes a job that a worker is just about to begin for one that is stuck.
        await self.queue.redis.set("saq:default:sweep", 1, ex=60)
        rounds = [_first_round(worker, "worker_info"), _first_round(worker.queue, "sweep")]
        running = asyncio.create_task(worker.start())
        try:
            await asyncio.gather(*(each.wait() for each in rounds))
            yield worker
        finally:
            await worker.stop()
            await running

    async def enqueue(self, name: str, **kwargs: Any) -> Job:
        job = await self.queue.enqueue(name, **kwargs)
        assert job is not None
        return job

    async def steps(self, job: Job) -> list[tuple[int, str]]:
        return [(step.retries, str(step.status)) for step in await self.backend.history.of(job.key)]


def _first_round(of: Any, name: str) -> asyncio.Event:
    """Set after the first call of a method: a worker that is stopped before sleeps until its next one."""
    done, method = asyncio.Event(), getattr(of, name)

    async def call(*args: Any) -> Any:
        try:
            return await method(*args)
        finally:
            done.set()

    setattr(of, name, call)
    return done


@pytest_asyncio.fixture(params=["memory", "sqlite", KINDS[-1]])
async def lab(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> AsyncIterator[Lab]:
    """flowstore in each storage; in the last one beside the queue, in one database."""
    broker = empty_database(KINDS[-1])
    storages = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'results.db'}"}
    made = Lab(broker, storages.get(request.param, broker))
    async with made.observer:
        yield made
        await made.queue.disconnect()


async def test_a_job_that_succeeds(lab: Lab) -> None:
    """Pending when it is enqueued; then with result, arguments, worker and times."""
    job = await lab.enqueue("add", a=1, b=2)
    pending = await stored(lab.backend, job.key)
    assert (pending.status, pending.task_name, pending.kwargs) == (
        TaskStatus.PENDING,
        "add",
        {"a": 1, "b": 2},
    )
    async with lab.working():
        done = await lab.observer.wait(job, timeout=10)
        [worker] = await lab.backend.workers.all()
        assert (worker.worker_id, worker.slots, worker.info["host"]) == ("mill", 10, "saq")
    assert (done.unwrap(), done.retries, done.worker_id) == (3, 0, "mill")
    assert done.meta["queue"] == "default"
    assert done.submitted_at == pending.submitted_at
    assert await lab.steps(job) == [(0, "pending"), (0, "running"), (0, "success")]
    assert await lab.backend.workers.all() == []


async def test_a_job_that_fails(lab: Lab) -> None:
    """With the exception itself; the page of failed tasks has SAQ's names."""
    async with lab.working():
        job = await lab.enqueue("fail")
        with pytest.raises(TaskFailed, match="no flour"):
            (await lab.observer.wait(job, timeout=10)).unwrap()
        await lab.observer.wait(await lab.enqueue("add", a=1, b=1), timeout=10)
    [failed] = (await lab.backend.page("failed")).items
    assert failed.error is not None
    assert (failed.task_id, failed.task_name, failed.error.type) == (job.key, "fail", "ValueError")
    assert "in fail" in (failed.error.traceback or "")
    await job.refresh()
    assert job.status is Status.FAILED


async def test_a_job_that_is_retried(lab: Lab) -> None:
    """Each attempt has SAQ's number, its error and when the next one is due at the latest."""
    async with lab.working():
        job = await lab.enqueue("fail_twice", retries=3, retry_delay=0.01, retry_backoff=True)
        done = await lab.observer.wait(job, timeout=10)
    assert (done.unwrap(), done.retries) == (3, 2)
    history = await lab.backend.history.of(job.key)
    assert [(step.retries, step.error and step.error.message) for step in history if step.error] == [
        (0, "attempt 1"),
        (1, "attempt 2"),
    ]


async def test_a_retry_has_its_time(lab: Lab) -> None:
    async with lab.working():
        job = await lab.enqueue("fail_twice", retries=3, retry_delay=60.0)
        async for task in lab.backend.watch(job.key):
            if task.status is TaskStatus.RETRYING:
                break
    assert task.due_at is not None
    assert task.updated_at is not None
    assert 59 < (task.due_at - task.updated_at).total_seconds() < 61


async def test_a_job_that_is_cancelled_while_it_waits(lab: Lab) -> None:
    """SAQ has dropped it, so no worker runs it."""
    job = await lab.enqueue("hang")
    assert await lab.observer.cancel(job, "no longer needed") is True
    with pytest.raises(TaskCancelled, match="no longer needed"):
        (await lab.observer.wait(job, timeout=10)).unwrap()
    assert await lab.queue.count("queued") == 0
    assert await lab.observer.cancel(job) is False


async def test_a_job_that_is_cancelled_while_it_runs(lab: Lab) -> None:
    """The worker of SAQ interrupts it, and the record says why."""
    async with lab.working():
        job = await lab.enqueue("hang", retries=3)
        await lab.begun.wait()
        await listening(lab.backend, job.key)
        await lab.observer.cancel(job, "the user left")
        done = await lab.observer.wait(job, timeout=10)
    assert done.status is TaskStatus.CANCELLED
    assert done.cancel_request is not None
    assert done.cancel_request.reason == "the user left"
    await job.refresh()
    assert job.status is Status.ABORTED


async def test_what_saq_itself_aborts_is_cancelled(lab: Lab) -> None:
    """In the queue, where no hook of a worker is called, and while it runs."""
    waiting = await lab.enqueue("hang")
    await waiting.abort("by hand")
    with pytest.raises(TaskCancelled, match="by hand"):
        (await lab.observer.wait(waiting)).unwrap()
    async with lab.working():
        running = await lab.enqueue("hang")
        await lab.begun.wait()
        await running.abort("by hand")
        assert (await lab.observer.wait(running, timeout=10)).status is TaskStatus.CANCELLED


async def test_a_timeout_is_a_failure(lab: Lab) -> None:
    async with lab.working():
        job = await lab.enqueue("hang", timeout=0.01)
        done = await lab.observer.wait(job, timeout=10)
    assert done.error is not None
    assert (done.status, done.error.type) == (TaskStatus.FAILED, "TimeoutError")


async def test_a_worker_that_stops_gives_its_jobs_back(lab: Lab) -> None:
    """SAQ queues them again, which is a retry; the next worker makes the next attempt."""
    async with lab.working():
        job = await lab.enqueue("hang", retries=3)
        await lab.begun.wait()
    assert (await stored(lab.backend, job.key)).status is TaskStatus.RETRYING
    lab.begun.clear()
    async with lab.working():
        await lab.begun.wait()
        running = await stored(lab.backend, job.key)
        assert (running.status, running.retries) == (TaskStatus.RUNNING, 1)


async def test_a_key_that_is_taken_is_recorded_once(lab: Lab) -> None:
    """A duplicate that SAQ refuses changes nothing; once the job is over, its key is for a new run."""
    job = await lab.enqueue("add", key="nightly", a=1, b=1)
    assert await lab.queue.enqueue("add", key="nightly", a=5, b=5) is None
    assert (await stored(lab.backend, "nightly")).kwargs == {"a": 1, "b": 1}
    async with lab.working():
        first = await lab.observer.wait(job, timeout=10)
        await lab.queue.enqueue("add", key="nightly", a=2, b=2)
        second = await lab.observer.wait("nightly", timeout=10)
    assert (first.unwrap(), second.unwrap(), second.retries) == (2, 4, 0)
    assert (await lab.steps(job))[-3:] == [(0, "pending"), (0, "running"), (0, "success")]


async def test_a_scheduled_job_says_when_it_is_due(lab: Lab) -> None:
    job = await lab.enqueue("add", a=1, b=1, scheduled=2_000_000_000)
    task = await stored(lab.backend, job.key)
    assert task.due_at is not None
    assert (task.status, task.due_at.timestamp()) == (TaskStatus.PENDING, 2_000_000_000)


async def test_cron_jobs(lab: Lab) -> None:
    """A worker enqueues them under one key, so the record is that of the last run."""
    cron: CronJob[Any] = CronJob(lab.tick, cron="* * * * * */1")
    key = "cron:Lab.tick"
    async with lab.working(cron_jobs=[cron]):
        done = await lab.observer.wait(key, timeout=10)
    assert (done.unwrap(), done.task_name) == ("tock", "Lab.tick")


async def test_a_job_that_submits_another_is_its_parent(lab: Lab) -> None:
    async with lab.working():
        parent = await lab.enqueue("submit")
        child = (await lab.observer.wait(parent, timeout=10)).unwrap()
        done = await lab.observer.wait(child, timeout=10)
    assert (done.parent_id, done.unwrap()) == (parent.key, 2)
    async with lab.backend.track("request"):
        assert current_task(lab.backend) == "request"
        job = await lab.enqueue("add", a=1, b=1)
    assert (await stored(lab.backend, job.key)).parent_id == "request"


async def test_the_actions_of_the_backend_reach_saq(lab: Lab) -> None:
    """A failed job is run again with its options; one that waits is dropped from the queue."""
    async with lab.working():
        job = await lab.enqueue("fail_twice", key="mail", retries=1, ttl=60)
        assert (await lab.observer.wait(job, timeout=10)).status is TaskStatus.FAILED
        done = await lab.backend.actions.apply("requeue", "status:failed", dry_run=False)
        assert (done.done, done.is_host_told) == (1, True)
        again = await lab.observer.wait("mail", timeout=10)
        assert (again.status, again.retries) == (TaskStatus.FAILED, 1)
        await lab.backend.actions.apply("requeue", "status:failed", dry_run=False)
        assert (await lab.observer.wait("mail", timeout=10)).unwrap() == 3
        found = await lab.queue.job("mail")
        assert found is not None
        assert found.ttl == 60
    await lab.enqueue("hang")
    await lab.backend.actions.apply("cancel", "name:hang", dry_run=False)
    assert await lab.queue.count("queued") == 0


async def test_a_result_that_cannot_be_stored_is_shown(lab: Lab) -> None:
    """A queue with a serialiser of its own may carry anything; nobody waits in vain."""

    async def odd(ctx: Any, *, given: Any) -> Any:
        return {"rows": Unknown()}

    lab.queue._dump, lab.queue._load = _KEPT.dump, _KEPT.load
    async with lab.working(functions=[("odd", odd)]):
        done = await lab.observer.wait(await lab.enqueue("odd", given=Unknown()), timeout=10)
    assert (done.unwrap(), done.kwargs) == ({"rows": "<unknown>"}, {"given": "<unknown>"})
    with pytest.raises(QueueRefused, match="not stored as they were"):
        await lab.observer.dispatch([done.task_id])


async def test_a_worker_that_stops_before_it_has_called_the_function(lab: Lab) -> None:
    """SAQ leaves the job active, and its sweep runs it again: it is not cancelled."""

    async def before(ctx: Any) -> None:
        lab.begun.set()
        await asyncio.Event().wait()

    job = await lab.enqueue("add", a=1, b=2)
    async with lab.working(before_process=before):
        await lab.begun.wait()
    await job.refresh()
    assert job.status is Status.ACTIVE
    assert (await stored(lab.backend, job.key)).status is TaskStatus.RETRYING
    await lab.observer._after({"job": job})  # of another process, which had not begun either
    assert (await stored(lab.backend, job.key)).status is TaskStatus.RETRYING


class _Kept:
    """Jobs stay in this process; the queue gets their numbers."""

    def __init__(self) -> None:
        self._jobs: list[Any] = []

    def dump(self, job: Any) -> str:
        self._jobs.append(dict(job))
        return str(len(self._jobs) - 1)

    def load(self, number: Any) -> Any:
        return dict(self._jobs[int(number)])


_KEPT = _Kept()


@pytest.mark.parametrize("lab", [KINDS[-1]], indirect=True)
async def test_a_worker_that_is_killed(lab: Lab) -> None:
    """SAQ's sweep finds the job by its heartbeat, and the record goes on in the next attempt."""
    await lab.queue.redis.set("saq:default:sweep", 1)  # it is nobody's turn to sweep
    process = await _start("work", lab)
    job = await lab.enqueue("hang", retries=2, heartbeat=0.001)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert (await stored(lab.backend, job.key)).worker_id == "doomed"
    waiter = asyncio.create_task(lab.observer.wait(job, timeout=30))
    await lab.queue.redis.delete("saq:default:sweep")
    assert await lab.queue.sweep(abort=0.01) == [job.id]
    retrying = await stored(lab.backend, job.key)
    assert (retrying.status, retrying.error and retrying.error.message) == (TaskStatus.RETRYING, "swept")
    async with lab.working():
        await lab.begun.wait()
        running = await stored(lab.backend, job.key)
        assert (running.retries, running.worker_id) == (1, "mill")
        await lab.observer.cancel(job)
        assert (await waiter).status is TaskStatus.CANCELLED


@pytest.mark.parametrize("lab", ["memory"], indirect=True)
async def test_a_job_that_saq_sweeps_for_the_last_time(lab: Lab) -> None:
    """It has no attempt left, so it is cancelled, as SAQ has it: aborted."""
    job = await lab.enqueue("hang")
    assert await lab.queue.dequeue(timeout=1) == job
    job.attempts = 1
    await lab.queue.update(job, status=Status.ACTIVE, started=1)
    assert await lab.queue.sweep(abort=0.01) == [job.id]
    with pytest.raises(TaskCancelled, match="swept"):
        (await lab.observer.wait(job, timeout=10)).unwrap()


async def test_a_job_that_only_flowstore_misses(lab: Lab) -> None:
    """Without a timeout SAQ never finds that its worker is dead. What a sweep requeues goes back to SAQ."""
    job = await lab.enqueue("add", a=1, b=2, timeout=0)
    assert await lab.queue.dequeue(timeout=1) == job  # by a worker that is killed
    job.attempts = 1
    await lab.queue.update(job, status=Status.ACTIVE, worker_id="dead")
    pending = await stored(lab.backend, job.key)
    await lab.backend.store(job.key, TaskResult.running(pending, worker_id="dead"))
    await lab.backend.workers.register("dead")
    swept = await lab.backend.workers.sweep(silent_after=0)
    assert swept.requeued == [job.key]
    await lab.observer.dispatch(swept.requeued)
    async with lab.working():
        done = await lab.observer.wait(job, timeout=10)
    assert (done.unwrap(), done.retries) == (3, 1)


@pytest.mark.parametrize("lab", ["sqlite"], indirect=True)
async def test_a_producer_in_another_process(lab: Lab) -> None:
    async with lab.working():
        process = await _start("produce", lab)
        told, _ = await process.communicate()
    assert told == b"42\n"


async def test_jobs_go_on_while_the_storage_is_down(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Neither producer nor worker notices, but for the log."""
    faults = faulty(lab.backend)
    with caplog.at_level(logging.WARNING, "flowstore.integrations"):
        async with lab.working():
            faults.fail("write", "read", error=StorageUnavailable("out of reach"), times=None)
            job = await lab.enqueue("add", a=1, b=2)
            await job.refresh(until_complete=10)
            assert job.result == 3
            faults.heal()
    told = {record.getMessage().partition(":")[0] for record in caplog.records}
    assert f"task {job.key!r}" in told


@pytest.mark.parametrize("lab", ["memory"], indirect=True)
async def test_a_job_that_cannot_be_recorded(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Its key is longer than an id may be. It runs all the same."""
    async with lab.working():
        job = await lab.enqueue("add", key="x" * 600, a=1, b=2)
        await job.refresh(until_complete=10)
    assert job.result == 3
    assert "cannot be recorded" in caplog.text


async def test_a_wait_ends_at_its_deadline(lab: Lab) -> None:
    job = await lab.enqueue("add", a=1, b=2)
    with pytest.raises(WaitTimeout):
        await lab.observer.wait(job, timeout=0.01)


async def test_hooks_of_the_application_stay(lab: Lab) -> None:
    """One function or several, around ours."""
    called: list[str] = []
    over = asyncio.Event()

    async def before(ctx: Any) -> None:
        called.append(f"before {current_task(lab.backend) == ctx['job'].key}")

    async def after(ctx: Any) -> None:
        called.append("after")

    async def last(ctx: Any) -> None:
        over.set()

    async with lab.working(before_process=before, after_process=[after, last], startup=None):
        await lab.enqueue("add", a=1, b=2)
        await over.wait()
    assert called == ["before True", "after"]


async def test_a_recorder_of_a_url_ends_with_its_worker(empty_database: Callable[[str], str]) -> None:
    """The program ``saq`` closes nothing else; a backend that was given stays open."""
    queue = queue_at(empty_database(KINDS[-1]))
    async with flowstore.connect("memory://") as backend:
        for observer in (FlowstoreObserver("memory://"), FlowstoreObserver(backend)):
            worker: Worker[Any] = Worker(
                **observer.settings(
                    queue=queue, functions=[("tick", lambda ctx: "tock")], burst=True, dequeue_timeout=0.1
                )
            )
            await worker.start()
        assert await backend.ping() >= 0
    await queue.disconnect()


async def _start(action: str, lab: Lab) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hosts.saq_app", action, lab.broker, lab.storage),
        stdout=asyncio.subprocess.PIPE,
    )
