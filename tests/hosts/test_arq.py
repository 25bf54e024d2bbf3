"""arq end to end: its own queue and workers on a server, its jobs recorded in each storage."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import arq
import pytest
import pytest_asyncio
from arq import cron, func
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.jobs import Job, JobStatus

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
from flowstore.integrations.arq import FlowstoreObserver
from flowstore.testing.insides import faulty, listening
from flowstore.testing.support import stored
from tests.conftest import KINDS
from tests.hosts.arq_app import pool_at

pytestmark = [
    pytest.mark.filterwarnings("ignore:Call to .*deprecated:DeprecationWarning"),  # of arq on redis-py 8
]


class Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


class Lab:
    """A pool, the functions of its workers, and an observer of both."""

    def __init__(self, broker: str, storage: str, pool: ArqRedis) -> None:
        self.broker = broker
        self.storage = storage
        self.observer = FlowstoreObserver(storage)
        self.backend = self.observer.backend
        self.pool = self.observer.attach(pool)
        self.begun = asyncio.Event()
        self.tries = 0

    async def add(self, ctx: Any, a: int, b: int) -> int:
        return a + b

    async def fail(self, ctx: Any) -> None:
        raise ValueError("no flour")

    async def fail_once(self, ctx: Any, word: str) -> str:
        self.tries += 1
        if self.tries == 1:
            raise ValueError("no flour")
        return word

    async def again(self, ctx: Any, defer: float) -> int:
        if ctx["job_try"] < 3:
            raise arq.Retry(defer)
        return int(ctx["job_try"])

    async def hang(self, ctx: Any) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    async def submit(self, ctx: Any) -> str:
        job = await ctx["redis"].enqueue_job("Lab.add", 1, 1)
        return str(job.job_id)

    async def odd(self, ctx: Any, given: Any) -> Any:
        return {"rows": given}

    @asynccontextmanager
    async def working(self, **settings: Any) -> AsyncIterator[arq.Worker]:
        names = (self.add, self.fail, self.fail_once, self.again, self.submit, self.odd)
        functions = [*names, func(self.hang, name="hang"), func(self.hang, name="short", timeout=0.5)]
        given: dict[str, Any] = {"functions": functions, "poll_delay": 0.02, "handle_signals": False}
        made = self.observer.settings(given, **settings)
        worker = arq.Worker(redis_pool=await pool_at(self.broker), **made)
        running = asyncio.create_task(worker.async_run())
        await asyncio.sleep(0)  # its first step makes the main task
        try:
            yield worker
        finally:
            # One that is closed while it is about to end a job raises CancelledError.
            ending = [task for job_id, task in worker.tasks.items() if job_id not in worker.job_tasks]
            await asyncio.gather(*ending)
            worker.allow_pick_jobs = False  # its loop may go on for a turn, and take what was given back
            await worker.close()
            await asyncio.wait([running])

    async def enqueue(self, name: str, *args: Any, **kwargs: Any) -> Job:
        job = await self.pool.enqueue_job(name, *args, **kwargs)
        assert job is not None
        return job

    async def steps(self, job: Job) -> list[tuple[int, str]]:
        return [(step.retries, str(step.status)) for step in await self.backend.history.of(job.job_id)]


@pytest_asyncio.fixture(params=["memory", "sqlite", KINDS[-1]])
async def lab(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> AsyncIterator[Lab]:
    """flowstore in each storage; in the last one beside the queue, in one database."""
    broker = empty_database(KINDS[-1])
    storages = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'results.db'}"}
    pool = await pool_at(broker)
    made = Lab(broker, storages.get(request.param, broker), pool)
    async with made.observer:
        yield made
    await pool.aclose()


async def test_a_job_that_succeeds(lab: Lab) -> None:
    """Pending when it is enqueued; then with result, arguments, worker and times."""
    job = await lab.enqueue("Lab.add", 1, b=2)
    pending = await stored(lab.backend, job.job_id)
    assert (pending.status, pending.task_name) == (TaskStatus.PENDING, "Lab.add")
    assert (pending.args, pending.kwargs) == ((1,), {"b": 2})
    async with lab.working(max_jobs=3):
        done = await lab.observer.wait(job, timeout=10)
        [worker] = await lab.backend.workers.all()
        assert (worker.slots, worker.info["host"], worker.info["queue"]) == (3, "arq", "arq:queue")
    assert (done.unwrap(), done.retries, done.worker_id) == (3, 0, worker.worker_id)
    assert done.submitted_at == pending.submitted_at
    assert await lab.steps(job) == [(0, "pending"), (0, "running"), (0, "success")]
    assert await lab.backend.workers.all() == []


async def test_a_worker_that_is_done_before_the_producer_has_recorded_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """arq's time of a job is in milliseconds: it is not taken for an earlier one that has the same id."""
    submitted = lab.observer.submitted

    async def late(run: TaskResult | None, since: datetime | None = None) -> None:
        assert run is not None
        await lab.observer.wait(run.task_id, timeout=10)
        await submitted(run, since)

    monkeypatch.setattr(lab.observer, "submitted", late)
    async with lab.working():
        for _ in range(3):
            job = await lab.enqueue("Lab.add", 1, 2)
            assert (await stored(lab.backend, job.job_id)).unwrap() == 3


