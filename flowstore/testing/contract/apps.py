"""The contract of apps: how a namespace describes itself, and which namespaces there are."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    CorruptRecord,
    DataEntry,
    NotSerializable,
    ResultDeleted,
    TaskResult,
    UnexpectedValue,
    UnknownWorker,
    Unresolved,
    UnresolvedValue,
    VersionConflict,
    Worker,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.storing import BAD_IDS
from flowstore.testing.contract.values import SAMPLE_TYPES, Point, is_same
from flowstore.testing.insides import know_only, plant_kept
from flowstore.testing.support import START, seen, waiting


def names(workers: list[Worker]) -> list[str]:
    return [worker.worker_id for worker in workers]


class AppsContract(Contract):
    async def test_app_says_what_it_is(self, make_backend: MakeBackend) -> None:
        """None until registered; then with its time, and equal to what went in. The last one wins."""
        clock = ManualClock()
        info = {"version": (1, 2), "$tuple": [1], "since": START, "": None}
        async with make_backend(clock=clock) as backend:
            assert await backend.app.info() is None
            await backend.app.register(info)
            app = await backend.app.info()
            assert app is not None
            assert is_same(app.info, info)
            assert (app.namespace, app.registered_at) == (backend.namespace, START)
            clock.advance(5)
            await backend.app.register({})
            app = await backend.app.info()
            assert app is not None
            assert (app.info, app.registered_at) == ({}, START + timedelta(seconds=5))

    async def test_clear_leaves_the_app(self, backend: BaseResultBackend) -> None:
        """The description of an app is no result."""
        await backend.app.register({"name": "x"})
        assert await backend.clear() == 0
        app = await backend.app.info()
        assert app is not None
        assert app.info == {"name": "x"}

    async def test_drop_namespace(self, make_backend: MakeBackend) -> None:
        """Records, expired ones uncounted, with all that belongs to them, workers and the app; waits end."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many(TaskResult.running(f"t{n}", task_name="n") for n in range(1_200))
            await backend.store("expired", TaskResult.success("expired"), ttl=5)
            await backend.data.set("t0", "k", 1)
            for n in range(30):
                await backend.workers.register(f"w{n}")
            await backend.app.register({"name": "x"})
            await backend.app.data.set("k", 1)
            clock.advance(6)
            wait = await waiting(backend, "t0")
            await seen(backend, wait, "t0")
            assert await backend.drop_namespace() == 1_201  # with the marker of `seen`
            with pytest.raises(ResultDeleted):
                await wait
            assert await backend.workers.all() == []
            assert await backend.app.info() is None
            assert await backend.app.data.all() == {}
            assert (await backend.page()).items == []
            assert sum((await backend.count_by_status()).values()) == 0
            assert [step async for step in backend.history.iter()] == []
            assert await backend.workflows.types() == []
            assert await backend.drop_namespace() == 0

    async def test_a_dropped_namespace_can_be_used_on(self, backend: BaseResultBackend) -> None:
        """By the same backend, which has forgotten everything."""
        for _ in range(2):
            await backend.store("t", TaskResult.running("t"))
            await backend.checkpoints.save("t", 1)
            await backend.workers.register("w")
            assert await backend.drop_namespace() == 1
        wait = await waiting(backend, "t")
        assert await backend.store("t", TaskResult.running("t")) is True
        with pytest.raises(UnknownWorker):
            await backend.workers.heartbeat("w")
        assert await backend.checkpoints.all("t") == []
        assert await backend.store("t", TaskResult.success("t", 1)) is True
        assert (await wait).version == 2
        assert len(await backend.history.of("t")) == 2
        assert (await backend.app.namespaces()).count(backend.namespace) == 1

    async def test_data_of_the_namespace(self, make_backend: MakeBackend) -> None:
        """As the data of a task, and beside it: values, versions, order, defaults, compare-and-set."""
        clock = ManualClock()
        async with make_backend(types=SAMPLE_TYPES, clock=clock) as backend:
            data = backend.app.data
            assert (await data.all(), await data.get("k", 7), await data.entry("k")) == ({}, 7, None)
            assert [await data.set(key, value) for key, value in (("b", Point(1, 2)), ("a", None))] == [1, 1]
            clock.advance(5)
            assert await data.set("b", [Point(3, 4)], if_version=1) == 2
            for task_id in ("data", "app", "namespace"):
                await backend.store(task_id, TaskResult.pending(task_id))
                await backend.data.set(task_id, "b", task_id)
            assert await data.all() == {"a": None, "b": [Point(3, 4)]}
            assert list(await data.all()) == ["a", "b"]
            assert await data.get("b", as_=list[Point]) == [Point(3, 4)]
            entry = await data.entry("b")
            assert entry == DataEntry(
                key="b", value=[Point(3, 4)], version=2, at=START + timedelta(seconds=5)
            )
            with pytest.raises(VersionConflict, match="data 'b' of the namespace is at version 2, not 1"):
                await data.set("b", 1, if_version=1)
            with pytest.raises(UnexpectedValue, match=r"stored data 'b' .*value"):
                await data.get("b", as_=int)
            await data.set("c", Point(5, 6))
            know_only(backend)
            with pytest.raises(UnresolvedValue, match=r"stored data 'c' .*Point' is not registered"):
                await data.get("c")
            assert await data.delete("b") is True
            assert await data.delete("b") is False
            assert await data.set("b", 1) == 1

    async def test_clear_leaves_the_data_of_the_namespace(self, backend: BaseResultBackend) -> None:
        """And so do the removal of any task, and purges."""
        await backend.app.data.set("k", 1)
        await backend.app.register({})
        await backend.store("k", TaskResult.success("k"))
        await backend.data.set("k", "k", 2)
        await backend.delete("k")
        await backend.store("k", TaskResult.success("k"))
        await backend.clear()
        await backend.purge_expired()
        assert await backend.app.data.all() == {"k": 1}
        assert await backend.data.all("k") == {}
        assert (await backend.app.info()) is not None

    async def test_of_racing_writers_of_the_namespace_one_wins(self, backend: BaseResultBackend) -> None:
        """Of a hundred with compare-and-set."""
        outcomes = await asyncio.gather(
            *(backend.app.data.set("k", n, if_version=0) for n in range(100)), return_exceptions=True
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["VersionConflict"] * 99 + ["int"]
        assert outcomes[await backend.app.data.get("k")] == 1

    async def test_bad_arguments_of_app_data(self, backend: BaseResultBackend) -> None:
        """A clear error for each, and nothing written."""
        for bad, error in BAD_IDS:
            with pytest.raises(error, match="key"):
                await backend.app.data.set(bad, 1)
        with pytest.raises(NotSerializable, match="value"):
            await backend.app.data.set("k", object())
        with pytest.raises(ValueError, match="if_version"):
            await backend.app.data.set("k", 1, if_version=-1)
        assert await backend.app.data.all() == {}

    async def test_damaged_data_of_the_namespace(self, backend: BaseResultBackend) -> None:
        """The error names its key; others can be read."""
        await plant_kept(backend, "data", "", "bad", b'{"value":1}', is_checked=False)
        await backend.app.data.set("good", 1)
        with pytest.raises(CorruptRecord, match="stored data 'bad' cannot be read"):
            await backend.app.data.get("bad")
        assert await backend.app.data.get("good") == 1

    async def test_own_namespace_is_listed(self, backend: BaseResultBackend) -> None:
        """Exactly once, even while it is empty."""
        assert (await backend.app.namespaces()).count(backend.namespace) == 1
        await backend.app.register({})
        assert (await backend.app.namespaces()).count(backend.namespace) == 1

    async def test_bad_info_of_an_app(self, backend: BaseResultBackend) -> None:
        """Named, with the path of the value; the earlier description stands."""
        await backend.app.register({"name": "x"})
        bad: list[tuple[Any, type[Exception], str]] = [
            (None, TypeError, r"^info: expected a mapping"),
            ([("a", 1)], TypeError, r"^info: expected a mapping"),
            ({1: "a"}, TypeError, r"^info: expected names of type str"),
            ({"f": [print]}, NotSerializable, r"^info\['f'\]\[0\]: builtin_function"),
            ({"p": Point(1, 2)}, NotSerializable, r"^info\['p'\]: .*Point is not a registered type"),
        ]
        for info, error, message in bad:
            with pytest.raises(error, match=message):
                await backend.app.register(info)
        app = await backend.app.info()
        assert app is not None
        assert app.info == {"name": "x"}

    async def test_app_of_a_type_unknown_to_the_reader(self, make_backend: MakeBackend) -> None:
        """A stand-in says which type is missing, and the rest is there."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.app.register({"p": Point(1, 2), "name": "x"})
            know_only(backend)
            app = await backend.app.info()
            assert app is not None
            assert app.info["name"] == "x"
            assert isinstance(app.info["p"], Unresolved)
            assert app.info["p"].data == {"x": 1, "y": 2}

    async def test_unreadable_app(self, backend: BaseResultBackend) -> None:
        """Raises CorruptRecord with the namespace, until it is registered again."""
        for bad in (b"[]", b"{}", b'{"info":7}'):
            await plant_kept(backend, "app", "", "info", bad)
            with pytest.raises(CorruptRecord, match=f"stored app {backend.namespace!r} cannot be read"):
                await backend.app.info()
        await backend.app.register({})
        assert await backend.app.info() is not None

    async def test_apps_of_a_closed_backend(self, make_backend: MakeBackend) -> None:
        """Every call raises BackendClosed."""
        backend = make_backend()
        await backend.open()
        await backend.close()
        for call in (backend.app.register({}), backend.app.info(), backend.app.namespaces()):
            with pytest.raises(BackendClosed):
                await call
