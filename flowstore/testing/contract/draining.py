"""The contract of workers that stop: draining, and what is left of them at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress

import pytest

from flowstore import (
    BaseResultBackend,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    UnresolvedValue,
    WorkerStopped,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.crews import RARELY, registered, until, until_stored, work
from flowstore.testing.contract.values import SAMPLE_TYPES, Point
from flowstore.testing.insides import faulty, know_only
from flowstore.testing.support import ids, stored, waiting


class DrainContract(Contract):
    async def test_drain(self, backend: BaseResultBackend) -> None:
        """It takes no new tasks, and waits for those under way; the others learn that it drains."""
        async with backend.worker("w", every=RARELY) as worker:
            end = asyncio.Event()
            block = asyncio.ensure_future(work(worker, "t", end))
            await until(lambda: worker.tasks == ["t"])
            waiter = await waiting(backend, "t")
            draining = asyncio.ensure_future(worker.drain())
            await until(lambda: worker.is_draining)
            await worker.beat()
            assert (await registered(backend)).is_draining
            with pytest.raises(WorkerStopped, match="worker 'w' takes no new tasks: it is draining"):
                worker.track("u")
            with pytest.raises(WorkerStopped):
                async with backend.track("u", worker_id="w"):
                    raise AssertionError("it began")
            assert not draining.done()
            end.set()
            assert await draining == []
            await block
            assert (await waiter).is_success
        assert await backend.exists("u") is False

    @pytest.mark.parametrize(
        ("on_cancel", "status"), [("requeue", TaskStatus.PENDING), ("cancelled", TaskStatus.CANCELLED)]
    )
    async def test_drain_whose_grace_ends(
        self, backend: BaseResultBackend, on_cancel: str, status: TaskStatus
    ) -> None:
        """The blocks that are left are interrupted, and ``on_cancel`` says what becomes of their tasks."""
        async with backend.worker("w", every=RARELY) as worker:
            never = asyncio.Event()
            names = [f"t{n}" for n in range(5)]
            blocks = [asyncio.ensure_future(work(worker, name, never, on_cancel=on_cancel)) for name in names]
            await until_stored(backend, *names)
            ending = asyncio.ensure_future(work(worker, "ending", finished := asyncio.Event()))
            await until_stored(backend, "ending")
            finished.set()
            assert await worker.drain(grace=0.01) == names
            await ending
            ends = await asyncio.gather(*blocks, return_exceptions=True)
            assert {type(end) for end in ends} == {asyncio.CancelledError}  # they are to end
            assert sorted(ids((await backend.page(status)).items)) == names

    async def test_worker_that_ends_with_tasks_left(self, backend: BaseResultBackend) -> None:
        """It stays registered and goes silent, so that a sweep frees them."""
        end = asyncio.Event()
        async with backend.worker("w", every=RARELY) as worker:
            block = asyncio.ensure_future(work(worker, "t", end))
            await until_stored(backend, "t")
            await worker.beat()
        assert (await registered(backend)).tasks == ("t",)
        end.set()
        await block
        assert (await stored(backend, "t")).is_success

    async def test_drain_while_blocks_begin(self, backend: BaseResultBackend) -> None:
        """They are cancelled, whatever they were about to do, and nothing is left of it afterwards."""

        async def block(name: str) -> str:
            with suppress(WorkerStopped):
                async with worker.track(name, on_cancel="requeue"):
                    pass
            return name

        async with backend.worker("w", every=RARELY) as worker:
            blocks = [asyncio.ensure_future(block(f"t{n}")) for n in range(50)]
            await asyncio.sleep(0)
            given_up = await worker.drain(grace=1e-6)
            ends = await asyncio.gather(*blocks, return_exceptions=True)
            cancelled = [f"t{n}" for n, end in enumerate(ends) if isinstance(end, asyncio.CancelledError)]
            assert sorted(cancelled) == given_up
            await asyncio.sleep(0)
        counts = await backend.count_by_status()
        assert not counts[TaskStatus.RUNNING]

    async def test_leaving_in_the_midst_of_a_heartbeat(self, backend: BaseResultBackend) -> None:
        """It takes itself out, whatever it was about to say."""
        for _ in range(50):
            async with backend.worker("w", every=1e-4):
                await backend.exists("t")
            assert await backend.workers.get("w") is None

    async def test_leaving_in_an_outage(self, make_backend: MakeBackend) -> None:
        """The exception of the body goes first; a cancellation stays one."""
        backend = make_backend(op_timeout=1)
        faults = faulty(backend)
        async with backend:
            for error in (KeyError("own"), asyncio.CancelledError()):
                with pytest.raises(type(error)) as caught:  # noqa: PT012  # it is the block that is tried
                    async with backend.worker("w", every=RARELY):
                        faults.fail("put", error=StorageUnavailable("injected"))
                        raise error
                assert "worker 'w' stays registered: StorageUnavailable" in caught.value.__notes__[0]
                assert await backend.workers.delete("w") is True

    async def test_worker_whose_outcome_was_lost(self, make_backend: MakeBackend) -> None:
        """It stays registered, so that a sweep finds the task that is stored as running on it."""
        clock = ManualClock()
        backend = make_backend(op_timeout=1, clock=clock)
        faults = faulty(backend)
        async with backend:
            async with backend.worker("w", every=RARELY) as worker:
                with pytest.raises(StorageUnavailable):
                    async with worker.track("t", patience=0):
                        faults.fail("write", error=StorageUnavailable("injected"))
            clock.advance(100)
            assert (await backend.workers.sweep(silent_after=0.05)).requeued == ["t"]

    async def test_worker_that_could_not_begin_a_task(self, make_backend: MakeBackend) -> None:
        """The task has failed, so nothing of it is left, and the worker takes itself out."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store("t", TaskResult.pending("t", args=(Point(1, 2),)))
            know_only(backend)
            async with backend.worker("w", every=RARELY) as worker:
                with pytest.raises(UnresolvedValue):
                    await worker.track("t").__aenter__()
                assert worker.tasks == []
            assert (await stored(backend, "t")).status is TaskStatus.FAILED
            assert await backend.workers.get("w") is None

    async def test_block_of_a_closed_generator(self, backend: BaseResultBackend) -> None:
        """It belongs to the worker until its outcome is stored."""

        async def numbers() -> AsyncGenerator[int, None]:
            async with worker.track("t"):
                yield 1

        async with backend.worker("w", every=RARELY) as worker:
            generator = numbers()
            assert await anext(generator) == 1
            await generator.aclose()
            await worker.drain()
            assert (await stored(backend, "t")).status is TaskStatus.CANCELLED
