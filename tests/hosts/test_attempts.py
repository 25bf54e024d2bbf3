"""What the adapters of task queues share: attempts that begin in one hook of a host and end in another."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import pytest_asyncio

import flowstore
import flowstore.sync
from flowstore import LateWrite, StorageUnavailable, TaskStatus
from flowstore.integrations._attempts import SHOWN, Again, Attempts, SyncAttempts, recordable, storable
from flowstore.testing.insides import faulty
from flowstore.testing.support import stored


class Unknown:
    def __repr__(self) -> str:
        return "<unknown>"


@pytest_asyncio.fixture
async def attempts(url: str) -> AsyncIterator[Attempts]:
    async with flowstore.connect(url) as backend:
        made = Attempts(backend)
        await made.open(slots=2, info={"host": "queue"})
        yield made
        await made.close()
        assert await backend.workers.all() == []


async def test_an_attempt_that_succeeds(attempts: Attempts) -> None:
    """The worker names it while it is under way; afterwards it has result, arguments and worker."""
    backend = attempts.backend
    attempt = await attempts.begin("t", name="add", args=(1, 2), kwargs={})
    assert attempt is not None
    assert (await stored(backend, "t")).status is TaskStatus.RUNNING
    await attempts._worker.beat()  # type: ignore[union-attr]
    [worker] = await backend.workers.all()
    assert (worker.worker_id, worker.tasks, worker.slots) == (attempts.worker_id, ("t",), 2)
    await attempt.end(result=3)
    task = await stored(backend, "t")
    assert (task.unwrap(), task.task_name, task.args) == (3, "add", (1, 2))
    assert task.worker_id == attempts.worker_id


async def test_what_begins_before_its_worker_is_registered_is_not_lost(url: str) -> None:
    """A sweep lets it be, though the heartbeats of the worker do not name it."""
    async with flowstore.connect(url) as backend:
        attempts = Attempts(backend)
        early = await attempts.begin("early")
        await attempts.open()
        late = await attempts.begin("late")
        assert early is not None
        assert late is not None
        assert attempts._worker is not None
        await attempts._worker.beat()
        swept = await backend.workers.sweep()
        assert not swept.requeued
        running = await backend.get_many(["early", "late"])
        assert [task.worker_id for task in running.values()] == [None, attempts.worker_id]
        await early.end(result=1)
        await late.end(result=2)
        await attempts.close()


async def test_an_attempt_that_fails_is_made_again(attempts: Attempts) -> None:
    """With the delay that the host says; the next one has the next number, and its error is the last."""
    backend = attempts.backend
    for error, again in ((ValueError("first"), Again(5.0)), (KeyError("second"), None)):
        attempt = await attempts.begin("t")
        assert attempt is not None
        await attempt.end(error=error, again=again)
    task = await stored(backend, "t")
    assert task.error is not None
    assert (task.status, task.retries, task.error.type) == (TaskStatus.FAILED, 1, "KeyError")
    assert [step.status for step in await backend.history.of("t")] == [
        *("running", "retrying", "running", "failed")
    ]


async def test_an_attempt_that_is_cancelled(attempts: Attempts) -> None:
    attempt = await attempts.begin("t")
    assert attempt is not None
    await attempt.end(error=asyncio.CancelledError())
    assert (await stored(attempts.backend, "t")).status is TaskStatus.CANCELLED


async def test_who_enters_an_attempt_handles_its_errors(attempts: Attempts) -> None:
    attempt = await attempts.enter("t", strict=True)
    await attempt.end(result=1)
    with pytest.raises(LateWrite):
        await attempts.enter("t", retries=0, strict=True)


async def test_values_that_cannot_be_stored_are_shown(attempts: Attempts) -> None:
    """The task of the host has succeeded, whatever its values are."""
    attempt = await attempts.begin("t", args=(Unknown(), 1), kwargs={"a": Unknown()})
    assert attempt is not None
    await attempt.end(result={"rows": Unknown()})
    task = await stored(attempts.backend, "t")
    assert (task.args, task.kwargs) == (("<unknown>", 1), {"a": "<unknown>"})
    assert task.meta == {SHOWN: "shown"}
    assert task.unwrap() == {"rows": "<unknown>"}


async def test_what_has_no_form_is_shown_cut() -> None:
    circle: list[object] = []
    circle.append(circle)
    async with flowstore.connect("memory://", max_result_bytes=1_000) as backend:
        assert backend.refusal(recordable(backend, circle)) is None
        assert len(recordable(backend, "x" * 5_000)) < 100
        assert recordable(backend, (1, 2)) == (1, 2)


async def test_arguments_that_are_too_much_together_are_cut() -> None:
    """Or left out: the task has a record, for which somebody waits."""
    async with flowstore.connect("memory://", max_result_bytes=1_000) as backend:
        assert storable(backend, (1, "x"), {"a": 2}) == ([1, "x"], {"a": 2}, True)
        args, kwargs, is_whole = storable(backend, ("x" * 900, 1), {"a": "y" * 900})
        assert (args[1], kwargs["a"][:3], is_whole) == ("1", "'yy", False)
        assert backend.refusal([args, kwargs]) is None
        assert storable(backend, ["x" * 90] * 90, {"a": 1}) == ([], {}, False)


async def test_a_backend_that_fails_does_not_reach_the_host(caplog: pytest.LogCaptureFixture) -> None:
    """Neither at the beginning of a task nor at its end; the log has it. The worker ends all the same."""
    backend = flowstore.connect("memory://")
    attempts = Attempts(backend)
    await attempts.open()
    attempt = await attempts.begin("t")
    assert attempt is not None
    await backend.close()
    with caplog.at_level(logging.WARNING):
        await attempt.end(result=1)
        assert await attempts.begin("u") is None
        await attempts.close()
    told = [record.getMessage() for record in caplog.records if record.name == "flowstore.integrations"]
    assert [text.partition(" is not")[0] for text in told] == ["task 't': its end", "task 'u': its beginning"]


def test_threads_have_the_same(url: str) -> None:
    """Attempts of several threads at once, of one worker."""
    with flowstore.sync.connect(url) as store:
        attempts = SyncAttempts(store)
        attempts.open()

        def work(number: int) -> None:
            attempt = attempts.begin(f"t{number}", args=(number,), kwargs={})
            assert attempt is not None
            if number == 0:
                attempt.end(error=ValueError("bad"), again=Again())
            else:
                attempt.end(result=number)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert {str(task.status) for task in store.get_many(["t1", "t2", "t3"]).values()} == {"success"}
        [task] = store.list_by_status("retrying")
        assert (task.task_id, task.worker_id) == ("t0", attempts.worker_id)
        attempts.close()
        assert store.workers.all() == []


def test_whether_a_strict_attempt_is_late(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told at its beginning; at its end the log has it once, as that of any late outcome."""
    with flowstore.sync.connect(url) as store:
        attempts = SyncAttempts(store)
        attempts.open()
        attempt = attempts.enter("t", strict=True)
        assert store.store("t", flowstore.TaskResult.cancelled("t"))
        with pytest.raises(flowstore.LateWrite):
            attempts.enter("t", strict=True)
        attempt.end(result=1)
        attempts.close()
    assert [record.name for record in caplog.records].count("flowstore.integrations") == 0
    assert "late" in caplog.text or "discarded" in caplog.text


