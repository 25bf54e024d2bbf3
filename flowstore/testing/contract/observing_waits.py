"""The contract of observers of waits: how far each is, what wakes it, and who iterates over changes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowstore import TaskResult, VersionConflict
from flowstore.observing import (
    VersionLost,
    WaitBegun,
    WaitEnded,
    WaitsRechecked,
    WaitSubscribed,
    WaitWoken,
    WatchBegun,
    WatchEnded,
)
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.observing import Notes

_OF_WAITS = (WaitBegun, WaitSubscribed, WaitWoken, WaitEnded)


def steps(notes: Notes, task_id: str) -> list[str]:
    """The kinds of events about waits for the task, in order."""
    told: list[Any] = [event for event in notes.events if isinstance(event, _OF_WAITS)]
    return [type(event).__name__ for event in told if event.task_id == task_id]


class ObservingWaitsContract(Contract):
    async def test_steps_of_a_wait(self, make_backend: MakeBackend) -> None:
        """It begins, is subscribed once, is woken by the store, and ends."""
        notes = Notes()
        async with make_backend(observers=[notes], recheck_interval=NO_RECHECK) as backend:
            wait = asyncio.ensure_future(backend.wait_for("t", 30))
            await notes.next(WaitSubscribed)
            await backend.store("t", TaskResult.running("t"))
            await backend.store("t", TaskResult.success("t", 1))
            await wait
        assert steps(notes, "t") == ["WaitBegun", "WaitSubscribed", "WaitWoken", "WaitEnded"]
        [woken] = notes.of(WaitWoken)
        assert 0 <= woken.lag < 30
        calls: list[Any] = [event for event in notes.events if isinstance(event, _OF_WAITS)]
        assert len({event.call for event in calls}) == 1

    async def test_what_stands_wakes_nobody(self, make_backend: MakeBackend) -> None:
        """A result that the first read finds; a look, which is no wait, is not told of."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            await backend.store("t", TaskResult.success("t"))
            await backend.wait_for("t", 30)
            await backend.wait_for("t", 0)
        assert steps(notes, "t") == ["WaitBegun", "WaitEnded"]

    async def test_calls_that_wait_for_several(self, make_backend: MakeBackend) -> None:
        """All waits of one have its number; another call has another one."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            await backend.store_many(TaskResult.success(f"t{n}") for n in range(3))
            await backend.wait_for_many(["t0", "t1"], 30)
            await backend.wait_for("t2", 30)
        first, second, third = (event.call for event in notes.of(WaitBegun))
        assert first == second != third
        assert [event.call for event in notes.of(WaitEnded)] == [first, second, third]

    async def test_rechecks(self, make_backend: MakeBackend) -> None:
        """How many ids were read again, and whose."""
        notes = Notes()
        async with make_backend(observers=[notes], recheck_interval=0.05) as backend:
            waits = [asyncio.ensure_future(backend.wait_for(name, 30)) for name in ("a", "b")]
            rechecked = await notes.next(WaitsRechecked)
            assert rechecked.count == 2
            assert rechecked.calls == {event.call for event in notes.of(WaitBegun)}
            await backend.store_many(TaskResult.success(name) for name in ("a", "b"))
            await asyncio.gather(*waits)

    async def test_iterations(self, make_backend: MakeBackend) -> None:
        """Of each kind; from the first step until they are closed or over."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            walks = [backend.watch("t"), backend.watch_status("success"), backend.watch_changes()]
            steps = [asyncio.ensure_future(anext(walk)) for walk in walks]
            await notes.next(WatchBegun, 3)
            assert [event.kind for event in notes.of(WatchBegun)] == ["task", "status", "changes"]
            assert notes.of(WatchEnded) == []
            await backend.store("t", TaskResult.success("t"))
            await asyncio.gather(*steps)
            for walk in walks:
                await walk.aclose()
        ended = notes.of(WatchEnded)
        assert [event.kind for event in ended] == ["task", "status", "changes"]
        assert all(0 <= event.seconds < 30 for event in ended)

    async def test_versions_that_were_lost(self, make_backend: MakeBackend) -> None:
        """A write that was bound to another version, whether its caller is told or tries again."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            await backend.store("t", TaskResult.pending("t"))
            with pytest.raises(VersionConflict):
                await backend.store("t", TaskResult.running("t"), if_version=7)
            assert await backend.store_many([TaskResult.pending("t")], create=True) == [False]
            await backend.store("t", TaskResult.running("t"), if_version=1)
        assert [event.task_id for event in notes.of(VersionLost)] == ["t", "t"]
