"""The contract of the history: every applied store, in order of time, once, as long as its record lives."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus, Transition
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import START, failed, stored

Item = TypeVar("Item")


async def _drained(items: AsyncIterator[Item]) -> list[Item]:
    return [item async for item in items]


def _states(transitions: list[Transition]) -> list[tuple[str, int]]:
    """Status, and seconds after START."""
    return [(step.status.value, (step.at - START) // timedelta(seconds=1)) for step in transitions]


async def _live(backend: BaseResultBackend, clock: ManualClock, *names: str) -> None:
    """Each is pending, then running, then done, with a second before each."""
    for make in (TaskResult.pending, TaskResult.running, TaskResult.success):
        for name in names:
            clock.advance(1)
            assert await backend.store(name, make(name))


def _place(step: Transition) -> tuple[datetime, int, str]:
    """Tasks with equal time and seq may come in any order."""
    return step.at, step.seq, step.task_id


def said(step: Transition) -> str:
    return step.status.value if step.event is None else f"{step.status.value} {step.event}"


class HistoryContract(Contract):
    async def test_history_is_what_was_stored(self, make_backend: MakeBackend) -> None:
        """Status, time, attempt and worker of every applied store; a refused one leaves nothing."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await _live(backend, clock, "t")
            assert await backend.store("t", TaskResult.running("t")) is False
            clock.advance(1)
            await backend.store("t", TaskResult.running("t", retries=1, worker_id="w"))
            history = await backend.history.of("t")
            assert _states(history) == [("pending", 1), ("running", 2), ("success", 3), ("running", 4)]
            assert [(step.retries, step.worker_id) for step in history[2:]] == [(0, None), (1, "w")]
            assert {step.task_id for step in history} == {"t"}
            assert {step.at.tzinfo for step in history} == {UTC}

    async def test_ties_are_in_the_order_of_writing(self, make_backend: MakeBackend) -> None:
        """Equal times and statuses are all kept. A clock that goes back changes the order by time only."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for worker in "abc":
                await backend.store("t", TaskResult.running("t", worker_id=worker))
            await backend.store("t", TaskResult.success("t", worker_id="d"))
            clock.advance(-1)
            await backend.store("t", TaskResult.running("t", worker_id="e", retries=1))
            history = await backend.history.of("t")
            assert [step.worker_id for step in history] == ["a", "b", "c", "d", "e"]
            seqs = [step.seq for step in history]
            assert seqs == sorted(set(seqs))
            by_time = [history[-1], *history[:-1]]
            assert await _drained(backend.history.iter(batch_size=2)) == by_time

    async def test_unknown_id_has_no_history(self, backend: BaseResultBackend) -> None:
        """Empty, not an error."""
        await backend.store("t", TaskResult.pending("t"))
        assert await backend.history.of("nobody") == []

    async def test_iter_history_in_batches(self, make_backend: MakeBackend) -> None:
        """All tasks in order of time, each transition once, however many are read at a time."""
        clock = ManualClock()
        names = [f"t{n}" for n in range(30)]
        async with make_backend(clock=clock) as backend:
            await _live(backend, clock, *names)
            everything = [step for name in names for step in await backend.history.of(name)]
            everything.sort(key=_place)
            for size in (1, 7, 90, 1_000):
                found = await _drained(backend.history.iter(batch_size=size))
                assert [(step.at, step.seq) for step in found] == [(step.at, step.seq) for step in everything]
                assert sorted(found, key=_place) == everything

    async def test_bounds_are_inclusive(self, make_backend: MakeBackend) -> None:
        """From start to end, to the microsecond, in any time zone; None is no bound."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for worker in "abcde":
                await backend.store("t", TaskResult.running("t", worker_id=worker))
                clock.advance(0.000001)
            moment = timedelta(microseconds=1)
            bounds: list[tuple[datetime | None, datetime | None, str]] = [
                (None, None, "abcde"),
                (START + moment, START + 3 * moment, "bcd"),
                (START + 2 * moment, START + 2 * moment, "c"),
                (START + 3 * moment, None, "de"),
                (None, START + moment, "ab"),
                (START + 3 * moment, START + 2 * moment, ""),
                (START.astimezone() + moment, START + 5 * moment, "bcde"),
                (START - timedelta(days=90_000), START - moment, ""),
            ]
            for start, end, expected in bounds:
                found = await _drained(backend.history.iter(start, end, batch_size=2))
                assert "".join(str(step.worker_id) for step in found) == expected
                ids = await _drained(backend.history.iter_ids(start, end))
                assert ids == (["t"] if expected else [])

    async def test_iter_task_ids(self, make_backend: MakeBackend) -> None:
        """Each once across all batches, in the order of its first transition within the bounds."""
        clock = ManualClock()
        names = [f"t{n}" for n in range(25)]
        async with make_backend(clock=clock) as backend:
            await _live(backend, clock, *names)
            for size in (1, 4, 100):
                assert await _drained(backend.history.iter_ids(batch_size=size)) == names
            # t20 to t24 were last pending at 21 to 25 s, all were running at 26 to 50 s
            start, end = START + timedelta(seconds=21), START + timedelta(seconds=40)
            walked = await _drained(backend.history.iter_ids(start, end, batch_size=3))
            assert walked == names[20:] + names[:15]

    async def test_walks_under_change(self, make_backend: MakeBackend) -> None:
        """What exists throughout the walk comes exactly once, while others come and go."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            kept, going = [f"kept{n}" for n in range(300)], [f"going{n}" for n in range(300)]
            for name, other in zip(kept, going, strict=True):
                await _live(backend, clock, name, other)
            before = {name: await backend.history.of(name) for name in kept}

            async def change() -> None:
                for n, name in enumerate(going):
                    await backend.delete(name)
                    clock.advance(-1 if n % 2 else 2)
                    await backend.store(f"new{n}", TaskResult.pending(f"new{n}"))
                    await asyncio.sleep(0)

            changing = asyncio.ensure_future(change())
            found: list[Transition] = []
            async for step in backend.history.iter(batch_size=20):
                found.append(step)
                await asyncio.sleep(0)
            await changing
            assert [(step.at, step.seq) for step in found] == sorted((step.at, step.seq) for step in found)
            kept_steps = [step for step in found if step.task_id in before]
            assert sorted(kept_steps, key=_place) == sorted(
                (step for steps in before.values() for step in steps), key=_place
            )
            assert max(Counter(map(_place, found)).values()) == 1

    @pytest.mark.parametrize("way", ["delete", "delete_many", "clear", "expiry"])
    async def test_history_goes_with_the_record(self, make_backend: MakeBackend, way: str) -> None:
        """Even if the id is stored again: its history starts again, and no walk shows the old one."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("other", TaskResult.pending("other"))
            await backend.store("t", TaskResult.pending("t"))
            await backend.store("t", TaskResult.success("t"), ttl=10)
            if way == "delete":
                await backend.delete("t")
            elif way == "delete_many":
                await backend.delete_many(["t", "u"])
            elif way == "clear":
                await backend.clear()
            else:
                clock.advance(11)
            assert await backend.history.of("t") == []
            await backend.store("t", TaskResult.running("t"))
            assert [step.status for step in await backend.history.of("t")] == [TaskStatus.RUNNING]
            walked = await _drained(backend.history.iter())
            assert [step.status for step in walked if step.task_id == "t"] == [TaskStatus.RUNNING]
            assert [step.task_id for step in walked if step.task_id != "t"] == ["other"][: way != "clear"]

    async def test_purge_removes_history(self, make_backend: MakeBackend) -> None:
        """An expired task leaves nothing for a walk once it is purged."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many((failed(f"gone{n}") for n in range(20)), ttl=10)
            await backend.store("kept", failed("kept"))
            clock.advance(11)
            assert await backend.purge_expired() == 20
            assert [step.task_id for step in await _drained(backend.history.iter())] == ["kept"]
            assert await _drained(backend.history.iter_ids()) == ["kept"]

    async def test_without_history(self, make_backend: MakeBackend) -> None:
        """history=False keeps nothing; everything else works as usual."""
        async with make_backend(history=False) as backend:
            assert await backend.store("t", TaskResult.running("t"))
            assert await backend.store("t", TaskResult.success("t", 1))
            assert await backend.history.of("t") == []
            assert await _drained(backend.history.iter()) == []
            assert await _drained(backend.history.iter_ids()) == []
            assert (await backend.wait_for("t", 0)).unwrap() == 1

    async def test_history_limit(self, make_backend: MakeBackend) -> None:
        """The newest transitions of each task are kept, for every walk; other tasks are not affected."""
        clock = ManualClock()
        async with make_backend(clock=clock, history_limit=3) as backend:
            await backend.store("other", TaskResult.pending("other"))
            for n in range(7):
                clock.advance(1)
                await backend.store("t", TaskResult.running("t", retries=n))
            history = await backend.history.of("t")
            assert [step.retries for step in history] == [4, 5, 6]
            walked = await _drained(backend.history.iter())
            assert [step.task_id for step in walked] == ["other", "t", "t", "t"]
            assert walked[1:] == history
            assert await _drained(backend.history.iter_ids()) == ["other", "t"]

    async def test_concurrent_writers_lose_nothing(self, backend: BaseResultBackend) -> None:
        """Eight writers of one task: every store is in its history, those of each writer in order."""

        async def write(worker: str) -> None:
            for n in range(25):
                result = TaskResult.running("t", worker_id=f"{worker}.{n}")
                assert await backend.store("t", result)

        await asyncio.gather(*(write(worker) for worker in "abcdefgh"))
        workers = [str(step.worker_id) for step in await backend.history.of("t")]
        assert len(workers) == len(set(workers)) == 200
        for worker in "abcdefgh":
            own = [name for name in workers if name.startswith(worker)]
            assert own == [f"{worker}.{n}" for n in range(25)]

    async def test_history_longer_than_a_step(self, make_backend: MakeBackend) -> None:
        """It is read in steps, and whole."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(TaskResult.running("t", retries=n) for n in range(1_203))
            assert [step.retries for step in await backend.history.of("t")] == list(range(1_203))

    async def test_events_beside_the_changes(self, make_backend: MakeBackend) -> None:
        """Noted in any state, in the order of writing; the record is as before, but for its version."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t", worker_id="w", args=((1,),), retries=2))
            clock.advance(1)
            detail: dict[str, Any] = {"to": "me", "tries": 3}
            assert await backend.history.record("t", "mailed", detail, at=START) is True
            await backend.store("t", TaskResult.failed("t", ValueError("no"), retries=2, at=START))
            before = await stored(backend, "t")
            assert await backend.history.record("t", "seen") is True
            assert (await stored(backend, "t")).model_copy(update={"version": 3}) == before
            _, mailed, _, seen = steps = await backend.history.of("t")
            assert [step.event for step in steps] == [None, "mailed", None, "seen"]
            assert (mailed.detail, mailed.event_at, mailed.worker_id) == (detail, START, "w")
            assert mailed.at == START + timedelta(seconds=1)
            assert (seen.status, seen.error, seen.detail) == (TaskStatus.FAILED, None, {})
            assert [step async for step in backend.history.iter()] == steps

    async def test_events_of_what_is_not_there(self, make_backend: MakeBackend) -> None:
        """False, and nothing is noted or written; nor is anything without a history."""
        async with make_backend(history=False) as backend:
            assert await backend.history.record("t", "seen") is False
            await backend.store("t", TaskResult.pending("t"))
            assert await backend.history.record("t", "seen") is False
            assert (await stored(backend, "t")).version == 1
            assert await backend.history.of("t") == []

    async def test_filters_of_histories(self, backend: BaseResultBackend) -> None:
        """By status and by event, alike for one task and for all."""
        for task_id in ("a", "b"):
            await backend.store(task_id, TaskResult.pending(task_id))
            await backend.history.record(task_id, f"seen {task_id}")
            await backend.store(task_id, TaskResult.success(task_id))
        for filters, expected in [
            ({}, ["pending", "pending seen", "success"]),
            ({"events": ()}, ["pending", "success"]),
            ({"events": ["seen a", "seen b"]}, ["pending seen"]),
            ({"statuses": "success"}, ["success"]),
            ({"statuses": ["pending"], "events": ()}, ["pending"]),
            ({"statuses": []}, []),
        ]:
            given: Any = filters
            for task_id in ("a", "b"):
                shown = [said(step) for step in await backend.history.of(task_id, **given)]
                assert shown == [text.replace("seen", f"seen {task_id}") for text in expected]
            walked = [step async for step in backend.history.iter(**given)]
            assert len(walked) == 2 * len(expected)
            assert [task_id async for task_id in backend.history.iter_ids(**given)] == list(
                dict.fromkeys(step.task_id for step in walked)
            )
        assert [task_id async for task_id in backend.history.iter_ids(events="seen b")] == ["b"]

    @pytest.mark.parametrize(
        ("bad", "error", "name"),
        [
            ({"statuses": "done"}, ValueError, "statuses"),
            ({"events": 7}, TypeError, "events"),
            ({"events": [""]}, ValueError, "events"),
            ({"start": "2026-01-01"}, TypeError, "start"),
            ({"start": datetime(2026, 1, 1)}, ValueError, "start"),  # naive on purpose
            ({"end": 5}, TypeError, "end"),
            ({"end": datetime(2026, 1, 1)}, ValueError, "end"),  # naive on purpose
            ({"batch_size": 0}, ValueError, "batch_size"),
            ({"batch_size": 10_001}, ValueError, "batch_size"),
            ({"batch_size": True}, TypeError, "batch_size"),
        ],
    )
    async def test_bad_arguments_of_walks(
        self, backend: BaseResultBackend, bad: dict[str, Any], error: type[Exception], name: str
    ) -> None:
        """Each is named; so is a bad id."""
        with pytest.raises(error, match=name):
            backend.history.iter(**bad)
        with pytest.raises(error, match=name):
            backend.history.iter_ids(**bad)
        events = [(("", "e"), "task_id"), (("t", ""), "event"), (("t", "e", {"a": [1]}), "detail")]
        for arguments, wrong in events:
            given: Any = arguments
            with pytest.raises((ValueError, TypeError), match=wrong):
                await backend.history.record(*given)
        for bad_id in ("", None):
            with pytest.raises((ValueError, TypeError), match="task_id"):
                await backend.history.of(bad_id)  # type: ignore[arg-type]  # on purpose
