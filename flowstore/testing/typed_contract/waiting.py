"""Waits for an entry and watches of many: no wake-up is lost, whichever manager writes."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import timedelta

import pytest

from flowstore import BackendClosed, EntryMismatch, EntryTimeout, WaitTimeout
from flowstore.testing.typed_contract.base import Loss, Place, Report, TypedContractBase, close_place
from flowstore.typed import AsyncResultsManager, WriteBehavior

OVERWRITE = WriteBehavior.OVERWRITE


async def waiting(manager: AsyncResultsManager, id: str) -> asyncio.Task[Report]:
    """A task that waits for the entry, and has taken its first steps."""
    task = asyncio.ensure_future(manager.wait_for(id, Report, 30))
    for _ in range(5):
        await manager.exists("something else")  # a trip: it has looked by then, or is about to
    assert not task.done()
    return task


class EntryWaitingContract(TypedContractBase):
    async def test_it_is_there(self, place: Place) -> None:
        """Then a wait is a get, whatever the timeout."""
        async with place.manager() as manager:
            await manager.set("a", Report(score=1))
            for timeout in (None, 5, 0, timedelta(seconds=5)):
                assert await manager.wait_for("a", Report, timeout) == Report(score=1)
            assert await manager.wait_for("a") == Report(score=1)
            with pytest.raises(EntryMismatch):
                await manager.wait_for("a", Loss, 5)

    async def test_it_comes(self, place: Place) -> None:
        """A hundred waits for ten ids end as another manager stores them."""
        async with place.manager() as one, place.manager() as other:
            waits = [await waiting(one, f"w/{number % 10}") for number in range(100)]
            for number in range(10):
                await other.set(f"w/{number}", Report(score=number))
            found = await asyncio.gather(*waits)
            assert [model.score for model in found] == [number % 10 for number in range(100)]

    async def test_no_wait_misses_a_write_beside_it(self, place: Place) -> None:
        """Begun at any moment around the write."""
        async with place.manager() as one, place.manager() as other:
            for number in range(50):
                id = f"w/{number}"
                wait = asyncio.ensure_future(one.wait_for(id, Report, 30))
                for _ in range(number % 7):
                    await asyncio.sleep(0)
                await other.set(id, Report(score=number))
                assert (await wait).score == number

    async def test_a_deadline(self, place: Place) -> None:
        """EntryTimeout, a WaitTimeout and a TimeoutError, naming id and time; 0 is one look."""
        async with place.manager() as manager:
            for timeout in (0.01, 0, -1, timedelta(milliseconds=1)):
                with pytest.raises(EntryTimeout, match=r"^there was no entry under id 'a' within") as caught:
                    await manager.wait_for("a", Report, timeout)
                assert isinstance(caught.value, WaitTimeout)
                assert isinstance(caught.value, TimeoutError)
            with pytest.raises(TypeError, match=r"^timeout: expected"):
                await manager.wait_for("a", Report, "5")  # type: ignore[call-overload]  # on purpose

    async def test_a_cancelled_wait(self, place: Place) -> None:
        """It leaves the others alone."""
        async with place.manager() as one, place.manager() as other:
            waits = [await waiting(one, "a") for _ in range(3)]
            waits[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits[1]
            await other.set("a", Report(score=1))
            assert await waits[0] == await waits[2] == Report(score=1)

    async def test_watching(self, place: Place) -> None:
        """Each id below the prefix at least once after its last write, and no other."""
        async with (
            place.manager() as one,
            place.manager() as other,
            aclosing(one.watch("runs")) as ids,
        ):
            first = asyncio.ensure_future(anext(ids))
            await waiting_for_news(one)
            for id in ("runs2", "a", "runs/1"):
                await other.set(id, Report(score=1))
            assert await first == "runs/1"
            await other.set("runs/1", Report(score=2), OVERWRITE)
            await other.set("runs", Report(score=1))
            await one.set("runs/2/x", Report(score=1))
            await other.delete("runs/1")
            await other.set("end", Report(score=1))
            await other.set("runs/3", Report(score=1))
            seen: set[str] = set()
            async for id in ids:
                seen.add(id)
                if id == "runs/3":
                    break
            assert {"runs", "runs/2/x", "runs/3"} <= seen <= {"runs", "runs/1", "runs/2/x", "runs/3"}

    async def test_closing_ends_waits(self, place: Place) -> None:
        """With BackendClosed, where the manager has opened its place itself."""
        manager = place.manager()
        async with manager:
            wait = await waiting(manager, "a")
            watch = asyncio.ensure_future(anext(manager.watch()))
            await waiting_for_news(manager)
            await close_place(manager)
            with pytest.raises(BackendClosed):
                await wait
            with pytest.raises(BackendClosed):
                await watch
            with pytest.raises(BackendClosed):
                await manager.get("a")


async def waiting_for_news(manager: AsyncResultsManager) -> None:
    """Return when a watch that was begun listens."""
    for _ in range(5):
        await manager.exists("something else")
