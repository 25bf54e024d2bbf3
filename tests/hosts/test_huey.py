"""huey with flowstore as its record: real consumers on each storage of huey."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import huey
import pytest
import redis
from huey import MemoryHuey, RedisHuey, SqliteHuey, crontab
from huey.consumer import Consumer
from huey.exceptions import CancelExecution, ResultTimeout, RetryTask, TaskException

import flowstore.sync
from flowstore import TaskFailed, TaskResult, TaskStatus
from flowstore.integrations.huey import FlowstoreObserver
from tests.conftest import KINDS
from tests.hosts import huey_app

ROOT = Path(__file__).parents[2]
WAIT = 20


class InProcess(Consumer):  # type: ignore[misc]
    """A consumer that leaves the signals to pytest."""

    def _set_signal_handlers(self) -> None:
        pass


class Host:
    def __init__(self, huey: Any, store: flowstore.sync.ResultBackend) -> None:
        self.huey = huey
        self.store = store
        self.observer = FlowstoreObserver(huey, store)

    def task(self, function: Callable[..., Any], **options: Any) -> Any:
        return self.huey.task(**options)(function)

    @contextmanager
    def working(self) -> Iterator[None]:
        consumer = InProcess(self.huey, workers=2, initial_delay=0.005, max_delay=0.01)
        consumer.start()
        try:
            yield
        finally:
            consumer.stop(graceful=True)

    def found(self, result: Any) -> TaskResult:
        task = self.store.get(result.id)
        assert task is not None
        return task

    def until(self, result: Any, status: TaskStatus) -> TaskResult:
        return next(state for state in self.store.watch(result.id) if state.status is status)

    def steps(self, result: Any) -> list[str]:
        return [str(step.status) for step in self.store.history.of(result.id)]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> Iterator[Host]:
    """huey and flowstore, each on a storage of this kind."""
    if request.param == "memory":
        made: Any = MemoryHuey()
        url = "memory://"
    elif request.param == "sqlite":
        made = SqliteHuey(filename=str(tmp_path / "huey.db"))
        url = f"sqlite:///{tmp_path / 'results.db'}"
    else:
        url = empty_database(KINDS[0])
        pool = redis.ConnectionPool.from_url(url, socket_timeout=None)
        made = RedisHuey(connection_pool=pool, blocking=False)
    with flowstore.sync.connect(url) as store:
        host = Host(made, store)
        yield host
        host.observer.close()
        made.storage.close()


def test_a_task_from_its_call_to_its_result(host: Host) -> None:
    """Its record has the names of huey, arguments, worker and all states; huey's own result stays."""
    add = host.task(lambda a, b: a + b, name="add")
    result = add(1, b=2)
    pending = host.found(result)
    assert pending.task_name == f"{__name__}.add"
    assert (pending.status, pending.args, pending.kwargs) == (TaskStatus.PENDING, (1,), {"b": 2})
    with host.working():
        assert host.observer.wait(result, WAIT) == 3
        [worker] = host.store.workers.all()
        assert dict(worker.info) == {"host": "huey"}
    assert host.found(result).worker_id == worker.worker_id
    assert host.steps(result) == ["pending", "running", "success"]
    assert host.store.workers.all() == []
    assert result() == 3


def test_a_hook_that_keeps_a_task_from_running_at_once() -> None:
    """Though it was registered later. The task is cancelled, and nothing that comes next is its child."""
    with flowstore.sync.connect("memory://") as store:
        host = Host(MemoryHuey(immediate=True), store)
        refused: list[str] = []

        @host.huey.pre_execute()  # type: ignore[untyped-decorator]
        def once(task: Any) -> None:
            if not refused:
                refused.append(task.id)
                raise CancelExecution

        add = host.task(lambda a, b: a + b, name="add")
        first, second = add(1, 2), add(3, 4)
        assert refused == [first.id]
        assert host.found(first).status is TaskStatus.CANCELLED
        assert (host.found(second).unwrap(), host.found(second).parent_id) == (7, None)
        assert host.observer.recorder._under_way == {}
        host.observer.close()


