"""The contract of ``end_waits``: who waits is sent away, who works is left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from flowstore import BackendClosed, BaseResultBackend, TaskResult, TaskStatus, WaitsEnded, WaitTimeout
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.leaving import Stall, writes_by
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import seen, stored, waiting

Wait = Callable[[BaseResultBackend], Coroutine[Any, Any, object]]


async def _drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


WAITS: dict[str, Wait] = {
    "wait_for": lambda backend: backend.wait_for("t"),
    "wait_for, with a timeout": lambda backend: backend.wait_for("other", 30),
    "wait_for_many": lambda backend: backend.wait_for_many(["t", "other"], 30),
    "as_completed": lambda backend: _drain(backend.as_completed(["t", "other"])),
    "watch": lambda backend: _drain(backend.watch("t")),
    "watch_status": lambda backend: _drain(backend.watch_status()),
    "watch_changes": lambda backend: _drain(backend.watch_changes()),
}


class EndingContract(Contract):
    async def test_everyone_who_waits_is_woken(self, backend: BaseResultBackend) -> None:
        """With WaitsEnded, which is a BackendClosed, and nothing is left of the waits."""
        waits = [asyncio.ensure_future(wait(backend)) for wait in WAITS.values()]
        await seen(backend, waits[0], "t")
        backend.end_waits()
        async with asyncio.timeout(30):
            ended = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in ended] == [WaitsEnded] * len(WAITS)
        assert isinstance(ended[0], BackendClosed)
        assert backend.waiting == 0

    async def test_later_waits_are_refused(self, backend: BaseResultBackend) -> None:
        """At once, also for what is finished; but a look is no wait."""
        await backend.store("t", TaskResult.success("t", 1))
        backend.end_waits()
        for name, wait in WAITS.items():
            with pytest.raises(WaitsEnded):
                await wait(backend)
            assert backend.waiting == 0, name
        assert (await backend.wait_for("t", 0)).unwrap() == 1
        with pytest.raises(WaitTimeout):
            await backend.wait_for("other", 0)
        assert await backend.wait_for_many([]) == {}

    async def test_everything_else_goes_on(self, backend: BaseResultBackend) -> None:
        """Blocks, stores, reads, data, listings; until the backend is closed, as ever."""
        async with backend.track("t") as task:
            backend.end_waits()
            await task.progress(1)
            await backend.data.set("t", "k", 1)
            await asyncio.sleep(0)
            task.result = 2
        assert task.is_stored
        assert (await stored(backend, "t")).unwrap() == 2
        assert await backend.data.get("t", "k") == 1
        assert [task.task_id for task in await backend.list_by_status(TaskStatus.SUCCESS)] == ["t"]
        assert await backend.delete("t")
        await backend.close()
        with pytest.raises(BackendClosed) as closed:
            await backend.wait_for("t")
        assert not isinstance(closed.value, WaitsEnded)

    async def test_a_store_in_flight_is_not_lost(self, backend: BaseResultBackend) -> None:
        """It returns True, and is stored; the wait for it has ended before."""
        wait = await waiting(backend, "t")
        await seen(backend, wait, "t")
        stall = Stall()
        with writes_by(backend, stall):
            storing = asyncio.ensure_future(backend.store("t", TaskResult.success("t", 1)))
            await stall.reached.wait()
            backend.end_waits()
            with pytest.raises(WaitsEnded):
                await wait
            stall.go.set()
            assert await storing is True
        assert (await stored(backend, "t")).unwrap() == 1

    @pytest.mark.parametrize("verb", ["watch", "read"])
    async def test_in_the_midst_of_a_read(self, backend: BaseResultBackend, verb: str) -> None:
        """Those whose record is being read for the first or the last time end as well, and at once."""
        await backend.store("t", TaskResult.running("t"))
        stall, waits = Stall(), []
        if verb == "read":
            waits.append(await waiting(backend, "t"))
            await seen(backend, waits[0], "t")
        with replaced_verb(backend, verb, stall):
            if verb == "read":  # upon the hint that it is finished
                await backend.store("t", TaskResult.success("t", 1))
            else:
                waits.append(await waiting(backend, "t"))
            async with asyncio.timeout(30):
                await stall.reached.wait()
                waits.append(await waiting(backend, "t"))  # too late for the read in flight
                backend.end_waits()
                ended = await asyncio.gather(*waits, return_exceptions=True)
            stall.go.set()
        assert [type(error) for error in ended] == [WaitsEnded] * len(waits)
        assert await backend.exists("t")

    async def test_it_may_be_said_again_and_at_any_time(self, make_backend: MakeBackend) -> None:
        """Before it is opened, twice, and after close, where nothing is left to end."""
        backend = make_backend()
        backend.end_waits()
        with pytest.raises(WaitsEnded):
            await backend.wait_for("t")
        backend.end_waits()
        await backend.store("t", TaskResult.success("t", 1))
        await backend.close()
        backend.end_waits()
        with pytest.raises(BackendClosed):
            await backend.get("t")

    async def test_waits_that_end_by_themselves_at_that_moment(self, backend: BaseResultBackend) -> None:
        """Each ends once: with its result, if that was there before."""
        wait = await waiting(backend, "t")
        await seen(backend, wait, "t")
        await backend.store("t", TaskResult.success("t", 1))
        backend.end_waits()
        ended = (await asyncio.gather(wait, return_exceptions=True))[0]
        assert isinstance(ended, WaitsEnded) or (isinstance(ended, TaskResult) and ended.unwrap() == 1)
        assert backend.waiting == 0
