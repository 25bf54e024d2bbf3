"""The contract of wait_for and its companions: every wait ends as it should, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import time, timedelta
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    ResultDeleted,
    ResultExpired,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
    TaskResult,
    WaitTimeout,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.support import seen, waiting


async def _one_of_many(backend: BaseResultBackend, task_id: str, timeout: Any) -> TaskResult:
    return (await backend.wait_for_many([task_id], timeout, raise_first=True))[task_id]


async def _first_completed(backend: BaseResultBackend, task_id: str, timeout: Any) -> TaskResult:
    [result] = [result async for result in backend.as_completed([task_id], timeout, raise_first=True)]
    return result


TIMED: dict[str, Callable[[BaseResultBackend, str, Any], Coroutine[Any, Any, TaskResult]]] = {
    "wait_for": lambda backend, task_id, timeout: backend.wait_for(task_id, timeout),
    "wait_for_many": _one_of_many,
    "as_completed": _first_completed,
}
"""Each call that takes a timeout, for one id."""


class WaitingContract(Contract):
    async def test_finished_result_is_returned_at_once(self, backend: BaseResultBackend) -> None:
        """Also with a timeout of 0, which means one read."""
        await backend.store("t", TaskResult.success("t", 42))
        for timeout in (None, 5, 0):
            assert (await backend.wait_for("t", timeout)).unwrap() == 42
        assert backend.waiting == 0

    async def test_wait_begins_before_the_id_exists(self, backend: BaseResultBackend) -> None:
        """The wait continues through pending and running, and ends with each finished status."""
        finishes = {
            "s": TaskResult.success("s", 1),
            "f": TaskResult.failed("f", ValueError("no")),
            "c": TaskResult.cancelled("c"),
        }
        for task_id, finish in finishes.items():
            task = await waiting(backend, task_id)
            await backend.store(task_id, TaskResult.pending(task_id))
            await backend.store(task_id, TaskResult.running(task_id))
            await seen(backend, task, task_id)
            await backend.store(task_id, finish)
            assert (await task).status == finish.status
        assert backend.waiting == 0

    async def test_unwrap(self, backend: BaseResultBackend) -> None:
        """The value of a success; an error that describes every other state."""
        await backend.store("f", TaskResult.failed("f", ValueError("no")))
        with pytest.raises(TaskFailed, match="ValueError: no"):
            (await backend.wait_for("f")).unwrap()
        with pytest.raises(TaskCancelled):
            TaskResult.cancelled("c").unwrap()
        with pytest.raises(TaskNotFinished, match="running"):
            TaskResult.running("r").unwrap()

    async def test_deadline(self, backend: BaseResultBackend) -> None:
        """WaitTimeout is a TimeoutError that names the task; 0 and less read once."""
        await backend.store("t", TaskResult.pending("t"))
        for timeout in (0.05, 0):
            for task_id in ("t", "nobody"):
                with pytest.raises(WaitTimeout, match=task_id):
                    await backend.wait_for(task_id, timeout)
        with pytest.raises(TimeoutError):
            await backend.wait_for_many(["t", "nobody"], 0.05)
        assert backend.waiting == 0

    @pytest.mark.parametrize("name", TIMED)
    async def test_every_timeout(self, backend: BaseResultBackend, name: str) -> None:
        """None, infinite and huge ones wait for ever; 0 and less read once; bad ones are named at once."""
        for n, timeout in enumerate((None, math.inf, 10**400, 1e308, 86_400)):
            wait = asyncio.ensure_future(TIMED[name](backend, f"t{n}", timeout))
            await asyncio.sleep(0)
            await seen(backend, wait, f"t{n}")
            await backend.store(f"t{n}", TaskResult.success(f"t{n}"))
            assert (await wait).task_id == f"t{n}"
        for looks in (0, 0.0, -0.0, -1, -math.inf, -(10**400)):
            assert (await TIMED[name](backend, "t0", looks)).task_id == "t0"
            with pytest.raises(WaitTimeout, match="nobody"):
                await TIMED[name](backend, "nobody", looks)
        assert (await TIMED[name](backend, "t0", timedelta(seconds=30))).task_id == "t0"
        for short in (timedelta(milliseconds=1), timedelta(0), timedelta(days=-1)):
            with pytest.raises(WaitTimeout, match="nobody"):
                await TIMED[name](backend, "nobody", short)
        assert (await TIMED[name](backend, "t0", timedelta.max)).task_id == "t0"
        bad: list[Any] = [math.nan, True, False, "1", b"1", [1], time(1)]
        for timeout in bad:
            with pytest.raises((TypeError, ValueError), match=r"^timeout: expected"):
                await TIMED[name](backend, "t0", timeout)
        assert backend.waiting == 0

    async def test_delete_wakes_waiters(self, backend: BaseResultBackend) -> None:
        """ResultDeleted, a LookupError, for a record that existed; the wait for any other id goes on."""
        await backend.store("t", TaskResult.pending("t"))
        task = await waiting(backend, "t")
        await seen(backend, task, "t")
        await backend.delete("nobody")
        await backend.delete("t")
        with pytest.raises(ResultDeleted):
            await task
        assert backend.waiting == 0

    async def test_clear_wakes_waiters(self, backend: BaseResultBackend) -> None:
        """For a waiter, clear is the same as delete."""
        await backend.store("t", TaskResult.running("t"))
        task = await waiting(backend, "t")
        await seen(backend, task, "t")
        await backend.clear()
        with pytest.raises(LookupError):
            await task

    async def test_expiry_wakes_waiters_by_itself(self, backend: BaseResultBackend) -> None:
        """A pending record that expires ends its waits, even if nothing purges it."""
        await backend.store("t", TaskResult.pending("t"), ttl=1)
        with pytest.raises(ResultExpired):
            await backend.wait_for("t", 30)
        assert backend.waiting == 0

    async def test_purge_wakes_waiters(self, make_backend: MakeBackend) -> None:
        """If the purge comes first, it notifies the waiters."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            await backend.store("t", TaskResult.pending("t"), ttl=60)
            task = await waiting(backend, "t")
            await seen(backend, task, "t")
            clock.advance(61)
            assert await backend.purge_expired() == 1
            with pytest.raises(ResultExpired):
                await task

    async def test_close_wakes_waiters(self, make_backend: MakeBackend) -> None:
        """No wait outlives its backend."""
        backend = make_backend()
        tasks = [await waiting(backend, task_id) for task_id in ("t", "t", "u")]
        await backend.close()
        for task in tasks:
            with pytest.raises(BackendClosed):
                await task

    async def test_close_while_opening(self, make_backend: MakeBackend) -> None:
        """A close that overtakes the call that opens ends that call, and leaves nothing open."""
        backend = make_backend()
        calls = [asyncio.ensure_future(call) for call in (backend.wait_for("t"), backend.get("t"))]
        await asyncio.sleep(0)
        await backend.close()
        done = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(done[0], BackendClosed)
        assert done[1] is None or isinstance(done[1], BackendClosed)

    async def test_cancelled_wait_leaves_nothing(self, backend: BaseResultBackend) -> None:
        """A cancellation is never swallowed, not even one that arrives with the result; other waits go on."""
        one, two = await waiting(backend, "t"), await waiting(backend, "t")
        one.cancel()
        with pytest.raises(asyncio.CancelledError):
            await one
        assert backend.waiting == 1
        await backend.store("t", TaskResult.success("t", 1))
        assert (await two).result == 1
        assert backend.waiting == 0
        late = await waiting(backend, "u")
        await backend.store("u", TaskResult.success("u"))
        is_accepted = late.cancel()  # False when the wait had already ended with the result
        await asyncio.wait([late])
        assert late.cancelled() is is_accepted
        assert backend.waiting == 0

    async def test_thousand_waiters_on_one_id(self, backend: BaseResultBackend) -> None:
        """All wake up, and share one object."""
        waits = [asyncio.ensure_future(backend.wait_for("t", 30)) for _ in range(1_000)]
        await asyncio.sleep(0)
        await backend.store("t", TaskResult.success("t", [1]))
        results = await asyncio.gather(*waits)
        assert len(set(map(id, results))) <= 2
        assert backend.waiting == 0

    async def test_thousand_waiters_on_thousand_ids(self, backend: BaseResultBackend) -> None:
        """Each gets its own result, whether it was stored before, during or after registering."""
        names = [f"t{n}" for n in range(1_000)]
        await backend.store_many(TaskResult.success(name, name) for name in names[:300])
        waits = [asyncio.ensure_future(backend.wait_for(name, 30)) for name in names]
        await asyncio.gather(*(backend.store(name, TaskResult.success(name, name)) for name in names[300:]))
        assert [result.result for result in await asyncio.gather(*waits)] == names
        assert backend.waiting == 0

    async def test_finished_and_deleted_at_once(self, backend: BaseResultBackend) -> None:
        """The record is gone before the waiter could read it: the wait still ends."""
        for n in range(20):
            task = await waiting(backend, f"t{n}")
            await seen(backend, task, f"t{n}")
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
            await backend.delete(f"t{n}")
            with suppress(ResultDeleted):
                assert (await task).unwrap() == n
        assert backend.waiting == 0

    async def test_who_is_told_of_a_deletion_may_wait_anew(self, backend: BaseResultBackend) -> None:
        """It is a new wait, for the next record of that id, even if others still hold the old wait."""
        await backend.store("t", TaskResult.running("t"))
        states = backend.watch("t")
        await anext(states)  # whoever looks on is busy with this state
        told = [await waiting(backend, "t") for _ in range(2)]
        for wait in told:
            await seen(backend, wait, "t")
        await backend.delete("t")
        for wait in told:
            with pytest.raises(ResultDeleted):
                await wait
        again = await waiting(backend, "t")
        await backend.store("t", TaskResult.pending("t"))
        assert not again.done()
        await backend.store("t", TaskResult.success("t", 2))
        assert (await again).unwrap() == 2
        with pytest.raises(ResultDeleted):
            await anext(states)
        assert backend.waiting == 0
