"""What seldom happens to tasks of taskiq: broken middlewares, outages, messages that come twice."""

from __future__ import annotations

import asyncio
import logging
import pickle
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any

import pytest
import pytest_asyncio
from pydantic import BaseModel
from taskiq import (
    BrokerMessage,
    Context,
    InMemoryBroker,
    TaskiqDepends,
    TaskiqMessage,
    TaskiqMiddleware,
)
from taskiq.abc.formatter import TaskiqFormatter
from taskiq.brokers.inmemory_broker import InmemoryResultBackend
from taskiq.exceptions import NoResultError, SendTaskError, TaskiqResultTimeoutError
from taskiq.middlewares import SimpleRetryMiddleware

import flowstore
from flowstore import HostNotTold, TaskResult, TaskStatus, TrackedTask
from flowstore.integrations.taskiq import (
    FlowstoreResultBackend,
    FlowstoreTask,
    ResultIsMissing,
    tracked_task,
)
from flowstore.observing import CallEnded, Event
from flowstore.testing.support import stored
from tests.hosts.taskiq_queue import Queue
from tests.servers import SERVER_KINDS, start_server

Attempt = Annotated[TrackedTask, TaskiqDepends(tracked_task)]


class Model(BaseModel):
    at: datetime


@pytest_asyncio.fixture
async def local() -> AsyncIterator[Queue]:
    async with Queue("memory://", SimpleRetryMiddleware()) as made:
        yield made


