"""Whatever format a store was written in, today's code reads it; and its own format has a fixture."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import redis

from flowstore import (
    BaseResultBackend,
    CancelRequest,
    CorruptRecord,
    CorruptStore,
    Progress,
    RedisBackend,
    RedisClusterBackend,
    SchemaTooNew,
    SQLiteBackend,
    StorageError,
    TaskError,
    TaskResult,
    TaskStatus,
    WaitTimeout,
    Worker,
)
from flowstore.backends.cluster.slots import slot_of
from flowstore.backends.redis import migration
from flowstore.backends.redis.format import FORMAT as REDIS_FORMAT
from flowstore.backends.redis.format import stored
from flowstore.backends.redis.namespaces import OLDEST
from flowstore.backends.sqlite.format import FORMAT as SQLITE_FORMAT
from flowstore.backends.sqlite.migrations import MIGRATIONS
from flowstore.backends.sqlite.statements import SCHEMA
from flowstore.testing.insides import core_of, storage_of
from flowstore.testing.support import ids, waiting
from tests.clusters import Cluster
from tests.formats.make import FOLDER, load, load_where
from tests.formats.sample import TYPES, at, results
from tests.redis_whole import check_whole, raw
from tests.test_sqlite_outages import look

FIXTURES = sorted(path.name for path in FOLDER.glob("*-*.*") if path.suffix in (".db", ".jsonl"))
PREFIX = "flowstore:{default}:"


@pytest_asyncio.fixture(params=FIXTURES)
async def backend(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    empty_database: Callable[[str], str],
    empty_cluster: Callable[[str], Cluster],
) -> AsyncIterator[BaseResultBackend]:
    """A copy of each fixture, opened by the code of today."""
    fixture = FOLDER / request.param
    if fixture.suffix == ".db":
        path = tmp_path / fixture.name
        shutil.copy(fixture, path)
        made: BaseResultBackend = SQLiteBackend(path, types=TYPES, namespace="app")
    elif fixture.name.startswith("cluster"):
        cluster = empty_cluster("valkey")
        with ExitStack() as stack:
            clients = {
                node.port: stack.enter_context(redis.Redis(port=node.port)) for node in cluster.masters
            }
            load_where(lambda key: clients[cluster.owner(slot_of(key)).port], fixture)
        made = RedisClusterBackend(cluster.url, types=TYPES, namespace="app")
    else:
        url = empty_database("valkey")
        with redis.Redis.from_url(url) as client:
            load(client, fixture)
        made = RedisBackend(url, types=TYPES, namespace="app")
    async with made:
        yield made


def test_each_format_has_a_fixture() -> None:
    """Those of today, and all that can be brought up to date."""
    sqlite = {f"sqlite-{number}.db" for number in (*MIGRATIONS, SQLITE_FORMAT)}
    assert {*FIXTURES} >= sqlite | {f"redis-{number}.jsonl" for number in range(OLDEST, REDIS_FORMAT + 1)}
    assert f"cluster-{REDIS_FORMAT}.jsonl" in FIXTURES
    assert max(MIGRATIONS) == SQLITE_FORMAT - 1


DOCUMENT = (FOLDER.parents[1] / "docs" / "formats.md").read_text("utf-8")
NAMED = set(re.findall(r"`([^`]+)`", re.sub("```.*?```", "", DOCUMENT, flags=re.DOTALL)))


def test_the_document_is_of_today() -> None:
    """Its numbers, and every JSON key."""
    numbers = f"SQLite files are at format {SQLITE_FORMAT}, Redis and Valkey at format {REDIS_FORMAT}."
    assert numbers in DOCUMENT
    keys = {*TaskError.model_fields, *Progress.model_fields, "result", "args", "kwargs", "error", "value"}
    assert keys | {"info", "cancel"} | CancelRequest.model_fields.keys() <= NAMED
    assert (Worker.model_fields.keys() - {"worker_id", "last_seen"}) <= NAMED


def test_the_document_names_every_table_and_column() -> None:
    """Those of SQLite, and of the view for people."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(";".join(SCHEMA.values()))
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


def of_unknown_module(error: TaskError | None) -> TaskError | None:
    """As an error was stored before its module was."""
    if error is None:
        return None
    return error.model_copy(update={"module": None, "cause": of_unknown_module(error.cause)})


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
        assert task.error in (of_unknown_module(result.error), result.error)  # older ones say no module
        for name in ("status", "task_name", "args", "kwargs", "submitted_at", "started_at"):
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
            for table in ("task", "facet"):
                newer.execute(f"UPDATE {table} SET ns = 7")
        assert (await wait).unwrap() == 1
        assert (await other.count_by_status(worker_id="w"))[TaskStatus.SUCCESS] == 0


