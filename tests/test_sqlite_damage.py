"""SQLite files that are damaged, cut, deleted or replaced: the documented error, never a record missing."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    CorruptStore,
    Selection,
    SQLiteBackend,
    StorageError,
    StoreReplaced,
    TaskError,
    TaskResult,
    TaskStatus,
    UnreadableRecord,
    UnreadableRecords,
)
from flowstore.testing.support import EFFORT, failed, seen, waiting, walk
from tests import sqlite_jobs
from tests.test_sqlite_outages import check_whole, child, look, store_elsewhere

BEFORE = datetime.now(UTC) - timedelta(hours=1)
RECORDS = [
    *(
        failed(
            f"t{n:03}", n, task_name="add", labels={"x"}, parent_id="big 0" if n % 2 else None, worker_id="w"
        )
        for n in range(100)
    ),
    *(TaskResult.success(f"big {n}", f"{n}" * 9_000) for n in range(5)),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with records of several kinds, some on overflow pages, closed."""
    path = tmp_path_factory.mktemp("sound") / "x.db"

    async def fill() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store_many(RECORDS)
            await backend.data.set("big 0", "key", "value")

    asyncio.run(fill())
    return path


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda page: bytes(byte ^ 0xFF for byte in page),
    "zeroed": lambda page: bytes(len(page)),
    "random": lambda page: random.Random(page).randbytes(len(page)),
}


