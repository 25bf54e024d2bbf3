"""The SQLite backend among processes that are killed, full disks and damaged files."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    CorruptRecord,
    CorruptStore,
    SQLiteBackend,
    StorageFull,
    StoreReplaced,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.support import failed, seen, waiting
from tests import sqlite_jobs

SECONDS = 10.0 if os.environ.get("FLOWSTORE_STRESS") else 2.0
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.sqlite_jobs"])


@contextmanager
def child(job: Callable[..., None], *arguments: object) -> Iterator[tuple[Any, Connection]]:
    """A process at its job, and our end of its pipe; killed in the end."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=job, args=(*arguments, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        process.kill()
        process.join()
        process.close()
        ours.close()


def run_program(job: str, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A whole program at its job, which must end by itself."""
    script = [sys.executable, *options, "-m", "tests.sqlite_jobs", job, str(path)]
    return subprocess.run(script, text=True, capture_output=True, timeout=60, check=False)


def look(path: Path, statement: str) -> list[Any]:
    """Behind the backend's back."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


async def check_whole(path: Path) -> set[str]:
    """Records, listing and counts agree, and SQLite finds no fault; the ids of all records."""
    async with SQLiteBackend(path) as backend:
        listed = [result.task_id async for result in backend.iter_by_status(load_result=False)]
        found = await backend.get_many(listed)
        counts = await backend.count_by_status()
    assert set(found) == set(listed)
    assert len(set(listed)) == len(listed)
    statuses = [result.status for result in found.values()]
    assert counts == {status: statuses.count(status) for status in TaskStatus}
    assert look(path, "SELECT count(*) FROM task") == [(len(listed),)]
    assert look(path, "PRAGMA integrity_check") == [("ok",)]
    return set(listed)


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """60 writers, killed at random moments, from before they open to the middle of a checkpoint."""
    path, chance = tmp_path / "x.db", random.Random(60)
    acknowledged: dict[str, str] = {}
    for life in range(60):
        with child(sqlite_jobs.write_until_killed, path, life) as (process, pipe), suppress(EOFError):
            for _ in range(chance.randrange(60)):
                acknowledged.update([pipe.recv()])
            process.kill()
            while True:
                acknowledged.update([pipe.recv()])
        asyncio.run(check_acknowledged(path, life, acknowledged))
    ids = asyncio.run(check_whole(path))
    assert len(acknowledged) > 300
    assert ids >= set(acknowledged)
    assert len(ids - set(acknowledged)) <= 60 * 5


async def check_acknowledged(path: Path, life: int, acknowledged: dict[str, str]) -> None:
    mine = {task_id: status for task_id, status in acknowledged.items() if task_id.startswith(f"{life}-")}
    async with SQLiteBackend(path) as backend:
        found = await backend.get_many(mine)
    for task_id, status in mine.items():
        assert found[task_id].status in (status, TaskStatus.SUCCESS)
        if found[task_id].is_finished:
            assert found[task_id].unwrap() == task_id * 100


def test_8_processes_write_at_once(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """Nobody is told that the database is locked, and each store is counted once."""
    path = tmp_path / "x.db"
    with SeveralChildren(sqlite_jobs.write_for, path, 8) as pipes:
        for pipe in pipes:
            assert pipe.recv() == "ready"
        for pipe in pipes:
            pipe.send(SECONDS)
        reports: list[tuple[int, float]] = [pipe.recv() for pipe in pipes]
    stored, longest = sum(count for count, _ in reports), max(wait for _, wait in reports)
    record_property("stores", stored)
    record_property("longest wait for one store, in seconds", longest)
    print(f"{stored} stores in {SECONDS:g} s; by process {reports}; longest wait {longest:.3f} s")
    assert len(asyncio.run(check_whole(path))) == stored
    assert all(count for count, _ in reports)


class SeveralChildren:
    """``child`` times ``count``, each with its number; the pipes."""

    def __init__(self, job: Callable[..., None], path: Path, count: int) -> None:
        self._children = [child(job, path, number) for number in range(count)]

    def __enter__(self) -> list[Connection]:
        return [each.__enter__()[1] for each in self._children]

    def __exit__(self, *_: object) -> None:
        for each in self._children:
            each.__exit__(None, None, None)


async def test_others_come_and_go(tmp_path: Path) -> None:
    """A process that opens and closes the file does not take the WAL away from those that have it open."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store("mine", failed("mine"))
        await asyncio.to_thread(store_elsewhere, path, "theirs")
        await backend.store("after", failed("after"))
        await asyncio.to_thread(store_elsewhere, path, "last")
        async with SQLiteBackend(path) as other:
            await asyncio.to_thread(store_elsewhere, path, "really")
            assert set(await other.get_many(["mine", "theirs", "after", "last", "really"])) == {
                *("mine", "theirs", "after", "last", "really")
            }
    assert await check_whole(path) == {"mine", "theirs", "after", "last", "really"}


def store_elsewhere(path: Path, task_id: str) -> None:
    process = PROCESSES.Process(target=sqlite_jobs.store_and_close, args=(path, task_id))
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()


async def limit_pages(backend: SQLiteBackend, pages: int) -> None:
    engine: Any = backend._engine
    await engine._engine._writer.run(lambda raw: raw.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def test_disk_full(tmp_path: Path) -> None:
    """StorageFull, nothing half written; reads, waits and deletions work, and stores when there is room."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await limit_pages(backend, 100)
        with pytest.raises(StorageFull, match="full"):
            await store_large(backend)
        n = len(await listed(backend))
        assert n > 5
        assert await backend.get(f"t{n}") is None
        with pytest.raises(StorageFull):
            await backend.store_many(TaskResult.success(f"u{m}", "x" * 20_000) for m in range(100))
        with pytest.raises(StorageFull):
            await backend.store("t0", TaskResult.success("t0", "x" * 200_000), overwrite=True)
        assert (await backend.wait_for("t0", 5)).unwrap() == "x" * 20_000
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == len(await listed(backend))
        assert await backend.delete("t0")
        assert await backend.delete("t1")
        assert await backend.store("small", failed("small"))
        await limit_pages(backend, 10_000)
        assert await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * 20_000))
    await check_whole(path)


