"""Tasks of Django in flowstore: enqueued here, run by a worker, and read by whoever wants to know."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from flowstore import MissingPackage, StorageUnavailable, TaskResult, WaitTimeout
from flowstore.integrations.django_worker import DjangoWorker, main, tasks_of
from flowstore.observing import BlockBegun, Event
from flowstore.testing.insides import faulty
from tests.conftest import KINDS
from tests.hosts import django_jobs as jobs
from tests.hosts.django_settings import HAS_TASKS

if HAS_TASKS:
    from django.tasks import TaskResultStatus, signals
    from django.tasks.exceptions import TaskResultDoesNotExist
else:
    from django_tasks import TaskResultStatus, signals
    from django_tasks.exceptions import TaskResultDoesNotExist


@pytest.fixture(params=["sqlite", *KINDS])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    """What several processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/tasks.db"
    return empty_database(request.param)


@pytest.fixture
def tasks(shared_url: str) -> Iterator[Any]:
    default = {**settings.TASKS["default"], "OPTIONS": {"url": shared_url, "recheck_interval": 5}}
    with override_settings(TASKS={"default": default}):
        made = tasks_of()
        yield made
        made.close()


@asynccontextmanager
async def working(tasks: Any, **options: Any) -> AsyncIterator[DjangoWorker]:
    worker = DjangoWorker(tasks, **options)
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await running


def written(path: str) -> str:
    return Path(path).read_text("utf-8")


