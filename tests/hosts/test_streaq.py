"""streaQ end to end: its own queue and workers on a server, its tasks recorded in each storage."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
import pytest_asyncio
from streaq import StreaqRetry, Worker
from streaq.task import Task
from streaq.task import TaskStatus as HostStatus

import flowstore
from flowstore import (
    StorageUnavailable,
    TaskCancelled,
    TaskFailed,
    TaskStatus,
    WaitTimeout,
    current_task,
)
from flowstore.integrations.streaq import FlowstoreObserver
from flowstore.testing.insides import faulty, listening
from flowstore.testing.support import stored
from tests.conftest import KINDS
from tests.hosts.streaq_app import worker_at

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning"),  # by each worker of streaQ
]


class Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


class Lab:
    """A worker with its tasks, and its observer."""

    def __init__(self, broker: str, storage: str) -> None:
        self.broker = broker
        self.storage = storage
        self.observer = FlowstoreObserver(storage)
        self.backend = self.observer.backend
        self.begun = asyncio.Event()
        self.tries = 0
        self.worker = self.new_worker(id="mill")

    def new_worker(self, **options: Any) -> Worker[Any]:
        worker = worker_at(self.broker, self.observer, **{"concurrency": 3, "idle_timeout": 5, **options})
        for function in (self.add, self.fail, self.fail_once, self.again, self.hang, self.submit, self.odd):
            worker.task(name=function.__name__)(function)
        worker.task(name="short", timeout=timedelta(seconds=0.5))(self.hang)
        worker.task(name="alone", timeout=60, unique=True)(self.hang)
        return worker

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def fail(self) -> int:
        raise ValueError("no flour")

    async def fail_once(self, word: str) -> str:
        self.tries += 1
        if self.tries == 1:
            raise ValueError("no flour")
        return word

    async def again(self, delay: int) -> int:
        self.tries += 1
        if self.tries < 3:
            raise StreaqRetry(f"attempt {self.tries}", delay=delay)
        return self.tries

    async def hang(self) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    async def submit(self) -> str:
        return (await self.enqueue("add", 1, 1)).id

    async def odd(self, given: Any) -> Any:
        return {"rows": given}

    async def enqueue(self, name: str, *args: Any, **kwargs: Any) -> Task[Any, Any]:
        return await self.worker.registry[name].enqueue(*args, **kwargs)

    @asynccontextmanager
    async def working(self, worker: Worker[Any] | None = None) -> AsyncIterator[Worker[Any]]:
        """Until it gets its signal: tasks under way are given back at once."""
        worker = worker or self.worker
        async with anyio.create_task_group() as group:
            await group.start(worker.run_async)
            try:
                yield worker
            finally:
                if not group.cancel_scope.cancel_called:  # or else the worker has failed
                    signal.raise_signal(signal.SIGTERM)

    async def steps(self, task: Task[Any, Any]) -> list[tuple[int, str]]:
        return [(step.retries, str(step.status)) for step in await self.backend.history.of(task.id)]


@pytest.fixture(autouse=True, scope="module")
def unclosed_streams_are_collected() -> Iterator[None]:
    """Here, where the warnings about them are ignored."""
    yield
    gc.collect()


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


async def test_a_task_that_succeeds(lab: Lab) -> None:
    """With result, arguments, worker and times; pending when it is enqueued."""
    async with lab.working():
        task = await lab.enqueue("add", 1, b=2)
        done = await lab.observer.wait(task, timeout=10)
        [worker] = await lab.backend.workers.all()
        assert (worker.worker_id, worker.slots, worker.info["host"]) == ("mill", 3, "streaq")
    assert (done.unwrap(), done.retries, done.worker_id, done.task_name) == (3, 0, "mill", "add")
    assert (done.args, done.kwargs) == ((1,), {"b": 2})
    assert await lab.backend.workers.all() == []


async def test_a_task_that_waits_is_pending(lab: Lab) -> None:
    async with lab.worker:
        task = await lab.enqueue("add", 1, b=2)
        assert (await anext(lab.backend.watch(task.id))).status is TaskStatus.PENDING


async def test_a_task_that_fails(lab: Lab) -> None:
    """With the exception itself; the page of failed tasks has streaQ's names."""
    async with lab.working():
        task = await lab.enqueue("fail")
        with pytest.raises(TaskFailed, match="no flour"):
            (await lab.observer.wait(task, timeout=10)).unwrap()
        await lab.observer.wait(await lab.enqueue("add", 1, 1), timeout=10)
    [failed] = (await lab.backend.page("failed")).items
    assert failed.error is not None
    assert (failed.task_id, failed.task_name, failed.error.type) == (task.id, "fail", "ValueError")
    assert "in fail" in (failed.error.traceback or "")


