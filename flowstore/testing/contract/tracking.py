"""The contract of track: what is stored for a block, what is kept of an earlier record, who is the parent."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    FamilyConflict,
    Progress,
    TaskResult,
    TaskStatus,
    TrackedTask,
    current_task,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.support import START, stored, waiting

MINUTE = timedelta(minutes=1)


async def fail(tracked: TrackedTask, error: BaseException) -> None:
    async with tracked:
        tracked.result = "lost"
        raise error


class TrackContract(Contract):
    async def test_success(self, make_backend: MakeBackend) -> None:
        """Running inside the block, then success with the assigned result, which wakes a waiter."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            waiter = await waiting(backend, "t")
            async with backend.track("t", name="add", worker_id="w", labels=["x"]) as task:
                running = await stored(backend, "t")
                assert (running.status, running.started_at) == (TaskStatus.RUNNING, START)
                assert (task.task_id, task.is_stored, task.result) == ("t", True, None)
                clock.advance(60)
                task.result = {"sum": (1, 2)}
            assert task.is_stored
            done = await waiter
            assert done.unwrap() == {"sum": (1, 2)}
            assert (done.task_name, done.worker_id, done.labels) == ("add", "w", frozenset("x"))
            assert (done.submitted_at, done.started_at, done.finished_at) == (START, START, START + MINUTE)
            assert [step.status.value for step in await backend.history.of("t")] == ["running", "success"]

    async def test_failure(self, backend: BaseResultBackend) -> None:
        """The exception propagates unchanged, without a note, and is stored with cause and traceback."""
        error = ValueError("why")
        error.__cause__ = KeyError("cause")
        with pytest.raises(ValueError, match="why") as caught:
            await fail(backend.track("t"), error)
        assert caught.value is error
        assert not hasattr(error, "__notes__")
        failed = await stored(backend, "t")
        assert (failed.status, failed.result) == (TaskStatus.FAILED, None)
        assert failed.error is not None
        assert [link.type for link in failed.error.chain()] == ["ValueError", "KeyError"]
        assert "raise error" in str(failed.error.traceback)

    async def test_what_stands_is_kept(self, make_backend: MakeBackend) -> None:
        """Arguments, submission time, name, parent and labels of the producer; new labels are added."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            pending: TaskResult = TaskResult.pending(
                "t", at=START, task_name="add", args=(1,), kwargs={"k": (2,)}, parent_id="p", labels={"a"}
            )
            await backend.store("t", pending)
            clock.advance(60)
            async with backend.track("t", worker_id="w", labels=["b"]):
                pass
            done = await stored(backend, "t")
            assert (done.args, done.kwargs, done.task_name) == ((1,), {"k": (2,)}, "add")
            assert (done.parent_id, done.labels) == ("p", frozenset("ab"))
            assert (done.submitted_at, done.started_at) == (START, START + MINUTE)
            clock.advance(60)
            async with backend.track("t", name="other", retries=1):
                running = await stored(backend, "t")
            assert (running.task_name, running.args, running.submitted_at) == ("other", (1,), START)
            assert (running.started_at, running.finished_at) == (START + 2 * MINUTE, None)
            assert (running.worker_id, running.labels) == (None, frozenset("ab"))

    async def test_error_and_progress_of_an_earlier_try_are_not(self, backend: BaseResultBackend) -> None:
        """A new attempt begins without them."""
        retrying = TaskResult.retrying("t", ValueError("first"), progress=Progress(done=3))
        await backend.store("t", retrying)
        async with backend.track("t", retries=1):
            running = await stored(backend, "t")
            assert (running.error, running.progress, running.retries) == (None, None, 1)

    @pytest.mark.parametrize("retries", [0, 3])
    async def test_the_try_that_stands_goes_on(self, backend: BaseResultBackend, retries: int) -> None:
        """Also after requeue; a retrying task is in its next attempt; late writes of the one before lose."""
        await backend.store("t", TaskResult.pending("t", retries=retries))
        async with backend.track("t", worker_id="dead") as zombie:
            assert (zombie.retries, zombie.is_stored) == (retries, True)
            assert await backend.workers.requeue("dead") == ["t"]
            async with backend.track("t", worker_id="w") as requeued:
                assert (requeued.retries, requeued.is_stored) == (retries + 1, True)
                assert await requeued.progress(1) is True
                assert await zombie.progress(2) is False
                await backend.store("t", TaskResult.retrying(await stored(backend, "t"), ValueError()))
                async with backend.track("t") as last:
                    last.result = "last"
        assert (zombie.is_stored, requeued.is_stored, last.is_stored) == (False, False, True)
        done = await stored(backend, "t")
        assert (done.unwrap(), done.retries) == ("last", retries + 2)

    async def test_a_block_is_entered_once(self, backend: BaseResultBackend) -> None:
        """The first outcome stands."""
        async with backend.track("t") as task:
            task.result = 1
        with pytest.raises(RuntimeError, match="'t': entered twice"):
            async with task:
                raise AssertionError("it runs")
        assert (await stored(backend, "t")).unwrap() == 1

    async def test_finished_by_somebody_else(self, backend: BaseResultBackend) -> None:
        """Their outcome stands, and is_stored shows it, whether the block succeeds or fails."""
        async with backend.track("t") as task:
            await backend.store("t", TaskResult.cancelled("t"))
            task.result = "late"
        assert task.is_stored is False
        async with backend.track("t") as task:
            assert task.is_stored is False
        assert task.is_stored is False
        failing = backend.track("t")
        with pytest.raises(ValueError, match="late"):
            await fail(failing, ValueError("late"))
        assert failing.is_stored is False
        assert [step.status.value for step in await backend.history.of("t")] == ["running", "cancelled"]

    async def test_taken_over_by_a_later_try(self, backend: BaseResultBackend) -> None:
        """The late outcome of the earlier attempt is refused, that of the later one stands."""
        async with backend.track("t") as zombie:
            async with backend.track("t", retries=1) as later:
                later.result = "later"
            zombie.result = "zombie"
        assert (zombie.is_stored, later.is_stored) == (False, True)
        done = await stored(backend, "t")
        assert (done.unwrap(), done.retries, done.parent_id) == ("later", 1, None)

    async def test_nested_blocks_are_a_family(self, backend: BaseResultBackend) -> None:
        """The enclosing task is the parent, also across create_task, but not once its block has ended."""

        async def step(task_id: str) -> None:
            async with backend.track(task_id), backend.track(f"{task_id} inner"):
                await asyncio.sleep(0)
                assert current_task(backend) == f"{task_id} inner"
            assert current_task(backend) == "r"

        async with backend.track("r"):
            async with asyncio.TaskGroup() as group:
                for n in range(3):
                    group.create_task(step(f"s{n}"))
            with pytest.raises(ValueError, match="no"):
                async with backend.track("failing"):
                    raise ValueError("no")
            async with backend.track("last"):
                pass
        assert current_task(backend) is None
        async with backend.track("next"):
            pass
        found = await backend.get_many(["s0", "s2", "s1 inner", "failing", "last", "next", "r"])
        assert {name: task.parent_id for name, task in found.items()} == {
            "s0": "r",
            "s2": "r",
            "s1 inner": "s1",
            "failing": "r",
            "last": "r",
            "next": None,
            "r": None,
        }
        assert found["s1 inner"].root_id == "r"
        assert sum((await backend.count_by_status(root_id="r")).values()) == 9

    async def test_parents_that_are_given(self, backend: BaseResultBackend) -> None:
        """An argument wins over the stored parent, that over the enclosing task; a conflict is refused."""
        await backend.store("known", TaskResult.pending("known", parent_id="p"))
        async with backend.track("r"):
            async with backend.track("known"), backend.track("given", parent_id="q"):
                pass
            with pytest.raises(FamilyConflict, match="known"):
                async with backend.track("known", parent_id="q", retries=1):
                    pytest.fail("the block must not run")
        found = await backend.get_many(["known", "given"])
        assert {name: task.parent_id for name, task in found.items()} == {"known": "p", "given": "q"}

    async def test_tasks_of_another_backend_are_no_parents(self, make_backend: MakeBackend) -> None:
        """Neither directly around it nor further out."""
        async with make_backend() as one, make_backend() as other:
            async with one.track("r"), other.track("x"), one.track("t"):
                pass
            assert (await stored(one, "t")).parent_id == "r"
            assert (await stored(other, "x")).parent_id is None

    async def test_three_trips(self, backend: BaseResultBackend) -> None:
        """One read of what stands, and a store at each end."""
        await backend.open()
        trips = count_trips(backend)
        async with backend.track("t"):
            pass
        assert trips == {"read": 1, "write": 2}

    async def test_progress_in_a_thread(self, backend: BaseResultBackend) -> None:
        """There it is called without await, and written when it returns; an error of the storage is False."""

        def work(tracked: TrackedTask) -> list[bool]:
            return [bool(tracked.progress(done, 3)) for done in (1, 2)]

        async with backend.track("t") as tracked:
            assert await asyncio.to_thread(work, tracked) == [True, True]
            assert (await stored(backend, "t")).progress == Progress(done=2, total=3)
            assert await tracked.progress(3, 3) is True
            async with backend.track("t", retries=1):
                assert await asyncio.to_thread(work, tracked) == [False, False]
        assert (await stored(backend, "t")).retries == 1

    async def test_bad_arguments_of_track(self, backend: BaseResultBackend) -> None:
        """Each is named before the block begins; nothing is stored."""
        bad: list[tuple[dict[str, Any], type[Exception], str]] = [
            ({"task_id": ""}, ValueError, "task_id"),
            ({"task_id": None}, TypeError, "task_id"),
            ({"name": ""}, ValueError, "^name"),
            ({"name": 7}, TypeError, "^name"),
            ({"worker_id": "x" * 513}, ValueError, "worker_id"),
            ({"parent_id": b"p"}, TypeError, "parent_id"),
            ({"retries": -1}, ValueError, "retries"),
            ({"retries": True}, TypeError, "retries"),
            ({"retries": 2**31}, ValueError, "retries"),
            ({"labels": "abc"}, TypeError, "labels"),
            ({"labels": [""]}, ValueError, "labels"),
            ({"labels": None}, TypeError, "labels"),
        ]
        for arguments, error, name in bad:
            with pytest.raises(error, match=name):
                backend.track(**{"task_id": "t", **arguments})
        assert (await backend.page()).items == []
