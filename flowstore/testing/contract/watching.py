"""The contract of progress, and of what a watcher sees of a task."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    Progress,
    ResultDeleted,
    ResultExpired,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.enduring import SEEDS
from flowstore.testing.faults import UnreliableHints
from flowstore.testing.insides import wrap_engine
from flowstore.testing.support import in_any_order

FOR_EVER: Any = 30


class ProgressContract(Contract):
    async def test_progress_changes_nothing_else(self, backend: BaseResultBackend) -> None:
        """It is in the record and in listings; version, history and values do not change."""
        running = TaskResult.running("t", task_name="n", args=(1,), labels={"x"})
        await backend.store("t", running)
        before, history = await backend.get("t"), await backend.history.of("t")
        assert before is not None
        assert await backend.set_progress("t", 1, 3, "one") is True
        assert await backend.get("t") == before.model_copy(
            update={"progress": Progress(done=1, total=3, note="one")}
        )
        assert await backend.set_progress("t", 2.5) is True
        [item] = (await backend.page(TaskStatus.RUNNING, label="x")).items
        assert item == before.model_copy(update={"progress": Progress(done=2.5)})
        assert await backend.history.of("t") == history
        assert await backend.store("t", TaskResult.success("t"), if_version=before.version)
        after = await backend.get("t")
        assert after is not None
        assert after.progress is None

    async def test_no_progress_without_a_task_that_goes_on(self, make_backend: MakeBackend) -> None:
        """Unknown, expired, finished: False, and nothing is written; pending and retrying tasks have it."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            await backend.store("expired", TaskResult.running("expired"), ttl=1)
            clock.advance(2)
            finished = [TaskResult.success("s"), TaskResult.cancelled("c")]
            await backend.store_many(finished)
            for name in ("unknown", "expired", "s", "c"):
                assert await backend.set_progress(name, 1) is False
            assert await backend.get("unknown") is await backend.get("expired") is None
            assert [result.progress for result in (await backend.get_many(["s", "c"])).values()] == [
                None,
                None,
            ]
            await backend.store("p", TaskResult.pending("p"))
            await backend.store("r", TaskResult.retrying("r", ValueError()))
            assert await backend.set_progress("p", 1) is await backend.set_progress("r", 1) is True

    async def test_a_zombie_cannot_report(self, backend: BaseResultBackend) -> None:
        """With ``retries``, only the current attempt can report."""
        await backend.store("t", TaskResult.running("t", retries=1))
        assert await backend.set_progress("t", 9, retries=0) is False
        assert await backend.set_progress("t", 9, retries=2) is False
        assert await backend.set_progress("t", 5, retries=1) is True
        read = await backend.get("t")
        assert read is not None
        assert read.progress == Progress(done=5)

    async def test_the_last_of_many_reports_wins(self, backend: BaseResultBackend) -> None:
        """And each of them gets an answer."""
        await backend.store("t", TaskResult.running("t"))
        reports = [backend.set_progress("t", n, 1_000) for n in range(1_000)]
        assert await asyncio.gather(*reports) == [True] * 1_000
        read = await backend.get("t")
        assert read is not None
        assert read.progress == Progress(done=999, total=1_000)

    @pytest.mark.parametrize(
        ("arguments", "error", "name"),
        [
            (("", 1), ValueError, "task_id"),
            (("t", -1), ValueError, "done"),
            (("t", float("nan")), ValueError, "done"),
            (("t", True), TypeError, "done"),
            (("t", "1"), TypeError, "done"),
            (("t", 10**400), ValueError, "done"),
            (("t", 1, float("inf")), ValueError, "total"),
            (("t", 1, 2, 3), TypeError, "note"),
            (("t", 1, 2, "x" * 5_000), ValueError, "note"),
        ],
    )
    async def test_bad_progress(
        self, backend: BaseResultBackend, arguments: Any, error: type[Exception], name: str
    ) -> None:
        """Named, and nothing is written."""
        await backend.store("t", TaskResult.running("t"))
        with pytest.raises(error, match=name):
            await backend.set_progress(*arguments)
        with pytest.raises(ValueError, match="retries"):
            await backend.set_progress("t", 1, retries=-1)
        read = await backend.get("t")
        assert read is not None
        assert read.progress is None

    async def test_progress_of_a_tracked_task(self, backend: BaseResultBackend) -> None:
        """The last report is stored with the outcome, even if the task failed."""

        async def fail() -> None:
            async with backend.track("t") as task:
                assert await task.progress(1, 2) is True
                await task.progress(1.5, 2, "more")
                raise ValueError("no more")

        with pytest.raises(ValueError, match="no more"):
            await fail()
        read = await backend.get("t")
        assert read is not None
        assert (read.status, read.progress) == ("failed", Progress(done=1.5, total=2, note="more"))


