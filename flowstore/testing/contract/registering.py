"""The contract of workers: which are registered, and when each was last seen."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    CorruptRecord,
    UnknownWorker,
    Worker,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.storing import BAD_IDS, ODD_IDS
from flowstore.testing.insides import meanwhile, plant_kept
from flowstore.testing.support import START


def names(workers: list[Worker]) -> list[str]:
    return [worker.worker_id for worker in workers]


class WorkersContract(Contract):
    async def test_registered_worker_comes_back_whole(self, make_backend: MakeBackend) -> None:
        """Every field; by default this process on this host. An unknown worker is None."""
        async with make_backend(clock=ManualClock()) as backend:
            assert await backend.workers.get("w1") is None
            assert await backend.workers.all() == []
            w1 = await backend.workers.register("w1")
            here, pid = socket.gethostname(), os.getpid()
            assert w1 == Worker(worker_id="w1", host=here, pid=pid, started_at=START, last_seen=START)
            w2 = await backend.workers.register("w2", host="h", pid=7, parent_id="w1", labels=["x", "y", "x"])
            assert (w2.host, w2.pid, w2.parent_id, w2.labels) == ("h", 7, "w1", frozenset({"x", "y"}))
            assert await backend.workers.get("w1") == w1
            assert await backend.workers.get("w2") == w2
            assert await backend.workers.all() == [w1, w2]

    async def test_registration_is_idempotent(self, make_backend: MakeBackend) -> None:
        """The same process keeps started_at and replaces the other fields; another process starts now."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.workers.register("w", host="h", pid=7, labels=["old"])
            clock.advance(10)
            again = await backend.workers.register("w", host="h", pid=7, parent_id="p")
            assert (again.started_at, again.last_seen) == (START, START + timedelta(seconds=10))
            assert (again.parent_id, again.labels) == ("p", frozenset())
            assert await backend.workers.all() == [again]
            clock.advance(10)
            other_pid = await backend.workers.register("w", host="h", pid=8)
            assert other_pid.started_at == START + timedelta(seconds=20)
            clock.advance(10)
            other_host = await backend.workers.register("w", host="g", pid=8)
            assert other_host.started_at == START + timedelta(seconds=30)
            assert await backend.workers.all() == [other_host]

    async def test_concurrent_registrations_are_one_worker(self, backend: BaseResultBackend) -> None:
        """20 at once by one process agree on when it started, and so does what is stored."""
        made = await asyncio.gather(*(backend.workers.register("w", host="h", pid=7) for _ in range(20)))
        kept = await backend.workers.get("w")
        assert kept is not None
        assert {worker.started_at for worker in made} == {kept.started_at}
        assert names(await backend.workers.all()) == ["w"]

    async def test_registration_that_meets_another(self, make_backend: MakeBackend) -> None:
        """By the same process, between read and write: the first one determines started_at."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:

            async def register_first() -> None:
                await backend.workers.register("w", host="h", pid=7)
                clock.advance(5)

            meanwhile(backend, "items", register_first)
            worker = await backend.workers.register("w", host="h", pid=7)
            assert (worker.started_at, worker.last_seen) == (START, START + timedelta(seconds=5))
            assert await backend.workers.all() == [worker]

    async def test_heartbeat_that_meets_another_write(self, make_backend: MakeBackend) -> None:
        """The registration of a new process is not undone, and after a removal the worker stays away."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.workers.register("w", host="h", pid=7)
            meanwhile(backend, "items", lambda: backend.workers.register("w", host="h", pid=8))
            await backend.workers.heartbeat("w")
            worker = await backend.workers.get("w")
            assert worker is not None
            assert worker.pid == 8
            meanwhile(backend, "items", lambda: backend.workers.delete("w"))
            with pytest.raises(UnknownWorker):
                await backend.workers.heartbeat("w")
            assert await backend.workers.all() == []

    async def test_heartbeat_moves_last_seen_only(self, make_backend: MakeBackend) -> None:
        """It moves last_seen of that worker and of no other."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            before = await backend.workers.register("w", host="h", pid=7, parent_id="p", labels=["x"])
            other = await backend.workers.register("v")
            clock.advance(2.5)
            await backend.workers.heartbeat("w")
            seen = before.model_copy(update={"last_seen": START + timedelta(seconds=2.5)})
            assert await backend.workers.all() == [other, seen]

    async def test_heartbeat_of_an_unknown_worker(self, backend: BaseResultBackend) -> None:
        """Raises UnknownWorker, whether it never registered or was removed, and brings none back."""
        with pytest.raises(UnknownWorker, match="'w' is not registered"):
            await backend.workers.heartbeat("w")
        await backend.workers.register("w")
        assert await backend.workers.delete("w") is True
        assert await backend.workers.delete("w") is False
        with pytest.raises(UnknownWorker):
            await backend.workers.heartbeat("w")
        assert await backend.workers.all() == []

    async def test_concurrent_heartbeats(self, backend: BaseResultBackend) -> None:
        """All are recorded; one that meets the removal ends with UnknownWorker, and no worker comes back."""
        await backend.workers.register("w")
        await asyncio.gather(*(backend.workers.heartbeat("w") for _ in range(20)))
        beats = [backend.workers.heartbeat("w") for _ in range(10)]
        more = [backend.workers.heartbeat("w") for _ in range(10)]
        *outcomes, _ = await asyncio.gather(
            *beats, *more, backend.workers.delete("w"), return_exceptions=True
        )
        assert all(outcome is None or isinstance(outcome, UnknownWorker) for outcome in outcomes)
        assert await backend.workers.get("w") is None

    async def test_odd_worker_ids_are_just_ids(self, backend: BaseResultBackend) -> None:
        """Kept apart, and listed in order."""
        for odd in ODD_IDS:
            await backend.workers.register(odd, host=odd, labels=[odd])
        assert names(await backend.workers.all()) == sorted(ODD_IDS)
        for odd in ODD_IDS:
            worker = await backend.workers.get(odd)
            assert worker is not None
            assert (worker.host, worker.labels) == (odd, frozenset([odd]))
            await backend.workers.heartbeat(odd)
            assert await backend.workers.delete(odd) is True
        assert await backend.workers.all() == []

    @pytest.mark.parametrize("special", ["%", "_", "*", "?", "[x]", "\\", ".", "^", "$", "\0", "\N{SNAKE}"])
    async def test_find_workers_takes_text_literally(self, backend: BaseResultBackend, special: str) -> None:
        """Wildcards and escapes of other languages only find themselves, anywhere in the id."""
        for name in ("ab", "axb", "a-b", "xx"):
            await backend.workers.register(name)
        expected = sorted([f"a{special}b", f"{special}b", f"a{special}", special])
        for name in expected:
            await backend.workers.register(name)
        assert names(await backend.workers.find(special)) == expected
        assert names(await backend.workers.find(f"a{special}b")) == [f"a{special}b"]

    async def test_find_workers_by_a_part_of_the_id(self, backend: BaseResultBackend) -> None:
        """In the order of ids; upper and lower case are distinct."""
        for name in ("host-2:worker", "Host-1:worker", "host-1:worker", "other"):
            await backend.workers.register(name)
        assert names(await backend.workers.find("host-")) == ["host-1:worker", "host-2:worker"]
        assert names(await backend.workers.find("1:w")) == ["Host-1:worker", "host-1:worker"]
        assert await backend.workers.find("nobody") == []

    async def test_stale_workers(self, make_backend: MakeBackend) -> None:
        """Silent for more than the given time, not exactly as long; the longest silent first."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for name in ("c", "a", "b"):
                await backend.workers.register(name)
                clock.advance(10)
            assert names(await backend.workers.stale(0)) == ["c", "a", "b"]
            assert names(await backend.workers.stale(10)) == ["c", "a"]
            assert names(await backend.workers.stale(timedelta(seconds=20))) == ["c"]
            assert await backend.workers.stale(30) == []
            await backend.workers.heartbeat("c")
            assert names(await backend.workers.stale(9.999)) == ["a", "b"]
            assert await backend.workers.stale(timedelta(days=36_500)) == []

    async def test_unreadable_worker(self, backend: BaseResultBackend) -> None:
        """The error names the worker; the others stay readable, and it can be removed."""
        await backend.workers.register("good")
        for bad in (b"[]", b"{}", b'{"host":"h","pid":7,"started_at":"soon"}'):
            await plant_kept(backend, "worker", "", "bad", bad)
            for call in (backend.workers.get("bad"), backend.workers.all(), backend.workers.register("bad")):
                with pytest.raises(CorruptRecord, match="stored worker 'bad' cannot be read"):
                    await call
            assert await backend.workers.get("good") is not None
            assert await backend.workers.delete("bad") is True

    async def test_clear_leaves_the_workers(self, backend: BaseResultBackend) -> None:
        """They are still running, and their next heartbeat must find them."""
        await backend.workers.register("w")
        assert await backend.clear() == 0
        assert await backend.purge_expired() == 0
        await backend.workers.heartbeat("w")

    @pytest.mark.parametrize(("bad", "error"), BAD_IDS)
    async def test_bad_worker_ids(self, backend: BaseResultBackend, bad: Any, error: type[Exception]) -> None:
        """Every call names the argument, and nothing is registered."""
        for call in (
            backend.workers.register,
            backend.workers.heartbeat,
            backend.workers.get,
            backend.workers.delete,
            backend.workers.requeue,
            backend.workers.fail_lost,
        ):
            with pytest.raises(error, match=r"^worker_id: "):
                await call(bad)
        with pytest.raises(error, match=r"^worker_id: "):
            backend.workers.running_tasks(bad)
        with pytest.raises(error, match=r"^text: "):
            await backend.workers.find(bad)
        assert await backend.workers.all() == []

    async def test_bad_arguments_of_workers(self, backend: BaseResultBackend) -> None:
        """They are named, and nothing is registered."""
        fields: list[tuple[dict[str, Any], type[Exception]]] = [
            ({"host": ""}, ValueError),
            ({"host": 1}, TypeError),
            ({"pid": 0}, ValueError),
            ({"pid": True}, TypeError),
            ({"pid": "7"}, TypeError),
            ({"parent_id": ""}, ValueError),
            ({"parent_id": 7}, TypeError),
            ({"labels": "gpu"}, TypeError),
            ({"labels": 7}, TypeError),
            ({"labels": ["x", 7]}, TypeError),
            ({"labels": [""]}, ValueError),
        ]
        for field, error in fields:
            with pytest.raises(error, match=f"^{next(iter(field))}: "):
                await backend.workers.register("w", **field)
        ages: list[tuple[Any, type[Exception]]] = [
            (-1, ValueError),
            (timedelta(seconds=-1), ValueError),
            (float("nan"), ValueError),
            (float("inf"), ValueError),
            (10**400, ValueError),
            (True, TypeError),
            ("60", TypeError),
            (None, TypeError),
        ]
        for age, error in ages:
            with pytest.raises(error, match=r"^older_than: "):
                await backend.workers.stale(age)
        assert await backend.workers.all() == []

    async def test_workers_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.workers.register("w"),
            backend.workers.heartbeat("w"),
            backend.workers.get("w"),
            backend.workers.all(),
            backend.workers.find("w"),
            backend.workers.delete("w"),
            backend.workers.stale(1),
            backend.workers.requeue("w"),
            backend.workers.fail_lost("w"),
        ):
            with pytest.raises(BackendClosed):
                await call
        with pytest.raises(BackendClosed):
            await anext(backend.workers.running_tasks("w"))
