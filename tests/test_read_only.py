"""Backends that were made with ``read_only``, on each storage; replicas are in test_redis_replicas.py."""

from __future__ import annotations

import asyncio
import pickle
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

import flowstore
from flowstore import (
    AccessDenied,
    BaseResultBackend,
    CorruptStore,
    RedisBackend,
    SchemaTooNew,
    SQLiteBackend,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
)
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import EngineWrapper, Hints
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS
from flowstore.testing.contract import MakeNeighbour, ReadOnlyContract, StoredBytes
from flowstore.testing.contract.reading_only import READS
from flowstore.testing.support import failed, ids
from tests.formats.make import load
from tests.test_sqlite_outages import on_a_mount

FORMATS = Path(__file__).parent / "formats"


class Kept(EngineWrapper):
    """Memory that outlives the backends on it. Only who may write is told of changes."""

    def __init__(self, inner: MemoryEngine, *, is_told: bool) -> None:
        super().__init__(inner)
        self._is_told = is_told

    async def open(self, hints: Hints) -> None:
        if self._is_told:
            await self.inner.open(hints)

    async def close(self) -> None:
        pass


class TestMemory(ReadOnlyContract):
    @pytest.fixture
    def engines(self) -> dict[str, MemoryEngine]:
        return {}

    @pytest.fixture
    def make_neighbour(self, engines: dict[str, MemoryEngine]) -> MakeNeighbour:
        class Neighbour(BaseResultBackend):
            def _beside(self, options: Any) -> BaseResultBackend:
                return make(**options)

        def make(namespace: str, **options: Any) -> BaseResultBackend:
            engine = engines.setdefault(namespace, MemoryEngine(namespace))
            kept = Kept(engine, is_told=not options.get("read_only"))
            return Neighbour(kept, namespace=namespace, **options)

        return make

    @pytest.fixture
    def stored_bytes(self, engines: dict[str, MemoryEngine]) -> StoredBytes:
        def all_of(engine: MemoryEngine) -> list[bytes]:
            parts = (engine._entries, engine._tokens, engine._items)  # the others are sorted when read
            return [pickle.dumps(part) for part in parts]

        return lambda: {name: all_of(engine) for name, engine in engines.items() if engine._entries}


def bytes_of(path: Path) -> list[bytes]:
    """Of a file and of its WAL, which is none where it is empty."""
    wal = path.with_name(f"{path.name}-wal")
    return [path.read_bytes(), wal.read_bytes() if wal.exists() else b""]


class TestSQLite(ReadOnlyContract):
    @pytest.fixture
    def make_neighbour(self, tmp_path: Path) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> SQLiteBackend:
            return SQLiteBackend(tmp_path / "shared.db", namespace=namespace, **options)

        return make

    @pytest.fixture
    def stored_bytes(self, tmp_path: Path) -> StoredBytes:
        return lambda: bytes_of(tmp_path / "shared.db")


def dumped(url: str) -> dict[bytes, tuple[bytes | None, bool]]:
    """Every key of a database, as the server dumps it, and whether it expires."""
    with redis.Redis.from_url(url) as client:
        return {key: (client.dump(key), client.pttl(key) >= 0) for key in client.scan_iter(count=1_000)}


class TestRedis(ReadOnlyContract):
    @pytest.fixture
    def make_neighbour(self, redis_url: str) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> RedisBackend:
            return RedisBackend(redis_url, namespace=namespace, **options)

        return make

    @pytest.fixture
    def stored_bytes(self, redis_url: str) -> StoredBytes:
        return lambda: dumped(redis_url)


async def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """It is named, and not made; nor is an empty file taken for a store, or the file of another program."""
    path = tmp_path / "x.db"
    for bad, error, reason in (
        (None, StorageUnavailable, "there is no such file, and read_only=True makes none"),
        (b"", AccessDenied, "is empty, and read_only=True makes no store of it"),
        (b"no database, though long enough to be one" * 20, CorruptStore, "not a database"),
    ):
        if bad is not None:
            path.write_bytes(bad)
        with pytest.raises(error, match=f"x.db: .*{reason}"):
            await SQLiteBackend(path, read_only=True).open()
        assert path.exists() == (bad is not None)
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(CorruptStore, match="another program"):
        await SQLiteBackend(other, read_only=True).open()


async def test_a_reader_makes_no_doorbell_and_leaves_a_file_that_is_in_use(tmp_path: Path) -> None:
    """It sees what is in the log only, waits without a socket, and may copy the file."""
    path = tmp_path / "x.db"
    async with (
        SQLiteBackend(path) as writer,
        SQLiteBackend(path, read_only=True, recheck_interval=0.01) as reader,
    ):
        await writer.store("t", TaskResult.running("t"))
        before = await asyncio.to_thread(bytes_of, path)
        wait = asyncio.ensure_future(reader.wait_for("t", 30))
        await reader.ping()
        assert await reader.backup(tmp_path / "copy.db") > 0
        assert await asyncio.to_thread(bytes_of, path) == before
        assert not (tmp_path / "x.db-bells").exists()
        await writer.store("t", TaskResult.success("t", 1))
        assert (await wait).result == 1
    async with SQLiteBackend(tmp_path / "copy.db", read_only=True) as copy:
        assert await copy.exists("t")


