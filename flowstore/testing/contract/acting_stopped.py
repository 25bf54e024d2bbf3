"""The contract of operations that stop: aborted, cancelled, by a hook that raises."""

from __future__ import annotations

import asyncio
import concurrent.futures
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    HostNotTold,
    Operation,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.acting import ALL
from flowstore.testing.contract.acting_alone import LEASE_SECONDS, check_done_once, die, fill
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.faults.engine import ProcessDied
from flowstore.testing.insides import faulty, forget_hooks, meanwhile
from flowstore.testing.support import stored


class StoppedActionsContract(Contract):
    async def test_abort_from_elsewhere(self, backend: BaseResultBackend) -> None:
        """It takes effect after the step under way; what is done stays, and a resume changes nothing."""
        await fill(backend, 1_200)
        operation = await backend.actions.start("requeue", ALL)
        aborting: list[asyncio.Task[Operation]] = []
        meanwhile(
            backend,
            "write",
            lambda: _gathered(aborting, asyncio.ensure_future(backend.actions.abort(operation.id))),
        )
        operation = await backend.actions.resume(operation.id)
        assert (operation.state, operation.done, operation.is_abort_requested) == ("aborted", 500, True)
        assert operation.finished_at is not None
        asked = await aborting[0]
        assert (asked.state, asked.is_abort_requested) == ("running", True)
        assert await backend.actions.resume(operation.id) == operation
        assert await backend.actions.abort(operation.id) == operation
        assert (await backend.count_by_status())[TaskStatus.PENDING] == 500

    async def test_abort_of_one_that_nobody_carries_out(self, backend: BaseResultBackend) -> None:
        await fill(backend, 3)
        operation = await backend.actions.start("requeue", ALL)
        operation = await backend.actions.abort(operation.id)
        assert (operation.state, operation.done) == ("aborted", 0)
        assert (await backend.actions.get(operation.id)).state == "aborted"
        assert (await backend.count_by_status())[TaskStatus.RETRYING] == 3

    async def test_abort_between_look_and_write(self, backend: BaseResultBackend) -> None:
        """Those that were about to be changed are left alone, and counted as such."""
        await fill(backend, 3)
        operation = await backend.actions.start("requeue", ALL)
        meanwhile(backend, "scan", lambda: backend.actions.abort(operation.id))
        operation = await backend.actions.resume(operation.id)
        assert (operation.state, operation.matched, operation.done) == ("aborted", 3, 0)
        assert operation.effects == {"left alone: aborted before": 3}
        assert operation.skipped == 3
        assert (await backend.count_by_status())[TaskStatus.RETRYING] == 3

    @pytest.mark.parametrize("is_plain", [False, True])
    async def test_a_hook_that_ends_as_cancelled(self, backend: BaseResultBackend, is_plain: bool) -> None:
        """By something that it has awaited: it has raised, and the caller is not cancelled."""

        async def dispatch(tasks: list[TaskResult]) -> None:
            broken = asyncio.get_running_loop().create_future()
            broken.cancel()
            await broken

        def plain(tasks: list[TaskResult]) -> None:
            raise concurrent.futures.CancelledError

        backend.actions.on_requeue(plain if is_plain else dispatch)
        await fill(backend, 3)
        with pytest.raises(HostNotTold, match="on_requeue raised CancelledError") as raised:
            await backend.actions.apply("requeue", ALL, dry_run=False)
        operation = await backend.actions.get(raised.value.operation_id)
        assert (operation.state, operation.done, len(operation.untold)) == ("failed", 3, 3)
        assert operation.stopped_by is not None
        assert operation.stopped_by.startswith("CancelledError")

    async def test_abort_after_a_kill_counts_what_was_done(self, make_backend: MakeBackend) -> None:
        """Nothing more is changed, and those that the host may not know of are named."""
        clock = ManualClock()
        backend = make_backend(clock=clock)
        faults = faulty(backend)
        backend.actions.on_requeue(lambda tasks: None)
        async with backend:
            await fill(backend, 150)
            operation = await backend.actions.start("requeue", ALL)
            meanwhile(backend, "write", lambda: die(faults))
            with pytest.raises(ProcessDied):
                await backend.actions.resume(operation.id)
            faults.heal()
            assert (await backend.actions.abort(operation.id)).state == "running"  # it may be alive
            clock.advance(LEASE_SECONDS)
            operation = await backend.actions.abort(operation.id)
            assert (operation.state, operation.done) == ("aborted", 100)
            assert len(operation.untold) == 100
            assert (await backend.count_by_status())[TaskStatus.PENDING] == 100

    async def test_a_hook_that_raises_stops_it(self, backend: BaseResultBackend) -> None:
        """The records are changed, the ids are kept; resumed, the host is told of these first."""
        calls: list[list[str]] = []

        async def dispatch(tasks: list[TaskResult]) -> None:
            calls.append([task.task_id for task in tasks])
            if len(calls) == 2:
                raise ConnectionError("broker is away")

        backend.actions.on_requeue(dispatch)
        await fill(backend, 1_100)
        with pytest.raises(
            HostNotTold, match=r"with 500 .*on_requeue raised ConnectionError: broker"
        ) as raised:
            await backend.actions.apply("requeue", ALL, dry_run=False)
        assert isinstance(raised.value.__cause__, ConnectionError)
        operation = await backend.actions.get(raised.value.operation_id)
        assert (operation.state, operation.done, operation.told) == ("failed", 1_000, 500)
        assert operation.stopped_by == "ConnectionError: broker is away"
        assert sorted(operation.untold) == sorted(calls[1])
        operation = await backend.actions.resume(operation.id)
        assert (operation.state, operation.done, operation.told) == ("done", 1_100, 1_100)
        assert (operation.untold, operation.stopped_by, operation.is_host_told) == ((), None, True)
        assert sorted(calls[2]) == sorted(calls[1])
        assert len({task_id for call in calls for task_id in call}) == 1_100
        await check_done_once(backend, "requeue", 1_100)

    async def test_a_hook_that_raises_where_nobody_can_tell_any_more(
        self, backend: BaseResultBackend
    ) -> None:
        """A process without the hook goes on, and keeps the ids that the host was not told of."""

        def fail(tasks: list[TaskResult]) -> None:
            raise ValueError("no")

        backend.actions.on_cancel(fail)
        await fill(backend, 600)
        with pytest.raises(HostNotTold) as raised:
            await backend.actions.apply("cancel", ALL, dry_run=False)
        forget_hooks(backend)
        operation = await backend.actions.resume(raised.value.operation_id)
        assert (operation.state, operation.done, operation.told) == ("done", 600, 0)
        assert len(operation.untold) == 500
        assert not operation.is_host_told

    async def test_a_cancelled_call_can_be_resumed(self, backend: BaseResultBackend) -> None:
        """Even while the hook is called, which hears of it; the host is told again."""
        reached, cancelled = asyncio.Event(), list[int]()

        async def hang(tasks: list[TaskResult]) -> None:
            reached.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(len(tasks))
                raise

        backend.actions.on_requeue(hang)
        await fill(backend, 3)
        operation = await backend.actions.start("requeue", ALL)
        call = asyncio.ensure_future(backend.actions.resume(operation.id))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert cancelled == [3]
        told: list[TaskResult] = []
        backend.actions.on_requeue(told.extend)
        operation = await backend.actions.resume(operation.id)
        assert (operation.done, operation.told, len(told)) == (3, 3, 3)
        await check_done_once(backend, "requeue", 3)

    async def test_progress(self, backend: BaseResultBackend) -> None:
        """After each step; what it raises ends the call, and nothing is lost."""
        await fill(backend, 1_100)
        seen: list[Operation] = []

        def look(operation: Operation) -> None:
            seen.append(operation)
            if len(seen) == 2:
                raise RuntimeError("enough")

        operation = await backend.actions.start("requeue", ALL)
        with pytest.raises(RuntimeError, match="enough"):
            await backend.actions.resume(operation.id, progress=look)
        await backend.actions.resume(operation.id, progress=look)
        assert [each.done for each in seen] == [500, 1_000, 1_100]
        await check_done_once(backend, "requeue", 1_100)

    async def test_waiters_hear_of_it(self, backend: BaseResultBackend) -> None:
        """As of any write."""
        await backend.store("t", TaskResult.pending("t", task_name="mail"))
        wait = asyncio.ensure_future(backend.wait_for("t", 30))
        await asyncio.sleep(0)
        await backend.actions.apply("cancel", ALL, dry_run=False)
        assert (await wait).status is TaskStatus.CANCELLED
        assert (await stored(backend, "t")).version == 2


async def _gathered(into: list[Any], task: asyncio.Future[Any]) -> None:
    into.append(task)
    await asyncio.wait([task])