async def store_large(backend: SQLiteBackend) -> None:
    for n in itertools.count():
        await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * 20_000))


async def listed(backend: SQLiteBackend) -> list[str]:
    return [result.task_id async for result in backend.iter_by_status(load_result=False)]


def test_disk_really_full(tmp_path: Path) -> None:
    """On a file system of 1 MiB that fills up: as with too few pages, and it goes on when there is room."""
    mount = "mount -t tmpfs -o size=1m,mode=700 flowstore $0"
    shell = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*shell, mount, tmp_path], check=False).returncode:
        pytest.skip("this run may not mount a file system of its own")
    ballast = f"{mount} && head -c 200000 /dev/zero > $0/ballast"
    job = f'{ballast} && exec "$1" -m tests.sqlite_jobs fill_disk $0/x.db'
    output = subprocess.run(
        [*shell, job, tmp_path, sys.executable], text=True, capture_output=True, timeout=60, check=False
    )
    assert output.stderr == ""
    stored, found, half, another, is_there_after = output.stdout.split()
    assert int(stored) == int(found) > 5
    assert (half, another, is_there_after) == ("None", "StorageFull", "True")


@pytest.mark.parametrize("rights", ["file", "folder", "empty folder"])
def test_no_right_to_write(rights: str) -> None:
    """AccessDenied at open, naming the file; also when it, or only the WAL beside it, cannot be made."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "x.db"
        if rights != "empty folder":
            asyncio.run(store_one(path))
            path.chmod(0o444 if rights == "file" else 0o666)
        Path(name).chmod(0o777 if rights == "file" else 0o555)
        with child(sqlite_jobs.open_and_store, path) as (_, pipe):
            kind, message = pipe.recv()
        Path(name).chmod(0o700)
    assert kind == "AccessDenied"
    assert str(path) in message


async def store_one(path: Path) -> None:
    async with SQLiteBackend(path) as backend:
        await backend.store("t", failed("t"))


async def test_only_the_owner_reads(tmp_path: Path) -> None:
    """Neither a wide umask nor SQLite's own files make anything readable for others."""
    before = os.umask(0)
    try:
        async with SQLiteBackend(tmp_path / "x.db") as backend:
            task = await waiting(backend, "t")
            await seen(backend, task, "t")
            modes, bells = modes_in(tmp_path), modes_in(tmp_path / "x.db-bells")
            await backend.store("t", failed("t"))
            await task
    finally:
        os.umask(before)
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600, "x.db-bells": 0o700}
    assert set(bells.values()) == {0o600}