def test_retries_and_the_page_of_the_failed(host: Host) -> None:
    def fail(path: str) -> None:
        raise FileNotFoundError(path)

    result = host.task(fail, retries=2)("a.png")
    with host.working(), pytest.raises(TaskException, match=r"FileNotFoundError\('a.png'\)") as caught:
        host.observer.wait(result, WAIT)
    assert isinstance(caught.value.__cause__, TaskFailed)
    assert "in fail" in caught.value.metadata["traceback"]
    assert host.steps(result) == ["pending", *(["running", "retrying"] * 2), "running", "failed"]
    [failed] = host.store.page("failed").items
    assert (failed.task_id, failed.task_name, failed.args, failed.retries) == (
        *(result.id, f"{__name__}.fail", ("a.png",), 2),
    )


@pytest.mark.parametrize("how", ["retry_delay", "delay", "eta"])
def test_a_retry_is_due_when_huey_says(host: Host, how: str) -> None:
    def again() -> None:
        if how == "retry_delay":
            raise ValueError("later")
        raise RetryTask(**{how: 60 if how == "delay" else datetime.now() + timedelta(seconds=60)})

    result = host.task(again, retries=1, retry_delay=60)()
    with host.working():
        waits = host.until(result, TaskStatus.RETRYING)
    assert waits.due_at is not None
    assert waits.updated_at is not None
    assert 55 < (waits.due_at - waits.updated_at).total_seconds() < 61


def test_a_task_for_later_is_pending_until_then(host: Host) -> None:
    result = host.task(lambda: None, name="later").schedule(delay=60)
    with host.working():
        host.observer.wait(host.task(lambda: 1, name="now")(), WAIT)
    waits = host.found(result)
    assert waits.status is TaskStatus.PENDING
    assert waits.due_at is not None
    assert 50 < (waits.due_at - datetime.now(UTC)).total_seconds() < 61


def test_what_does_not_run_is_cancelled(host: Host) -> None:
    """Revoked or expired in huey, cancelled by itself, by a hook of huey, or in flowstore."""
    ran: list[str] = []

    def note(what: str) -> None:
        ran.append(what)
        raise CancelExecution("changed my mind")

    task = host.task(note)
    revoked, expired, itself, hooked, cancelled = (task(how) for how in ("r", "e", "i", "h", "c"))
    revoked.revoke()
    expired = task.s("e")
    expired.expires = datetime(2020, 1, 1)
    host.huey.enqueue(expired)

    def refuse(task: Any) -> None:
        if task.args == ("h",):
            raise CancelExecution

    host.huey.pre_execute()(refuse)

    assert host.store.cancel(cancelled.id, "typo")
    reasons = {revoked.id: "revoked", expired.id: "expired", itself.id: "was cancelled"}
    reasons |= {hooked.id: "canceled before it was executed", cancelled.id: "typo"}
    with host.working():
        for task_id, reason in reasons.items():
            with pytest.raises(TaskException, match=reason):
                host.observer.wait(task_id, WAIT)
            assert host.store.wait_for(task_id).status is TaskStatus.CANCELLED
    assert "c" not in ran
    assert "h" not in ran


def test_an_operator_cancels_and_requeues(host: Host) -> None:
    """``actions`` enqueue in huey again; what they cancel its workers do not run."""
    ran: list[int] = []

    def flaky(n: int) -> int:
        ran.append(n)
        if len(ran) == 1:
            raise ConnectionError("down")
        return n

    task = host.task(flaky)
    result, dropped = task(7), task(8)
    assert host.store.actions.apply("cancel", f"id:{dropped.id}", dry_run=False).is_host_told
    with host.working():
        with pytest.raises(TaskException, match="ConnectionError"):
            host.observer.wait(result, WAIT)
        operation = host.store.actions.apply("requeue", "status:failed", dry_run=False)
        assert (operation.done, operation.is_host_told) == (1, True)
        assert host.observer.wait(result, WAIT) == 7
    assert host.found(result).retries == 1
    assert ran == [7, 7]


