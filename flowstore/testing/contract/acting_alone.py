"""The contract of actions among others: kills, lost answers, aborts, hooks that raise, and who goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    Operation,
    OperationBusy,
    StorageFull,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.acting import ALL, OTHERS, statuses
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.faults.engine import ProcessDied
from flowstore.testing.insides import faulty, meanwhile, replaced_verb

LEASE_SECONDS = 30
ACTIONS = ["requeue", "cancel", "fail", "delete", "expire", "label"]
CHANGES = {"delete": "remove", "expire": "expire"}
"""The verbs by which actions change records, where it is not a write."""


async def fill(backend: BaseResultBackend, count: int) -> None:
    await backend.store_many(
        TaskResult.retrying(f"t{n:04}", ValueError("x"), task_name="mail") for n in range(count)
    )


async def started(backend: BaseResultBackend, action: Any) -> Operation:
    return await backend.actions.start(action, ALL, **OTHERS.get(action, {}))


async def check_done_once(backend: BaseResultBackend, action: str, count: int) -> None:
    """Each task was changed, and exactly once."""
    found = [task async for task in backend.iter_by_status()]
    assert len(found) == (0 if action == "delete" else count)
    for task in found:
        assert task.version == (1 if action == "expire" else 2), task
        assert task.retries == (1 if action == "requeue" else 0)
    for task in found[::10]:
        assert len(await backend.history.of(task.task_id)) == task.version


class ActionRacesContract(Contract):
    @pytest.mark.parametrize("action", ACTIONS)
    async def test_killed_at_each_call(self, make_backend: MakeBackend, action: str) -> None:
        """Wherever a process dies, another one goes on; each task is changed once, and counted once.

        The host is told of each at least once, and of none that was not changed.
        """
        calls = 0
        is_over = False
        while not is_over:
            clock, told = ManualClock(), list[str]()
            backend = make_backend(clock=clock)
            faults = faulty(backend)
            async with backend:
                for register in (backend.actions.on_requeue, backend.actions.on_cancel):
                    register(lambda tasks, told=told: told.extend(task.task_id for task in tasks))  # type: ignore[misc]
                await fill(backend, 120)
                clock.advance(1)
                operation = await started(backend, action)
                faults.die(calls)
                try:
                    await backend.actions.resume(operation.id)
                    is_over = True
                except ProcessDied:
                    pass
                faults.heal()
                clock.advance(LEASE_SECONDS)
                operation = await backend.actions.resume(operation.id)
                assert (operation.state, operation.done, operation.skipped) == ("done", 120, 0), calls
                await check_done_once(backend, action, 120)
                if operation.action.hook:
                    assert len({*told}) == 120 == operation.told
                    assert operation.untold == ()
            calls += 1
        assert calls > 8

    @pytest.mark.parametrize("is_carried_out", [True, False])
    @pytest.mark.parametrize(
        ("verb", "action"),
        [*(("change", action) for action in ACTIONS), *((v, "requeue") for v in ("put", "scan", "read"))],
    )
    async def test_lost_answers(
        self, make_backend: MakeBackend, verb: str, action: str, is_carried_out: bool
    ) -> None:
        """Ridden out: each task is changed once, and counted once."""
        verb = CHANGES.get(action, "write") if verb == "change" else verb
        for skip in (0, 1, 2, 3):
            backend = make_backend()
            faults = faulty(backend)
            async with backend:
                await fill(backend, 120)
                operation = await started(backend, action)
                error = StorageUnavailable("injected") if skip % 2 else StorageFull("injected")
                faults.fail(verb, error=error, skip=skip, is_carried_out=is_carried_out)
                operation = await backend.actions.resume(operation.id)
                faults.heal(verb)
                assert (operation.state, operation.done, operation.skipped) == ("done", 120, 0)
                await check_done_once(backend, action, 120)

    async def test_an_outage_that_lasts(self, make_backend: MakeBackend) -> None:
        """It is raised; the operation goes on when somebody resumes it."""
        backend = make_backend(op_timeout=0.2)
        faults = faulty(backend)
        async with backend:
            await fill(backend, 120)
            operation = await backend.actions.start("requeue", ALL)
            faults.fail("write", error=StorageUnavailable("injected"), skip=1, times=None)
            with pytest.raises(StorageUnavailable):
                await backend.actions.resume(operation.id)
            assert (await backend.actions.get(operation.id)).state == "running"
            faults.heal("write")
            assert (await backend.actions.resume(operation.id)).done == 120
            await check_done_once(backend, "requeue", 120)

    async def test_one_that_was_picked_up_after_a_kill_counts_as_done(
        self, make_backend: MakeBackend
    ) -> None:
        """Its history tells that the operation had changed it; the host is not told of it again."""
        clock = ManualClock()
        backend = make_backend(clock=clock)
        faults = faulty(backend)
        told: list[str] = []
        backend.actions.on_requeue(lambda tasks: told.extend(task.task_id for task in tasks))
        async with backend:
            await fill(backend, 3)
            operation = await backend.actions.start("requeue", ALL)
            meanwhile(backend, "write", lambda: die(faults))
            with pytest.raises(ProcessDied):
                await backend.actions.resume(operation.id)
            faults.heal()
            await backend.store("t0001", TaskResult.running("t0001", task_name="mail", retries=1))
            clock.advance(LEASE_SECONDS)
            operation = await backend.actions.resume(operation.id)
            assert (operation.done, operation.told, operation.skipped) == (3, 3, 0)
            assert sorted(told) == ["t0000", "t0002"]

    async def test_one_process_at_a_time(self, make_backend: MakeBackend) -> None:
        """Another is refused while it lives, and may go on when it has been silent for half a minute."""
        clock, busy = ManualClock(), list[OperationBusy]()
        async with make_backend(clock=clock) as backend:
            await fill(backend, 3)
            operation = await backend.actions.start("requeue", ALL)

            async def refused() -> None:
                clock.advance(LEASE_SECONDS - 1)
                with pytest.raises(OperationBusy, match=rf"carries out operation '{operation.id}'") as raised:
                    await backend.actions.resume(operation.id)
                busy.append(raised.value)

            meanwhile(backend, "write", refused)
            assert (await backend.actions.resume(operation.id)).done == 3
            assert len(busy) == 1

    @pytest.mark.parametrize("action", ACTIONS)
    @pytest.mark.parametrize("is_before", [True, False])
    async def test_two_at_once_after_all(
        self, make_backend: MakeBackend, action: str, is_before: bool
    ) -> None:
        """One that was silent for too long, before its write or after it: nothing is done twice."""
        clock, ended = ManualClock(), list[Operation]()

        def slow(plain: Callable[..., Any]) -> Callable[..., Any]:
            async def slowly(*args: Any) -> Any:
                answer = None if is_before or ended else await plain(*args)
                if not ended:
                    clock.advance(LEASE_SECONDS)
                    ended.append(operation)
                    ended[0] = await backend.actions.resume(operation.id)
                return answer or await plain(*args)

            return slowly

        async with make_backend(clock=clock) as backend:
            await fill(backend, 120)
            operation = await started(backend, action)
            with replaced_verb(backend, CHANGES.get(action, "write"), slow), pytest.raises(OperationBusy):
                await backend.actions.resume(operation.id)
            assert (ended[0].state, ended[0].done, ended[0].skipped) == ("done", 120, 0)
            await check_done_once(backend, action, 120)

    async def test_what_others_delete_is_not_done(self, backend: BaseResultBackend) -> None:
        """Nor is what is there again; both are changes since the start."""
        await fill(backend, 4)
        operation = await started(backend, "delete")

        async def delete() -> None:
            await backend.delete_many(["t0001", "t0002"])
            await backend.store("t0002", TaskResult.pending("t0002", task_name="mail"))

        meanwhile(backend, "scan", delete)
        operation = await backend.actions.resume(operation.id)
        assert operation.effects == {"deleted": 2, "left alone: changed since the start": 2}
        assert (operation.done, operation.skipped) == (2, 2)
        assert await backend.exists("t0002")

    async def test_among_writers_and_other_operations(self, backend: BaseResultBackend) -> None:
        """Every task is requeued or was changed by a writer, none twice by one operation."""
        await fill(backend, 1_000)
        begun, is_over = asyncio.Event(), False

        async def write() -> set[str]:
            written = set[str]()
            for n in range(0, 1_000, 7):
                task_id = f"t{n:04}"
                if await backend.store(task_id, TaskResult.success(task_id, 1, task_name="mail")):
                    written.add(task_id)
                begun.set()
                await asyncio.sleep(0)
                if is_over:
                    break
            return written

        writing = asyncio.ensure_future(write())
        await begun.wait()
        first, second = await asyncio.gather(
            backend.actions.apply("requeue", f"{ALL} status:retrying", dry_run=False),
            backend.actions.apply("requeue", f"{ALL} status:retrying", dry_run=False),
        )
        is_over = True
        written = await writing
        assert first.done + second.done <= 1_000
        found = [task async for task in backend.iter_by_status()]
        assert len(found) == 1_000
        requeued = [
            task
            for task in found
            if len(
                [1 for each in await backend.history.of(task.task_id) if each.status is TaskStatus.PENDING]
            )
            == 1
        ]
        assert len(requeued) == first.done + second.done
        assert all(task.retries == 1 for task in requeued)
        assert {task.task_id for task in found} - {task.task_id for task in requeued} <= written

    async def test_beside_clear_and_purge(self, make_backend: MakeBackend) -> None:
        """Records that go meanwhile are no trouble; operations stay."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(
                (TaskResult.pending(f"t{n}", task_name="mail") for n in range(700)), ttl=60
            )
            operation = await backend.actions.start("label", ALL, add=["x"])
            meanwhile(backend, "scan", lambda: _advanced(clock, 61))
            operation = await backend.actions.resume(operation.id)
            assert (operation.done, operation.skipped, operation.state) == (0, 500, "done")
            await backend.purge_expired()
            await backend.clear()
            assert await backend.actions.get(operation.id) == operation
            assert await statuses(backend) == {}
            await backend.drop_namespace()
            assert await backend.actions.all() == []


async def die(faults: Any) -> None:
    faults.die(0)


async def _advanced(clock: ManualClock, seconds: float) -> None:
    clock.advance(seconds)
