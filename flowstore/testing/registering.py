"""The contract of workers and apps: who registered, and when each was last seen."""

from __future__ import annotations

import asyncio
import os
import socket
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BackendClosed, BaseResultBackend, CorruptRecord, NotSerializable, UnknownWorker, Worker
from flowstore.belongings import Put, Section
from flowstore.testing.storing import BAD_IDS, ODD_IDS
from flowstore.testing.support import START, Contract, MakeBackend, ManualClock, meanwhile
from flowstore.testing.values import SAMPLE_TYPES, Point, is_same


def names(workers: list[Worker]) -> list[str]:
    return [worker.worker_id for worker in workers]


class WorkersContract(Contract):
    async def test_registered_worker_comes_back_whole(self, make_backend: MakeBackend) -> None:
        """Every field; by default it is this process on this host. An unknown one is None."""
        async with make_backend(clock=ManualClock()) as backend:
            assert await backend.get_worker("w1") is None
            assert await backend.get_workers() == []
            w1 = await backend.register_worker("w1")
            here, pid = socket.gethostname(), os.getpid()
            assert w1 == Worker(worker_id="w1", host=here, pid=pid, started_at=START, last_seen=START)
            w2 = await backend.register_worker("w2", host="h", pid=7, parent_id="w1", labels=["x", "y", "x"])
            assert (w2.host, w2.pid, w2.parent_id, w2.labels) == ("h", 7, "w1", frozenset({"x", "y"}))
            assert await backend.get_worker("w1") == w1
            assert await backend.get_worker("w2") == w2
            assert await backend.get_workers() == [w1, w2]

    async def test_registration_is_idempotent(self, make_backend: MakeBackend) -> None:
        """The same process keeps when it started, and takes on the other fields; another starts anew."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.register_worker("w", host="h", pid=7, labels=["old"])
            clock.advance(10)
            again = await backend.register_worker("w", host="h", pid=7, parent_id="p")
            assert (again.started_at, again.last_seen) == (START, START + timedelta(seconds=10))
            assert (again.parent_id, again.labels) == ("p", frozenset())
            assert await backend.get_workers() == [again]
            clock.advance(10)
            other_pid = await backend.register_worker("w", host="h", pid=8)
            assert other_pid.started_at == START + timedelta(seconds=20)
            clock.advance(10)
            other_host = await backend.register_worker("w", host="g", pid=8)
            assert other_host.started_at == START + timedelta(seconds=30)
            assert await backend.get_workers() == [other_host]

    async def test_concurrent_registrations_are_one_worker(self, backend: BaseResultBackend) -> None:
        """20 at once by one process agree on when it started, as does what is kept."""
        made = await asyncio.gather(*(backend.register_worker("w", host="h", pid=7) for _ in range(20)))
        kept = await backend.get_worker("w")
        assert kept is not None
        assert {worker.started_at for worker in made} == {kept.started_at}
        assert names(await backend.get_workers()) == ["w"]

    async def test_registration_that_meets_another(self, make_backend: MakeBackend) -> None:
        """Of the same process, after the look at what stands: the first says when it started."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:

            async def register_first() -> None:
                await backend.register_worker("w", host="h", pid=7)
                clock.advance(5)

            meanwhile(backend, "kept", register_first)
            worker = await backend.register_worker("w", host="h", pid=7)
            assert (worker.started_at, worker.last_seen) == (START, START + timedelta(seconds=5))
            assert await backend.get_workers() == [worker]

    async def test_heartbeat_that_meets_another_write(self, make_backend: MakeBackend) -> None:
        """A registration by a new process is not undone, and after a removal the worker stays away."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.register_worker("w", host="h", pid=7)
            meanwhile(backend, "kept", lambda: backend.register_worker("w", host="h", pid=8))
            await backend.heartbeat("w")
            worker = await backend.get_worker("w")
            assert worker is not None
            assert worker.pid == 8
            meanwhile(backend, "kept", lambda: backend.remove_worker("w"))
            with pytest.raises(UnknownWorker):
                await backend.heartbeat("w")
            assert await backend.get_workers() == []

    async def test_heartbeat_moves_last_seen_only(self, make_backend: MakeBackend) -> None:
        """Of that worker and no other."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            before = await backend.register_worker("w", host="h", pid=7, parent_id="p", labels=["x"])
            other = await backend.register_worker("v")
            clock.advance(2.5)
            await backend.heartbeat("w")
            seen = before.model_copy(update={"last_seen": START + timedelta(seconds=2.5)})
            assert await backend.get_workers() == [other, seen]

    async def test_heartbeat_of_an_unknown_worker(self, backend: BaseResultBackend) -> None:
        """Says so, whether it never registered or was removed, and brings none back."""
        with pytest.raises(UnknownWorker, match="'w' is not registered"):
            await backend.heartbeat("w")
        await backend.register_worker("w")
        assert await backend.remove_worker("w") is True
        assert await backend.remove_worker("w") is False
        with pytest.raises(UnknownWorker):
            await backend.heartbeat("w")
        assert await backend.get_workers() == []

    async def test_concurrent_heartbeats(self, backend: BaseResultBackend) -> None:
        """All are heard; one that meets the removal ends with UnknownWorker, and nobody comes back."""
        await backend.register_worker("w")
        await asyncio.gather(*(backend.heartbeat("w") for _ in range(20)))
        beats = [backend.heartbeat("w") for _ in range(10)]
        more = [backend.heartbeat("w") for _ in range(10)]
        *outcomes, _ = await asyncio.gather(*beats, *more, backend.remove_worker("w"), return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, UnknownWorker) for outcome in outcomes)
        assert await backend.get_worker("w") is None

    async def test_odd_worker_ids_are_just_ids(self, backend: BaseResultBackend) -> None:
        """Kept apart, and listed in their order."""
        for odd in ODD_IDS:
            await backend.register_worker(odd, host=odd, labels=[odd])
        assert names(await backend.get_workers()) == sorted(ODD_IDS)
        for odd in ODD_IDS:
            worker = await backend.get_worker(odd)
            assert worker is not None
            assert (worker.host, worker.labels) == (odd, frozenset([odd]))
            await backend.heartbeat(odd)
            assert await backend.remove_worker(odd) is True
        assert await backend.get_workers() == []

    @pytest.mark.parametrize("special", ["%", "_", "*", "?", "[x]", "\\", ".", "^", "$", "\0", "\N{SNAKE}"])
    async def test_find_workers_takes_text_literally(self, backend: BaseResultBackend, special: str) -> None:
        """What is a wildcard or an escape somewhere else finds itself only, anywhere in the id."""
        for name in ("ab", "axb", "a-b", "xx"):
            await backend.register_worker(name)
        expected = sorted([f"a{special}b", f"{special}b", f"a{special}", special])
        for name in expected:
            await backend.register_worker(name)
        assert names(await backend.find_workers(special)) == expected
        assert names(await backend.find_workers(f"a{special}b")) == [f"a{special}b"]

    async def test_find_workers_by_a_part_of_the_id(self, backend: BaseResultBackend) -> None:
        """In the order of ids; upper and lower case differ."""
        for name in ("host-2:worker", "Host-1:worker", "host-1:worker", "other"):
            await backend.register_worker(name)
        assert names(await backend.find_workers("host-")) == ["host-1:worker", "host-2:worker"]
        assert names(await backend.find_workers("1:w")) == ["Host-1:worker", "host-1:worker"]
        assert await backend.find_workers("nobody") == []

    async def test_stale_workers(self, make_backend: MakeBackend) -> None:
        """Not seen for longer than that, not for just that long; the one not seen for longest first."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for name in ("c", "a", "b"):
                await backend.register_worker(name)
                clock.advance(10)
            assert names(await backend.stale_workers(0)) == ["c", "a", "b"]
            assert names(await backend.stale_workers(10)) == ["c", "a"]
            assert names(await backend.stale_workers(timedelta(seconds=20))) == ["c"]
            assert await backend.stale_workers(30) == []
            await backend.heartbeat("c")
            assert names(await backend.stale_workers(9.999)) == ["a", "b"]
            assert await backend.stale_workers(timedelta(days=36_500)) == []

    async def test_unreadable_worker(self, backend: BaseResultBackend) -> None:
        """Is named as the worker that it is, leaves the others readable, and can be removed."""
        await backend.register_worker("good")
        for bad in (b"[]", b"{}", b'{"host":"h","pid":7,"started_at":"soon"}'):
            await backend._engine.put([Put(Section.WORKER, "", "bad", bad)], 0)
            for call in (backend.get_worker("bad"), backend.get_workers(), backend.register_worker("bad")):
                with pytest.raises(CorruptRecord, match="stored worker 'bad' cannot be read"):
                    await call
            assert await backend.get_worker("good") is not None
            assert await backend.remove_worker("bad") is True

    async def test_clear_leaves_the_workers(self, backend: BaseResultBackend) -> None:
        """They run on, and what they say next must find them."""
        await backend.register_worker("w")
        assert await backend.clear() == 0
        assert await backend.purge_expired() == 0
        await backend.heartbeat("w")

    @pytest.mark.parametrize(("bad", "error"), BAD_IDS)
    async def test_bad_worker_ids(self, backend: BaseResultBackend, bad: Any, error: type[Exception]) -> None:
        """Every call names the argument, and nothing is registered."""
        for call in (
            backend.register_worker,
            backend.heartbeat,
            backend.get_worker,
            backend.remove_worker,
            backend.requeue,
            backend.fail_lost,
        ):
            with pytest.raises(error, match=r"^worker_id: "):
                await call(bad)
        with pytest.raises(error, match=r"^worker_id: "):
            await anext(backend.running_tasks(bad))
        with pytest.raises(error, match=r"^text: "):
            await backend.find_workers(bad)
        assert await backend.get_workers() == []

    async def test_bad_arguments_of_workers(self, backend: BaseResultBackend) -> None:
        """Are named, and nothing is registered."""
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
                await backend.register_worker("w", **field)
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
                await backend.stale_workers(age)
        assert await backend.get_workers() == []

    async def test_workers_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (
            backend.register_worker("w"),
            backend.heartbeat("w"),
            backend.get_worker("w"),
            backend.get_workers(),
            backend.find_workers("w"),
            backend.remove_worker("w"),
            backend.stale_workers(1),
            backend.requeue("w"),
            backend.fail_lost("w"),
        ):
            with pytest.raises(BackendClosed):
                await call
        with pytest.raises(BackendClosed):
            await anext(backend.running_tasks("w"))


class AppsContract(Contract):
    async def test_app_says_what_it_is(self, make_backend: MakeBackend) -> None:
        """None until it does; then with the time, and as it went in. The last word stands, also {}."""
        clock = ManualClock()
        info = {"version": (1, 2), "$tuple": [1], "since": START, "": None}
        async with make_backend(clock=clock) as backend:
            assert await backend.app_info() is None
            await backend.register_app(info)
            app = await backend.app_info()
            assert app is not None
            assert is_same(app.info, info)
            assert (app.namespace, app.registered_at) == (backend.namespace, START)
            clock.advance(5)
            await backend.register_app({})
            app = await backend.app_info()
            assert app is not None
            assert (app.info, app.registered_at) == ({}, START + timedelta(seconds=5))

    async def test_clear_leaves_the_app(self, backend: BaseResultBackend) -> None:
        """What it says of itself is no result."""
        await backend.register_app({"name": "x"})
        assert await backend.clear() == 0
        app = await backend.app_info()
        assert app is not None
        assert app.info == {"name": "x"}

    async def test_own_namespace_is_listed(self, backend: BaseResultBackend) -> None:
        """Once, also while there is nothing in it."""
        assert (await backend.namespaces()).count(backend.namespace) == 1
        await backend.register_app({})
        assert (await backend.namespaces()).count(backend.namespace) == 1

    async def test_bad_info_of_an_app(self, backend: BaseResultBackend) -> None:
        """Is named, with the path of what cannot be kept; what was said before stands."""
        await backend.register_app({"name": "x"})
        bad: list[tuple[Any, type[Exception], str]] = [
            (None, TypeError, r"^info: expected a mapping"),
            ([("a", 1)], TypeError, r"^info: expected a mapping"),
            ({1: "a"}, TypeError, r"^info: expected names of type str"),
            ({"f": [print]}, NotSerializable, r"^info\['f'\]\[0\]: builtin_function"),
            ({"p": Point(1, 2)}, NotSerializable, r"^info\['p'\]: Point is not a registered type"),
        ]
        for info, error, message in bad:
            with pytest.raises(error, match=message):
                await backend.register_app(info)
        app = await backend.app_info()
        assert app is not None
        assert app.info == {"name": "x"}

    async def test_app_of_a_type_unknown_to_the_reader(self, make_backend: MakeBackend) -> None:
        """Raises CorruptRecord with the namespace."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.register_app({"p": Point(1, 2)})
            backend._records.codec._types.clear()
            with pytest.raises(CorruptRecord, match=r"stored app '.+'.*Point") as caught:
                await backend.app_info()
            assert caught.value.task_id == backend.namespace

    async def test_unreadable_app(self, backend: BaseResultBackend) -> None:
        """Raises CorruptRecord with the namespace, until it says again what it is."""
        for bad in (b"[]", b"{}", b'{"info":7}'):
            await backend._engine.put([Put(Section.APP, "", "info", bad)], 0)
            with pytest.raises(CorruptRecord, match=f"stored app {backend.namespace!r} cannot be read"):
                await backend.app_info()
        await backend.register_app({})
        assert await backend.app_info() is not None

    async def test_apps_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (backend.register_app({}), backend.app_info(), backend.namespaces()):
            with pytest.raises(BackendClosed):
                await call