async def test_a_task_that_is_retried(lab: Lab) -> None:
    """Each attempt has streaQ's number and its error."""
    async with lab.working():
        done = await lab.observer.wait(await lab.enqueue("again", 0), timeout=10)
    assert (done.unwrap(), done.retries) == (3, 2)
    history = await lab.backend.history.of(done.task_id)
    assert [(step.retries, step.error.message) for step in history if step.error] == [
        *((0, "attempt 1"), (1, "attempt 2"))
    ]


async def test_a_retry_has_its_time(lab: Lab) -> None:
    async with lab.working():
        started = await lab.enqueue("again", 60)
        async for task in lab.backend.watch(started.id):
            if task.status is TaskStatus.RETRYING:
                break
    assert task.due_at is not None
    assert task.updated_at is not None
    assert 59 < (task.due_at - task.updated_at).total_seconds() < 61


async def test_a_task_that_is_cancelled_while_it_waits(lab: Lab) -> None:
    """In the queue, until a worker drops it, and before it is due."""
    async with lab.worker:
        queued = await lab.enqueue("hang")
        delayed = await lab.worker.registry["hang"].enqueue().start(delay=60)
        for task in (queued, delayed):
            await anext(lab.backend.watch(task.id))
            assert await lab.observer.cancel(task, "no longer needed") is True
            with pytest.raises(TaskCancelled, match="no longer needed"):
                (await lab.observer.wait(task, timeout=10)).unwrap()
        assert await delayed.status() is HostStatus.NOT_FOUND
        assert await lab.observer.cancel(delayed) is False
    async with lab.working():
        assert (await queued.result(timeout=10)).success is False
    assert not lab.begun.is_set()


async def test_a_task_that_is_cancelled_while_it_runs(lab: Lab) -> None:
    async with lab.working():
        task = await lab.enqueue("hang")
        await lab.begun.wait()
        await listening(lab.backend, task.id)
        await lab.observer.cancel(task, "the user left")
        done = await lab.observer.wait(task, timeout=10)
    assert done.cancel_request is not None
    assert (done.status, done.cancel_request.reason) == (TaskStatus.CANCELLED, "the user left")


async def test_what_streaq_itself_aborts_is_cancelled(lab: Lab) -> None:
    """Before it is due, where no middleware is called, and while it runs."""
    async with lab.working():
        delayed = await lab.worker.registry["hang"].enqueue().start(delay=60)
        assert await delayed.abort() is True
        assert (await lab.observer.wait(delayed, timeout=10)).status is TaskStatus.CANCELLED
        running = await lab.enqueue("hang")
        await lab.begun.wait()
        assert await running.abort() is True
        assert (await lab.observer.wait(running, timeout=10)).status is TaskStatus.CANCELLED


async def test_a_timeout_is_a_failure(lab: Lab) -> None:
    async with lab.working():
        done = await lab.observer.wait(await lab.enqueue("short"), timeout=10)
    assert done.error is not None
    assert (done.status, done.error.type) == (TaskStatus.FAILED, "TimeoutError")


