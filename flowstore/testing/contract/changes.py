"""The contract of ``watch_changes``: each change once with its content, or the sign that some are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    ChangesMissed,
    TaskChange,
    TaskResult,
    WaitsEnded,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.insides import faulty, meanwhile, plant
from flowstore.testing.support import START, failed

PATIENCE = 30
Changes = AsyncGenerator[TaskChange | ChangesMissed, None]


async def following(changes: Changes, count: int) -> list[TaskChange | ChangesMissed]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(changes) for _ in range(count)]


async def said(changes: Changes, count: int) -> list[str]:
    """The next ones, each as "task status seq"; "missed"."""
    return [
        "missed" if isinstance(one, ChangesMissed) else f"{one.task_id} {one.status} {one.seq}"
        for one in await following(changes, count)
    ]


async def _change(changes: Changes) -> TaskChange:
    [change] = await following(changes, 1)
    assert isinstance(change, TaskChange)
    return change


class WatchChangesContract(Contract):
    async def test_what_a_change_says(self, make_backend: MakeBackend) -> None:
        """Which task, its name, what became of it, when, in which attempt, by whom; and no values."""
        clock = ManualClock()
        async with (
            make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend,
            aclosing(backend.watch_changes()) as changes,
        ):
            running = TaskResult.running("t", task_name="n", worker_id="w", retries=2, args=(1,))
            await backend.store("t", running)
            change = await _change(changes)
            assert (change.task_id, change.name, change.status) == ("t", "n", "running")
            assert (change.at, change.retries, change.worker_id, change.seq) == (START, 2, "w", 1)
            [listed] = (await backend.page(load_result=False)).items
            assert change.task == listed
            assert not listed.is_loaded
            [step] = await backend.history.of("t")
            assert (step.at, step.seq) == (change.at, change.seq)

    async def test_from_the_call_on(self, make_backend: MakeBackend) -> None:
        """Though the iteration begins later, and beside others that have begun before."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            await backend.store("before", TaskResult.pending("before"))
            clock.advance(60)
            first = backend.watch_changes()
            await backend.store("a", TaskResult.pending("a"))
            assert await said(first, 1) == ["a pending 1"]
            clock.advance(60)
            second = backend.watch_changes()
            await backend.store("b", TaskResult.pending("b"))
            assert await said(first, 1) == ["b pending 1"]
            clock.advance(60)
            await backend.store("a", TaskResult.running("a"))
            assert await said(second, 2) == ["b pending 1", "a running 2"]
            clock.advance(1)
            await backend.store("c", TaskResult.pending("c"))
            for changes, expected in ((first, ["a running 2", "c pending 1"]), (second, ["c pending 1"])):
                assert await said(changes, len(expected)) == expected
                await changes.aclose()
            assert backend.waiting == 0

    async def test_states_that_were_replaced_at_once(self, backend: BaseResultBackend) -> None:
        """Each comes, with the record as it stood when that was read.

        Of two in one status the later may come first: a reader that has heard of one of them finds the record
        in that status, and takes it for what it has heard of.
        """
        async with aclosing(backend.watch_changes()) as changes:
            await backend.store("first", TaskResult.pending("first"))
            await following(changes, 1)
            many = [
                TaskResult.pending("t"),
                TaskResult.running("t", worker_id="w"),
                TaskResult.failed("t", ValueError("no")),
                TaskResult.pending("t", task_name="n", retries=1),
            ]
            await backend.store_many(many)
            found = sorted([await _change(changes) for _ in many], key=lambda one: one.seq)
        assert [(one.status, one.seq) for one in found] == [
            *(("pending", 1), ("running", 2), ("failed", 3), ("pending", 4)),
        ]
        assert [one.worker_id for one in found] == [None, "w", None, None]
        assert all(one.task is not None and one.task.version >= one.seq for one in found)
        assert (found[-1].name, found[-1].task and found[-1].task.status) == ("n", "pending")

    async def test_stores_between_two_reads_come_with_what_they_stored(
        self, make_backend: MakeBackend
    ) -> None:
        """The record is read before its history; what is stored in between comes with no older state."""
        async with (
            make_backend(recheck_interval=NO_RECHECK) as backend,
            aclosing(backend.watch_changes()) as changes,
        ):
            await backend.store("first", TaskResult.pending("first"))
            await following(changes, 1)
            await backend.store_many([TaskResult.pending("t"), TaskResult.running("t")])
            meanwhile(backend, "read", lambda: backend.store("t", TaskResult.success("t")))
            found = [await _change(changes) for _ in range(3)]
        assert [one.status for one in found] == ["pending", "running", "success"]
        assert [one.task and one.task.version >= one.seq for one in found] == [True] * 3

    async def test_only_what_the_query_wants(self, backend: BaseResultBackend) -> None:
        """Each task as it was by that change, also if something else has become of it since."""
        async with (
            aclosing(backend.watch_changes("status:failed name:n")) as failures,
            aclosing(backend.watch_changes("label:x")) as labelled,
        ):
            last = asyncio.ensure_future(said(failures, 2))
            await backend.store(
                "other", TaskResult.failed("other", ValueError(), task_name="o", labels=["x"])
            )
            await backend.store("t", TaskResult.pending("t", task_name="n"))
            fails: TaskResult = TaskResult.failed("t", ValueError("no"), task_name="n")
            await backend.store_many([fails, TaskResult.pending(fails, retries=1)])
            await backend.store("u", TaskResult.failed("u", ValueError(), task_name="n", labels=["x"]))
            assert await last == ["t failed 2", "u failed 1"]
            assert await said(labelled, 2) == ["other failed 1", "u failed 1"]

    async def test_what_is_no_query(
        self, backend: BaseResultBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of another type, or about values, which no change has: an error that names it."""
        for bad in (7, b"status:failed", ["failed"]):
            given: Any = bad
            with pytest.raises(TypeError, match="query"):
                backend.watch_changes(given)
        for most in (0, -1):
            with pytest.raises(ValueError, match="most"):
                backend.watch_changes(most=most)

    async def test_a_slow_reader_is_told(self, backend: BaseResultBackend) -> None:
        """It gets what was kept, then the sign, then what comes; others miss nothing."""
        slow, fast = backend.watch_changes(most=3), backend.watch_changes()
        async with aclosing(slow), aclosing(fast):
            await backend.store("first", TaskResult.pending("first"))
            assert await said(slow, 1) == await said(fast, 1) == ["first pending 1"]
            for n in range(8):
                await backend.store(f"t{n}", TaskResult.pending(f"t{n}"))
            assert await said(fast, 8) == [f"t{n} pending 1" for n in range(8)]
            assert await said(slow, 3) == [f"t{n} pending 1" for n in range(3)]
            [missed] = await following(slow, 1)
            [step] = await backend.history.of("t3")
            assert missed == ChangesMissed(since=step.at)
            await backend.store("last", TaskResult.pending("last"))
            assert await said(slow, 1) == await said(fast, 1) == ["last pending 1"]

    async def test_one_reads_for_all(self, make_backend: MakeBackend) -> None:
        """However many listen, an id is watched once, and a record is read once for many changes."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend:
            listening = [backend.watch_changes() for _ in range(50)]
            firsts = [asyncio.ensure_future(said(changes, 1)) for changes in listening]
            await asyncio.sleep(0)
            await backend.store("first", TaskResult.pending("first"))
            assert await asyncio.gather(*firsts) == [["first pending 1"]] * 50
            assert backend.waiting == 1
            before = faults.calls.copy()
            await backend.store_many(TaskResult.pending(f"t{n}") for n in range(400))
            found = await asyncio.gather(*(said(changes, 400) for changes in listening))
            assert {tuple(sorted(each)) for each in found} == {
                tuple(sorted(f"t{n} pending 1" for n in range(400)))
            }
            spent = faults.calls - before
            assert spent["read"] + spent["items"] + spent["timeline"] < 40
            for changes in listening:
                await changes.aclose()
            assert backend.waiting == 0

    async def test_what_is_no_change(self, backend: BaseResultBackend) -> None:
        """Progress, an expiry that is moved, a store that is refused, a removal."""
        async with aclosing(backend.watch_changes()) as changes:
            await backend.store("t", TaskResult.running("t"))
            await backend.set_progress("t", 1)
            await backend.expire("t", 60)
            await backend.store("done", TaskResult.success("done"))
            assert await backend.store("done", TaskResult.running("done")) is False
            assert await said(changes, 2) == ["t running 1", "done success 1"]
            await backend.delete("t")
            await backend.store("last", TaskResult.pending("last"))
            assert await said(changes, 1) == ["last pending 1"]

    async def test_what_is_removed_before_it_is_read(self, backend: BaseResultBackend) -> None:
        """It does not come, and hides nothing; stored anew, it is another task."""
        async with aclosing(backend.watch_changes()) as changes:
            await backend.store("gone", TaskResult.pending("gone"))
            await backend.delete("gone")
            await backend.store("t", TaskResult.pending("t"))
            await backend.delete("t")
            await backend.store("t", TaskResult.running("t"))
            assert await said(changes, 1) == ["t running 1"]

    async def test_a_record_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """It comes without name and task, but for those who ask for some; others come as ever."""
        async with (
            aclosing(backend.watch_changes()) as every,
            aclosing(backend.watch_changes("name:n")) as named,
        ):
            await plant(backend, failed("bad", task_name="n"), head=b"[]")
            await backend.store("t", failed("t", task_name="n"))
            found = [await _change(every) for _ in range(2)]
            assert [(one.task_id, one.status, one.name) for one in found] == [
                *(("bad", "failed", None), ("t", "failed", "n")),
            ]
            assert found[0].task is None
            assert await said(named, 1) == ["t failed 1"]

    async def test_it_ends_with_the_backend(self, make_backend: MakeBackend) -> None:
        """And with end_waits; whoever begins then is refused."""
        for end, error in (("end_waits", WaitsEnded), ("close", BackendClosed)):
            async with make_backend() as backend:
                changes = backend.watch_changes()
                news = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)
                await backend.store("t", TaskResult.pending("t"))
                await news
                rest = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)
                if end == "close":
                    await backend.close()
                else:
                    backend.end_waits()
                for ended in (rest, anext(backend.watch_changes())):
                    with pytest.raises(error):
                        await ended
                assert backend.waiting == 0
