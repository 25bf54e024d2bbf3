"""Whatever format a store was written in, today's code reads it; and its own format has a fixture."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from flowstore import (
    BaseResultBackend,
    CorruptStore,
    Progress,
    RedisBackend,
    SchemaTooNew,
    SQLiteBackend,
    StorageError,
    TaskError,
    TaskResult,
    TaskStatus,
    WaitTimeout,
    Worker,
)
from flowstore.backends.redis.format import FORMAT as REDIS_FORMAT
from flowstore.backends.sqlite.format import FORMAT as SQLITE_FORMAT
from flowstore.backends.sqlite.format import MIGRATIONS
from flowstore.backends.sqlite.statements import SQL
from flowstore.testing.support import ids, waiting
from tests.formats.make import FOLDER, load
from tests.formats.sample import TYPES, at, results
from tests.test_sqlite_outages import look

FIXTURES = sorted(path.name for path in FOLDER.glob("*-*.*"))
PREFIX = "flowstore:{default}:"


@pytest_asyncio.fixture(params=FIXTURES)
async def backend(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> AsyncIterator[BaseResultBackend]:
    """A copy of each fixture, opened by the code of today."""
    fixture = FOLDER / request.param
    if fixture.suffix == ".db":
        path = tmp_path / fixture.name
        shutil.copy(fixture, path)
        made: BaseResultBackend = SQLiteBackend(path, types=TYPES, namespace="app")
    else:
        url = empty_database("valkey")
        with redis.Redis.from_url(url) as client:
            load(client, fixture)
        made = RedisBackend(url, types=TYPES, namespace="app")
    async with made:
        yield made


def test_each_format_has_a_fixture() -> None:
    """Those of today, and of SQLite all that can be brought up to date."""
    sqlite = {f"sqlite-{number}.db" for number in (*MIGRATIONS, SQLITE_FORMAT)}
    assert {*FIXTURES} >= sqlite | {f"redis-{REDIS_FORMAT}.jsonl"}
    assert max(MIGRATIONS) == SQLITE_FORMAT - 1


DOCUMENT = (FOLDER.parents[1] / "docs" / "formats.md").read_text("utf-8")
NAMED = set(re.findall(r"`([^`]+)`", re.sub("```.*?```", "", DOCUMENT, flags=re.DOTALL)))


def test_the_document_is_of_today() -> None:
    """Its numbers, and every JSON key."""
    numbers = f"SQLite files are at format {SQLITE_FORMAT}, Redis and Valkey at format {REDIS_FORMAT}."
    assert numbers in DOCUMENT
    keys = {*TaskError.model_fields, *Progress.model_fields, "result", "args", "kwargs", "error", "value"}
    assert keys | {"info"} | (Worker.model_fields.keys() - {"worker_id", "last_seen"}) <= NAMED


def test_the_document_names_every_table_and_column() -> None:
    """Those of SQLite, and of the view for people."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SQL["schema"])
        kinds = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')"
        tables = {name for (name,) in connection.execute(kinds)}
        columns = {row[1] for name in tables for row in connection.execute(f"PRAGMA table_xinfo({name})")}
    assert tables | columns <= NAMED


def test_the_document_names_every_key() -> None:
    """The kinds of keys that the fixture of Redis has, and the kinds of facets."""
    lines = (FOLDER / f"redis-{REDIS_FORMAT}.jsonl").read_text("utf-8").split("\n")[:-1]
    keys = [json.loads(line)[0].partition("}:")[2].split(":") for line in lines]
    named = {name.partition(":")[0] for name in NAMED}
    assert len(keys) > 20
    assert {key[0] for key in keys} <= named
    assert {key[2] for key in keys if key[0] == "i" and key[2]} <= named


async def test_every_record_is_read(backend: BaseResultBackend) -> None:
    """By id and by listing, with each of its fields as it was stored."""
    expected = {result.task_id: result for result in results()}
    roots = {"step": "root", "leaf": "root"}
    listed = [task async for task in backend.iter_by_status()]
    assert {task.task_id for task in listed} == expected.keys()
    assert len(listed) == len(expected)
    for task in listed:
        result = expected[task.task_id]
        assert await backend.get(task.task_id) == task
        assert task.version == sum(one.task_id == task.task_id for one in results())
        assert task.root_id == roots.get(task.task_id)
        for name in ("status", "task_name", "error", "args", "kwargs", "submitted_at", "started_at"):
            assert getattr(task, name) == getattr(result, name), name
        for name in ("finished_at", "retries", "worker_id", "parent_id", "labels", "progress"):
            assert getattr(task, name) == getattr(result, name), name
        assert task.result == result.result