async def test_a_worker_that_stops_gives_its_tasks_back(lab: Lab) -> None:
    """streaQ gives them to others at once, which is a retry; the next worker makes the next attempt."""
    async with lab.working():
        task = await lab.enqueue("hang")
        await lab.begun.wait()
    assert (await stored(lab.backend, task.id)).status is TaskStatus.RETRYING
    lab.begun.clear()
    async with lab.working(lab.new_worker(id="mill 2")):
        await lab.begun.wait()
        running = await stored(lab.backend, task.id)
        assert (running.status, running.retries, running.worker_id) == (TaskStatus.RUNNING, 1, "mill 2")


async def test_tasks_that_streaq_does_not_run(lab: Lab) -> None:
    """A second one of a unique task, an unknown one, and what depends on one that failed."""
    async with lab.working():
        await lab.enqueue("alone")
        await lab.begun.wait()
        second = await lab.enqueue("alone")
        with pytest.raises(TaskFailed, match="another instance of the same task is already running"):
            (await lab.observer.wait(second, timeout=10)).unwrap()
        unknown = await lab.worker.enqueue_unsafe("no_such")
        with pytest.raises(TaskFailed, match="Missing function no_such"):
            (await lab.observer.wait(unknown, timeout=10)).unwrap()
        registry: Any = lab.worker.registry
        behind = await registry["fail"].enqueue().then(registry["add"], b=2)
        with pytest.raises(TaskFailed, match="Dependency failed"):
            (await lab.observer.wait(behind, timeout=10)).unwrap()


async def test_tasks_behind_others(lab: Lab) -> None:
    """One has the result of the one before as an argument; a fallback that is not needed has its result."""
    async with lab.working():
        registry: Any = lab.worker.registry
        behind = await registry["add"].enqueue(1, 2).then(registry["add"], b=3)
        done = await lab.observer.wait(behind, timeout=10)
        assert (done.unwrap(), done.args, done.kwargs) == (6, (3,), {"b": 3})
        fallback = await registry["add"].enqueue(1, 2).otherwise(registry["add"])
        assert (await lab.observer.wait(fallback, timeout=10)).unwrap() == 3


async def test_a_delayed_task_says_when_it_is_due(lab: Lab) -> None:
    async with lab.worker:
        at = datetime(2030, 1, 1, tzinfo=UTC)
        for options, due_at in (({"schedule": at}, at), ({"delay": 60}, None)):
            started = await lab.worker.registry["add"].enqueue(1, 2).start(**options)
            task = await anext(lab.backend.watch(started.id))
            assert task.due_at is not None
            assert task.submitted_at is not None
            assert task.due_at == (due_at or task.submitted_at + timedelta(seconds=60))


async def test_cron_jobs(lab: Lab) -> None:
    """The first run is recorded when the worker starts, with its time, others when they begin."""

    @lab.worker.cron("* * * * * * *", name="tick")  # every second
    async def tick() -> str:
        return "tock"

    async with lab.working(), asyncio.timeout(10):
        changes = lab.backend.watch_status("success")
        done = [await stored(lab.backend, await anext(changes)) for _ in range(2)]
        await changes.aclose()
    assert [(task.unwrap(), task.task_name) for task in done] == [("tock", "tick")] * 2


async def test_a_task_that_submits_another_is_its_parent(lab: Lab) -> None:
    async with lab.working():
        parent = await lab.enqueue("submit")
        child = (await lab.observer.wait(parent, timeout=10)).unwrap()
        done = await lab.observer.wait(child, timeout=10)
        assert done.unwrap() == 2
        await lab.observer._recorded()  # of what is enqueued, in the background
    assert (await stored(lab.backend, child)).parent_id == parent.id