def modes_in(folder: Path) -> dict[str, int]:
    return {found.name: stat.S_IMODE(found.stat().st_mode) for found in folder.iterdir()}


RECORDS = [
    *(failed(f"t{n:03}", n, task_name="add", labels={f"label {n}"}) for n in range(100)),
    *(TaskResult.success(f"big {n}", f"{n}" * 9_000) for n in range(5)),
]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with records of several kinds, some on overflow pages, closed."""
    path = tmp_path_factory.mktemp("sound") / "x.db"

    async def fill() -> None:
        async with SQLiteBackend(path) as backend:
            await backend.store_many(RECORDS)

    asyncio.run(fill())
    return path


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": lambda page: bytes(byte ^ 0xFF for byte in page),
    "zeroed": lambda page: bytes(len(page)),
    "random": lambda page: random.Random(page).randbytes(len(page)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_page(tmp_path: Path, sound: Path, damage: str) -> None:
    """Whichever it is: what it holds is an error, never missing or different; the rest is readable."""
    image = sound.read_bytes()
    [(size,)] = look(sound, "PRAGMA page_size")
    assert len(image) > 20 * size
    noticed = 0
    for start in range(0, len(image), size):
        path = tmp_path / f"{start}.db"
        path.write_bytes(image)
        page = DAMAGES[damage](image[start : start + size])
        path.write_bytes(image[:start] + page + image[start + size :])
        noticed += asyncio.run(count_errors(path)) > 0
    assert noticed == len(image) / size


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
        except (CorruptStore, CorruptRecord):
            errors += 1
        else:
            assert found is not None
            assert found.result == value
    for status, count in ((TaskStatus.FAILED, 100), (TaskStatus.SUCCESS, 5)):
        try:
            assert len(await backend.list_by_status(status)) == count
        except (CorruptStore, CorruptRecord):
            errors += 1
        try:
            assert (await backend.count_by_status())[status] == count
        except CorruptStore:
            errors += 1
    try:
        assert await backend.purge_expired() == 0
    except CorruptStore:
        errors += 1
    try:
        named = [result.task_id async for result in backend.iter_by_status(name="add")]
        assert len(named) == 100
    except (CorruptStore, CorruptRecord):
        errors += 1
    await backend.close()
    return errors


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


def test_a_program_that_forgets_to_close(tmp_path: Path) -> None:
    """It ends, with a ResourceWarning; what it was told is stored is on disk."""
    ended = run_program("forget_to_close", tmp_path / "x.db", "-W", "default::ResourceWarning")
    assert (ended.returncode, ended.stdout) == (0, "stored\n")
    assert "ResourceWarning: SQLiteBackend" in ended.stderr
    assert "was never closed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(asyncio.run(check_whole(tmp_path / "x.db"))) == 100


@pytest.mark.parametrize("during", ["opening", "storing"])
def test_a_program_whose_loop_dies(tmp_path: Path, during: str) -> None:
    """In a call that waits for the lock: a new loop goes on with the file, and no thread stays behind."""
    ended = run_program(f"lose_loop_{during}", tmp_path / "x.db")
    assert (ended.returncode, ended.stdout) == (0, "stored\n")
    assert "Exception in thread" not in ended.stderr
    assert asyncio.run(check_whole(tmp_path / "x.db")) >= {"before", "new"}