def test_a_file_on_a_mount_that_is_read_only(tmp_path: Path) -> None:
    """It is read while a writer has it open elsewhere, and otherwise the error says what is missing."""
    mounts = "mkdir $0/rw $0/ro && mount -t tmpfs flowstore $0/rw && mount --bind $0/rw $0/ro"
    script = f"{mounts} && mount -o remount,ro,bind $0/ro && exec $1 -m tests.sqlite_jobs look_at_mounts $0"
    first, second = on_a_mount(tmp_path, "size=1m,mode=700", script).splitlines()
    assert first == "1"
    assert re.fullmatch("AccessDenied: .*/ro/x.db: its -wal and -shm files are not there, .*", second)


@pytest.mark.parametrize("fixture", ["sqlite-2.db", "sqlite-3.db"])
async def test_a_file_of_an_older_format(tmp_path: Path, fixture: str) -> None:
    """It is not converted, and the error says what would; once a writer has opened it, it can be read."""
    path = tmp_path / "x.db"
    shutil.copy(FORMATS / fixture, path)
    before = path.read_bytes()
    with pytest.raises(
        AccessDenied, match=r"of format \d, and read_only=True converts nothing; open it once"
    ):
        await SQLiteBackend(path, namespace="app", read_only=True).open()
    assert path.read_bytes() == before
    async with SQLiteBackend(path, namespace="app"):
        pass
    async with SQLiteBackend(path, namespace="app", read_only=True, raw=True) as reader:
        assert (await reader.count_by_status()).total > 3


async def test_a_database_of_an_older_format(redis_url: str) -> None:
    """The same on a server."""
    with redis.Redis.from_url(redis_url) as client:
        load(client, FORMATS / "redis-2.jsonl")
    before = await asyncio.to_thread(dumped, redis_url)
    with pytest.raises(AccessDenied, match=r"of format 2, and read_only=True converts nothing; open it once"):
        await RedisBackend(redis_url, namespace="app", read_only=True).open()
    assert await asyncio.to_thread(dumped, redis_url) == before
    async with RedisBackend(redis_url, namespace="app"):
        pass
    async with RedisBackend(redis_url, namespace="app", read_only=True, raw=True) as reader:
        assert (await reader.count_by_status()).total > 3


async def test_a_database_of_a_newer_format(redis_url: str, client: Any) -> None:
    """It is read where older programs may, and its refusal is that of this option."""
    async with RedisBackend(redis_url) as writer:
        await writer.store("t", TaskResult.success("t", 1))
    client.set("flowstore:{default}:format", "99 99 3")
    async with RedisBackend(redis_url, read_only=True) as reader:
        assert await reader.exists("t")
        with pytest.raises(AccessDenied, match="read_only=True"):
            await reader.delete("t")
    client.set("flowstore:{default}:format", "99 99 99")
    with pytest.raises(SchemaTooNew):
        await RedisBackend(redis_url, read_only=True).open()


async def test_a_listing_leaves_what_it_lists_in_vain(redis_url: str, client: Any) -> None:
    """Entries whose records were evicted, and a key of another type, are met by a reader, and left there."""
    async with RedisBackend(redis_url) as writer:
        await writer.store_many(failed(f"t{n}", n) for n in range(4))
    client.delete("flowstore:{default}:r:t1", "flowstore:{default}:r:t2")
    client.rpush("flowstore:{default}:r:t2", "a list")
    before = await asyncio.to_thread(dumped, redis_url)
    async with RedisBackend(redis_url, read_only=True) as reader:
        page = await reader.page(TaskStatus.FAILED)
        assert ids(page.items) == ["t3", "t0"]
        assert [error.task_id for error in page.unreadable] == ["t2"]
        assert {entry.task_id async for entry in reader.history.iter()} == {"t0", "t3"}
    assert await asyncio.to_thread(dumped, redis_url) == before


async def test_a_user_who_may_not_write(redis_url: str, client: Any) -> None:
    """Rights to read suffice for all that reads; without the option a backend cannot even open with them."""
    rules = ["on", "nopass", "~flowstore:*", "resetchannels", "+@read", "+@scripting", "+@connection"]
    client.execute_command("ACL", "SETUSER", "viewer", *rules)
    try:
        async with RedisBackend(redis_url, namespace="shop") as writer:
            for n in range(10):
                await writer.store(f"t{n}", TaskResult.success(f"t{n}", n))
        url = redis_url.replace("redis://", "redis://viewer:any@")
        with pytest.raises(AccessDenied, match="flowstore needs a user"):
            await RedisBackend(url, namespace="shop").open()
        async with flowstore.connect(f"{url}?read_only=true", namespace="shop") as reader:
            for name in READS:
                await {**CALLS, **CALLS_OF_RUNS}[name](reader)
    finally:
        client.execute_command("ACL", "DELUSER", "viewer")