async def test_what_belongs_to_records_is_read(backend: BaseResultBackend) -> None:
    """Indexes, counts, families, history, data, checkpoints, workers and the app."""
    counts = await backend.count_by_status()
    assert counts == dict.fromkeys(TaskStatus, 1) | {TaskStatus.SUCCESS: 2, TaskStatus.RETRYING: 0}
    assert set(ids((await backend.page(label="eu")).items)) == {"root", "failed"}
    assert [task.task_id async for task in backend.families.descendants("root")] == ["step", "leaf"]
    assert ids((await backend.workflows.runs("import")).items) == ["root"]
    history = await backend.history.of("step")
    assert [(one.status, one.retries, one.worker_id) for one in history] == [
        ("pending", 0, None),
        ("retrying", 0, "w1"),
        ("success", 1, "w2"),
    ]
    assert [one.at for one in history] == [at(11), at(12), at(13)]
    assert len([one async for one in backend.history.iter()]) == len(results())
    entry = await backend.data.entry("root", "config")
    assert entry is not None
    assert (entry.value, entry.version, entry.at) == ({"n": (1, 3)}, 2, at(17))
    assert await backend.data.all("root") == {"config": {"n": (1, 3)}, "plain": "x"}
    assert [(one.seq, one.value) for one in await backend.checkpoints.all("step")] == [
        (n + 1, {"row": n}) for n in range(3)
    ]
    workers = await backend.workers.all()
    assert [(one.worker_id, one.host, one.pid, one.parent_id) for one in workers] == [
        ("w1", "h1", 7, None),
        ("w2", "h2", 8, "w1"),
    ]
    app = await backend.app.info()
    assert app is not None
    assert app.info == {"name": "importer", "version": (1, 2)}


async def test_it_can_be_written_on(backend: BaseResultBackend) -> None:
    """Records go on from where they were, and go whole."""
    assert await backend.store("root", TaskResult.success("root", 1, task_name="import", labels={"eu"}))
    assert (await backend.wait_for("root", 30)).version == 2
    assert await backend.store("step", TaskResult.failed("step", ValueError(), retries=1)) is False
    assert await backend.checkpoints.save("step", "more") == 4
    assert await backend.data.set("root", "config", 1, if_version=2) == 3
    assert ids((await backend.page(label="night")).items) == []
    assert await backend.delete("root", descendants=True)
    assert await backend.clear() == 3
    assert [one async for one in backend.history.iter()] == []
    assert set((await backend.count_by_status()).values()) == {0}


def make_newer(path: Path, *, oldest_writer: int, oldest_reader: int) -> None:
    """As a flowstore of format 99 would leave it."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE compatibility SET oldest_writer = ?, oldest_reader = ?", (oldest_writer, oldest_reader)
        )
        connection.execute("PRAGMA user_version = 99")


async def fill(backend: BaseResultBackend) -> None:
    async with backend:
        await backend.store("t", TaskResult.success("t", 1))
        await backend.store("u", TaskResult.running("u"))


WRITES: list[Callable[[BaseResultBackend], Coroutine[Any, Any, object]]] = [
    lambda backend: backend.store("v", TaskResult.success("v")),
    lambda backend: backend.set_progress("u", 1),
    lambda backend: backend.data.set("t", "k", 1),
    lambda backend: backend.delete("t"),
    lambda backend: backend.clear(),
    lambda backend: backend.purge_expired(),
]


async def read_but_not_write(backend: BaseResultBackend) -> None:
    async with backend:
        assert (await backend.wait_for("t", 30)).unwrap() == 1
        with pytest.raises(WaitTimeout):
            await backend.wait_for("u", 0.05)
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 1
        for write in WRITES:
            with pytest.raises(SchemaTooNew, match=r"format 99.*can read it but not write it: upgrade"):
                await write(backend)
        assert await backend.exists("t")


async def test_a_newer_file_that_older_programs_may_write(tmp_path: Path) -> None:
    """It is used as one of today, and keeps its number."""
    path = tmp_path / "x.db"
    await fill(SQLiteBackend(path))
    make_newer(path, oldest_writer=SQLITE_FORMAT, oldest_reader=2)
    async with SQLiteBackend(path) as backend:
        assert await backend.store("u", TaskResult.success("u", 2))
        assert (await backend.wait_for("u", 30)).unwrap() == 2
    assert look(path, "PRAGMA user_version") == [(99,)]


async def test_a_newer_file_that_older_programs_may_only_read(tmp_path: Path) -> None:
    """Reading and waiting work, all that writes says what to do, and nothing is written on opening."""
    path = tmp_path / "x.db"
    await fill(SQLiteBackend(path))
    make_newer(path, oldest_writer=99, oldest_reader=SQLITE_FORMAT)
    await read_but_not_write(SQLiteBackend(path))
    async with SQLiteBackend(path, namespace="new", recheck_interval=0.05) as other:
        assert await other.get("t") is None
        assert look(path, "SELECT name FROM namespace") == [("default",)]
        wait = await waiting(other, "t")
        with closing(sqlite3.connect(path)) as newer, newer:  # a program that may write comes by
            newer.execute("INSERT INTO namespace VALUES (7, 'new')")
            newer.execute("UPDATE task SET ns = 7")
        assert (await wait).unwrap() == 1
        assert (await other.count_by_status(worker_id="w"))[TaskStatus.SUCCESS] == 0


async def test_a_file_that_is_too_new(tmp_path: Path) -> None:
    """It says which format it has, and what to do."""
    path = tmp_path / "x.db"
    await fill(SQLiteBackend(path))
    make_newer(path, oldest_writer=99, oldest_reader=99)
    with pytest.raises(SchemaTooNew, match=r"format 99.*cannot use it: upgrade flowstore"):
        await SQLiteBackend(path).open()


async def test_a_file_of_format_2_is_brought_up_to_date(tmp_path: Path) -> None:
    """By whoever opens it first; its schema is then that of a new file, however many open it at once."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    shutil.copy(FOLDER / "sqlite-2.db", old)
    await fill(SQLiteBackend(new))
    backends = [SQLiteBackend(old, namespace="app") for _ in range(5)]
    await asyncio.gather(*(backend.open() for backend in backends))
    for backend in backends:
        await backend.close()
    schema = "SELECT type, name, tbl_name, trim(sql) FROM sqlite_schema ORDER BY name"
    assert look(old, schema) == look(new, schema)
    assert look(old, "PRAGMA user_version") == [(SQLITE_FORMAT,)]
    assert look(old, "SELECT * FROM compatibility") == look(new, "SELECT * FROM compatibility")
    assert look(old, "PRAGMA integrity_check") == [("ok",)]