async def test_a_message_that_comes_twice(local: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """It runs, as taskiq has it; the first result stands, and the log says so."""

    @local.broker.task(task_name="work")
    async def work() -> str:
        assert tracked_task() is None
        return "late"

    await local.backend.store("t", TaskResult.success("t", "first"))
    await local.receive("t", "work")
    assert (await local.results.get_result("t")).return_value == "first"
    assert "it runs without a record" in caplog.text


async def test_a_message_whose_worker_has_died(local: Queue) -> None:
    """Delivered to another one before anybody has swept: the same attempt goes on there."""

    @local.broker.task(task_name="work")
    async def work(attempt: Attempt) -> int:
        return attempt.retries

    await local.backend.store("t", TaskResult.running("t", worker_id="dead"))
    await local.receive("t", "work")
    assert (await local.results.get_result("t")).return_value == 0
    assert (await stored(local.backend, "t")).worker_id != "dead"


async def test_what_recording_costs() -> None:
    """Round trips: one when a task is sent; two before it runs, and one after it, with its result.

    And one for the sender where the worker was faster, as here: the id may be that of an earlier message.
    """
    counted = Counted()
    async with (
        flowstore.connect("memory://", observers=[counted]) as backend,
        Queue(backend, await_inplace=True) as queue,
    ):

        @queue.broker.task
        async def work() -> None:
            counted.verbs.append("(work)")

        await work.kiq()  # which registers the worker
        counted.verbs.clear()
        await work.kiq()
        assert counted.verbs == ["read", "write", "(work)", "write", "write", "read"]


class Counted:
    def __init__(self) -> None:
        self.verbs: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.verbs.append(event.verb)


class Pickled(TaskiqFormatter):
    def dumps(self, message: TaskiqMessage) -> BrokerMessage:
        whole = pickle.dumps(message)
        return BrokerMessage(
            task_id=message.task_id, task_name=message.task_name, message=whole, labels=message.labels
        )

    def loads(self, message: bytes) -> TaskiqMessage:
        loaded: TaskiqMessage = pickle.loads(message)
        return loaded


async def test_arguments_as_they_are_sent(local: Queue) -> None:
    """Models in arguments are stored as the JSON that is in the message, which can be sent again."""

    @local.broker.task
    async def work(when: list[Model], other: Model) -> list[Model]:
        return [*when, other]

    model = Model(at=datetime(2026, 1, 1, tzinfo=UTC))
    sent = await work.kiq([model], other=model)
    assert (await sent.wait_result(timeout=20)).return_value == [model, model]
    await local.results.requeue(sent.task_id)
    assert (await sent.wait_result(timeout=20)).return_value == [model, model]


async def test_what_cannot_be_sent_again(local: Queue) -> None:
    """Of arguments that cannot be stored only the looks are kept; nothing is sent, and none are changed."""
    local.broker.with_formatter(Pickled())

    @local.broker.task(task_name="work")
    async def work(value: object) -> str:
        return type(value).__name__

    sent = await work.kiq(Exception("odd"))
    assert (await sent.wait_result(timeout=20)).return_value == "Exception"
    assert (await stored(local.backend, sent.task_id)).args == ("Exception: odd",)
    with pytest.raises(ValueError, match="only the looks are stored; send it anew"):
        await local.results.requeue(sent.task_id)
    assert (await stored(local.backend, sent.task_id)).status is TaskStatus.SUCCESS
    with pytest.raises(HostNotTold):
        await local.backend.actions.apply("requeue", "name:work", dry_run=False)
    await local.backend.store("u", TaskResult.failed("u", ValueError()))
    with pytest.raises(ValueError, match="its name is not stored"):
        await local.results.requeue("u")


async def test_a_task_that_sets_no_result(local: Queue) -> None:
    """It is over, and whoever waits is told so instead of waiting for ever."""

    @local.broker.task
    async def silent() -> None:
        raise NoResultError

    sent = await silent.kiq()
    with pytest.raises(ResultIsMissing):
        await sent.wait_result(timeout=20)
    assert (await stored(local.backend, sent.task_id)).status is TaskStatus.SUCCESS


async def test_a_task_that_requeues_itself(local: Queue) -> None:
    """``Context.requeue`` makes another attempt of it."""

    @local.broker.task
    async def again(context: Annotated[Context, TaskiqDepends()]) -> str:
        if "X-Taskiq-requeue" not in context.message.labels:
            await context.requeue()
        return "done"

    sent = await again.kiq()  # type: ignore[call-overload]
    assert (await sent.wait_result(timeout=20)).return_value == "done"
    assert (await local.steps(sent.task_id))[-2:] == ["1 running", "1 success"]


async def test_a_task_that_retries_itself(local: Queue) -> None:
    """By sending its own id once more, and setting no result."""

    @local.broker.task(task_name="again")
    async def again(number: int) -> int:
        if number == 0:
            await again.kicker().with_task_id("t").kiq(1)
            raise NoResultError
        return number

    sent = await again.kicker().with_task_id("t").kiq(0)
    assert (await sent.wait_result(timeout=20)).return_value == 1
    assert (await local.steps("t"))[-3:] == ["0 retrying", "1 running", "1 success"]


class Broken(TaskiqMiddleware):
    def __init__(self, hook: str) -> None:
        super().__init__()
        self.hook = hook

    def on_error(self, *_: Any) -> None:
        if self.hook == "on_error":
            raise RuntimeError("broken middleware")

    def post_execute(self, *_: Any) -> None:
        if self.hook == "post_execute":
            raise RuntimeError("broken middleware")


@pytest.mark.parametrize("hook", ["on_error", "post_execute"])
async def test_a_middleware_that_breaks_leaves_no_task_running(hook: str) -> None:
    """taskiq tells no more of it: it has failed, and its waiters are told."""
    async with Queue("memory://", Broken(hook)) as queue:

        @queue.broker.task
        async def work() -> None:
            if hook == "on_error":
                raise ValueError("of the task")

        sent = await work.kiq()
        result = await sent.wait_result(timeout=20)
        with pytest.raises(Exception, match="^of the task$" if hook == "on_error" else "^taskiq gave it up$"):
            result.raise_for_error()


async def test_a_message_that_the_broker_refuses_leaves_no_trace(local: Queue) -> None:
    from_nowhere = local.broker.register_task(lambda: None, task_name="gone")
    local.broker.local_task_registry.clear()
    with pytest.raises(SendTaskError):
        await from_nowhere.kiq()
    assert await local.backend.list_by_status("pending") == []


async def test_a_storage_that_is_away_breaks_no_task(caplog: pytest.LogCaptureFixture) -> None:
    """Tasks are sent and run, and the log says what is not recorded."""
    backend = flowstore.connect("memory://")
    ran: list[int] = []
    async with Queue(backend, await_inplace=True) as queue:

        @queue.broker.task
        async def work(number: int) -> None:
            ran.append(number)

        await work.kiq(1)
        await backend.close()
        with caplog.at_level(logging.WARNING, "flowstore"):
            await work.kiq(2)
    assert ran == [1, 2]
    told = [text.getMessage() for text in caplog.records if text.name == "flowstore.integrations"]
    for what in ("its beginning", "its submission"):
        assert any(f"{what} is not recorded" in text for text in told), told


async def test_a_storage_that_is_away_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks do not wait for each other's attempts to register the worker; once it is back, that is done."""
    monkeypatch.setattr("flowstore.integrations._taskiq_middleware._A_WHILE", 0.1)
    server = start_server(SERVER_KINDS[0])
    server.kill()
    seconds = 0.5
    backend = flowstore.connect(server.url, op_timeout=seconds)
    queue = Queue(backend)
    queue.broker.is_worker_process = True

    @queue.broker.task(task_name="work")
    async def work() -> None: ...

    async with queue:
        began = time.monotonic()
        await asyncio.gather(*(queue.receive(f"t{n}", "work") for n in range(8)))
        assert time.monotonic() - began < 8 * seconds
        await asyncio.to_thread(server.restart)
        async with asyncio.timeout(20):
            while not await backend.workers.all():  # noqa: ASYNC110  # nobody is told
                await asyncio.sleep(0.05)
        await queue.receive("later", "work")
        assert (await stored(backend, "later")).worker_id is not None
    await backend.close()
    server.stop()


async def test_a_storage_that_returns_before_the_end() -> None:
    """A task that began without a record ends with one."""
    server = start_server(SERVER_KINDS[0])
    backend = flowstore.connect(server.url, op_timeout=1)
    async with backend, Queue(backend, await_inplace=True) as queue:

        @queue.broker.task(task_name="work")
        async def work() -> str:
            assert tracked_task() is None
            await asyncio.to_thread(server.restart)
            return "kept"

        await backend.get("t")
        server.kill()
        await queue.receive("t", "work")
        assert (await queue.results.get_result("t")).return_value == "kept"
        assert await queue.steps("t") == ["0 running", "0 success"]
    server.stop()


async def test_a_middleware_behind_it_that_retries(caplog: pytest.LogCaptureFixture) -> None:
    """It is named at the start: it would send the task again before its error is known."""
    results = FlowstoreResultBackend("memory://")
    broker = InMemoryBroker().with_result_backend(results)
    broker.add_middlewares(results, SimpleRetryMiddleware())
    await broker.startup()
    assert "comes before SimpleRetryMiddleware: add it last" in caplog.text
    await broker.shutdown()


async def test_results_that_are_kept_elsewhere(url: str) -> None:
    """As a middleware alone it records tasks for lists, and taskiq's own backend has the results."""
    results = FlowstoreResultBackend(url)
    broker = InMemoryBroker()
    broker.add_middlewares(results)

    @broker.task
    async def add(one: int, other: int) -> int:
        return one + other

    await broker.startup()
    sent = await add.kiq(1, 2)
    assert (await sent.wait_result(timeout=20)).return_value == 3
    assert isinstance(broker.result_backend, InmemoryResultBackend)
    assert (await results.wait(sent.task_id, 20)).return_value == 3
    with pytest.raises(TaskiqResultTimeoutError):
        await FlowstoreTask("unknown", broker.result_backend).wait_result(0.001, timeout=0.002)
    await broker.shutdown()
    await results.shutdown()


async def test_inside_of_a_task_that_runs_in_its_place() -> None:
    """A broker that runs a task where it is sent goes back to the outer one afterwards."""
    async with Queue("memory://", await_inplace=True) as queue:

        @queue.broker.task
        async def inner() -> str:
            block = tracked_task()
            assert block is not None
            return block.task_id

        @queue.broker.task
        async def outer() -> list[str]:
            sent = [await inner.kiq() for _ in range(2)]
            block = tracked_task()
            assert block is not None
            return [block.task_id, *(each.task_id for each in sent)]

        sent = await outer.kiq()
        own, *inside = (await sent.wait_result(timeout=20)).return_value
        assert own == sent.task_id
        assert [(await stored(queue.backend, each)).parent_id for each in inside] == [own, own]
        assert tracked_task() is None


async def test_ids_that_flowstore_does_not_take(local: Queue, caplog: pytest.LogCaptureFixture) -> None:
    """The task runs all the same."""
    ran = asyncio.Event()

    @local.broker.task
    async def work() -> None:
        ran.set()

    await work.kicker().with_task_id("x" * 600).kiq()
    await asyncio.wait_for(ran.wait(), 20)
    await local.broker.wait_all()
    assert "is not recorded" in caplog.text


async def test_labels_of_strangers(local: Queue) -> None:
    """A message may claim anything of when it was sent, and by whom."""

    @local.broker.task(task_name="work")
    async def work() -> int:
        return 1

    odd = {"flowstore_sent": "yesterday", "flowstore_attempt": "inf", "_retries": "many"}
    message = TaskiqMessage(task_id="t", task_name="work", labels=odd, args=[], kwargs={})
    await local.broker.receiver.callback(local.broker.formatter.dumps(message).message)
    assert (await local.results.get_result("t")).return_value == 1
    task = await stored(local.backend, "t")
    assert task.submitted_at is not None
    assert task.submitted_at > datetime(2020, 1, 1, tzinfo=UTC)