def started(url: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A worker in a process of its own."""
    command = [sys.executable, "-m", "flowstore.integrations.django_worker", *arguments]
    environment = {**os.environ, "FLOWSTORE_URL": url}
    return subprocess.Popen(command, env=environment)


async def enqueued(task: Any, *args: Any, **kwargs: Any) -> Any:
    return await asyncio.to_thread(task.enqueue, *args, **kwargs)


async def test_success_failure_and_coroutines(tasks: Any) -> None:
    """As in Django's own backends: values are JSON, errors have their tracebacks, signals are sent."""
    sent: list[tuple[str, str]] = []

    def receive(name: str) -> Callable[..., None]:
        return lambda sender, task_result, **_: sent.append((name, task_result.status))

    receivers = {name: receive(name) for name in ("task_enqueued", "task_started", "task_finished")}
    for name, receiver in receivers.items():
        getattr(signals, name).connect(receiver)
    added = await enqueued(jobs.add, 1, b=2)
    assert (added.status, added.attempts, added.args, added.kwargs) == ("READY", 0, [1], {"b": 2})
    async with working(tasks) as worker:
        done = await asyncio.to_thread(tasks.wait, added, 10)
        assert (done.return_value, done.status) == ({"sum": [1, 2, 3]}, TaskResultStatus.SUCCESSFUL)
        assert done.worker_ids == [worker.worker_id]
        assert done.enqueued_at <= done.started_at == done.last_attempted_at <= done.finished_at
        failed = await tasks.await_result(await enqueued(jobs.fail, "no such user"), 10)
        shouted = await tasks.await_result(await enqueued(jobs.asynchronous, "a"), 10)
        refused = await tasks.await_result(await enqueued(jobs.unserializable), 10)
    await asyncio.to_thread(added.refresh)
    assert (added.return_value, added.status) == (done.return_value, done.status)
    assert (await asyncio.to_thread(jobs.add.get_result, added.id)) == done
    assert shouted.return_value == "A"
    [error] = failed.errors
    assert error.exception_class is ValueError
    assert "ValueError: no such user" in error.traceback
    assert "KeyError: 'NO_SUCH_KEY'" in error.traceback
    assert "django_jobs.py" in error.traceback
    assert refused.errors[0].exception_class is TypeError
    for name, receiver in receivers.items():
        getattr(signals, name).disconnect(receiver)
    assert sent[0] == ("task_enqueued", "READY")
    assert ("task_started", "RUNNING") in sent
    assert sent.count(("task_finished", "FAILED")) == 2


async def test_order(tasks: Any, tmp_path: Path) -> None:
    """By priority, then by age; a task with ``run_after`` not before, and then at once."""
    path = str(tmp_path / "notes")
    for priority, text in ((0, "c"), (100, "a"), (0, "d"), (1, "b"), (-100, "e")):
        last = await enqueued(jobs.note.using(priority=priority), path, text)
    async with working(tasks, slots=1):
        await asyncio.to_thread(tasks.wait, last, 10)
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        late = await enqueued(jobs.note.using(priority=100, run_after=soon), path, "f")
        done = await asyncio.to_thread(tasks.wait, late, 10)
    assert written(path) == "abcdef"
    assert done.task.run_after == soon
    assert done.enqueued_at < soon <= done.started_at < soon + timedelta(seconds=5)


async def test_each_task_is_run_once_by_many_workers(tasks: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    results = [await enqueued(jobs.note, path, f"{number},") for number in range(40)]
    async with working(tasks, slots=3), working(tasks, slots=3):
        for result in results:
            assert (await asyncio.to_thread(tasks.wait, result, 20)).attempts == 1
    assert sorted(written(path)[:-1].split(",")) == sorted(map(str, range(40)))


async def test_queues_are_kept_apart(tasks: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "notes")
    mail = await enqueued(jobs.note.using(queue_name="mail"), path, "mail")
    other = await enqueued(jobs.note, path, "default")
    async with working(tasks, queues=["mail"]):
        await asyncio.to_thread(tasks.wait, mail, 10)
        with pytest.raises(WaitTimeout):
            await asyncio.to_thread(tasks.wait, other, 0.1)
    assert written(path) == "mail"


async def test_cancelled_and_unknown(tasks: Any) -> None:
    """A task that is cancelled before it begins has failed, with the reason; one that is gone is unknown."""
    cancelled = await enqueued(jobs.add, 1, 2)
    assert await asyncio.to_thread(tasks.store.cancel, cancelled.id, "not needed")
    async with working(tasks):
        done = await asyncio.to_thread(tasks.wait, cancelled, 10)
    assert (done.status, done.attempts) == (TaskResultStatus.FAILED, 0)
    assert done.errors[0].exception_class_path == "flowstore.errors.TaskCancelled"
    assert "not needed" in done.errors[0].traceback
    await asyncio.to_thread(tasks.store.delete, cancelled.id)
    with pytest.raises(TaskResultDoesNotExist):
        await asyncio.to_thread(cancelled.refresh)


def kill_once_running(tasks: Any, result_id: str, worker: subprocess.Popen[bytes]) -> None:
    for state in tasks.store.watch(result_id):
        if state.status == "running":
            worker.kill()
            return


async def test_a_killed_worker_is_swept_and_its_task_run_again(tasks: Any, shared_url: str) -> None:
    """The producer waits in this process all the while, and sees both attempts."""
    result = await enqueued(jobs.attempts)
    waiting = asyncio.create_task(asyncio.to_thread(tasks.wait, result, 50))
    with started(shared_url, "--slots=1", "--heartbeat=0.1") as worker:
        await asyncio.to_thread(kill_once_running, tasks, result.id, worker)
        assert await asyncio.to_thread(worker.wait, 10) == -signal.SIGKILL
    async with working(tasks, heartbeat=0.1, silent_after=0.3):
        done = await waiting
    assert (done.return_value, done.status, done.attempts) == (2, "SUCCESSFUL", 2)
    assert len(set(done.worker_ids)) == 2
    assert done.started_at < done.last_attempted_at


@pytest.mark.parametrize("shared_url", ["sqlite"], indirect=True)
async def test_sigterm_lets_what_is_under_way_end(tasks: Any, shared_url: str) -> None:
    """And then the worker is gone, without an error."""
    result = await enqueued(jobs.add, 1, 2)
    with started(shared_url) as worker:
        done = await asyncio.to_thread(tasks.wait, result, 30)
        worker.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(worker.wait, 10) == 0
    assert done.return_value == {"sum": [1, 2, 3]}
    assert await asyncio.to_thread(tasks.store.workers.all) == []


class Outage:
    """Of the storage of a worker, as it would read the history of the first task that has begun."""

    def __init__(self) -> None:
        self.worker: DjangoWorker | None = None

    def on_event(self, event: Event) -> None:
        if isinstance(event, BlockBegun) and self.worker is not None:
            faulty(self.worker._backend).fail("items", error=StorageUnavailable("out of reach"))
            self.worker = None


@pytest.mark.parametrize("shared_url", ["sqlite"], indirect=True)
async def test_a_task_is_not_left_under_way_by_an_outage(shared_url: str) -> None:
    """The worker lives on, and would say with each heartbeat that it runs it."""
    outage = Outage()
    options = {"url": shared_url, "observers": [outage], "recheck_interval": 5}
    default = {**settings.TASKS["default"], "OPTIONS": options}
    with override_settings(TASKS={"default": default}):
        tasks = tasks_of()
        async with working(tasks, heartbeat=0.1, silent_after=0.3) as outage.worker:
            waiting = await enqueued(jobs.add, 1, 2)
            done = await asyncio.to_thread(tasks.wait, waiting, 20)
        await asyncio.to_thread(tasks.close)
    assert (done.status, done.return_value) == ("SUCCESSFUL", {"sum": [1, 2, 3]})


@pytest.mark.parametrize("shared_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("result_id", ["", "x" * 600, "\ud800", "of another"])
def test_what_is_no_result_does_not_exist(tasks: Any, result_id: str) -> None:
    """Such as an id that a view was asked for, or that of a task of another program on the same storage."""
    tasks.store.store("of another", TaskResult.pending("of another", task_name="shop.pack"))
    with pytest.raises(TaskResultDoesNotExist):
        tasks.get_result(result_id)


async def test_failed_tasks_are_listed_by_their_names(tasks: Any) -> None:
    result = await enqueued(jobs.fail, "no such user")
    async with working(tasks):
        await asyncio.to_thread(tasks.wait, result, 10)
    page = await asyncio.to_thread(tasks.store.page, "failed", name="tests.hosts.django_jobs.fail")
    [record] = page.items
    assert (record.task_id, record.args, record.meta["queue"]) == (result.id, ("no such user",), "default")
    [group] = await asyncio.to_thread(lambda: list(tasks.store.errors.groups()))
    assert group.type == "ValueError"


def test_other_backends_are_refused() -> None:
    immediate = "django.tasks" if HAS_TASKS else "django_tasks"
    other = {"default": {"BACKEND": f"{immediate}.backends.immediate.ImmediateBackend"}}
    with override_settings(TASKS=other), pytest.raises(TypeError, match="expected a FlowstoreBackend"):
        main([])


@pytest.mark.skipif(HAS_TASKS, reason="this Django has them")
def test_a_django_without_tasks_is_named() -> None:
    with pytest.raises(MissingPackage, match=r"needs django.*, but version \d.* is installed"):
        import_module("flowstore.integrations.django")