async def test_a_file_that_is_too_new(tmp_path: Path) -> None:
    """It says which format it has, and what to do."""
    path = tmp_path / "x.db"
    await fill(SQLiteBackend(path))
    make_newer(path, oldest_writer=99, oldest_reader=99)
    with pytest.raises(SchemaTooNew, match=r"format 99.*cannot use it: upgrade flowstore"):
        await SQLiteBackend(path).open()


@pytest.mark.parametrize("number", MIGRATIONS)
async def test_an_older_file_is_brought_up_to_date(tmp_path: Path, number: int) -> None:
    """By whoever opens it first; its schema is then that of a new file, however many open it at once."""
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    shutil.copy(FOLDER / f"sqlite-{number}.db", old)
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


ROWS = {
    # Older formats had no checksum in their progress, and kept no row of a status for none.
    "task": "task, id, status, stage, version, submitted_at, started_at, finished_at, due_at, updated_at,"
    " expires_at, checksum, fixed, facets, head, json_remove(progress, '$.crc'), body FROM task WHERE ns = 1",
    "tally": "* FROM tally WHERE ns = 1 AND tasks > 0",
    **{table: f"* FROM {table} WHERE ns = 1" for table in ("facet", "item", "timeline")},
}


@pytest.mark.parametrize("number", MIGRATIONS)
@pytest.mark.parametrize("table", ROWS)
async def test_an_older_file_becomes_one_of_today(tmp_path: Path, number: int, table: str) -> None:
    """Row by row, checksums included."""
    old, today = tmp_path / "old.db", tmp_path / "today.db"
    shutil.copy(FOLDER / f"sqlite-{number}.db", old)
    shutil.copy(FOLDER / f"sqlite-{SQLITE_FORMAT}.db", today)
    async with SQLiteBackend(old, namespace="app"):
        pass
    rows, expected = (look(path, f"SELECT {ROWS[table]}") for path in (old, today))
    assert sorted(rows, key=repr) == sorted(expected, key=repr)
    assert len(rows) > 3


@pytest.mark.parametrize("number", MIGRATIONS)
async def test_an_update_that_fails_leaves_the_old_file(tmp_path: Path, number: int) -> None:
    """All of it or nothing: here a table that it has to make is there already."""
    old = tmp_path / "old.db"
    shutil.copy(FOLDER / f"sqlite-{number}.db", old)
    look(old, "CREATE TABLE error_group (x)")
    before = look(old, "SELECT sql FROM sqlite_schema")
    with pytest.raises(StorageError, match="error_group"):
        await SQLiteBackend(old).open()
    assert look(old, "SELECT sql FROM sqlite_schema") == before
    assert look(old, "PRAGMA user_version") == [(number,)]


async def test_an_old_record_that_cannot_be_read(tmp_path: Path) -> None:
    """It is brought along, hides no other, and can be removed."""
    old = tmp_path / "old.db"
    shutil.copy(FOLDER / "sqlite-3.db", old)
    look_at = [("head", "[", "failed"), ("labels", "[7]", "root"), ("status", "done", "leaf")]
    with closing(sqlite3.connect(old)) as connection, connection:
        for column, value, name in look_at:
            connection.execute(f"UPDATE task SET {column} = ? WHERE id = ?", (value, name))
    async with SQLiteBackend(old, types=TYPES, namespace="app") as backend:
        page = await backend.page()
        assert {"failed"} == {one.task_id for one in page.unreadable}
        assert set(ids(page.items)) == {"root", "step", "cancelled", results()[-1].task_id}
        with pytest.raises(CorruptRecord):
            await backend.get("leaf")
        assert await backend.clear() == 6


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


@pytest.mark.parametrize("found", ["99", "99 99 99", "4 4 4"])
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
        [write] = [core_of(backend).records.write(TaskResult.running("t", labels={"x"}), 0)]
        write = write._replace(entry=write.entry._replace(facets=("label:x", "error:5d0c", "~other")))
        write = write._replace(entry=core_of(backend).records.checked(write.entry))
        await backend.open()
        await storage_of(backend).write([write], 0)
        assert client.exists(PREFIX + "i:running:error:5d0c", PREFIX + "i:running:~other") == 2
        [listed] = (await backend.page(label="x")).items
        assert listed.labels == frozenset({"x"})
        assert await backend.store("t", TaskResult.success("t", 1))
        assert client.exists(PREFIX + "i:running:error:5d0c", PREFIX + "i:running:~other") == 0