def test_pipelines_and_chords_are_families(host: Host) -> None:
    """What huey enqueues behind a task is its child; so is what the code of a task calls."""
    add = host.task(lambda a, b: a + b, name="add")
    total = host.task(lambda parts: sum(parts), name="total")
    outer = host.task(lambda: add(1, 1) and None, name="outer")
    pipe = list(host.huey.enqueue(add.s(1, 1).then(add, 10)))
    chord = host.huey.enqueue(huey.chord([add.s(1, 1), add.s(2, 2)], total.s()))
    alone = outer()
    with host.working():
        assert [host.observer.wait(each, WAIT) for each in pipe] == [2, 12]
        assert host.observer.wait(chord.callback, WAIT) == 6
        host.observer.wait(alone, WAIT)
        [child] = host.store.page(parent_id=alone.id).items
        assert host.observer.wait(child.task_id, WAIT) == 2
    assert host.found(pipe[1]).parent_id == pipe[0].id
    assert host.found(chord.callback).parent_id in {each.id for each in chord.results}
    with pytest.raises(ValueError, match="is not enqueued"):
        host.observer.dispatch([pipe[0].id])


def test_tasks_that_run_at_once(host: Host) -> None:
    """With ``immediate`` there is no consumer; errors stay in the result."""
    host.huey.immediate = True
    good = host.task(lambda: 1, name="good")()
    bad = host.task(lambda: int("x"), name="bad")()
    assert host.observer.wait(good) == 1
    with pytest.raises(TaskException, match="ValueError"):
        host.observer.wait(bad)
    assert host.found(bad).parent_id is None


def test_results_that_huey_does_not_keep(host: Host) -> None:
    """Nor does the record: of periodic tasks, or without ``results``."""
    host.huey.results = False
    periodic = host.huey.periodic_task(crontab())(lambda: "secret")
    task = periodic.s()
    host.huey.enqueue(task)
    with host.working():
        assert host.observer.wait(task, WAIT) is None


def test_calls_in_an_event_loop(host: Host) -> None:
    """They do not block it for the record, which is there soon."""
    add = host.task(lambda a: a, name="add")

    async def submit() -> Any:
        return add(5)

    result = asyncio.run(submit())
    assert host.until(result, TaskStatus.PENDING).task_name == f"{__name__}.add"
    with pytest.raises(ResultTimeout):
        host.observer.wait(result, 0)


def test_tasks_run_without_the_storage(caplog: pytest.LogCaptureFixture) -> None:
    store = flowstore.sync.connect("memory://")
    host = Host(MemoryHuey(), store)
    store.close()
    ran = Event()
    with caplog.at_level(logging.WARNING, "flowstore"), host.working():
        host.task(ran.set, name="ran")()
        assert ran.wait(WAIT)
    told = [record.getMessage() for record in caplog.records if record.name == "flowstore.integrations"]
    assert any("its submission is not recorded: the backend is closed" in text for text in told)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_worker_process_that_is_killed(
    kind: str, tmp_path: Path, empty_database: Callable[[str], str]
) -> None:
    """huey forgets its task. A sweep finds it; sent again it runs in the worker that huey has made anew."""
    where, url = str(tmp_path / "huey.db"), f"sqlite:///{tmp_path / 'results.db'}"
    if kind == "redis":
        where = url = empty_database(KINDS[0])
    observer, hold = huey_app.connected(kind, where, url)
    command = [sys.executable, "-m", "tests.hosts.huey_app", kind, where, url]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) as consumer:
        result = hold()
        for state in observer.store.watch(result.id):
            if state.status is TaskStatus.RUNNING:
                break
        [worker] = observer.store.workers.all()
        os.kill(worker.pid, signal.SIGKILL)
        while not (swept := observer.store.workers.sweep(silent_after=0.3)).tasks:
            pass  # it has not been silent for so long
        assert swept.requeued == [result.id]
        observer.dispatch(swept.requeued)
        assert observer.wait(result, WAIT) == "held"
        consumer.send_signal(signal.SIGINT)
        consumer.communicate(timeout=WAIT)
    observer.close()
    observer.huey.storage.close()