async def test_an_update_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """All of it or nothing: here its last statement cannot be carried out."""
    old = tmp_path / "old.db"
    shutil.copy(FOLDER / "sqlite-2.db", old)
    look(old, "CREATE TABLE compatibility (x)")
    before = look(old, "SELECT sql FROM sqlite_schema")
    with pytest.raises(StorageError, match="compatibility"):
        await SQLiteBackend(old).open()
    assert look(old, "SELECT sql FROM sqlite_schema") == before
    assert look(old, "PRAGMA user_version") == [(2,)]


async def test_a_newer_namespace_that_older_programs_may_write(redis_url: str, client: Any) -> None:
    """It is used as one of today, and keeps its number."""
    client.set(PREFIX + "format", f"99 {REDIS_FORMAT} {REDIS_FORMAT}")
    async with RedisBackend(redis_url) as backend:
        assert await backend.store("t", TaskResult.success("t", 1))
        assert (await backend.wait_for("t", 30)).unwrap() == 1
    assert client.get(PREFIX + "format") == f"99 {REDIS_FORMAT} {REDIS_FORMAT}"


async def test_a_newer_namespace_that_older_programs_may_only_read(redis_url: str, client: Any) -> None:
    """The same, and nobody is registered for messages anywhere."""
    await fill(RedisBackend(redis_url))
    client.set(PREFIX + "format", f"99 99 {REDIS_FORMAT}")
    await read_but_not_write(RedisBackend(redis_url))
    assert client.keys(PREFIX.replace("{", "[{]") + "w:*") == []


@pytest.mark.parametrize("found", ["99", "99 99 99", "3 3 3"])
async def test_a_namespace_that_is_too_new(redis_url: str, client: Any, found: str) -> None:
    """It says which format it has, and what to do."""
    client.set(PREFIX + "format", found)
    with pytest.raises(SchemaTooNew, match=rf"format {found.split()[0]}.*cannot use it: upgrade flowstore"):
        await RedisBackend(redis_url).open()


@pytest.mark.parametrize("found", ["x", "", "2 2", "2 x 2", "-1", "9" * 400])
async def test_a_format_that_is_none(redis_url: str, client: Any, found: str) -> None:
    """It is quoted."""
    client.set(PREFIX + "format", found)
    with pytest.raises(CorruptStore, match="expected the number of a format"):
        await RedisBackend(redis_url).open()


async def test_a_facet_of_a_newer_program_is_ignored(redis_url: str, client: Any) -> None:
    """It is no label; the record can be listed, written over and deleted, and leaves nothing."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.running("t", labels={"x"}))
        key, sort = PREFIX + "r:t", client.zrange(PREFIX + "i:running:", 0, 0)[0]
        client.set(key, client.get(key).replace('["label:x"]', '["label:x", "error:5d0c", "other"]'))
        client.zadd(PREFIX + "i:running:error:5d0c", {sort: 0})
        client.zadd(PREFIX + "i:running:other", {sort: 0})
        [listed] = (await backend.page(label="x")).items
        assert listed.labels == frozenset({"x"})
        assert await backend.store("t", TaskResult.success("t", 1))
        assert client.exists(PREFIX + "i:running:error:5d0c", PREFIX + "i:running:other") == 0
