"""The contract of attempts: a block that is to be tried again, what each attempt leaves, and requeueing."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CancelRequest,
    LateWrite,
    NotSerializable,
    TaskResult,
    TaskStatus,
    TrackedTask,
    UnreadableRecord,
)
from flowstore.observing import OutcomeLate, OutcomeLost
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.observing import Notes
from flowstore.testing.insides import meanwhile, plant
from flowstore.testing.support import START, as_given, seen, stored, waiting


class Flaky(Exception):
    """What is worth another try."""


async def attempt(backend: BaseResultBackend, error: BaseException | None = None, **options: Any) -> int:
    """One block for the task "t" that raises ``error``; the number of the attempt."""
    tracked = backend.track("t", **options)
    if error is not None:
        await fail(tracked, error)
    else:
        async with tracked:
            tracked.result = tracked.retries
    return tracked.retries


async def fail(tracked: TrackedTask, error: BaseException, *, asks: BaseException | None = None) -> None:
    """A block that raises ``error``, which propagates; before that it asks for a retry after ``asks``."""
    with pytest.raises(type(error)) as caught:  # noqa: PT012  # it is the block that is tried
        async with tracked:
            if asks is not None:
                tracked.retry(asks)
            raise error
    assert caught.value is error


class AttemptsContract(Contract):
    async def test_errors_that_are_worth_another_try(self, backend: BaseResultBackend) -> None:
        """They end the block as retrying and propagate; waiters wait on, until an attempt ends otherwise."""
        waiter = await waiting(backend, "t")
        options: dict[str, Any] = {"retry_on": (Flaky, KeyError), "max_retries": 5}
        assert await attempt(backend, Flaky("first"), worker_id="w1", **options) == 0
        assert await attempt(backend, KeyError("second"), worker_id="w2", **options) == 1
        between = await stored(backend, "t")
        assert (between.status, between.retries, between.finished_at) == (TaskStatus.RETRYING, 1, None)
        await seen(backend, waiter, "t")
        assert await attempt(backend, worker_id="w3", **options) == 2
        done = await waiter
        assert (done.unwrap(), done.retries, done.worker_id, done.error) == (2, 2, "w3", None)

    async def test_other_errors_are_final(self, backend: BaseResultBackend) -> None:
        """They fail the task, and so does the last retry that is allowed."""
        await attempt(backend, ValueError("no"), retry_on=Flaky)
        assert (await stored(backend, "t")).status is TaskStatus.FAILED
        await backend.delete("t")
        for number, status in enumerate([TaskStatus.RETRYING, TaskStatus.RETRYING, TaskStatus.FAILED]):
            assert await attempt(backend, Flaky(str(number)), retry_on=Flaky, max_retries=2) == number
            assert (await stored(backend, "t")).status is status

    async def test_block_that_asks_for_a_retry(self, make_backend: MakeBackend) -> None:
        """With the delay that it knows; nothing propagates unless the block raises."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            async with backend.track("t", max_retries=1) as task:
                assert task.retry(Flaky("busy"), delay=90) is True
            assert task.outcome is not None
            assert task.outcome.status is TaskStatus.RETRYING
            waits = await stored(backend, "t")
            assert (waits.status, waits.due_at) == (TaskStatus.RETRYING, START + timedelta(seconds=90))
            assert waits.error is not None
            assert waits.error.message == "busy"
            async with backend.track("t", max_retries=1) as task:
                assert (await stored(backend, "t")).due_at is None
                assert task.retry(Flaky("still")) is False
            failed = await stored(backend, "t")
            assert (failed.status, failed.retries, failed.due_at) == (TaskStatus.FAILED, 1, None)

    async def test_retry_outlives_what_follows_it(self, backend: BaseResultBackend) -> None:
        """The block asked, and then fails on its way out, or is cancelled: it is retrying all the same."""
        for error in (ValueError("cleaning up"), asyncio.CancelledError()):
            await fail(backend.track("t"), error, asks=Flaky("first"))
            retrying = await stored(backend, "t")
            assert retrying.status is TaskStatus.RETRYING
            assert retrying.error is not None
            assert retrying.error.message == "first"

    async def test_delay_of_the_next_attempt(self, make_backend: MakeBackend) -> None:
        """Seconds, a timedelta, or a function of the error and the attempt; None: nobody knows."""

        def backoff(error: BaseException, retries: int) -> float | None:
            return None if "never" in str(error) else 2.0**retries

        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for delay, message, expected in [
                (5, "", 5),
                (timedelta(minutes=1), "", 60),
                (backoff, "", 4),
                (backoff, "never", None),
                (None, "", None),
            ]:
                await attempt(backend, Flaky(message), retry_on=Flaky, retry_delay=delay)
                due = None if expected is None else START + timedelta(seconds=expected)
                assert (await stored(backend, "t")).due_at == due

    async def test_delay_that_cannot_be_told(self, backend: BaseResultBackend) -> None:
        """A function that fails, or returns no duration, fails the task: it must not stay running."""
        for delay, reason in [(lambda *_: 1 / 0, "ZeroDivisionError"), (lambda *_: "soon", "TypeError")]:
            error = Flaky("once")
            options: dict[str, Any] = {"retry_on": Flaky, "retry_delay": delay}
            await fail(backend.track("t", **options), error)
            assert reason in error.__notes__[0]
            failed = await stored(backend, "t")
            assert failed.error is not None
            assert (failed.status, failed.error.type) == (TaskStatus.FAILED, reason)
            await backend.delete("t")

    async def test_due_at_of_any_state(self, backend: BaseResultBackend) -> None:
        """It is stored as given, and not handed on to the next state."""
        due = START + timedelta(hours=1)
        retrying = TaskResult.retrying("t", Flaky("no"), due_at=due, submitted_at=START)
        await backend.store("t", retrying)
        assert as_given(await stored(backend, "t")) == retrying
        assert TaskResult.running(retrying).due_at is None
        planned = TaskResult.pending("later", due_at=due)
        await backend.store("later", planned)
        assert (await stored(backend, "later")).due_at == due

    async def test_each_attempt_keeps_its_error(self, backend: BaseResultBackend) -> None:
        """In its transition: type, message and the last frames, in at most 1 KiB."""
        for number in range(3):
            await attempt(backend, Flaky(f"attempt {number}"), retry_on=Flaky)
        await attempt(backend, ValueError("\0" * 5_000), retry_on=Flaky)
        steps = [step for step in await backend.history.of("t") if step.error is not None]
        assert [step.retries for step in steps] == [0, 1, 2, 3]
        assert [step.status.value for step in steps] == ["retrying"] * 3 + ["failed"]
        for step in steps:
            assert step.error is not None
            assert len(step.error.model_dump_json(exclude_defaults=True).encode()) <= 1_024
        assert [step.error.message for step in steps[:3] if step.error] == [f"attempt {n}" for n in range(3)]
        assert steps[0].error is not None
        assert steps[0].error.type.endswith("Flaky")
        assert "raise error" in str(steps[0].error.traceback)
        assert [step.error.is_cut for step in steps if step.error] == [False, False, False, True]
        running = [step for step in await backend.history.of("t") if step.status is TaskStatus.RUNNING]
        assert [step.error for step in running] == [None] * 4

    async def test_history_of_all_has_the_errors(self, backend: BaseResultBackend) -> None:
        """The walk over all tasks shows the same transitions."""
        await attempt(backend, Flaky("no"), retry_on=Flaky)
        assert [step async for step in backend.history.iter()] == await backend.history.of("t")

    async def test_late_outcome_is_not_silent(
        self, backend: BaseResultBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is logged, ``is_stored`` is False, and what stands is kept."""
        with caplog.at_level(logging.WARNING, "flowstore"):
            async with backend.track("t") as task:
                await backend.requeue("t")
                task.result = "late"
        assert task.is_stored is False
        assert (await stored(backend, "t")).status is TaskStatus.PENDING
        [record] = [record for record in caplog.records if "'t'" in record.getMessage()]
        assert record.levelno == logging.WARNING

    async def test_late_outcome_that_cannot_be_kept(self, make_backend: MakeBackend) -> None:
        """It is late all the same, and not lost."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            tracked = backend.track("t")
            with pytest.raises(NotSerializable):  # noqa: PT012  # it is the block that is tried
                async with tracked:
                    await backend.requeue("t")
                    tracked.result = object()
        told = [type(event) for event in notes.events if isinstance(event, OutcomeLate | OutcomeLost)]
        assert told == [OutcomeLate]

    async def test_late_outcome_raises_if_it_is_to(self, backend: BaseResultBackend) -> None:
        """``strict``: LateWrite before the block of a finished task, and after one that was overtaken."""
        with pytest.raises(LateWrite, match="attempt 0 is finished already, or a later one has begun"):
            async with backend.track("t", strict=True):
                await backend.requeue("t")
        async with backend.track("t", strict=True) as task:
            task.result = 1
        entered = []
        with pytest.raises(LateWrite) as caught:
            async with backend.track("t", strict=True):
                entered.append("t")
        assert (entered, caught.value.task_id, caught.value.retries) == ([], "t", 1)
        error = ValueError("own")
        meanwhile(backend, "write", lambda: backend.store("u", TaskResult.success("u", "of another")))
        await fail(backend.track("u", strict=True), error)
        assert "LateWrite" in error.__notes__[0]
        assert (await stored(backend, "u")).unwrap() == "of another"

    async def test_bad_arguments_of_an_attempt(self, backend: BaseResultBackend) -> None:
        """Refused at the call of ``track``, or of ``retry``, by name."""
        bad: list[tuple[dict[str, Any], str]] = [
            ({"retry_on": "Flaky"}, "retry_on: expected exception classes"),
            ({"retry_on": (Flaky, 7)}, "retry_on: expected exception classes, got 7"),
            ({"retry_on": [Flaky]}, "retry_on: expected exception classes"),
            ({"max_retries": -1}, "max_retries: expected 0 to"),
            ({"max_retries": True}, "max_retries: expected int"),
            ({"retry_delay": -1}, "retry_delay: expected 0 to"),
            ({"retry_delay": "1"}, "retry_delay: expected a number"),
            ({"on_cancel": "retry"}, "on_cancel: expected 'cancelled' or 'requeue', got 'retry'"),
            ({"interrupt": 1}, "interrupt: expected bool"),
            ({"strict": None}, "strict: expected bool"),
            ({"ttl": 0}, "ttl: expected seconds above 0"),
            ({"patience": -1}, "patience: expected seconds from 0"),
            ({"patience": float("nan")}, "patience: expected a number"),
            ({"retry": 3}, "retry: unknown argument; expected some of name"),
        ]
        for options, message in bad:
            with pytest.raises((TypeError, ValueError), match=f"^{message}"):
                backend.track("t", **options)
        unbegun = backend.track("t")
        with pytest.raises(RuntimeError, match=r"^task 't': the block has not begun"):
            unbegun.retry(Flaky())
        with pytest.raises(RuntimeError, match=r"^task 't': the block has not begun"):
            assert unbegun.retries
        async with unbegun as task:
            not_an_error: Any = Flaky
            with pytest.raises(TypeError, match=r"^error: expected an exception, got type"):
                task.retry(not_an_error)
            with pytest.raises(ValueError, match=r"^delay: expected 0 to"):
                task.retry(Flaky(), delay=-1)
        assert (await stored(backend, "t")).status is TaskStatus.SUCCESS


class RequeueContract(Contract):
    @pytest.mark.parametrize("state", [status.value for status in TaskStatus])
    async def test_requeue_of_any_state(self, make_backend: MakeBackend, state: str) -> None:
        """Pending for the next attempt, with its arguments, and without what the last one has left."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            submitted: TaskResult = TaskResult.pending(
                "t", at=START, task_name="n", args=([1],), kwargs={"k": (2,)}, labels={"x"}, meta={"m": 1}
            )
            states = {
                "pending": submitted,
                "running": TaskResult.running(submitted, worker_id="w", retries=3),
                "retrying": TaskResult.retrying(submitted, Flaky("no"), retries=3, due_at=START),
                "success": TaskResult.success(submitted, {"big": (1, 2)}, retries=3),
                "failed": TaskResult.failed(submitted, Flaky("no"), retries=3, result="partly"),
                "cancelled": TaskResult.cancelled(submitted, cancel_request=CancelRequest(at=START)),
            }
            await backend.store("t", states[state])
            number = await backend.requeue("t")
            assert number == states[state].retries + 1
            pending = await stored(backend, "t")
            wanted = TaskResult.pending(submitted, submitted_at=START, retries=number)
            assert as_given(pending) == wanted
            assert (await backend.page(TaskStatus.PENDING)).items == [pending]
            assert await attempt(backend) == number
            assert (await stored(backend, "t")).unwrap() == number

    async def test_waiters_of_a_requeued_task_wait_for_the_next_attempt(
        self, backend: BaseResultBackend
    ) -> None:
        """A lost attempt that ends afterwards does not end their wait."""
        waiter = await waiting(backend, "t")
        lost: TaskResult = TaskResult.running("t", worker_id="w")
        await backend.store("t", lost)
        assert await backend.requeue("t") == 1
        assert await backend.store("t", TaskResult.success(lost, "late")) is False
        await seen(backend, waiter, "t")
        await attempt(backend)
        assert (await waiter).unwrap() == 1

    async def test_nothing_to_requeue(self, backend: BaseResultBackend) -> None:
        """None; nothing is made. A record that cannot be read raises, and stays."""
        assert await backend.requeue("t") is None
        assert await backend.exists("t") is False
        await plant(backend, TaskResult.running("t"), is_checked=False, submitted_at=7)
        with pytest.raises(UnreadableRecord):
            await backend.requeue("t")
        for bad in ("", 7, None):
            not_an_id: Any = bad
            with pytest.raises((TypeError, ValueError), match=r"^task_id: "):
                await backend.requeue(not_an_id)

    async def test_requeue_beside_a_store(self, backend: BaseResultBackend) -> None:
        """What is stored between its read and its write counts: it is requeued from there, once."""
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        meanwhile(backend, "read", lambda: backend.store("t", TaskResult.success("t", "value", args=(1,))))
        assert await backend.requeue("t") == 1
        assert (await stored(backend, "t")).args == (1,)
        numbers = await asyncio.gather(*(backend.requeue("t") for _ in range(20)))
        assert sorted(map(int, filter(None, numbers))) == list(range(2, 22))
