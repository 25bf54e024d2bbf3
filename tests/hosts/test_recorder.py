"""What the recorders of SAQ, arq and streaQ share: whose word counts, when several tell of one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from flowstore import StorageUnavailable, TaskResult, TaskStatus
from flowstore.integrations._attempts import SHOWN, Again
from flowstore.integrations._recorder import BaseRecorder
from flowstore.testing.insides import faulty
from flowstore.testing.support import stored

START = datetime(2026, 1, 1, tzinfo=UTC)
LATER = START + timedelta(hours=1)


@pytest_asyncio.fixture
async def recorder(url: str) -> AsyncIterator[BaseRecorder[str]]:
    made: BaseRecorder[str] = BaseRecorder(url)
    async with made:
        await made.start_worker("w", 1)
        yield made
        await made.stop_worker("w")


def run(recorder: BaseRecorder[str], at: datetime = START) -> TaskResult:
    made = recorder.run("t", at, "add", (1,), {})
    assert made is not None
    return made


async def test_a_worker_that_is_ahead_of_the_producer(recorder: BaseRecorder[str]) -> None:
    """What it has stored stays, and has its parent as soon as the producer tells of it."""
    async with recorder.backend.track("request"):
        late = run(recorder)
    await recorder.begin("w", run(recorder), 1)
    await recorder.end("t", 1, result=2)
    await recorder.submitted(late)
    task = await stored(recorder.backend, "t")
    assert (task.unwrap(), task.parent_id, task.submitted_at) == (2, "request", START)


async def test_an_id_that_is_submitted_again_by_another_task(recorder: BaseRecorder[str]) -> None:
    """A record keeps its first parent."""
    for name, at in (("first", START), ("second", LATER)):
        async with recorder.backend.track(name):
            await recorder.submitted(run(recorder, at))
        await recorder.begin("w", run(recorder, at), 1)
        await recorder.end("t", 1, result=name)
    task = await stored(recorder.backend, "t")
    assert (task.unwrap(), task.parent_id, task.retries) == ("second", "first", 0)


async def test_a_worker_begins_a_new_run_that_nobody_has_recorded(recorder: BaseRecorder[str]) -> None:
    for at in (START, LATER):
        await recorder.begin("w", run(recorder, at), 1)
        await recorder.end("t", 1, error=ValueError("no"))
    task = await stored(recorder.backend, "t")
    assert (task.status, task.submitted_at, task.retries) == (TaskStatus.FAILED, LATER, 0)


async def test_a_job_that_was_cancelled_here_stays_so(
    recorder: BaseRecorder[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also if the host runs it all the same."""
    await recorder.submitted(run(recorder))
    await recorder.backend.cancel("t")
    await recorder.begin("w", run(recorder), 1)
    assert not recorder.has_begun("t", 1)
    assert await recorder.end("t", 1, result=1) is False
    assert (await stored(recorder.backend, "t")).status is TaskStatus.CANCELLED
    assert "task 't': its beginning is not recorded" in caplog.text


async def test_a_task_that_was_requeued_here_goes_on_in_that_attempt(recorder: BaseRecorder[str]) -> None:
    """Though the host counts from the beginning again."""
    await recorder.submitted(run(recorder))
    assert await recorder.backend.requeue("t") == 1
    await recorder.begin("w", run(recorder), 1)
    await recorder.end("t", 1, result=1)
    task = await stored(recorder.backend, "t")
    assert (task.unwrap(), task.retries) == (1, 1)


async def test_a_job_that_the_host_gives_another_attempt(recorder: BaseRecorder[str]) -> None:
    """Retrying if nobody has ended the one before, and pending for the next one if somebody has."""
    lost = ValueError("lost")
    await recorder.again("t", lost)
    assert await recorder.backend.exists("t") is False
    await recorder.submitted(run(recorder))
    await recorder.again("t", lost)
    assert (await stored(recorder.backend, "t")).status is TaskStatus.PENDING
    await recorder.begin("w", run(recorder), 1)
    await recorder.again("t", lost, LATER)
    task = await stored(recorder.backend, "t")
    assert (task.status, task.due_at, task.retries) == (TaskStatus.RETRYING, LATER, 0)
    await recorder.end("t", 1, error=asyncio.CancelledError())
    await recorder.again("t", lost)
    task = await stored(recorder.backend, "t")
    assert (task.status, task.retries, task.args) == (TaskStatus.PENDING, 1, (1,))


async def test_a_job_that_ends_without_an_attempt_is_recorded_once(recorder: BaseRecorder[str]) -> None:
    await recorder.settle("t", lambda task: TaskResult.failed(task, ValueError("expired")))
    await recorder.settle("t", TaskResult.cancelled)
    assert (await stored(recorder.backend, "t")).status is TaskStatus.FAILED


async def test_an_end_is_stored_though_the_beginning_was_not(caplog: pytest.LogCaptureFixture) -> None:
    """As after an outage: somebody may wait for it. It has what was known when it began."""
    recorder: BaseRecorder[str] = BaseRecorder("memory://")
    faults, away = faulty(recorder.backend), StorageUnavailable("away")
    async with recorder:
        job = run(recorder)
        for tries, outcome in ((1, {"error": OSError("no"), "again": Again(5.0)}), (2, {"result": 3})):
            faults.fail("read", "write", error=away, times=None)
            await recorder.begin("w", job, tries)
            faults.heal()
            assert "its beginning is not recorded" in caplog.text
            assert recorder.has_begun("t", tries)
            assert await recorder.end("t", tries, **outcome) is False
        task = await recorder.backend.wait_for("t", 1)
        assert (task.unwrap(), task.task_name, task.args, task.retries) == (3, "add", (1,), 0)
        assert not recorder._unrecorded


async def test_arguments_that_are_too_much_together_leave_a_record() -> None:
    recorder: BaseRecorder[str] = BaseRecorder("memory://", max_result_bytes=1_000)
    async with recorder:
        job = recorder.run("t", START, "add", ("x" * 900, "y" * 900), {})
        await recorder.submitted(job)
        await recorder.begin("w", job, 1)
        assert await recorder.end("t", 1, result=1) is True
        task = await stored(recorder.backend, "t")
        assert (task.unwrap(), task.meta) == (1, {SHOWN: "shown"})


async def test_no_record_can_have_that_id(caplog: pytest.LogCaptureFixture) -> None:
    """The host goes on with its job."""
    async with BaseRecorder[str]("memory://") as recorder:
        name = "x" * 5_000
        await recorder.begin("w", recorder.run(name, START, "add", (), {}), 1)
        assert await recorder.end(name, 1, result=1) is False
    assert "cannot be recorded" in caplog.text


async def test_a_worker_that_waits_to_register_holds_nobody_up() -> None:
    """Neither the end of another worker, nor that of the recorder."""
    recorder: BaseRecorder[str] = BaseRecorder("memory://")
    faults = faulty(recorder.backend)
    faults.fail("put", "items", error=StorageUnavailable("away"), times=None)
    async with recorder, asyncio.timeout(3):
        for name in ("a", "b", "c"):
            await recorder.start_worker(name, 1)
        assert len(recorder._registering) == 3
        await recorder.stop_worker("a")
    assert not recorder._registering


async def test_the_end_of_a_worker_waits_for_no_later_records(recorder: BaseRecorder[str]) -> None:
    """A producer in its process goes on."""

    async def endless() -> None:
        recorder.soon(endless())
        await asyncio.sleep(0.001)

    recorder.soon(endless())
    async with asyncio.timeout(3):
        await recorder.stop_worker("w")
    for task in recorder._background:
        task.cancel()
