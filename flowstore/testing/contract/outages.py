"""The contract of patience: what is stored while the storage is full, or cannot be reached for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    VersionConflict,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.faults import EngineFaults
from flowstore.testing.insides import faulty
from flowstore.testing.support import stored, waiting

TROUBLES: list[StorageError] = [
    StorageUnavailable("injected"),
    StorageTimeout("injected"),
    StorageFull("injected"),
]


def before_next_read(faults: EngineFaults, step: Callable[[], Awaitable[object]]) -> None:
    """Run ``step`` before the next read: that of a write which is about to be made again."""
    read = faults.read

    async def read_after(*args: Any, **options: Any) -> Any:
        del faults.__dict__["read"]
        await step()
        return await read(*args, **options)

    faults.__dict__["read"] = read_after


class OutageContract(Contract):
    @pytest.mark.parametrize("trouble", TROUBLES, ids=lambda error: type(error).__name__)
    @pytest.mark.parametrize("is_carried_out", [False, True])
    async def test_outcome_rides_out_trouble(
        self, make_backend: MakeBackend, trouble: StorageError, is_carried_out: bool
    ) -> None:
        """It is stored in the end, once, and its waiter gets it; also if only the answers were lost."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            waiter = await waiting(backend, "t")
            async with backend.track("t") as task:
                faults.fail("write", error=trouble, times=3, is_carried_out=is_carried_out)
                task.result = "kept"
            assert task.is_stored is True
            assert (await waiter).unwrap() == "kept"
            assert [step.status.value for step in await backend.history.of("t")] == ["running", "success"]

    @pytest.mark.parametrize("is_carried_out", [False, True])
    async def test_store_that_is_patient(self, make_backend: MakeBackend, is_carried_out: bool) -> None:
        """By choice: True once it is stored, whatever was lost; the first finished write still wins."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            result: TaskResult = TaskResult.success("t", [1])
            faults.fail("write", error=TROUBLES[0], times=2, is_carried_out=is_carried_out)
            assert await backend.store("t", result, patience=30) is True
            assert (await stored(backend, "t")).version == 1
            faults.fail("write", error=TROUBLES[0], times=2, is_carried_out=is_carried_out)
            assert await backend.store("t", TaskResult.success("t", [2]), patience=None) is False
            assert (await stored(backend, "t")).unwrap() == [1]
            faults.fail("write", error=TROUBLES[0], times=2, is_carried_out=is_carried_out)
            again: TaskResult = TaskResult.success("t", [3])
            assert await backend.store("t", again, if_version=1, patience=timedelta(seconds=30)) is True
            faults.heal()
            with pytest.raises(VersionConflict):
                await backend.store("t", again, if_version=1, patience=30)
            assert ((await stored(backend, "t")).unwrap(), (await stored(backend, "t")).version) == ([3], 2)

    @pytest.mark.parametrize("status", ["pending", "running", "retrying", "requeue", "cancelled", "failed"])
    async def test_every_state_takes_effect_once(self, make_backend: MakeBackend, status: str) -> None:
        """Also those that may replace themselves: one transition, though two answers were lost."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            results: dict[str, TaskResult] = {
                "pending": TaskResult.pending("t"),
                "running": TaskResult.running("t"),
                "retrying": TaskResult.retrying("t", ValueError("no")),
            }
            if status in results:
                faults.fail("write", error=TROUBLES[0], times=2, is_carried_out=True)
                assert await backend.store("t", results[status], patience=30) is True
                assert [step.status.value for step in await backend.history.of("t")] == [status]
                return
            tracked = backend.track("t", on_cancel="requeue" if status == "requeue" else "cancelled")
            error = ValueError("no") if status == "failed" else asyncio.CancelledError()
            with pytest.raises(type(error)):  # noqa: PT012  # it is the block that is tried
                async with tracked:
                    faults.fail("write", error=TROUBLES[0], times=2, is_carried_out=True)
                    raise error
            assert tracked.is_stored is True
            last = "pending" if status == "requeue" else status
            assert [step.status.value for step in await backend.history.of("t")] == ["running", last]

    async def test_retry_takes_effect_once(self, make_backend: MakeBackend) -> None:
        """As above."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            async with backend.track("t") as task:
                faults.fail("write", error=TROUBLES[2], times=2, is_carried_out=True)
                task.retry(ValueError("no"))
            assert task.is_stored is True
            assert [step.status.value for step in await backend.history.of("t")] == ["running", "retrying"]

    async def test_outcome_about_which_others_have_written(self, make_backend: MakeBackend) -> None:
        """The answer was lost, and somebody has noted something since: it is stored, and not late."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            async with backend.track("t", strict=True) as task:
                faults.fail("write", error=TROUBLES[0], is_carried_out=True)
                before_next_read(faults, lambda: backend.history.record("t", "seen"))
                task.result = 1
            assert task.is_stored is True
            assert [step.event for step in await backend.history.of("t")] == [None, None, "seen"]

    async def test_ttl_begins_when_it_is_stored(self, make_backend: MakeBackend) -> None:
        """Not when it was first tried: the outage may have been longer than that."""
        clock = ManualClock()
        backend = make_backend(clock=clock, ttl=10)
        faults = faulty(backend)

        async def later() -> None:
            clock.advance(60)

        async with backend:
            async with backend.track("t") as task:
                faults.fail("write", error=TROUBLES[0], times=2)
                before_next_read(faults, later)
                task.result = 1
            assert (await stored(backend, "t")).unwrap() == 1

    async def test_what_others_stored_meanwhile_is_not_taken_for_ours(
        self, make_backend: MakeBackend
    ) -> None:
        """The answer was lost and nothing was applied; an equal record of somebody else stands."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await backend.store("t", TaskResult.success("t", "theirs"))
            faults.fail("write", error=TROUBLES[1], times=2)
            assert await backend.store("t", TaskResult.success("t", "ours"), patience=30) is False
            assert (await stored(backend, "t")).unwrap() == "theirs"

    async def test_patience_ends(self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture) -> None:
        """The last trouble is raised, and logged with the task; without patience at the first."""
        backend = make_backend(op_timeout=1)
        faults = faulty(backend)
        async with backend:
            await backend.open()
            faults.fail("write", error=TROUBLES[0], times=None)
            with pytest.raises(StorageUnavailable, match="injected"):
                await backend.store("u", TaskResult.success("u"))
            assert faults.calls["write"] == 1
            faults.heal()
            with caplog.at_level(logging.ERROR, "flowstore"), pytest.raises(StorageUnavailable):
                async with backend.track("t", patience=0.2):
                    faults.fail("write", error=TROUBLES[0], times=None)
            assert faults.calls["write"] > 2
            assert any("'t'" in record.getMessage() for record in caplog.records)
            faults.heal()
            assert (await stored(backend, "t")).status is TaskStatus.RUNNING

    async def test_what_is_no_outage_is_raised_at_once(self, make_backend: MakeBackend) -> None:
        """Patience is for a storage that may come back."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await backend.open()
            faults.fail("write", error=StorageError("injected: something else"), times=2)
            with pytest.raises(StorageError, match="something else"):
                await backend.store("t", TaskResult.success("t"), patience=30)
            assert faults.calls["write"] == 1

    async def test_progress_never_fails_a_block(self, make_backend: MakeBackend) -> None:
        """A report that cannot be stored returns False; the last one is stored with the outcome."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            async with backend.track("t") as task:
                faults.fail("report", error=TROUBLES[0], times=1)
                assert await task.progress(1, 2) is False
                with pytest.raises(ValueError, match=r"^done: "):
                    await task.progress(-1)
            done = await stored(backend, "t")
            assert (done.status, done.progress and done.progress.done) == (TaskStatus.SUCCESS, 1)

    async def test_cancelled_while_it_is_patient(self, make_backend: MakeBackend) -> None:
        """The outcome of a block is stored all the same; a plain store ends at once."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            entered = asyncio.Event()

            async def block() -> None:
                async with backend.track("t"):
                    faults.fail("write", error=TROUBLES[0], times=3)
                    entered.set()

            running = asyncio.ensure_future(block())
            await entered.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (await stored(backend, "t")).is_finished
            faults.fail("write", error=TROUBLES[0], times=None)
            storing = asyncio.ensure_future(backend.store("u", TaskResult.success("u"), patience=600))
            while faults.calls["write"] <= 6:  # noqa: ASYNC110  # it is pausing between two of them
                await asyncio.sleep(0)
            storing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await storing

    async def test_bad_patience(self, backend: BaseResultBackend) -> None:
        """Refused by name, before anything is sent."""
        with pytest.raises(ValueError, match=r"^overwrite: cannot be combined with patience"):
            await backend.store("t", TaskResult.success("t"), overwrite=True, patience=1)
        for bad in (-1, float("inf"), "5", True, timedelta(seconds=-1)):
            not_patience: Any = bad
            with pytest.raises((TypeError, ValueError), match=r"^patience: "):
                await backend.store("t", TaskResult.success("t"), patience=not_patience)
        assert await backend.exists("t") is False