async def test_a_namespace_of_format_2_is_brought_up_to_date(redis_url: str, client: Any) -> None:
    """By whoever opens it first, or by several at once; nothing of it is left over."""
    with raw(client) as plain:
        load(plain, FOLDER / "redis-2.jsonl")
        plain.zadd("flowstore:{app}:i:success:", {"7ff9b8b7b9b1f940ghost": 0})
        plain.set("flowstore:{app}:r:corrupt", "2 no record")
        plain.zadd("flowstore:{app}:i:failed:", {"7ff9b8b7b9b1f940corrupt": 0})
        backends = [RedisBackend(redis_url, types=TYPES, namespace="app") for _ in range(4)]
        await asyncio.gather(*(backend.open() for backend in backends))
        assert [one.task_id for one in (await backends[0].page()).unreadable] == ["corrupt"]
        assert await backends[0].delete("corrupt")
        assert (await backends[0].page(TaskStatus.FAILED)).unreadable == []
        for backend in backends:
            await backend.close()
        assert plain.get("flowstore:{app}:format") == b"%d" % REDIS_FORMAT
        assert len(check_whole(client, "flowstore:{app}:")) == 6
        left = {key.decode().removeprefix("flowstore:{app}:") for key in plain.keys("flowstore:{app}:*")}
        assert {key for key in left if key[:2] in ("na", "h:")} == set()


async def test_what_was_stored_during_an_update_is_listed_once(redis_url: str, client: Any) -> None:
    """A record of today with an entry of format 2, which the update takes away; also by its finish."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.failed("t", ValueError(), submitted_at=at(1), at=at(9)))
    client.zadd(PREFIX + "i:failed:", {"7ff9b8b7b9b1f940t": 0})
    client.set(PREFIX + "format", "2")
    async with RedisBackend(redis_url):
        assert check_whole(client) == {"t": "failed"}


async def test_an_update_that_was_interrupted_goes_on(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace says format 2 until all is done; expiry, long histories and checkpoints come along."""
    prefix = "flowstore:{app}:"
    with raw(client) as plain:
        load(plain, FOLDER / "redis-2.jsonl")
        expires = 2 * 10**15
        for n in range(120):
            sort = f"{2**63 - 1_000 - n:016x}"
            header = f'2 running 1 40 {expires} {1_000 + n} {n:016x}.0 {sort} ["run:n", "parent:p", "root:r"]'
            plain.set(f"{prefix}r:m{n}", header + "\n\n{}\n{}")
            for facet in ("", "run:n", "parent:p", "root:r"):
                plain.zadd(f"{prefix}i:running:{facet}", {f"{sort}m{n}": 0})
            plain.zadd(f"{prefix}x", {f"m{n}": expires})
            log = [f"{2**63 + 1_000 + seq:016x}{seq:016x} running 1 0 m{n}" for seq in range(1, 41)]
            plain.rpush(f"{prefix}h:m{n}", *log)
            plain.zadd(f"{prefix}t", dict.fromkeys(log, 0))
        send, calls = migration._send, 0

        async def failing(*arguments: Any) -> None:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise StorageError("interrupted")
            await send(*arguments)

        monkeypatch.setattr(migration, "_send", failing)
        with pytest.raises(StorageError, match="interrupted"):
            await RedisBackend(redis_url, namespace="app").open()
        assert plain.get(prefix + "format") == b"2"
        async with RedisBackend(redis_url, namespace="app") as backend:
            assert len(check_whole(client, prefix)) == 126
            history = await backend.history.of("m7")
            assert [step.seq for step in history] == list(range(1, 41))
            record = await backend.get("m7")
            assert record is not None
            assert (record.parent_id, record.root_id, record.version) == ("p", "r", 40)
            assert plain.zrange(prefix + "x", 0, 0) == [stored(expires) + b"m0"]
            assert await backend.clear() == 126
        assert sorted(key.removeprefix(prefix.encode())[:2] for key in plain.keys(prefix + "*")) == sorted(
            [
                b"fo",
                b"e:",
                b"e:",
                *(key.removeprefix(prefix.encode())[:2] for key in plain.keys(prefix + "c:*")),
            ]
        )