GROUP = TaskError.from_exception(ValueError("t000")).fingerprint
POINTERS = 2
"""The page that says which page points to each: nobody reads it but to move pages."""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_page(tmp_path: Path, sound: Path, damage: str) -> None:
    """Whichever it is: what it holds is an error, never missing or different; the rest is readable."""
    image = sound.read_bytes()
    [(size,)] = look(sound, "PRAGMA page_size")
    assert len(image) > 20 * size
    starts = [start for start in range(0, len(image), size) if start // size + 1 != POINTERS]
    noticed = 0
    for start in starts:
        path = tmp_path / f"{start}.db"
        path.write_bytes(image)
        page = DAMAGES[damage](image[start : start + size])
        path.write_bytes(image[:start] + page + image[start + size :])
        noticed += asyncio.run(count_errors(path)) > 0
    assert noticed == len(starts)


async def count_errors(path: Path) -> int:
    """Everything that can be read is right; how many calls said that the store or record is corrupt."""
    expected = {result.task_id: result.result for result in RECORDS}
    backend = SQLiteBackend(path)
    errors = 0
    try:
        await backend.open()
    except CorruptStore:
        return 1
    for task_id, value in expected.items():
        try:
            found = await backend.get(task_id)
        except (CorruptStore, UnreadableRecord, UnreadableRecords):
            errors += 1
        else:
            assert found is not None
            assert found.result == value
    for status, count in ((TaskStatus.FAILED, 100), (TaskStatus.SUCCESS, 5)):
        try:
            assert len(await backend.list_by_status(status)) == count
        except (CorruptStore, UnreadableRecord, UnreadableRecords):
            errors += 1
        try:
            assert (await backend.count_by_status())[status] == count
        except CorruptStore:
            errors += 1
    try:
        assert await backend.purge_expired() == 0
    except CorruptStore:
        errors += 1
    for filters, count in FILTERS:
        try:
            assert len([result async for result in backend.iter_by_status(**filters)]) == count
        except (CorruptStore, UnreadableRecord, UnreadableRecords):
            errors += 1
    for read in (read_history, read_data, read_statistics, add_one):
        try:
            await read(backend)
        except (CorruptStore, UnreadableRecord, UnreadableRecords):
            errors += 1
    await backend.close()
    return errors


FILTERS: list[tuple[Selection, int]] = [
    ({"error": GROUP}, 100),
    ({"error": GROUP, "order": "finished"}, 100),
    ({"name": "add"}, 100),
    ({"label": "x"}, 100),
    ({"worker_id": "w"}, 100),
    ({"parent_id": "big 0"}, 50),
    ({"root_id": "big 0"}, 51),
]


async def read_history(backend: SQLiteBackend) -> None:
    assert len([step async for step in backend.history.iter()]) == len(RECORDS)
    for record in RECORDS:
        assert len(await backend.history.of(record.task_id)) == 1


async def read_data(backend: SQLiteBackend) -> None:
    assert await backend.data.all("big 0") == {"key": "value"}


async def read_statistics(backend: SQLiteBackend) -> None:
    assert sum(hour.failed for hour in await backend.stats.series(since=BEFORE)) == 100
    minutes = await backend.stats.series("add", since=BEFORE, every="minute")
    assert sum(minute.failed for minute in minutes) == 100
    assert sum(group.total for group in await backend.errors.groups(since=BEFORE)) == 100


async def add_one(backend: SQLiteBackend) -> None:
    assert await backend.store("new", TaskResult.success("new"))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_pointers(tmp_path: Path, sound: Path, damage: str) -> None:
    """No page is moved by them; everything can be read, and the file written anew has none of it."""
    path = tmp_path / "x.db"
    path.write_bytes(sound.read_bytes())
    [(size,)] = look(sound, "PRAGMA page_size")
    kept = {result.task_id: result.result for result in RECORDS if result.task_id != "big 0"}

    async def delete() -> None:
        async with SQLiteBackend(path) as backend:
            assert await backend.delete("big 0")

    async def vacuum() -> None:
        async with SQLiteBackend(path) as backend:
            with pytest.raises(CorruptStore):
                await backend.vacuum()
            assert {name: task.result for name, task in (await backend.get_many(kept)).items()} == kept
            assert await backend.vacuum(full=True) > 0
            assert {name: task.result for name, task in (await backend.get_many(kept)).items()} == kept

    asyncio.run(delete())
    image = path.read_bytes()
    path.write_bytes(image[:size] + DAMAGES[damage](image[size : 2 * size]) + image[2 * size :])
    asyncio.run(vacuum())
    assert asyncio.run(check_whole(path)) == set(kept)


def test_a_schema_that_is_no_text(tmp_path: Path, sound: Path) -> None:
    """SQLite quotes it in its error, which Python cannot read: CorruptStore like others."""
    image = sound.read_bytes()
    path = tmp_path / "x.db"
    path.write_bytes(image.replace(b"CREATE TABLE facet", b"CRE\xc5TE TABLE facet"))
    with pytest.raises(CorruptStore, match="cannot be read"):
        asyncio.run(SQLiteBackend(path).open())


def test_a_file_that_was_cut(tmp_path: Path, sound: Path) -> None:
    """Half of a file: CorruptStore, sooner or later, and no record is missing."""
    image = sound.read_bytes()
    for part in range(1, 10):
        path = tmp_path / f"{part}.db"
        path.write_bytes(image[: len(image) * part // 10])
        assert asyncio.run(count_errors(path)) > 0


def test_a_cut_wal(tmp_path: Path) -> None:
    """Of a process that was killed: what is behind the cut is lost, what is before it is whole."""
    path = tmp_path / "x.db"
    with child(sqlite_jobs.write_until_killed, path, 0) as (process, pipe):
        order = [pipe.recv()[0] for _ in range(100)]
        process.kill()
    files = {found.name: found.read_bytes() for found in tmp_path.iterdir()}
    wal = files.pop("x.db-wal")
    del files["x.db-shm"]
    lost = []
    for part in range(20):
        folder = tmp_path / str(part)
        folder.mkdir()
        (folder / "x.db").write_bytes(files["x.db"])
        (folder / "x.db-wal").write_bytes(wal[: len(wal) * part // 20])
        found = asyncio.run(check_whole(folder / "x.db"))
        missing = [task_id not in found for task_id in dict.fromkeys(order)]
        lost.append(sum(missing))
    assert lost == sorted(lost, reverse=True)
    assert lost[0] > lost[-1]


async def test_a_wal_cut_under_an_open_backend(tmp_path: Path) -> None:
    """CorruptStore for what was in it, not an error without a meaning and not a silent None."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store_many(RECORDS)
        os.truncate(tmp_path / "x.db-wal", 40_000)
        with pytest.raises(CorruptStore):
            await backend.get_many([result.task_id for result in RECORDS])


CALLS: dict[str, Callable[[SQLiteBackend], Coroutine[Any, Any, object]]] = {
    "store": lambda backend: backend.store("new", failed("new")),
    "get": lambda backend: backend.get("t"),
    "get of none": lambda backend: backend.get("missing"),
    "wait_for": lambda backend: backend.wait_for("t", 30),
    "page": lambda backend: backend.page(),
    "count_by_status": lambda backend: backend.count_by_status(),
    "delete": lambda backend: backend.delete("t"),
    "clear": lambda backend: backend.clear(),
}


def remove(path: Path) -> None:
    """The file and what SQLite has beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()


def replace(path: Path) -> None:
    remove(path)
    store_elsewhere(path, "other")


@pytest.mark.parametrize("change", [remove, replace])
@pytest.mark.parametrize("name", CALLS)
async def test_the_file_is_replaced(tmp_path: Path, name: str, change: Callable[[Path], None]) -> None:
    """Deleted, or another in its place, under an open backend: each call says so, and it can be closed."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store("t", failed("t"))
        await asyncio.to_thread(change, path)
        for _ in range(2):
            with pytest.raises(StoreReplaced, match=r"x\.db: was deleted, or replaced"):
                await CALLS[name](backend)


@pytest.mark.parametrize("has_bells", [True, False])
@pytest.mark.parametrize("change", [remove, replace])
async def test_the_file_is_replaced_during_a_wait(
    tmp_path: Path, change: Callable[[Path], None], has_bells: bool
) -> None:
    """The wait ends with StoreReplaced, at the next re-check or before; not at its deadline."""
    path = tmp_path / "x.db"
    if not has_bells:
        (tmp_path / "x.db-bells").touch()
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with SQLiteBackend(path, recheck_interval=0.1) as backend:
        task = await waiting(backend, "t")
        await seen(backend, task, "t")
        await asyncio.to_thread(change, path)
        with pytest.raises(StoreReplaced):
            await task
    assert all(isinstance(context["exception"], StoreReplaced) for context in told)


async def test_a_file_that_cannot_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without rights says nothing about the file in it: no StoreReplaced, and all goes on."""

    def stat(path: Any) -> os.stat_result:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    async with SQLiteBackend(tmp_path / "x.db") as backend:
        monkeypatch.setattr("flowstore.backends.sqlite.connection.os.stat", stat)
        assert await backend.store("t", failed("t"))
        assert await backend.get("t")


async def test_closing_leaves_the_new_file_alone(tmp_path: Path) -> None:
    """SQLite deletes the WAL by its name when the last one closes: that of the new file must stay."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as old:
        await old.store("t", failed("t"))
        await asyncio.to_thread(remove, path)
        async with SQLiteBackend(path) as new:
            await new.store("t", failed("t"))
            wal = os.stat(tmp_path / "x.db-wal")
            await old.close()
            assert os.path.samestat(os.stat(tmp_path / "x.db-wal"), wal)
            await asyncio.to_thread(store_elsewhere, path, "u")
            assert set(await new.get_many(["t", "u"])) == {"t", "u"}
    assert await check_whole(path) == {"t", "u"}


def test_flipped_bits(tmp_path: Path, sound: Path) -> None:
    """Single bits, anywhere in the file: whatever a record or value comes back as, it is what was stored."""
    image, choose = sound.read_bytes(), random.Random("bits")
    for flip in range(60 * EFFORT):
        path = tmp_path / f"{flip}.db"
        damaged = bytearray(image)
        damaged[choose.randrange(len(image))] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        asyncio.run(read_what_is_left(path))
        path.unlink()


async def read_what_is_left(path: Path) -> None:
    expected = {record.task_id: record for record in RECORDS}
    try:
        async with SQLiteBackend(path) as backend:
            for task_id, record in expected.items():
                with suppress(UnreadableRecord, StorageError):
                    found = await backend.get(task_id)
                    assert found is None or is_like(found, record), (path, found)
            with suppress(UnreadableRecord, StorageError):
                for page in await walk(backend, None):
                    for found in page.items:
                        assert is_like(found, expected[found.task_id]), (path, found)
            with suppress(UnreadableRecord, StorageError):
                assert await backend.data.all("big 0") in ({"key": "value"}, {}), path
    except StorageError:
        pass  # it cannot even be opened


def is_like(found: TaskResult, stored: TaskResult) -> bool:
    own = {"version": 0, "updated_at": None, "expires_at": None, "root_id": None}
    return found.model_copy(update=own) == stored.model_copy(update=own)