async def test_a_job_that_fails(lab: Lab) -> None:
    """With the exception itself; the page of failed tasks has arq's names."""
    async with lab.working():
        job = await lab.enqueue("Lab.fail")
        with pytest.raises(TaskFailed, match="no flour"):
            (await lab.observer.wait(job, timeout=10)).unwrap()
        await lab.observer.wait(await lab.enqueue("Lab.add", 1, 1), timeout=10)
    [failed] = (await lab.backend.page("failed")).items
    assert failed.error is not None
    assert (failed.task_id, failed.task_name, failed.error.type) == (job.job_id, "Lab.fail", "ValueError")
    assert "in fail" in (failed.error.traceback or "")


async def test_a_job_that_is_retried(lab: Lab) -> None:
    """Each attempt has arq's number, its error and when the next one is due."""
    async with lab.working():
        job = await lab.enqueue("Lab.again", 0.01)
        done = await lab.observer.wait(job, timeout=10)
    assert (done.unwrap(), done.retries) == (3, 2)
    history = await lab.backend.history.of(job.job_id)
    assert [(step.retries, step.error.type) for step in history if step.error] == [
        (0, "arq.worker.Retry"),
        (1, "arq.worker.Retry"),
    ]


async def test_a_retry_has_its_time(lab: Lab) -> None:
    async with lab.working():
        job = await lab.enqueue("Lab.again", 60)
        async for task in lab.backend.watch(job.job_id):
            if task.status is TaskStatus.RETRYING:
                break
    assert task.due_at is not None
    assert task.updated_at is not None
    assert 50 < (task.due_at - task.updated_at).total_seconds() < 61  # it is due from the end of the job


async def test_too_many_retries_are_a_failure(lab: Lab) -> None:
    """arq finds that before it calls the function again, and tells no hook of it."""
    async with lab.working(max_tries=2):
        job = await lab.enqueue("Lab.again", 0)
        with pytest.raises(TaskFailed, match="max 2 retries exceeded"):
            (await lab.observer.wait(job, timeout=10)).unwrap()


async def test_an_unknown_function_is_a_failure(lab: Lab) -> None:
    async with lab.working():
        job = await lab.enqueue("no_such")
        with pytest.raises(TaskFailed, match="function 'no_such' not found"):
            (await lab.observer.wait(job, timeout=10)).unwrap()


async def test_a_job_that_is_cancelled_while_it_waits(lab: Lab) -> None:
    """Also a deferred one. The next worker drops it without running it."""
    for options in ({}, {"_defer_by": 60}):
        job = await lab.enqueue("hang", **options)
        assert await lab.observer.cancel(job, "no longer needed") is True
        with pytest.raises(TaskCancelled, match="no longer needed"):
            (await lab.observer.wait(job, timeout=10)).unwrap()
        async with lab.working(burst=True) as worker:
            await cast(Any, worker.main_task)
        assert await job.status() is JobStatus.complete
    assert not lab.begun.is_set()
    assert await lab.observer.cancel(job) is False


async def test_a_job_that_is_cancelled_while_it_runs(lab: Lab) -> None:
    async with lab.working():
        job = await lab.enqueue("hang")
        await lab.begun.wait()
        await listening(lab.backend, job.job_id)
        await lab.observer.cancel(job, "the user left")
        done = await lab.observer.wait(job, timeout=10)
    assert done.cancel_request is not None
    assert (done.status, done.cancel_request.reason) == (TaskStatus.CANCELLED, "the user left")


