"""The contract of running workers: heartbeats that tell what is under way, death, takeover, and draining."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    RunningWorker,
    StorageUnavailable,
    TaskResult,
    Worker,
    WorkerStopped,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.insides import faulty, listening, plant_kept
from flowstore.testing.support import START, seen, stored, waiting

RARELY = 3_600.0
"""Seconds between heartbeats that a test sends by itself, or does without."""


async def registered(backend: BaseResultBackend, worker_id: str = "w") -> Worker:
    worker = await backend.workers.get(worker_id)
    assert worker is not None
    return worker


async def heartbeat_after(backend: BaseResultBackend, last: Worker) -> None:
    while (await registered(backend)).last_seen == last.last_seen:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.001)


async def until_stored(backend: BaseResultBackend, *task_ids: str) -> None:
    while len(await backend.get_many(task_ids)) < len(task_ids):  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0.001)


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110  # what is awaited happens in the background
        await asyncio.sleep(0.001)


async def work(worker: RunningWorker, task_id: str, end: asyncio.Event, **options: Any) -> None:
    async with worker.track(task_id, **options):
        await end.wait()


class CrewContract(Contract):
    async def test_worker_that_runs(self, make_backend: MakeBackend) -> None:
        """It is registered while it runs, with what it says of itself, and gone afterwards."""
        async with make_backend(clock=ManualClock()) as backend:
            options: dict[str, Any] = {"slots": 4, "info": {"version": "1.2"}, "labels": ["gpu"]}
            async with backend.worker("w", every=RARELY, parent_id="p", **options) as worker:
                known = await registered(backend)
                assert (known.started_at, known.last_seen, known.as_of) == (START, START, START)
                assert (known.slots, known.labels) == (4, frozenset({"gpu"}))
                assert known.info == {"version": "1.2"}
                assert (known.parent_id, known.running, known.tasks) == ("p", 0, ())
                assert (worker.worker_id, worker.tasks, worker.is_draining) == ("w", [], False)
                worker.info = {"version": "1.3"}
                await worker.beat()
                assert (await registered(backend)).info == {"version": "1.3"}
            assert await backend.workers.all() == []

    async def test_heartbeat_tells_what_is_under_way(self, make_backend: MakeBackend) -> None:
        """Of ``worker.track`` and of ``backend.track``: from before a block begins until it is stored."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend, backend.worker("w", every=RARELY) as worker:
            async with worker.track("b") as task, backend.track("a", worker_id="w"):
                assert (await stored(backend, "b")).worker_id == "w"
                clock.advance(5)
                await worker.beat()
                known = await registered(backend)
                assert (known.running, known.tasks, known.last_seen) == (2, ("a", "b"), known.as_of)
                assert known.started_at == START
                assert task.is_stored
            await worker.beat()
            assert (await registered(backend)).tasks == ()

    async def test_heartbeat_is_one_small_write(self, backend: BaseResultBackend) -> None:
        """Whatever the number of tasks; with very many of them it says only how many there are."""
        async with backend.worker("w", every=RARELY) as worker:
            end = asyncio.Event()
            blocks = [asyncio.ensure_future(work(worker, f"t{n}", end)) for n in range(1_001)]
            await until(lambda: len(worker.tasks) == 1_001)
            trips = count_trips(backend)
            await worker.beat()
            assert trips["put"] == 1
            assert not trips["items"]
            known = await registered(backend)
            assert (known.running, known.tasks) == (1_001, None)
            end.set()
            await asyncio.gather(*blocks)

    async def test_block_costs_no_more_trips(self, backend: BaseResultBackend) -> None:
        """With a worker around it: a read, and a write at each end."""
        async with backend.worker("w", every=RARELY) as worker:
            trips = count_trips(backend)
            async with worker.track("t"):
                pass
            assert trips == {"read": 1, "write": 2}

    async def test_heartbeats_come_by_themselves(self, backend: BaseResultBackend) -> None:
        """Every so many seconds, give or take."""
        async with backend.worker("w", every=0.01):
            await heartbeat_after(backend, await registered(backend))

    async def test_heartbeats_ride_out_an_outage(self, make_backend: MakeBackend) -> None:
        """They go on afterwards, also if an answer was lost; nothing is told to the blocks."""
        backend = make_backend(recheck_interval=NO_RECHECK)
        faults = faulty(backend)
        async with backend, backend.worker("w", every=0.01) as worker, worker.track("t") as task:
            for is_carried_out in (False, True):
                trouble = StorageUnavailable("injected")
                faults.fail("put", error=trouble, times=2, is_carried_out=is_carried_out)
                calls = faults.calls["put"]
                await until(lambda calls=calls: faults.calls["put"] > calls + 3)  # type: ignore[misc]  # mypy types no lambda with a default
            await heartbeat_after(backend, await registered(backend))
            assert (worker.is_lost, task.cancel_requested) == (False, False)

    async def test_worker_that_was_declared_dead(self, backend: BaseResultBackend) -> None:
        """Its blocks are told, their outcomes come too late, and it registers again."""

        async def declare_dead() -> None:
            await listening(backend, "t")
            assert await backend.workers.requeue("w") == ["t"]
            assert await backend.workers.delete("w") is True
            await worker.beat()

        async with backend.worker("w", every=RARELY) as worker:
            async with worker.track("t", interrupt=True, on_cancel="requeue") as task:
                operating = asyncio.ensure_future(declare_dead())
                await asyncio.sleep(600)
            await operating
            assert task.cancel_request is not None
            assert task.cancel_request.reason == "the task is pending in attempt 1"
            assert task.is_stored is False
            assert (await registered(backend)).worker_id == "w"
            assert [step.status.value for step in await backend.history.of("t")] == ["running", "pending"]
            async with worker.track("t") as again:
                again.result = "flour"
            assert (await stored(backend, "t")).unwrap() == "flour"

    async def test_worker_that_was_declared_dead_by_mistake(self, backend: BaseResultBackend) -> None:
        """Nobody has taken its tasks: they go on, and it registers again."""
        async with backend.worker("w", every=RARELY) as worker:
            async with worker.track("t", interrupt=True) as task:
                await listening(backend, "t")
                await backend.workers.delete("w")
                await worker.beat()
                assert (await registered(backend)).tasks == ("t",)
                waiter = await waiting(backend, "u")
                await seen(backend, waiter, "u")
                waiter.cancel()
                assert task.cancel_requested is False
                task.result = "flour"
            assert (await stored(backend, "t")).unwrap() == "flour"

    async def test_worker_whose_id_is_taken_over(self, backend: BaseResultBackend) -> None:
        """Another process registered with it: the first one takes no more tasks, and leaves the other be."""
        async with backend.worker("w", every=RARELY) as worker:
            async with worker.track("t") as task:
                other = await backend.workers.register("w", host="elsewhere", pid=7)
                await worker.beat()
                assert worker.is_lost
                task.result = "flour"
            assert (await stored(backend, "t")).unwrap() == "flour"
            with pytest.raises(WorkerStopped, match="another process has registered with this id"):
                worker.track("u")
        assert (await registered(backend)).pid == other.pid == 7

    async def test_registration_that_is_damaged_or_changed(self, backend: BaseResultBackend) -> None:
        """The next heartbeat mends it, and says everything, also after a plain one."""
        async with backend.worker("w", every=RARELY, slots=3) as worker:
            for change in (
                lambda: plant_kept(backend, "worker", "", "w", b"{}", is_checked=False),
                lambda: backend.workers.heartbeat("w"),
                lambda: backend.workers.register("w"),
            ):
                await change()
                async with backend.track("t", worker_id="w", retries=0):
                    await worker.beat()
                    known = await registered(backend)
                    assert (known.tasks, known.slots, worker.is_lost) == (("t",), 3, False)

    async def test_worker_that_takes_over(self, backend: BaseResultBackend) -> None:
        """A new process with the id of one that was killed: what that one left is not among its tasks."""
        await backend.workers.register("w", host="elsewhere", pid=7)
        await backend.store("left", TaskResult.running("left", at=START, worker_id="w"))
        async with backend.worker("w", every=RARELY) as worker:
            assert (await registered(backend)).tasks == ()
            await worker.beat()
            assert (await backend.workers.sweep()).requeued == ["left"]

    async def test_misuse_of_workers(self, backend: BaseResultBackend) -> None:
        """Refused by name; one id runs once in a backend, and one object once."""
        bad: list[tuple[dict[str, Any], str]] = [
            ({"worker_id": ""}, "worker_id: "),
            ({"worker_id": 7}, "worker_id: "),
            ({"every": 0}, "every: "),
            ({"every": True}, "every: "),
            ({"slots": 0}, "slots: "),
            ({"info": {"a": [1]}}, r"info\['a'\]: "),
            ({"labels": "gpu"}, "labels: "),
            ({"parent_id": ""}, "parent_id: "),
        ]
        for options, message in bad:
            with pytest.raises((TypeError, ValueError), match=f"^{message}"):
                backend.worker(**{"worker_id": "w", **options})
        async with backend.worker("w", every=RARELY) as worker:
            with pytest.raises(ValueError, match="runs in this backend already"):
                await backend.worker("w").__aenter__()
            with pytest.raises(RuntimeError, match="entered twice"):
                await worker.__aenter__()
            with pytest.raises(ValueError, match=r"^worker_id: expected 'w', got 'v'"):
                worker.track("t", worker_id="v")
            with pytest.raises(ValueError, match=r"^grace: "):
                await worker.drain(grace=-1)
            assert worker.is_draining is False

    async def test_backend_that_is_closed_under_its_worker(self, make_backend: MakeBackend) -> None:
        """Its heartbeats stop, and leaving it raises BackendClosed."""
        backend = make_backend()
        async with backend:
            worker = await backend.worker("w", every=0.001).__aenter__()
        with pytest.raises(BackendClosed):
            await worker.__aexit__(None, None, None)
