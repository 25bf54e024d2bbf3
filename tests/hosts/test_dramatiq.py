"""dramatiq with flowstore as its result backend and its record: real brokers, real workers."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.errors import Retry
from dramatiq.middleware import AsyncIO, SkipMessage
from dramatiq.results import ResultFailure, ResultMissing, Results, ResultTimeout

import flowstore.sync
from flowstore import TaskFailed, TaskResult, TaskStatus
from flowstore.integrations.dramatiq import FlowstoreBackend
from tests.conftest import KINDS
from tests.hosts import dramatiq_app

ROOT = Path(__file__).parents[2]
WAIT = 20_000


class Host:
    """A StubBroker with Results and the record, and its worker once that is started."""

    def __init__(self, backend: FlowstoreBackend) -> None:
        self.backend = backend
        self.store = backend.store
        self.broker = StubBroker()
        self.broker.add_middleware(AsyncIO())
        self.broker.add_middleware(Results(backend=backend, store_results=True))
        self.broker.add_middleware(backend.middleware)
        dramatiq.set_broker(self.broker)

    def actor(self, function: Callable[..., Any], **options: Any) -> Any:
        return dramatiq.actor(broker=self.broker, min_backoff=1, **options)(function)

    @contextmanager
    def working(self) -> Iterator[None]:
        worker = dramatiq.Worker(self.broker, worker_threads=2, worker_timeout=20)
        worker.start()
        try:
            yield
        finally:
            worker.stop()

    def task(self, message: Any) -> TaskResult:
        found = self.store.get(message.message_id)
        assert found is not None
        return found

    def result(self, message: Any) -> Any:
        return message.get_result(backend=self.backend, block=True, timeout=WAIT)

    def steps(self, message: Any) -> list[str]:
        return [str(step.status) for step in self.store.history.of(message.message_id)]


@pytest.fixture(params=["memory", "sqlite", KINDS[0]])
def host(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> Iterator[Host]:
    urls = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'results.db'}"}
    url = urls.get(request.param) or empty_database(request.param)
    with flowstore.sync.connect(url) as store:
        backend = FlowstoreBackend(store)
        yield Host(backend)
        backend.close()


def test_a_message_from_send_to_its_result(host: Host) -> None:
    """Its record has the names of dramatiq, arguments, worker and all states; the worker goes in the end."""
    add = host.actor(lambda a, b: a + b, actor_name="add", queue_name="sums")
    message = add.send(1, b=2)
    pending = host.task(message)
    assert (pending.status, pending.task_name, pending.args, pending.kwargs) == (
        *(TaskStatus.PENDING, "add", (1,), {"b": 2}),
    )
    assert pending.meta == {"queue": "sums"}
    with host.working():
        assert host.result(message) == 3
        [worker] = host.store.workers.all()
        assert (worker.slots, dict(worker.info)) == (2, {"host": "dramatiq"})
    done = host.task(message)
    assert (done.unwrap(), done.worker_id, done.submitted_at) == (3, worker.worker_id, pending.submitted_at)
    assert host.steps(message) == ["pending", "running", "success"]
    assert host.store.workers.all() == []


def test_retries_and_the_page_of_the_failed(host: Host) -> None:
    """Each attempt leaves its error; in between the task is retrying, and due when dramatiq says so."""

    def fail(path: str) -> None:
        raise FileNotFoundError(path)

    message = host.actor(fail, max_retries=2).send("a.png")
    with (
        host.working(),
        pytest.raises(ResultFailure, match=r"^actor raised FileNotFoundError: a.png") as caught,
    ):
        host.result(message)
    assert isinstance(caught.value.__cause__, TaskFailed)
    assert "in fail" in str(caught.value.__cause__.error and caught.value.__cause__.error.traceback)
    assert host.steps(message) == ["pending", *(["running", "retrying"] * 2), "running", "failed"]
    [failed] = host.store.page("failed").items
    assert (failed.task_id, failed.task_name, failed.args, failed.retries) == (
        *(message.message_id, "fail", ("a.png",), 2),
    )


def test_a_retry_is_due_when_dramatiq_says(host: Host) -> None:
    def again() -> None:
        raise Retry("later", delay=60_000)

    message = host.actor(again).send()
    with host.working():
        for state in host.store.watch(message.message_id):
            if state.status is TaskStatus.RETRYING:
                break
    waits = host.task(message)
    assert waits.due_at is not None
    assert waits.updated_at is not None
    assert 55 < (waits.due_at - waits.updated_at).total_seconds() <= 61


def test_what_is_not_to_be_retried(host: Host) -> None:
    """One of ``throws``, an actor that nobody has declared, and a message that is too old."""
    known = host.actor(lambda: int("x"), actor_name="known", throws=ValueError).send()
    old = host.actor(lambda: None, actor_name="old", max_age=1).send_with_options(delay=2)
    unknown = host.broker.enqueue(dramatiq.Message("default", "nobody", (), {}, {}))
    with host.working():
        for message, name in [(known, "ValueError"), (old, "SkipMessage"), (unknown, "ActorNotFound")]:
            with pytest.raises(ResultFailure) as caught:
                host.result(message)
            assert caught.value.orig_exc_type == name
            assert host.task(message).status is TaskStatus.FAILED


def test_a_message_that_is_skipped_is_cancelled(host: Host) -> None:
    """Its result is None, as it is with any result backend of dramatiq."""

    class Skipping(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            raise SkipMessage("not today")

    host.broker.add_middleware(Skipping(), before=AsyncIO)
    message = host.actor(lambda: 1, actor_name="skipped").send()
    with host.working():
        assert host.result(message) is None
    assert host.task(message).status is TaskStatus.CANCELLED


def test_results_end_when_dramatiq_says(host: Host) -> None:
    """``result_ttl`` is that of the record; without ``store_results`` it has no result and no such end."""
    kept = host.actor(lambda: 1, actor_name="kept", result_ttl=60_000).send()
    dropped = host.actor(lambda: 1, actor_name="dropped", store_results=False).send()
    with host.working():
        assert (host.result(kept), host.result(dropped)) == (1, None)
    task = host.task(kept)
    assert task.expires_at is not None
    assert task.finished_at is not None
    assert 59 < (task.expires_at - task.finished_at).total_seconds() < 61
    assert host.task(dropped).expires_at is None


def test_a_result_that_cannot_be_stored_is_shown(host: Host) -> None:
    """Whoever waits gets an end; with the backends of dramatiq such a wait runs out of time."""
    message = host.actor(lambda: {"all": object}, actor_name="odd").send()
    with host.working():
        assert list(host.result(message)) == ["all"]


def test_results_that_are_not_there(host: Host) -> None:
    message = host.actor(lambda: 1, actor_name="later").send()
    with pytest.raises(ResultMissing):
        message.get_result(backend=host.backend)
    with pytest.raises(ResultTimeout):
        message.get_result(backend=host.backend, block=True, timeout=1)


def test_a_cancelled_message_is_not_run(host: Host) -> None:
    """``cancel`` before a worker has it; whoever waits is told at once."""
    ran: list[int] = []
    message = host.actor(ran.append, actor_name="note").send(1)
    after = host.actor(lambda: "done", actor_name="after")
    assert host.store.actions.apply("cancel", "name:note", dry_run=False, reason="typo").is_host_told
    with pytest.raises(ResultFailure, match=r"actor raised TaskCancelled: .*: typo"):
        host.result(message)
    with host.working():
        host.broker.join("default", timeout=WAIT)
        assert host.result(after.send()) == "done"
    assert ran == []
    assert host.task(message).status is TaskStatus.CANCELLED


def test_an_actor_that_runs_is_asked_to_end(host: Host) -> None:
    """It asks its block; from then on it is cancelled, and not retried."""
    begun = Event()

    def work() -> None:
        task = host.backend.current_task()
        assert task is not None
        task.progress(1, 2)
        begun.set()
        while True:
            task.raise_if_cancelled()

    message = host.actor(work).send()
    with host.working():
        assert begun.wait(20)
        assert host.store.cancel(message.message_id)
        with pytest.raises(ResultFailure, match="TaskCancelled"):
            host.result(message)
        host.broker.join("default", timeout=WAIT)
    assert host.task(message).status is TaskStatus.CANCELLED


def test_pipelines_and_groups_are_families(host: Host) -> None:
    """A step is a child of the step before it; what an actor sends is its child."""
    add = host.actor(lambda a, b: a + b, actor_name="add")

    def spread() -> None:
        dramatiq.group([add.message(n, n) for n in range(3)], broker=host.broker).run()

    pipe = add.message(1, 1) | add.message(10) | add.message(100)
    group = dramatiq.group([add.message(n, 1) for n in (1, 2)], broker=host.broker)
    spreading = host.actor(spread).send()
    with host.working():
        assert pipe.run().get_result(block=True, timeout=WAIT) == 112
        assert list(group.run().get_results(block=True, timeout=WAIT)) == [2, 3]
        assert list(pipe.get_results()) == [2, 12, 112]
        host.broker.join("default", timeout=WAIT)
    first, second, third = (host.task(message) for message in pipe.messages)
    assert (second.parent_id, third.parent_id) == (first.task_id, second.task_id)
    assert third.root_id == first.task_id
    children = host.store.page(parent_id=spreading.message_id).items
    assert sorted(child.unwrap() for child in children) == [0, 2, 4]


def test_actors_of_asyncio(host: Host) -> None:
    """What they send in the event loop is recorded as well, without blocking it, as their child."""
    leaf = host.actor(lambda: "leaf", actor_name="leaf")

    async def tree() -> str:
        await asyncio.sleep(0)
        return str(leaf.send().message_id)

    async def bad() -> None:
        raise ValueError("no")

    message, broken = host.actor(tree).send(), host.actor(bad, max_retries=0).send()
    with host.working():
        child = host.store.wait_for(host.result(message), 20)
        with pytest.raises(ResultFailure, match="ValueError: no"):
            host.result(broken)
    assert (child.unwrap(), child.parent_id) == ("leaf", message.message_id)


def test_a_task_that_is_requeued_is_sent_again(host: Host) -> None:
    """With the options of its message, so that a pipeline goes on behind it."""
    attempts: list[int] = []

    def flaky(n: int) -> int:
        attempts.append(n)
        if len(attempts) == 1:
            raise ConnectionError("down")
        return n

    last = host.actor(lambda n: n * 2, actor_name="last").message()
    pipe = host.actor(flaky, max_retries=0).message(7) | last
    with host.working():
        pipe.run()
        with pytest.raises(ResultFailure, match="down"):
            host.result(pipe.messages[0])
        operation = host.store.actions.apply("requeue", "name:flaky", dry_run=False)
        assert (operation.done, operation.is_host_told) == (1, True)
        assert pipe.get_result(block=True, timeout=WAIT) == 14
    assert host.task(pipe.messages[0]).retries == 1


def test_arguments_that_are_not_stored_are_not_sent_again(host: Host) -> None:
    """JSON cannot show what a pickled argument was."""
    host.actor(lambda x: None, actor_name="odd")
    message: dramatiq.Message[None] = dramatiq.Message("default", "odd", (object,), {}, {})
    host.backend.middleware.after_enqueue(host.broker, message, None)
    with pytest.raises(ValueError, match="is not enqueued"):
        host.backend.dispatch([message.message_id])


def test_without_a_record(host: Host) -> None:
    """As a result backend alone, without the middleware: results, errors, and their ttl."""
    broker = StubBroker()
    broker.add_middleware(Results(backend=host.backend, store_results=True))
    good = dramatiq.actor(actor_name="good", broker=broker)(lambda: 1).send()
    bad = dramatiq.actor(actor_name="bad", broker=broker, max_retries=0)(lambda: int("x")).send()
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=20)
    worker.start()
    try:
        assert host.result(good) == 1
        with pytest.raises(ResultFailure, match="ValueError"):
            host.result(bad)
    finally:
        worker.stop()
    assert host.task(bad).expires_at is not None


def test_actors_run_without_the_storage(caplog: pytest.LogCaptureFixture) -> None:
    """They are not recorded, which the log tells."""
    backend = FlowstoreBackend("memory://")
    host = Host(backend)
    backend.close()
    ran = Event()
    with caplog.at_level(logging.WARNING, "flowstore"), host.working():
        host.actor(ran.set, actor_name="ran").send()
        assert ran.wait(20)
        host.broker.join("default", timeout=WAIT)
    told = [record.getMessage() for record in caplog.records if record.name == "flowstore.integrations"]
    assert any("its submission is not recorded: the backend is closed" in text for text in told)
    assert any("is not registered" in text for text in told)


@pytest.fixture(params=["sqlite", "redis"])
def urls(
    request: pytest.FixtureRequest, empty_database: Callable[[str], str], tmp_path: Path
) -> tuple[str, str]:
    """Of a broker and of a storage."""
    broker = empty_database(KINDS[0])
    return broker, broker if request.param == "redis" else f"sqlite:///{tmp_path / 'results.db'}"


@contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.hosts.dramatiq_app", *arguments]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def test_a_worker_that_is_killed(urls: tuple[str, str]) -> None:
    """A sweep frees its task; dramatiq delivers the message again, and another process has the result."""
    broker, backend = dramatiq_app.connected(*urls)
    hold = dramatiq.actor(actor_name="hold", broker=broker)(lambda: "held")
    with program(*urls, "work") as doomed:
        message = hold.send()
        for state in backend.store.watch(message.message_id):
            if state.status is TaskStatus.RUNNING:
                break
        doomed.kill()
        doomed.wait()
    [worker] = backend.store.workers.all()
    while not (swept := backend.store.workers.sweep(silent_after=0.3)).workers:
        pass  # it has not been silent for so long
    assert (swept.workers, swept.requeued) == ([worker.worker_id], [message.message_id])
    with program(*urls, "ask", message.message_id) as asking:
        again = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
        again.start()
        try:
            assert asking.communicate(timeout=30)[0] == "held\n"
        finally:
            again.stop()
    done = backend.store.get(message.message_id)
    assert done is not None
    assert (done.retries, done.worker_id != worker.worker_id) == (1, True)
    backend.close()
    broker.close()
