"""The contract of namespaces that share a storage: they share nothing else, whatever their names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from flowstore import BaseResultBackend, TaskResult, TaskStatus, UnknownTask
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract
from flowstore.testing.support import START, failed

MakeNeighbour = Callable[..., BaseResultBackend]
"""Returns an unopened backend of the given namespace, on one storage that is the same for all of them.

Takes BackendOptions as keywords. The storage is empty at first.
"""

NAMES = [
    "team1",
    "team?",
    "team*",
    "team",
    "TEAM1",
    "team%",
    "te_m1",
    "[t]eam1",
    "^team1",
    "a}b",
    "a{b",
    "{a}",
    "a%7Db",
    "a:b",
    "a",
    "a\\",
    "'; --",
    "\N{SNAKE}",
    " ",
]
"""Wildcards, escapes and separators of storages; many of these names match others."""

Neighbours = dict[str, BaseResultBackend]


class NamespacesContract(Contract):
    """For storages that several namespaces share. Override the fixture ``make_neighbour``."""

    @pytest.fixture
    def make_neighbour(self) -> MakeNeighbour:
        pytest.fail("override the fixture make_neighbour: a callable from a namespace to an unopened backend")

    @pytest.fixture
    def clock(self) -> ManualClock:
        return ManualClock()

    @pytest_asyncio.fixture
    async def neighbours(
        self, make_neighbour: MakeNeighbour, clock: ManualClock
    ) -> AsyncIterator[Neighbours]:
        async with AsyncExitStack() as stack:
            yield {name: await stack.enter_async_context(make_neighbour(name, clock=clock)) for name in NAMES}

    async def test_clear_and_delete_never_cross_namespaces(self, neighbours: Neighbours) -> None:
        """Each counts and removes its own records; the neighbours keep theirs."""
        for name, backend in neighbours.items():
            await backend.store_many([failed("t", result=name), failed("u")])
        left = dict(neighbours)
        for name, backend in neighbours.items():
            del left[name]
            assert await backend.delete("u") is True
            assert await backend.clear() == 1
            assert await backend.get_many(["t", "u"]) == {}
            for other, neighbour in left.items():
                found = await neighbour.get_many(["t", "u"])
                assert {key: record.result for key, record in found.items()} == {"t": other, "u": None}

    async def test_purge_never_crosses_namespaces(self, neighbours: Neighbours, clock: ManualClock) -> None:
        """Each removes its own expired records, and no others."""
        for backend in neighbours.values():
            await backend.store("kept", failed("kept"))
            await backend.store("gone", failed("gone"), ttl=10)
        clock.advance(11)
        for backend in neighbours.values():
            assert await backend.purge_expired() == 1
            assert await backend.purge_expired() == 0
        for backend in neighbours.values():
            assert await backend.exists("kept") is True

    async def test_what_belongs_to_tasks_never_crosses_namespaces(self, neighbours: Neighbours) -> None:
        """Data, checkpoints and history of the same id are separate, and removed with their record."""
        for name, backend in neighbours.items():
            await backend.store("t", TaskResult.pending("t"))
            await backend.data.set("t", "k", name)
            await backend.checkpoints.save("t", name)
        left = dict(neighbours)
        for name, backend in neighbours.items():
            del left[name]
            await backend.clear()
            with pytest.raises(UnknownTask):
                await backend.data.set("t", "k", "ghost")
            for other, neighbour in left.items():
                assert await neighbour.data.all("t") == {"k": other}
                assert [one.value for one in await neighbour.checkpoints.all("t")] == [other]
                assert len(await neighbour.history.of("t")) == 1

    async def test_workers_and_apps_never_cross_namespaces(self, neighbours: Neighbours) -> None:
        """Each has its own, for removal and rescue as well; clear does not remove them."""
        for name, backend in neighbours.items():
            await backend.workers.register("w", host=name)
            await backend.app.register({"name": name})
            await backend.store("t", TaskResult.running("t", worker_id="w"))
        for name, backend in neighbours.items():
            [worker] = await backend.workers.all()
            assert worker.host == name
            assert await backend.workers.requeue("w") == ["t"]
            assert await backend.workers.delete("w") is True
            assert await backend.clear() == 1
            app = await backend.app.info()
            assert app is not None
            assert (app.namespace, app.info, app.registered_at) == (name, {"name": name}, START)

    async def test_all_namespaces_are_listed(self, neighbours: Neighbours, clock: ManualClock) -> None:
        """By each of them, whatever it holds: records, a worker, or the app's info; sorted."""
        fill: list[Callable[[BaseResultBackend], Any]] = [
            lambda backend: backend.store("t", failed("t"), ttl=timedelta(hours=1)),
            lambda backend: backend.workers.register("w"),
            lambda backend: backend.app.register({}),
        ]
        for n, backend in enumerate(neighbours.values()):
            await fill[n % 3](backend)
        for backend in neighbours.values():
            assert await backend.app.namespaces() == sorted(NAMES)

    async def test_a_dropped_namespace_harms_no_other(self, neighbours: Neighbours) -> None:
        """It is listed by itself only, and the others keep what they have. A store puts it back."""
        for name, backend in neighbours.items():
            await backend.store("t", failed("t", result=name))
            await backend.workers.register("w", host=name)
            await backend.app.register({"name": name})
        left = dict(neighbours)
        for name, backend in neighbours.items():
            del left[name]
            assert await backend.drop_namespace() == 1
            assert await backend.app.namespaces() == sorted([name, *left])
            for other, neighbour in left.items():
                assert await neighbour.app.namespaces() == sorted(left)
                assert (await neighbour.wait_for("t", 0)).result == other
                assert [worker.host for worker in await neighbour.workers.all()] == [other]
                assert await neighbour.app.info() is not None
        await neighbours["a"].store("t", failed("t"))
        assert await neighbours["team"].app.namespaces() == ["a", "team"]

    async def test_counts_and_listings_never_cross_namespaces(self, neighbours: Neighbours) -> None:
        """Each sees its own record, under names that match its neighbours'."""
        for name, backend in neighbours.items():
            await backend.store(name, failed(name, task_name=name, worker_id=name))
        for name, backend in neighbours.items():
            assert (await backend.count_by_status())[TaskStatus.FAILED] == 1
            assert [item.task_id async for item in backend.iter_by_status(worker_id=name)] == [name]