async def test_what_arq_itself_aborts_is_cancelled(lab: Lab) -> None:
    """Before it runs, where no hook is called, and while it runs."""
    waiting = await lab.enqueue("hang", _defer_by=60)
    aborting = asyncio.create_task(waiting.abort(poll_delay=0.01))
    async with lab.working():
        assert await aborting is True
        assert (await lab.observer.wait(waiting, timeout=10)).status is TaskStatus.CANCELLED
        running = await lab.enqueue("hang")
        await lab.begun.wait()
        assert await running.abort(poll_delay=0.01) is True
        assert (await lab.observer.wait(running, timeout=10)).status is TaskStatus.CANCELLED


async def test_a_timeout_is_a_failure(lab: Lab) -> None:
    async with lab.working():
        done = await lab.observer.wait(await lab.enqueue("short"), timeout=10)
    assert done.error is not None
    assert (done.status, done.error.type) == (TaskStatus.FAILED, "TimeoutError")


async def test_a_worker_that_stops_gives_its_jobs_back(lab: Lab) -> None:
    """arq leaves them in the queue, which is a retry; the next worker makes the next attempt."""
    async with lab.working():
        job = await lab.enqueue("hang")
        await lab.begun.wait()
    assert (await stored(lab.backend, job.job_id)).status is TaskStatus.RETRYING
    lab.begun.clear()
    async with lab.working():
        await lab.begun.wait()
        running = await stored(lab.backend, job.job_id)
        assert (running.status, running.retries) == (TaskStatus.RUNNING, 1)


async def test_an_id_that_is_taken_is_recorded_once(lab: Lab) -> None:
    """A duplicate that arq refuses changes nothing; once arq has dropped the job, its id is for a new run."""
    job = await lab.enqueue("Lab.add", 1, 1, _job_id="nightly")
    assert await lab.pool.enqueue_job("Lab.add", 5, 5, _job_id="nightly") is None
    assert (await stored(lab.backend, "nightly")).args == (1, 1)
    async with lab.working(keep_result=0):
        first = await lab.observer.wait(job, timeout=10)
        await lab.enqueue("Lab.add", 2, 2, _job_id="nightly")
        second = await lab.observer.wait("nightly", timeout=10)
    assert (first.unwrap(), second.unwrap(), second.retries) == (2, 4, 0)


async def test_a_deferred_job_says_when_it_is_due(lab: Lab) -> None:
    task = await stored(lab.backend, (await lab.enqueue("Lab.add", 1, 1, _defer_by=60)).job_id)
    assert task.due_at is not None
    assert task.submitted_at is not None
    assert 59 < (task.due_at - task.submitted_at).total_seconds() < 61


async def test_cron_jobs(lab: Lab) -> None:
    """With arq's ids, such as ``cron:tick:1700000000123``."""

    async def tick(ctx: Any) -> str:
        return "tock"

    changes = lab.backend.watch_status("success")
    async with lab.working(cron_jobs=[cron(tick, name="tick", run_at_startup=True)]), asyncio.timeout(10):
        done = await stored(lab.backend, await anext(changes))
    await changes.aclose()
    assert (done.unwrap(), done.task_name, done.task_id[:5]) == ("tock", "tick", "tick:")


async def test_a_job_that_submits_another_is_its_parent(lab: Lab) -> None:
    async with lab.working():
        parent = await lab.enqueue("Lab.submit")
        child = (await lab.observer.wait(parent, timeout=10)).unwrap()
        done = await lab.observer.wait(child, timeout=10)
    assert (done.parent_id, done.unwrap()) == (parent.job_id, 2)
    async with lab.backend.track("request"):
        job = await lab.enqueue("Lab.add", 1, 1)
    assert (await stored(lab.backend, job.job_id)).parent_id == "request"


async def test_the_actions_of_the_backend_reach_arq(lab: Lab) -> None:
    """A failed job is run again under its id; one that waits is dropped by the next worker."""
    async with lab.working():
        job = await lab.enqueue("Lab.fail_once", "sent", _job_id="mail")
        assert (await lab.observer.wait(job, timeout=10)).status is TaskStatus.FAILED
        done = await lab.backend.actions.apply("requeue", "status:failed", dry_run=False)
        assert (done.done, done.is_host_told) == (1, True)
        again = await lab.observer.wait("mail", timeout=10)
        assert (again.unwrap(), again.retries) == ("sent", 1)
    hanging = await lab.enqueue("hang")
    await lab.backend.actions.apply("cancel", "name:hang", dry_run=False)
    async with lab.working(burst=True) as worker:
        await cast(Any, worker.main_task)
    assert await hanging.status() is JobStatus.complete
    assert not lab.begun.is_set()