class WatchContract(Contract):
    async def test_each_change_is_shown(self, backend: BaseResultBackend) -> None:
        """The current state, then status and progress as they change, and the value at the end."""
        await backend.store("t", TaskResult.pending("t", args=(1,)))
        states = backend.watch("t")
        first = await anext(states)
        assert (first.status, first.is_loaded) == ("pending", False)
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        second = await anext(states)
        assert (second.status, second.worker_id, second.progress) == ("running", "w", None)
        for done in (1, 2):
            await backend.set_progress("t", done)
            assert (await anext(states)).progress == Progress(done=done)
        await backend.store("t", TaskResult.success("t", [1, 2]))
        assert (await anext(states)).unwrap() == [1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(states)
        assert backend.waiting == 0

    async def test_what_is_finished_is_shown_once(self, backend: BaseResultBackend) -> None:
        """That one state, and nothing else."""
        await backend.store("t", TaskResult.success("t", 1))
        assert [state.unwrap() async for state in backend.watch("t")] == [1]

    async def test_watching_begins_before_the_task(self, backend: BaseResultBackend) -> None:
        """The first state is the first one that is stored."""
        states = backend.watch("t")
        first = asyncio.ensure_future(anext(states))
        await asyncio.sleep(0)
        await backend.store("t", TaskResult.running("t"))
        assert (await first).status is TaskStatus.RUNNING
        await states.aclose()
        assert backend.waiting == 0

    async def test_watching_ends_with_the_record(self, make_backend: MakeBackend) -> None:
        """Deleted, expired, closed: as for a wait; waits for the same task work alongside."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            for name in ("d", "e", "c"):
                await backend.store(name, TaskResult.running(name), ttl=1 if name == "e" else None)
            watches = {name: backend.watch(name) for name in ("d", "e", "c")}
            for states in watches.values():
                await anext(states)
            rest = {name: asyncio.ensure_future(anext(states)) for name, states in watches.items()}
            wait = asyncio.ensure_future(backend.wait_for("c", FOR_EVER))
            await asyncio.sleep(0)
            await backend.delete("d")
            with pytest.raises(ResultDeleted):
                await rest["d"]
            clock.advance(2)
            await backend.purge_expired()
            with pytest.raises(ResultExpired):
                await rest["e"]
        for ended in (rest["c"], wait):
            with pytest.raises(BackendClosed):
                await ended

    async def test_waits_and_watchers_share_a_task(self, backend: BaseResultBackend) -> None:
        """One that leaves takes nothing away from the others."""
        states, others = backend.watch("t"), backend.watch("t")
        pending = [asyncio.ensure_future(anext(each)) for each in (states, others)]
        wait = asyncio.ensure_future(backend.wait_for("t", FOR_EVER))
        await asyncio.sleep(0)
        assert backend.waiting == 1
        pending[0].cancel()
        await asyncio.wait(pending[:1])
        await backend.store("t", TaskResult.running("t"))
        assert (await pending[1]).status is TaskStatus.RUNNING
        await backend.store("t", TaskResult.success("t", 1))
        assert (await wait).unwrap() == 1
        assert [state.unwrap() async for state in others] == [1]
        assert backend.waiting == 0

    async def test_deleted_and_stored_anew(self, backend: BaseResultBackend) -> None:
        """A new record repeats the versions of the old one; its end is shown, or else the deletion."""
        await backend.store("t", TaskResult.running("t"))
        states = backend.watch("t")
        assert (await anext(states)).status == "running"
        await backend.delete("t")
        await backend.store("t", TaskResult.success("t", 1))
        async with asyncio.timeout(FOR_EVER):
            try:
                assert (await anext(states)).unwrap() == 1
            except ResultDeleted:
                assert [state.unwrap() async for state in backend.watch("t")] == [1]

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_no_final_state_is_missed(self, make_backend: MakeBackend, seed: int) -> None:
        """Tasks in any order, lost hints: states only move forward, and the last one is shown."""

        async def live() -> None:
            backend = make_backend(recheck_interval=0.2)
            wrap_engine(backend, lambda engine: UnreliableHints(engine, seed))
            async with backend:
                watches = [asyncio.ensure_future(_seen(backend, f"t{n}")) for n in range(20)]
                await asyncio.gather(*(_work(backend, f"t{n}") for n in range(20)))
                async with asyncio.timeout(FOR_EVER):
                    for n, marks in enumerate(await asyncio.gather(*watches)):
                        versions = [version for version, _ in marks]
                        assert versions == sorted(versions)
                        assert marks[-1] == (3, f"t{n}")
                assert backend.waiting == 0

        await in_any_order(seed, live)


class WatchStatusContract(Contract):
    async def test_ids_come_as_they_are_stored(self, make_backend: MakeBackend) -> None:
        """In the given statuses, each time, from the call on, even if the iteration begins later."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            await backend.store("before", TaskResult.failed("before", ValueError()))
            clock.advance(1)
            entering = backend.watch_status([TaskStatus.FAILED, TaskStatus.RETRYING])
            for name in ("a", "b"):
                await backend.store(name, TaskResult.running(name))
                await backend.store(name, TaskResult.retrying(name, ValueError()))
                await backend.set_progress(name, 1)
                await backend.store(name, TaskResult.failed(name, ValueError()))
                clock.advance(1)
            async with asyncio.timeout(FOR_EVER):
                found = [await anext(entering) for _ in range(4)]
            assert found == ["a", "a", "b", "b"]
            last = asyncio.ensure_future(anext(entering))
            await asyncio.sleep(0)
            await backend.store("c", TaskResult.success("c"))
            assert await backend.store("a", TaskResult.failed("a", ValueError())) is False
            await backend.store("d", TaskResult.failed("d", ValueError()))
            assert await last == "d"
            await entering.aclose()
            assert backend.waiting == 0

    async def test_no_status_and_any(self, backend: BaseResultBackend) -> None:
        """Without statuses it ends at once, with all it sees every store; close ends the iteration."""
        assert [name async for name in backend.watch_status([])] == []
        entering = backend.watch_status()
        first = asyncio.ensure_future(anext(entering))
        await asyncio.sleep(0)
        await backend.store("t", TaskResult.pending("t"))
        assert await first == "t"
        rest = asyncio.ensure_future(anext(entering))
        await asyncio.sleep(0)
        await backend.close()
        with pytest.raises(BackendClosed):
            await rest

    async def test_bad_statuses(self, backend: BaseResultBackend) -> None:
        """Named at the call, before any iteration."""
        with pytest.raises(ValueError, match="statuses"):
            backend.watch_status(["done"])  # type: ignore[list-item]  # on purpose

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_ids_are_found_though_hints_get_lost(self, make_backend: MakeBackend, seed: int) -> None:
        """Lost or late: every store is shown exactly once. Only doubled hints may show one twice."""

        async def live() -> None:
            backend = make_backend(recheck_interval=0.2)
            wrap_engine(backend, lambda engine: UnreliableHints(engine, seed, doubled=0))
            async with backend:
                watching = asyncio.ensure_future(_entered(backend, 40))
                await asyncio.sleep(0)
                await asyncio.gather(*(_work(backend, f"t{n}") for n in range(20)))
                async with asyncio.timeout(FOR_EVER):
                    found = await watching
                assert sorted(found) == sorted([f"t{n}" for n in range(20)] * 2)

        await in_any_order(seed, live)


async def _entered(backend: BaseResultBackend, number: int) -> list[str]:
    """The first ``number`` ids that are stored as running or success."""
    found: list[str] = []
    async for name in backend.watch_status([TaskStatus.RUNNING, TaskStatus.SUCCESS]):
        found.append(name)
        if len(found) == number:
            break
    return found


async def _work(backend: BaseResultBackend, name: str) -> None:
    await backend.store(name, TaskResult.pending(name))
    await backend.store(name, TaskResult.running(name))
    await asyncio.gather(*(backend.set_progress(name, done) for done in range(1, 4)))
    await backend.store(name, TaskResult.success(name, name))


async def _seen(backend: BaseResultBackend, name: str) -> list[tuple[int, Any]]:
    """Version and value of each state that a watcher is shown."""
    return [
        (state.version, state.result if state.is_finished else None) async for state in backend.watch(name)
    ]
