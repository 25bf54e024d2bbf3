"""Typed results on every storage: one contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import flowstore
from flowstore import EntryTimeout, ForeignEntry, InMemoryBackend, StorageUnavailable, TaskResult, TaskStatus
from flowstore.engine import Entry, Query
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import IS_STRESS, START
from flowstore.testing.typed_contract import Place, TypedContract
from flowstore.testing.typed_contract.base import MODELS, Report
from flowstore.typed import AsyncResultsManager, ModelRegistry, WriteBehavior
from tests.conftest import KINDS

# The engines of the two kinds are held to one contract in test_redis.py; what stands on them is the same.
SERVERS = KINDS if IS_STRESS else KINDS[:1]


class TestOnMemory(TypedContract):
    @pytest_asyncio.fixture
    async def made(self) -> AsyncIterator[list[InMemoryBackend]]:
        """The storage lives and dies with its backend, so all managers of a test have the same one."""
        made: list[InMemoryBackend] = []
        yield made
        for backend in made:
            await backend.close()

    @pytest.fixture
    def place(self, made: list[InMemoryBackend]) -> Place:
        def make(registry: ModelRegistry, **options: Any) -> AsyncResultsManager:
            if not made:
                made.append(InMemoryBackend(**options))
            return AsyncResultsManager(made[0], registry=registry)

        return Place(make)


class TestOnSQLite(TypedContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return of_url(f"sqlite:///{tmp_path}/x.db")


class TestOnRedis(TypedContract):
    @pytest.fixture(params=SERVERS)
    def redis_url(self, request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
        return empty_database(request.param)

    @pytest.fixture
    def place(self, redis_url: str) -> Place:
        return of_url(redis_url)


class TestInATreeOfFiles(TypedContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        base = tmp_path / "tree"

        async def damage(_: AsyncResultsManager, id: str) -> None:
            await asyncio.to_thread(_replace, base / f"{id}.json", '"version": ', '"version": -')

        async def intrude(_: AsyncResultsManager, id: str) -> None:
            await asyncio.to_thread((base / f"{id}.json").write_text, '{"name": "x"}', "utf-8")

        make = partial(AsyncResultsManager, base_dir=base)
        return Place(make, {"base_dir": str(base)}, damage, intrude)


def _replace(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")


def of_url(url: str) -> Place:
    return Place(partial(AsyncResultsManager, url), {"target": url})


@pytest.fixture(params=["memory", "sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    own = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/x.db"}
    return own.get(request.param) or empty_database(request.param)


async def test_a_list_costs_what_it_shows(url: str) -> None:
    """Of 3,000 ids, beside as many tasks, so many are read as are listed, and a few where a range ends."""
    async with flowstore.connect(url) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        await manager.set_many({f"{n % 3}/{n:04}": Report(score=n) for n in range(3_000)})
        await manager.set_many({f"1/0500/{n}": Report(score=n) for n in range(3)})
        submitted = [TaskResult.success(f"{n % 3}/t{n}", submitted_at=START) for n in range(3_000)]
        await backend.store_many(submitted)
        await backend.store_many(TaskResult.success(f"{n % 3}/u{n}") for n in range(3_000))
        read: list[int] = []

        def counted(scan: Callable[..., Any]) -> Callable[..., Any]:
            async def counting(query: Query, now: int) -> list[Entry]:
                found: list[Entry] = await scan(query, now)
                read.append(len(found))
                return found

            return counting

        with replaced_verb(backend, "scan", counted, in_storage=True):
            assert len(await manager.list_ids("1", limit=50)) == 50
            assert len(await manager.list_ids("1", limit=50, after="1/2000")) == 50
            assert read == [50, 50]
            read.clear()
            assert len(await manager.list_ids("1/0500")) == 3
            assert len(await manager.list_ids("none")) == 0
            assert sum(read) <= 2 * 64
            read.clear()
            assert len(await manager.list_ids("1")) == 1_003
            assert sum(read) <= 2 * 1_003
            read.clear()
            assert len((await manager.list(Report, limit=50)).items) == 50
            assert read == [51]


async def test_entries_and_tasks_leave_each_other_alone(url: str) -> None:
    """In one namespace, tasks that were never submitted among them; no range of time has an entry."""
    async with flowstore.connect(url) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        await backend.store_many(TaskResult.success(f"a/{n:03}", n) for n in range(300))
        await backend.store_many(TaskResult.pending(f"p/{n}") for n in range(3))
        wanted = [f"a/{n:03}x" for n in range(0, 300, 100)]
        await manager.set_many({id: Report(score=1) for id in wanted})
        assert await manager.list_ids() == await manager.list_ids("a") == wanted
        assert await manager.list_ids(limit=2) == wanted[:2]
        assert await manager.list_ids(limit=2, after=wanted[0]) == wanted[1:]
        assert await backend.store("a/000x", TaskResult.success("a/000x", 1)) is False
        shown = await backend.get("a/000x")
        assert shown is not None
        assert (shown.task_name, shown.status) == ("default:Report", TaskStatus.SUCCESS)
        with pytest.raises(ForeignEntry):
            await manager.set("p/0", Report(score=1), WriteBehavior.OVERWRITE)
        page = await backend.page("success", until=START + timedelta(days=10_000))
        assert page.items == []
        assert await backend.clear("success", until=START + timedelta(days=10_000)) == 0
        assert shown.submitted_at is None
        assert await manager.clear() == 3
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 300


async def test_redact_is_asked(url: str) -> None:
    """What it makes of the value is stored, and compared."""

    def redact(result: TaskResult) -> TaskResult:
        return result.model_copy(update={"result": Report(score=0)})

    async with flowstore.connect(url, redact=redact) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        assert await manager.set("a", Report(score=1)) is True
        assert await manager.get("a", Report) == Report(score=0)
        assert await manager.set("a", Report(score=2), WriteBehavior.OVERWRITE_IF_DIFFERENT) is False


async def test_waits_and_watches_go_on_through_an_outage(url: str) -> None:
    """A read that fails in between ends neither."""
    async with flowstore.connect(url, recheck_interval=0.05) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        failing = True

        def broken(read: Callable[..., Any]) -> Callable[..., Any]:
            async def reading(*args: Any, **options: Any) -> Any:
                if failing:
                    raise StorageUnavailable("gone")
                return await read(*args, **options)

            return reading

        ids = manager.watch("a")
        first = asyncio.ensure_future(anext(ids))
        await manager.exists("b")
        with replaced_verb(backend, "read", broken):
            waiting = asyncio.ensure_future(manager.wait_for("a/1", Report, 30))
            await manager.set("a/1", Report(score=1))
            with pytest.raises(EntryTimeout):
                await manager.wait_for("a/1", Report, 0.05)
            assert not first.done()
            assert not waiting.done()
            failing = False
            assert await first == "a/1"
            assert (await waiting).score == 1
        await ids.aclose()


async def test_a_wait_is_never_longer_than_its_timeout(url: str) -> None:
    """Though the storage takes its time."""
    async with flowstore.connect(url) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        await manager.open()

        def stuck(read: Callable[..., Any]) -> Callable[..., Any]:
            async def reading(*args: Any, **options: Any) -> Any:
                await asyncio.get_running_loop().create_future()

            return reading

        with replaced_verb(backend, "read", stuck), pytest.raises(EntryTimeout):
            await manager.wait_for("a", Report, 0.05)