async def test_a_result_that_cannot_be_stored_is_shown(lab: Lab) -> None:
    """arq pickles anything; nobody waits in vain."""
    async with lab.working():
        done = await lab.observer.wait(await lab.enqueue("Lab.odd", Unknown()), timeout=10)
    assert (done.unwrap(), done.args) == ({"rows": "<unknown>"}, ("<unknown>",))


@pytest.mark.parametrize("lab", [KINDS[-1]], indirect=True)
async def test_a_worker_that_is_killed(lab: Lab) -> None:
    """Another worker finds the job once arq's mark of it has expired, and makes the next attempt."""
    process = await _start("work", lab)
    job = await lab.enqueue("hang")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    lost = await stored(lab.backend, job.job_id)
    async with lab.working():
        await lab.begun.wait()
        running = await stored(lab.backend, job.job_id)
        assert (running.status, running.retries) == (TaskStatus.RUNNING, 1)
        assert running.worker_id != lost.worker_id
        swept = await lab.backend.workers.sweep(silent_after=0.1)  # of the dead worker nothing is left
        assert swept.requeued == []


async def test_a_job_that_flowstore_misses_first(lab: Lab) -> None:
    """arq waits for as long as a job may take. What a sweep requeues is given back to arq at once."""
    job = await lab.enqueue("Lab.add", 1, 2)
    await lab.pool.set(in_progress_key_prefix + job.job_id, b"1")  # by a worker that is killed
    pending = await stored(lab.backend, job.job_id)
    await lab.backend.store(job.job_id, TaskResult.running(pending, worker_id="dead"))
    await lab.backend.workers.register("dead")
    swept = await lab.backend.workers.sweep(silent_after=0)
    assert swept.requeued == [job.job_id]
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
            job = await lab.enqueue("Lab.add", 1, 2)
            assert await job.result(poll_delay=0.01) == 3
            faults.heal()
    told = {record.getMessage().partition(":")[0] for record in caplog.records}
    assert f"task {job.job_id!r}" in told


async def test_a_worker_registers_later_if_the_storage_is_down(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    faults = faulty(lab.backend)
    faults.fail("put", "items", error=StorageUnavailable("out of reach"), times=None)
    async with lab.working():
        assert await (await lab.enqueue("Lab.add", 1, 2)).result(poll_delay=0.01) == 3
        faults.heal()
    assert "is not registered yet: out of reach" in caplog.text


async def test_a_wait_ends_at_its_deadline(lab: Lab) -> None:
    with pytest.raises(WaitTimeout):
        await lab.observer.wait(await lab.enqueue("Lab.add", 1, 2), timeout=0.01)


async def test_hooks_of_the_application_stay(lab: Lab) -> None:
    called: list[str] = []

    async def hook(ctx: Any) -> None:
        called.append("hook")

    async def see(ctx: Any) -> None:
        called.append(f"see {current_task(lab.backend) == ctx['job_id']}")

    hooks = dict.fromkeys(("on_startup", "on_job_start", "on_job_end", "after_job_end", "on_shutdown"), hook)
    await lab.enqueue("see")
    async with lab.working(**hooks, functions=[func(see, name="see")], burst=True) as worker:
        await cast(Any, worker.main_task)
    assert called == ["hook", "hook", "see True", "hook", "hook", "hook"]


async def test_settings_are_a_class_as_well(empty_database: Callable[[str], str]) -> None:
    """As the program ``arq`` takes them. A backend of its own is closed with the worker."""
    observer = FlowstoreObserver("memory://")

    async def tick(ctx: Any) -> str:
        return "tock"

    @observer.settings
    class WorkerSettings:
        functions = (tick,)
        burst = True
        handle_signals = False

    pool = await pool_at(empty_database(KINDS[-1]))
    worker = arq.worker.create_worker(cast(Any, WorkerSettings), redis_pool=pool)
    await worker.async_run()
    await worker.close()
    with pytest.raises(flowstore.BackendClosed):
        await observer.backend.ping()


async def _start(action: str, lab: Lab) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hosts.arq_app", action, lab.broker, lab.storage),
        stdout=asyncio.subprocess.PIPE,
    )