async def test_the_actions_of_the_backend_reach_streaq(lab: Lab) -> None:
    """A failed task is run again under its id; one that is not due yet is dropped."""
    async with lab.working():
        task = await lab.enqueue("fail_once", "sent")
        assert (await lab.observer.wait(task, timeout=10)).status is TaskStatus.FAILED
        done = await lab.backend.actions.apply("requeue", "status:failed", dry_run=False)
        assert (done.done, done.is_host_told) == (1, True)
        again = await lab.observer.wait(task, timeout=10)
        assert (again.unwrap(), again.retries) == ("sent", 1)
        delayed = await lab.worker.registry["hang"].enqueue().start(delay=60)
        await anext(lab.backend.watch(delayed.id))
        await lab.backend.actions.apply("cancel", "name:hang", dry_run=False)
        assert await delayed.status() is HostStatus.NOT_FOUND


async def test_a_result_that_cannot_be_stored_is_shown(lab: Lab) -> None:
    """streaQ pickles anything; nobody waits in vain."""
    async with lab.working():
        done = await lab.observer.wait(await lab.enqueue("odd", Unknown()), timeout=10)
    assert (done.unwrap(), done.args) == ({"rows": "<unknown>"}, ("<unknown>",))


@pytest.mark.parametrize("lab", [KINDS[-1]], indirect=True)
async def test_a_worker_that_is_killed(lab: Lab) -> None:
    """Another worker takes its task once it has been silent, and makes the next attempt."""
    process = await _start("work", lab)
    async with lab.worker:
        task = await lab.enqueue("hang")
        assert process.stdout is not None
        assert await process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()
    lost = await stored(lab.backend, task.id)
    async with lab.working(lab.new_worker(id="other", idle_timeout=0.5)):
        await lab.begun.wait()
        running = await stored(lab.backend, task.id)
        assert (running.status, running.retries, running.worker_id) == (TaskStatus.RUNNING, 1, "other")
        assert lost.worker_id != "other"


@pytest.mark.parametrize("lab", ["sqlite"], indirect=True)
async def test_a_producer_in_another_process(lab: Lab) -> None:
    async with lab.working():
        process = await _start("produce", lab)
        told, _ = await process.communicate()
    assert told == b"42\n"


async def test_tasks_go_on_while_the_storage_is_down(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Neither producer nor worker notices, but for the log."""
    faults = faulty(lab.backend)
    with caplog.at_level(logging.WARNING, "flowstore.integrations"):
        async with lab.working():
            faults.fail("write", "read", error=StorageUnavailable("out of reach"), times=None)
            task = await lab.enqueue("add", 1, 2)
            assert (await task.result(timeout=10)).result == 3
            faults.heal()
    told = {record.getMessage().partition(":")[0] for record in caplog.records}
    assert f"task {task.id!r}" in told


async def test_a_wait_ends_at_its_deadline(lab: Lab) -> None:
    async with lab.worker:
        with pytest.raises(WaitTimeout):
            await lab.observer.wait(await lab.enqueue("add", 1, 2), timeout=0.01)


@pytest.mark.parametrize("lab", ["memory"], indirect=True)
async def test_middlewares_of_the_application_stay(lab: Lab) -> None:
    """They run inside of the attempt, also those that were there before."""
    seen: list[bool] = []
    worker = Worker[Any](redis_url=lab.broker)

    @worker.middleware
    def look(task: Any) -> Any:
        async def call(*args: Any) -> Any:
            seen.append(current_task(lab.backend) == look.context.task_id)
            return await task(*args)

        return call

    worker.task(name="add")(lab.add)
    lab.observer.attach(lab.observer.attach(worker))
    async with lab.working(worker):
        task = await worker.enqueue_unsafe("add", 1, 2)
        assert (await lab.observer.wait(task, timeout=10)).unwrap() == 3
    assert seen == [True]


async def test_trio_is_refused() -> None:
    async with flowstore.connect("memory://") as backend:
        with pytest.raises(ValueError, match="runs on trio, and flowstore on asyncio only"):
            FlowstoreObserver(backend).attach(Worker[Any](anyio_backend="trio"))


async def _start(action: str, lab: Lab) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.hosts.streaq_app", action, lab.broker, lab.storage),
        stdout=asyncio.subprocess.PIPE,
    )
