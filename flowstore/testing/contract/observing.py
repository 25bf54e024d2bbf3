"""The contract of observers: what they are told, and that they can break nothing."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from functools import partial
from typing import Any, TypeVar

import pytest

from flowstore import (
    ResultDeleted,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    VersionConflict,
    WaitsEnded,
    WaitTimeout,
)
from flowstore.observing import (
    CallEnded,
    CallGivenUp,
    Event,
    RecheckFound,
    RecordsPurged,
    TaskStored,
    WaitEnded,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.leaving import Stall, unavailable
from flowstore.testing.faults import Mute
from flowstore.testing.insides import faulty, replaced_verb, wrap_engine
from flowstore.testing.support import failed, seen, waiting

E = TypeVar("E", bound=Event)

GONE = StorageUnavailable("gone")


class Notes:
    """An observer that keeps all events, in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def next(self, kind: type[E], number: int = 1) -> E:
        """The first event of that kind, or of that ``number``, perhaps one that is still to come."""
        async with asyncio.timeout(30):
            while len(self.of(kind)) < number:
                self._news.clear()
                await self._news.wait()
        return self.of(kind)[number - 1]


class Broken:
    """An observer that raises ``error`` at each event."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def on_event(self, event: Event) -> None:
        self.calls += 1
        raise self.error


class ObservingContract(Contract):
    async def test_stores(self, make_backend: MakeBackend) -> None:
        """Each with its status and attempt; those that came too late as well, but no lost compare-and-set."""
        notes = Notes()
        async with make_backend(observers=[notes]) as backend:
            await backend.store("t", TaskResult.running("t", retries=2, task_name="sum"))
            await backend.store_many(
                [TaskResult.pending("u"), TaskResult.failed("t", ValueError(), retries=1)]
            )
            with pytest.raises(VersionConflict):
                await backend.store("u", TaskResult.running("u"), if_version=7)
            async with backend.track("u") as task:
                task.result = 1
        stored = [
            (event.task_id, event.status, event.retries, event.name, event.is_applied)
            for event in notes.of(TaskStored)
        ]
        assert stored == [
            ("t", TaskStatus.RUNNING, 2, "sum", True),
            ("u", TaskStatus.PENDING, 0, None, True),
            ("t", TaskStatus.FAILED, 1, None, False),
            ("u", TaskStatus.RUNNING, 0, None, True),
            ("u", TaskStatus.SUCCESS, 0, None, True),
        ]
        assert {event.namespace for event in notes.events} == {backend.namespace}

    async def test_calls_of_the_storage(self, make_backend: MakeBackend) -> None:
        """Each with what it took, in the context of its caller, and with its error."""
        request: ContextVar[str] = ContextVar("request", default="")
        seen_in: list[tuple[str, str]] = []

        class Traces:
            def on_event(self, event: Event) -> None:
                if isinstance(event, CallEnded) and event.verb != "purge":
                    seen_in.append((request.get(), f"{event.verb} {event.items}"))
                    assert 0 <= event.seconds < 30
                    assert event.error is None

        async def use(name: str) -> None:
            request.set(name)
            await backend.store(name, TaskResult.success(name))
            await backend.get_many([name, "other"])

        async with make_backend(observers=[Traces()]) as backend:
            await asyncio.gather(use("a"), use("b"))
        for name in ("a", "b"):
            assert [call for caller, call in seen_in if caller == name] == ["write 1", "read 2"]

    async def test_calls_that_nobody_waits_for(self, make_backend: MakeBackend) -> None:
        """Heartbeats, and the reads behind waits, are in the background; what a caller asks for is not."""
        notes = Notes()
        async with make_backend(observers=[notes], purge_interval=None) as backend:
            await backend.store("t", TaskResult.pending("t"))
            wait = await waiting(backend, "t")
            await seen(backend, wait, "t")
            wait.cancel()
            await asyncio.wait([wait])
            async with backend.worker("w", every=0.01):
                while not [event for event in notes.of(CallEnded) if event.verb == "put"][1:]:
                    await notes.next(CallEnded, len(notes.of(CallEnded)) + 1)
        calls = [(event.verb, event.is_background) for event in notes.of(CallEnded)]
        assert ("write", False) in calls
        assert ("watch", True) in calls
        puts = [is_background for verb, is_background in calls if verb == "put"]
        assert (puts[0], puts[-1], True in puts) == (False, False, True)
        assert len({event.place for event in notes.of(CallEnded)}) == 1

    async def test_calls_that_fail(self, make_backend: MakeBackend) -> None:
        """The error of the storage is told, and the call is given up; so is a caller who leaves."""
        notes, stall = Notes(), Stall()
        async with make_backend(observers=[notes], op_timeout=1) as backend:
            within = partial(replaced_verb, backend, in_storage=True)
            with within("read", unavailable), pytest.raises(StorageUnavailable):
                await backend.get("t")
            with within("read", stall):
                getting = asyncio.ensure_future(backend.get("t"))
                await stall.reached.wait()
                getting.cancel()
                await asyncio.wait([getting])
        errors = [event.error for event in notes.of(CallEnded) if event.error is not None]
        assert [type(error) for error in errors] == [StorageUnavailable, asyncio.CancelledError]
        assert [event.error for event in notes.of(CallGivenUp)] == errors[:1]

    async def test_opening_that_fails(self, make_backend: MakeBackend) -> None:
        """It is a call that is given up, too, once."""
        notes = Notes()
        backend = make_backend(observers=[notes])
        faulty(backend).fail("open", error=GONE)
        with pytest.raises(StorageUnavailable):
            await backend.get("t")
        assert len(notes.of(CallGivenUp)) == 1
        await backend.close()

    async def test_ends_of_waits(self, make_backend: MakeBackend) -> None:
        """How each ended and what it took; of several waits each is one."""
        notes = Notes()
        async with make_backend(observers=[notes], recheck_interval=NO_RECHECK) as backend:
            await backend.store("done", TaskResult.success("done"))
            await backend.store("bad", failed("bad"))
            await backend.wait_for_many(["done", "bad"], 30)
            with pytest.raises(WaitTimeout):
                await backend.wait_for("late", 0.01)
            with pytest.raises(WaitTimeout):
                await backend.wait_for_many(["done", "late"], 0.2)
            await backend.store("gone", TaskResult.running("gone"))
            waits = [await waiting(backend, name) for name in ("gone", "left", "ended")]
            await seen(backend, waits[0], "gone")
            await backend.delete("gone")
            waits[1].cancel()
            with pytest.raises(ResultDeleted):
                await waits[0]
            backend.end_waits()
            with pytest.raises(WaitsEnded):
                await waits[2]
        ends = sorted((event.task_id, event.outcome) for event in notes.of(WaitEnded))
        assert ends == [
            ("bad", "failed"),
            ("done", "success"),
            ("done", "success"),
            ("ended", "ended"),
            ("gone", "deleted"),
            ("late", "timeout"),
            ("late", "timeout"),
            ("left", "left"),
            ("marker of gone", "success"),
        ]
        assert all(0 <= event.seconds < 30 for event in notes.of(WaitEnded))

    async def test_what_only_the_recheck_has_found(self, make_backend: MakeBackend) -> None:
        """A result whose hint was lost is told about."""
        notes = Notes()
        mute = make_backend(observers=[notes], recheck_interval=0.05)
        wrap_engine(mute, Mute)
        async with mute:
            wait = await waiting(mute, "missed")
            await seen(mute, wait, "missed")
            await mute.store("missed", TaskResult.success("missed"))
            await wait
            assert (await notes.next(RecheckFound)).task_id == "missed"

    async def test_hints_that_come_leave_nothing_to_find(self, make_backend: MakeBackend) -> None:
        """However often all is read again meanwhile."""
        notes = Notes()
        async with make_backend(observers=[notes], recheck_interval=0.01) as backend:
            last = await waiting(backend, "last")
            for n in range(30):
                wait = await waiting(backend, f"t{n}")
                await seen(backend, wait, f"t{n}")
                await backend.store(f"t{n}", TaskResult.success(f"t{n}"))
                await wait
            with pytest.raises(WaitTimeout):
                await backend.wait_for("never", 1.2)  # longer than a hint may be late
            last.cancel()
            await asyncio.wait([last])
        assert notes.of(RecheckFound) == []

    async def test_purges(self, make_backend: MakeBackend) -> None:
        """How many went, if any."""
        notes, clock = Notes(), ManualClock()
        async with make_backend(observers=[notes], clock=clock, purge_interval=None) as backend:
            await backend.store_many((failed(f"t{n}") for n in range(3)), ttl=5)
            assert await backend.purge_expired() == 0
            clock.advance(5)
            assert await backend.purge_expired() == 3
            assert [event.count for event in notes.of(RecordsPurged)] == [3]

    async def test_observers_that_fail(
        self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """No call notices; it is logged once for each kind of event, and the others are told."""
        broken, notes = Broken(ValueError("no")), Notes()
        async with make_backend(observers=[broken, notes], recheck_interval=NO_RECHECK) as backend:
            for n in range(3):
                wait = await waiting(backend, f"t{n}")
                async with backend.track(f"t{n}") as task:
                    task.result = n
                assert (await wait).unwrap() == n
        assert broken.calls == len(notes.events) > 12
        told = [record for record in caplog.records if record.name == "flowstore.observers"]
        kinds = {type(event).__name__ for event in notes.events}
        assert sorted(record.flowstore_event for record in told) == sorted(kinds)  # type: ignore[attr-defined]  # extra
        assert {record.exc_info[1] for record in told if record.exc_info} == {broken.error}

    async def test_observers_that_are_interrupted(self, make_backend: MakeBackend) -> None:
        """What is no Exception is for whoever runs the loop, and is not kept back."""

        class Interrupt(BaseException):
            pass

        broken = Broken(Interrupt())
        async with make_backend(observers=[broken]) as backend:
            with pytest.raises(Interrupt):
                await backend.store("t", TaskResult.success("t"))
            broken.error = ValueError()
            assert await backend.exists("t")

    @pytest.mark.parametrize("bad", [1, "log", [print], [Notes], {"a": 1}])
    async def test_bad_observers(self, make_backend: MakeBackend, bad: Any) -> None:
        """Named at construction."""
        with pytest.raises(TypeError, match=r"^observers: expected objects with a method on_event, got"):
            make_backend(observers=bad)