def test_a_worker_registers_when_it_can() -> None:
    """What could not be opened need not be closed, and can be opened again."""
    store = flowstore.sync.connect("memory://")
    attempts = SyncAttempts(store)
    store.close()
    for _ in range(2):
        with pytest.raises(flowstore.BackendClosed):
            attempts.open()
    attempts.close()


def test_threads_go_on_without_a_record(caplog: pytest.LogCaptureFixture) -> None:
    store = flowstore.sync.connect("memory://")
    attempts = SyncAttempts(store)
    attempts.open()
    attempt = attempts.begin("t")
    assert attempt is not None
    store.close()
    attempt.end(result=1)
    assert attempts.begin("u") is None
    attempts.close()
    assert sum(record.name == "flowstore.integrations" for record in caplog.records) == 3


async def test_a_worker_that_cannot_register_has_nothing_to_end(url: str) -> None:
    """It may try again later."""
    backend = flowstore.connect(url)
    faults = faulty(backend)
    attempts = Attempts(backend)
    faults.fail("put", "items", error=StorageUnavailable("out of reach"), times=None)
    async with backend:
        with pytest.raises(StorageUnavailable):
            await attempts.open()
        await attempts.close()
        faults.heal()
        await attempts.open()
        assert [worker.worker_id for worker in await backend.workers.all()] == [attempts.worker_id]
        await attempts.close()


async def test_each_process_has_a_name_of_its_own() -> None:
    async with flowstore.connect("memory://") as backend:
        names = {Attempts(backend).worker_id for _ in range(10)}
    assert len(names) == 10
