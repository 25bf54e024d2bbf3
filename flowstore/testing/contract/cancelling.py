"""The contract of cancelling: what is not running ends at once, and a block that runs is told."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskCancelled, TaskResult, TaskStatus, TrackedTask
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import SAMPLE_TYPES, Point
from flowstore.testing.insides import know_only, listening, meanwhile
from flowstore.testing.support import START, as_given, seen, stored, waiting


async def _cancelled(tracked: TrackedTask) -> None:
    async with tracked:
        raise asyncio.CancelledError


async def until_told(task: TrackedTask) -> None:
    while not task.cancel_requested:  # noqa: ASYNC110  # a block polls it
        await asyncio.sleep(0.001)


class CancelContract(Contract):
    @pytest.mark.parametrize("status", ["pending", "retrying"])
    async def test_task_that_does_not_run(self, make_backend: MakeBackend, status: str) -> None:
        """It is cancelled at once, with the reason and its arguments, and its waiters are told."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            waiter = await waiting(backend, "t")
            pending: TaskResult = TaskResult.pending("t", at=START, args=((1,),), retries=2)
            before = pending if status == "pending" else TaskResult.retrying(pending, ValueError("no"))
            await backend.store("t", before)
            clock.advance(60)
            assert await backend.cancel("t", "not needed") is True
            cancelled = await waiter
            at = START + timedelta(minutes=1)
            assert (cancelled.status, cancelled.finished_at, cancelled.retries) == (
                TaskStatus.CANCELLED, at, 2
            )  # fmt: skip
            assert cancelled.cancel_request is not None
            assert (cancelled.cancel_request.at, cancelled.cancel_request.reason) == (at, "not needed")
            assert cancelled.args == ((1,),)
            with pytest.raises(TaskCancelled, match="not needed"):
                cancelled.unwrap()
            async with backend.track("t", retries=2) as task:
                assert task.is_stored is False

    async def test_what_is_over_is_left_alone(self, backend: BaseResultBackend) -> None:
        """False, also where there is nothing; nothing is written."""
        assert await backend.cancel("t") is False
        for result in (
            TaskResult.success("t", 1),
            TaskResult.failed("t", ValueError()),
            TaskResult.cancelled("t"),
        ):
            await backend.store("t", result, overwrite=True)
            before = await stored(backend, "t")
            assert await backend.cancel("t") is False
            assert await stored(backend, "t") == before

    async def test_block_is_told(self, backend: BaseResultBackend) -> None:
        """Once it has begun to listen: with the reason. It decides itself; waiters wait on until it ends."""
        waiter = await waiting(backend, "t")
        async with backend.track("t") as task:
            assert task.cancel_requested is False
            assert task.cancel_request is None
            await listening(backend, "t")
            assert await backend.cancel("t", "enough") is True
            await until_told(task)
            assert task.cancel_request is not None
            assert task.cancel_request.reason == "enough"
            running = await stored(backend, "t")
            assert (running.status, running.cancel_request) == (TaskStatus.RUNNING, task.cancel_request)
            await seen(backend, waiter, "t")
            task.result = "done all the same"
        done = await waiter
        assert (done.unwrap(), done.cancel_request) == ("done all the same", None)

    async def test_request_from_before_it_listens(self, backend: BaseResultBackend) -> None:
        """It is found by the first look."""
        async with backend.track("t") as task:
            assert await backend.cancel("t") is True
            await until_told(task)
            assert task.cancel_request is not None
            assert task.cancel_request.reason is None

    async def test_block_that_ends_when_told(self, backend: BaseResultBackend) -> None:
        """``raise_if_cancelled`` ends it, and the code after the block goes on."""
        async with backend.track("t") as task:
            task.raise_if_cancelled()
            await backend.cancel("t", "enough")
            await until_told(task)
            task.raise_if_cancelled()
            raise AssertionError("the block went on")
        assert task.outcome is not None
        cancelled = await stored(backend, "t")
        assert (cancelled.status, task.outcome.status) == (TaskStatus.CANCELLED, TaskStatus.CANCELLED)
        assert cancelled.cancel_request == task.cancel_request

    async def test_block_that_is_interrupted(self, backend: BaseResultBackend) -> None:
        """CancelledError in the block, and not outside of it; the task of asyncio is not being cancelled."""
        for on_cancel in ("cancelled", "requeue"):
            async with backend.track("t", interrupt=True, on_cancel=on_cancel) as task:
                await backend.cancel("t", "enough")
                await asyncio.sleep(600)
            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 0
            cancelled = await stored(backend, "t")
            assert cancelled.status is TaskStatus.CANCELLED
            assert cancelled.cancel_request == task.cancel_request
            await asyncio.sleep(0)  # nothing is left of it
            await backend.delete("t")

    async def test_interrupt_beside_another_cancellation(self, backend: BaseResultBackend) -> None:
        """That of somebody else goes on."""
        entered = asyncio.Event()

        async def block() -> None:
            async with backend.track("t", interrupt=True) as task:
                entered.set()
                try:
                    await asyncio.sleep(600)
                finally:
                    running.cancel()
                    assert task.cancel_requested

        running = asyncio.ensure_future(block())
        await entered.wait()
        await backend.cancel("t")
        with pytest.raises(asyncio.CancelledError):
            await running
        assert (await stored(backend, "t")).status is TaskStatus.CANCELLED

    async def test_block_that_makes_something_else_of_it(self, backend: BaseResultBackend) -> None:
        """Another exception is a failure; a block that catches it may succeed."""
        with pytest.raises(ValueError, match="instead"):  # noqa: PT012  # it is the block that is tried
            async with backend.track("t", interrupt=True):
                try:
                    await backend.cancel("t")
                    await asyncio.sleep(600)
                except asyncio.CancelledError:
                    raise ValueError("instead") from None
        assert (await stored(backend, "t")).status is TaskStatus.FAILED
        async with backend.track("u", interrupt=True) as task:
            try:
                await backend.cancel("u")
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                task.result = "what there is"
        assert (await stored(backend, "u")).unwrap() == "what there is"
        current = asyncio.current_task()
        assert current is not None
        assert current.cancelling() == 0

    async def test_timeouts_in_and_around_a_block(self, backend: BaseResultBackend) -> None:
        """One inside is a failure, one around it a cancellation, however the request to cancel is taken."""
        with pytest.raises(TimeoutError):  # noqa: PT012  # it is the block that is tried
            async with backend.track("in", interrupt=True):
                async with asyncio.timeout(0):
                    await asyncio.sleep(600)
        failed = await stored(backend, "in")
        assert failed.error is not None
        assert (failed.status, failed.error.type) == (TaskStatus.FAILED, "TimeoutError")
        for on_cancel, status in [("cancelled", TaskStatus.CANCELLED), ("requeue", TaskStatus.PENDING)]:
            options: dict[str, Any] = {"on_cancel": on_cancel, "interrupt": True}
            with pytest.raises(TimeoutError):  # noqa: PT012  # it is the block that is tried
                async with asyncio.timeout(None) as limit, backend.track(on_cancel, **options):
                    limit.reschedule(asyncio.get_running_loop().time())  # only now, as the start takes time
                    await asyncio.sleep(600)
            ended = await stored(backend, on_cancel)
            assert (ended.status, ended.cancel_request) == (status, None)

    async def test_cancelled_block_that_is_requeued(self, backend: BaseResultBackend) -> None:
        """``on_cancel="requeue"``: pending for another attempt, as deployments need it; waiters wait on."""
        waiter = await waiting(backend, "t")
        await backend.store("t", TaskResult.pending("t", args=(1,)))
        with pytest.raises(asyncio.CancelledError):
            async with backend.track("t", worker_id="w", on_cancel="requeue"):
                raise asyncio.CancelledError
        pending = await stored(backend, "t")
        assert as_given(pending) == TaskResult.pending("t", at=pending.submitted_at, args=(1,), retries=1)
        await seen(backend, waiter, "t")
        async with backend.track("t") as task:
            task.result = task.retries
        assert (await waiter).unwrap() == 1

    async def test_block_whose_outcome_is_not_wanted_any_more(self, backend: BaseResultBackend) -> None:
        """Another attempt has begun, or somebody has finished the task: it is told, or interrupted."""
        async with backend.track("t", interrupt=True) as task:
            await listening(backend, "t")
            await backend.requeue("t")
            await asyncio.sleep(600)
        assert task.is_stored is False
        assert task.cancel_request is not None
        assert task.cancel_request.reason == "the task is pending in attempt 1"
        assert (await stored(backend, "t")).status is TaskStatus.PENDING
        async with backend.track("t") as task:
            await listening(backend, "t")
            await backend.store("t", TaskResult.success("t", "other", retries=1))
            await until_told(task)
        assert task.is_stored is False
        assert (await stored(backend, "t")).unwrap() == "other"

    @pytest.mark.parametrize("interrupt", [False, True])
    async def test_task_that_is_given_back_too_late(
        self, backend: BaseResultBackend, interrupt: bool
    ) -> None:
        """Somebody has finished it: that stands, whoever cancels the block, and nobody is to try again."""
        options: dict[str, Any] = {"on_cancel": "requeue", "interrupt": interrupt}
        await backend.store("t", TaskResult.pending("t"))
        tracked = backend.track("t", worker_id="w", **options)
        with suppress(asyncio.CancelledError):
            async with tracked:
                await listening(backend, "t")
                await backend.store("t", TaskResult.success("t", "theirs"))
                await until_told(tracked)
                raise asyncio.CancelledError
        assert tracked.is_stored is False
        assert (await stored(backend, "t")).unwrap() == "theirs"
        await backend.store("u", TaskResult.pending("u"))
        await backend.cancel("u", "enough")
        with pytest.raises(asyncio.CancelledError):
            await _cancelled(backend.track("u", **options))  # the queue has delivered it all the same
        assert (await stored(backend, "u")).status is TaskStatus.CANCELLED
        await backend.store("v", TaskResult.pending("v"))
        with pytest.raises(asyncio.CancelledError):  # noqa: PT012  # it is the block that is tried
            async with backend.track("v", worker_id="w1", **options):
                await backend.store("v", TaskResult.running("v", worker_id="w2"))
                raise asyncio.CancelledError
        assert (await stored(backend, "v")).worker_id == "w2"

    async def test_request_outlives_what_the_block_makes_of_it(self, backend: BaseResultBackend) -> None:
        """Asked for in a short block that is to be tried again, is given back, or is delivered twice."""
        error = ValueError("once more")
        for task_id, options in [("retry", {"retry_on": ValueError}), ("requeue", {"on_cancel": "requeue"})]:
            given: Any = options
            raised = error if task_id == "retry" else asyncio.CancelledError()
            tracked = backend.track(task_id, **given)
            with pytest.raises(type(raised)):  # noqa: PT012  # it is the block that is tried
                async with tracked:
                    await backend.cancel(task_id, "enough")
                    raise raised
            cancelled = await stored(backend, task_id)
            assert (cancelled.status, cancelled.retries) == (TaskStatus.CANCELLED, 0)
            assert cancelled.cancel_request is not None
            assert cancelled.cancel_request.reason == "enough"
            assert tracked.outcome is not None
            assert tracked.outcome.status is TaskStatus.CANCELLED
        async with backend.track("t"):
            await backend.cancel("t", "enough")
            async with backend.track("t", interrupt=True) as again:
                await asyncio.sleep(600)
            assert again.cancel_request is not None
            assert again.cancel_request.reason == "enough"

    async def test_values_and_expiry_stay(self, make_backend: MakeBackend) -> None:
        """A request changes nothing else, whatever the types of the values and the ttls of the backend."""
        async with make_backend(types=SAMPLE_TYPES, ttl=10, unfinished_ttl=10) as backend:
            values: tuple[Any, ...] = (Point(1, 2), b"x" * 10_000)
            await backend.store("t", TaskResult.running("t", args=values, kwargs={"k": (1,)}), ttl=None)
            before = await stored(backend, "t")
            know_only(backend)
            assert await backend.cancel("t") is True
            know_only(backend, SAMPLE_TYPES)
            after = await stored(backend, "t")
            assert (after.args, after.kwargs, after.expires_at) == (before.args, before.kwargs, None)

    async def test_block_that_hears_again(self, backend: BaseResultBackend) -> None:
        """After its record was removed, and stored anew by somebody."""
        async with backend.track("t", interrupt=True) as task:
            await listening(backend, "t")
            await backend.delete("t")
            await backend.store("t", TaskResult.running("t"))
            await backend.cancel("t")
            await asyncio.sleep(600)
        assert task.cancel_requested

    async def test_short_blocks_take_no_more_trips(self, backend: BaseResultBackend) -> None:
        """A block that is over in a moment never listens."""
        async with backend.track("t"):
            assert backend.waiting == 0
        await backend.store("long", TaskResult.pending("long"))
        async with backend.track("long"):
            await listening(backend, "long")
            assert backend.waiting == 1
        assert backend.waiting == 0

    async def test_task_that_begins_while_it_is_cancelled(self, backend: BaseResultBackend) -> None:
        """Begun between the read and the write: then its block is told instead."""
        await backend.store("t", TaskResult.pending("t"))
        meanwhile(backend, "read", lambda: backend.store("t", TaskResult.running("t")))
        assert await backend.cancel("t") is True
        running = await stored(backend, "t")
        assert running.status is TaskStatus.RUNNING
        assert running.cancel_request is not None
        assert await backend.cancel("t", "again") is True
        assert (await stored(backend, "t")).cancel_request == running.cancel_request

    async def test_crowd_of_blocks(self, backend: BaseResultBackend) -> None:
        """500 blocks are interrupted by 500 requests."""

        async def block(task_id: str) -> TaskStatus:
            async with backend.track(task_id, interrupt=True) as task:
                await asyncio.sleep(600)
            assert task.outcome is not None
            return task.outcome.status

        ids = [f"t{n}" for n in range(500)]
        blocks = [asyncio.ensure_future(block(task_id)) for task_id in ids]
        for task_id in ids:
            await listening(backend, task_id)
        assert all(await asyncio.gather(*(backend.cancel(task_id) for task_id in ids)))
        assert set(await asyncio.gather(*blocks)) == {TaskStatus.CANCELLED}
        assert (await backend.count_by_status())[TaskStatus.CANCELLED] == 500

    async def test_bad_requests(self, backend: BaseResultBackend) -> None:
        """Refused by name; nothing is written."""
        await backend.store("t", TaskResult.pending("t"))
        for task_id, reason, message in [
            ("", None, "task_id"),
            ("t", 7, "reason"),
            ("t", "x" * 5_000, "reason"),
        ]:
            bad: Any = reason
            with pytest.raises((TypeError, ValueError), match=f"^{message}: "):
                await backend.cancel(task_id, bad)
        assert (await stored(backend, "t")).status is TaskStatus.PENDING
