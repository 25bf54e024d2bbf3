"""What becomes of tasks of taskiq, recorded by FlowstoreResultBackend as a middleware, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pytest
import pytest_asyncio
from taskiq import (
    Context,
    InMemoryBroker,
    TaskiqDepends,
    TaskiqMessage,
    TaskiqScheduler,
)
from taskiq.depends.progress_tracker import ProgressTracker
from taskiq.middlewares import SimpleRetryMiddleware, SmartRetryMiddleware
from taskiq.schedule_sources import LabelScheduleSource

from flowstore import TaskCancelled, TaskResult, TaskStatus, TrackedTask
from flowstore.integrations.taskiq import (
    FlowstoreResultBackend,
    FlowstoreTask,
    tracked_task,
)
from flowstore.testing.support import stored
from tests.hosts.taskiq_queue import Queue

Attempt = Annotated[TrackedTask, TaskiqDepends(tracked_task)]


@pytest_asyncio.fixture
async def queue(url: str) -> AsyncIterator[Queue]:
    async with Queue(url) as made:
        yield made


@pytest_asyncio.fixture
async def local() -> AsyncIterator[Queue]:
    async with Queue("memory://", SimpleRetryMiddleware()) as made:
        yield made


async def test_a_task_from_its_submission_to_its_result(queue: Queue) -> None:
    """With its arguments, labels, worker and progress; taskiq has the labels and no others."""

    @queue.broker.task(task_name="add", queue="sums", rate=0.5)
    async def add(one: int, other: int, tracker: Annotated[ProgressTracker[Any], TaskiqDepends()]) -> int:
        await tracker.set_progress("half", {"done": 1, "total": 2})
        return one + other

    sent = await add.kiq(1, other=2)  # type: ignore[call-overload]
    assert isinstance(sent, FlowstoreTask)
    result = await sent.wait_result(timeout=20)
    assert (result.return_value, result.labels) == (3, {"queue": "sums", "rate": 0.5})
    task = await stored(queue.backend, sent.task_id)
    assert (task.task_name, task.args, task.kwargs) == ("add", (1,), {"other": 2})
    assert (task.meta["queue"], task.meta["rate"]) == ("sums", 0.5)
    assert task.submitted_at is not None
    assert task.started_at is not None
    assert task.submitted_at <= task.started_at
    assert task.progress is not None
    assert (task.progress.done, task.progress.total, task.progress.note) == (1, 2, "half")
    [worker] = await queue.backend.workers.all()
    assert (task.worker_id, worker.info["broker"]) == (worker.worker_id, "InMemoryBroker")


async def test_a_page_of_failed_tasks(queue: Queue) -> None:
    """By the names and errors of the host; a synchronous function fails likewise."""

    @queue.broker.task(task_name="charge")
    def charge(customer: int) -> None:
        raise LookupError("no such customer", customer)

    sent = [await charge.kiq(number) for number in range(3)]
    for each in sent:
        with pytest.raises(LookupError, match="no such customer"):
            (await each.wait_result(timeout=20)).raise_for_error()
    page = await queue.backend.page("failed", name="charge")
    assert {task.task_id for task in page.items} == {each.task_id for each in sent}
    assert page.items[0].error is not None
    assert "charge" in (page.items[0].error.traceback or "")


@pytest.mark.parametrize("no_result_on_retry", [True, False])
@pytest.mark.parametrize("kind", [SimpleRetryMiddleware, SmartRetryMiddleware])
async def test_retries(url: str, kind: Any, no_result_on_retry: bool) -> None:
    """Each attempt has its error; whoever waits gets the last outcome, whatever the middleware says."""
    options = {"default_delay": 30} if kind is SmartRetryMiddleware else {}
    async with Queue(url, kind(no_result_on_retry=no_result_on_retry, **options)) as queue:

        @queue.broker.task(retry_on_error=True, max_retries=3)
        async def flaky(succeeds: bool, attempt: Attempt) -> int:
            if attempt.retries < 2 or not succeeds:
                raise ConnectionError(f"attempt {attempt.retries}")
            return attempt.retries

        good = await flaky.kiq(True)  # type: ignore[call-overload]
        bad = await flaky.kiq(False)  # type: ignore[call-overload]
        assert (await good.wait_result(timeout=20)).return_value == 2
        with pytest.raises(ConnectionError, match="attempt 2"):
            (await bad.wait_result(timeout=20)).raise_for_error()
        tail = ["0 running", "0 retrying", "1 running", "1 retrying", "2 running"]
        assert (await queue.steps(good.task_id))[-6:] == [*tail, "2 success"]
        assert (await queue.steps(bad.task_id))[-6:] == [*tail, "2 failed"]
        errors = [step.error.message for step in await queue.backend.history.of(good.task_id) if step.error]
        assert errors == ["attempt 0", "attempt 1"]


async def test_a_delayed_retry_says_when_it_is_due() -> None:
    """A queue that sends no message before its time has it retrying until then."""

    class Slow(InMemoryBroker):
        async def kick(self, message: Any) -> None:
            if "_retries" not in message.labels:
                await super().kick(message)

    results = FlowstoreResultBackend("memory://")
    broker = Slow().with_result_backend(results)
    broker.add_middlewares(SmartRetryMiddleware(default_delay=30), results)

    @broker.task(retry_on_error=True)
    async def flaky() -> None:
        raise ValueError

    await broker.startup()
    sent = await flaky.kiq()
    await broker.wait_all()
    task = await stored(results.backend, sent.task_id)
    assert task.status is TaskStatus.RETRYING
    assert task.due_at is not None
    assert task.updated_at is not None
    assert timedelta(seconds=29) < task.due_at - task.updated_at < timedelta(seconds=31)
    await broker.shutdown()


async def test_a_retry_through_a_schedule(url: str) -> None:
    """It is retrying without a known time, until the scheduler sends it: then it is the next attempt."""

    class Source(LabelScheduleSource):
        async def add_schedule(self, schedule: Any) -> None:
            schedules.append(schedule)

    schedules: list[Any] = []
    source = Source(InMemoryBroker())
    async with Queue(url, SmartRetryMiddleware(schedule_source=source)) as queue:

        @queue.broker.task(retry_on_error=True)
        async def flaky(attempt: Attempt) -> int:
            if attempt.retries == 0:
                raise ValueError("first")
            return attempt.retries

        sent = await flaky.kiq()  # type: ignore[call-overload]
        await queue.broker.wait_all()
        task = await stored(queue.backend, sent.task_id)
        assert task.error is not None
        assert (task.status, task.error.message) == (TaskStatus.RETRYING, "first")
        await TaskiqScheduler(queue.broker, [source]).on_ready(source, schedules[0])
        assert (await sent.wait_result(timeout=20)).return_value == 1


async def test_a_schedule_sends_tasks(queue: Queue) -> None:
    """They are recorded like others, with the id of the schedule; under one id again and again as well."""

    @queue.broker.task(task_name="tick", schedule=[{"interval": 1}])
    async def tick(attempt: Attempt) -> int:
        return attempt.retries

    source = LabelScheduleSource(queue.broker)
    await source.startup()
    [schedule] = await source.get_schedules()
    scheduler = TaskiqScheduler(queue.broker, [source])
    schedule.task_id = "every second"
    for number in range(3):
        await scheduler.on_ready(source, schedule)
        await queue.broker.wait_all()
        assert (await queue.results.wait("every second", 20)).return_value == number
    task = await stored(queue.backend, "every second")
    assert (task.meta["schedule_id"], task.retries) == (schedule.schedule_id, 2)


@pytest.mark.parametrize("task_id", ["w", "0123456789abcdef0123456789abcdef"])
async def test_whoever_waits_gets_the_result_of_the_new_message(local: Queue, task_id: str) -> None:
    """Of an id that is sent once more, also if taskiq has made it: not the one that it had before."""
    go = asyncio.Event()

    @local.broker.task
    async def work(number: int) -> int:
        if number:
            await go.wait()
        return number

    for number in range(2):
        sent = await work.kicker().with_task_id(task_id).kiq(number)
        if number:
            assert not await sent.is_ready()
            go.set()
        assert (await sent.wait_result(timeout=20)).return_value == number


async def test_children(queue: Queue) -> None:
    """What a task sends is its child, and so is what a function sends that it calls in a thread."""

    @queue.broker.task
    async def leaf() -> None: ...

    @queue.broker.task
    async def middle() -> str:
        return (await leaf.kiq()).task_id

    @queue.broker.task
    async def top() -> str:
        return (await middle.kiq()).task_id

    root = await top.kiq()
    child = (await root.wait_result(timeout=20)).return_value
    grandchild = (await queue.results.wait(child, 20)).return_value
    await queue.results.wait(grandchild, 20)
    family = [await stored(queue.backend, task_id) for task_id in (root.task_id, child, grandchild)]
    assert [task.parent_id for task in family] == [None, root.task_id, child]
    assert {task.root_id or task.task_id for task in family} == {root.task_id}


async def test_a_task_that_runs_is_cancelled(queue: Queue) -> None:
    """It ends at its next await, and is not tried again though its errors would be."""
    queue.broker.middlewares.insert(0, SimpleRetryMiddleware(default_retry_label=True))
    queue.broker.middlewares[0].set_broker(queue.broker)
    begun = asyncio.Event()

    @queue.broker.task
    async def rest() -> None:
        begun.set()
        await asyncio.sleep(60)

    sent = await rest.kiq()
    await begun.wait()
    assert await queue.backend.cancel(sent.task_id, "the user left")
    with pytest.raises(TaskCancelled, match="the user left"):
        (await sent.wait_result(timeout=20)).raise_for_error()
    await queue.broker.wait_all()
    assert (await queue.steps(sent.task_id))[-2:] == ["0 running", "0 cancelled"]


async def test_a_task_that_was_cancelled_before_is_not_run(queue: Queue) -> None:
    """Its message comes, and the worker passes over it."""
    ran: list[str] = []

    @queue.broker.task(task_name="work")
    async def work(which: str = "none") -> None:
        ran.append(which)

    await queue.backend.store("t", TaskResult.pending("t", task_name="work"))
    operation = await queue.backend.actions.apply("cancel", "name:work", dry_run=False)
    assert (operation.done, operation.is_host_told) == (1, True)
    await queue.receive("t", "work")
    assert ran == []
    assert (await stored(queue.backend, "t")).status is TaskStatus.CANCELLED


async def test_a_cancelled_task_of_a_sender_whose_clock_is_ahead(local: Queue) -> None:
    """It is not taken for an earlier one with the same id."""
    ran: list[str] = []

    @local.broker.task(task_name="work")
    async def work() -> None:
        ran.append("work")

    sent_at = datetime.now(UTC) + timedelta(minutes=1)
    await local.backend.store("t", TaskResult.pending("t", at=sent_at))
    await local.backend.cancel("t")
    labels = {"flowstore_sent": str(round(sent_at.timestamp() * 1e6))}
    message = TaskiqMessage(task_id="t", task_name="work", labels=labels, args=[], kwargs={})
    await local.broker.receiver.callback(local.broker.formatter.dumps(message).message)
    assert ran == []


async def test_requeued_tasks_are_sent_again(queue: Queue) -> None:
    """With arguments and labels, by an action on all that match, and one by one; parents stay as they are."""

    @queue.broker.task(task_name="work", queue="mail")
    async def work(number: int, *, context: Annotated[Context, TaskiqDepends()], attempt: Attempt) -> Any:
        return [number, context.message.labels["queue"], attempt.retries]

    @queue.broker.task(task_name="boss")
    async def boss(task_id: str) -> int | None:
        return await queue.results.requeue(task_id)

    sent = await work.kiq(7)  # type: ignore[call-overload]
    assert (await sent.wait_result(timeout=20)).return_value == [7, "mail", 0]
    assert (await (await boss.kiq(sent.task_id)).wait_result(timeout=20)).return_value == 1
    assert (await sent.wait_result(timeout=20)).return_value == [7, "mail", 1]
    operation = await queue.backend.actions.apply("requeue", "name:work", dry_run=False)
    assert operation.is_host_told
    assert (await sent.wait_result(timeout=20)).return_value == [7, "mail", 2]
    task = await stored(queue.backend, sent.task_id)
    assert task.parent_id is None
    assert await queue.results.requeue("unknown") is None


async def test_a_requeued_task_has_all_its_retries(local: Queue) -> None:
    """The count of the retry middleware begins anew."""

    @local.broker.task(retry_on_error=True, max_retries=2)
    async def work() -> None:
        raise ValueError

    sent = await work.kiq()
    await sent.wait_result(timeout=20)
    await local.results.requeue(sent.task_id)
    await sent.wait_result(timeout=20)
    assert (await local.steps(sent.task_id))[-5:] == [
        *("2 pending", "2 running", "2 retrying", "3 running", "3 failed")
    ]
