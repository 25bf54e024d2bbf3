"""The SQLite backend among processes that are killed or end badly, full disks and closed doors."""

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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    SQLiteBackend,
    StorageFull,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.faults import History, Recorder
from flowstore.testing.insides import storage_of
from flowstore.testing.support import IS_STRESS, failed, seen, waiting
from tests import forgetful, sqlite_jobs

SEEDS = range(20 if IS_STRESS else 1)
SECONDS = 10.0 if IS_STRESS else 2.0
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


def run_program(job: str, path: Path) -> subprocess.CompletedProcess[str]:
    """A whole program at its job, which must end by itself."""
    script = [sys.executable, "-m", "tests.sqlite_jobs", job, str(path)]
    return subprocess.run(script, text=True, capture_output=True, timeout=60, check=False)


def look(path: Path, statement: str, *values: object) -> list[Any]:
    """Behind the backend's back."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement, values).fetchall()
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


@pytest.mark.parametrize("seed", SEEDS)
def test_an_order_of_all_calls_of_killed_processes_explains_them(tmp_path: Path, seed: int) -> None:
    """Generations of three, all with the same ids, killed at random moments."""
    path, chance, history = tmp_path / "x.db", random.Random(seed), History()
    for generation in range(5):
        with ExitStack() as stack:
            jobs = [(path, f"{generation}-", seed * 1_000 + generation * 10 + n) for n in range(3)]
            children = [stack.enter_context(child(sqlite_jobs.join_crowd, *job)) for job in jobs]
            lives = {pipe: (process, chance.randrange(100, 700)) for process, pipe in children}
            note_until_killed(history, lives)
    asyncio.run(read_all(path, history))
    history.check()
    assert len(history) > 1_000
    asyncio.run(check_whole(path))


def note_until_killed(history: History, lives: dict[Any, tuple[Any, int]]) -> None:
    """Take what comes from each pipe; its process is killed after so many events."""
    while lives:
        ready: list[Any] = wait(list(lives))
        for pipe in ready:
            process, left = lives[pipe]
            try:
                history.note(pipe.recv())
            except (EOFError, OSError):  # the second in the middle of a message
                del lives[pipe]
                continue
            lives[pipe] = (process, left - 1)
            if left == 0:
                process.kill()


async def read_all(path: Path, history: History) -> None:
    async with SQLiteBackend(path) as backend:
        client = Recorder(backend, history.note)
        for task_id in history.ids:
            await client.get(task_id)


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


async def test_a_program_that_has_no_descriptor_left(tmp_path: Path) -> None:
    """It stores, and others are told of it at once, time after time."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, recheck_interval=1_000) as backend:
        await backend.open()
        with child(sqlite_jobs.store_without_descriptors, path) as (_, pipe):
            for n in range(20):
                task = await waiting(backend, f"t{n}")
                await seen(backend, task, f"t{n}")
                pipe.send("go")
                async with asyncio.timeout(20):
                    await task
            assert await asyncio.to_thread(pipe.recv)


def store_elsewhere(path: Path, task_id: str) -> None:
    process = PROCESSES.Process(target=sqlite_jobs.store_and_close, args=(path, task_id))
    process.start()
    process.join()
    assert process.exitcode == 0
    process.close()


async def limit_pages(backend: SQLiteBackend, pages: int) -> None:
    await storage_of(backend)._writer.run(
        lambda raw: raw.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    )


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


def on_a_mount(folder: Path, options: str, script: str) -> str:
    """What a shell script prints with a file system of its own at the folder ``$0``; ``$1`` runs Python."""
    mount = f"mount -t tmpfs -o {options} flowstore $0"
    shell = ["unshare", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*shell, mount, folder], check=False).returncode:
        pytest.skip("this run may not mount a file system of its own")
    command = [*shell, f"{mount} && {script}", str(folder), sys.executable]
    ended = subprocess.run(command, text=True, capture_output=True, timeout=60, check=False)
    assert ended.stderr == ""
    return ended.stdout


def test_disk_really_full(tmp_path: Path) -> None:
    """On a file system of 1 MiB that fills up: as with too few pages, and it goes on when there is room."""
    script = 'head -c 200000 /dev/zero > $0/ballast && exec "$1" -m tests.sqlite_jobs fill_disk $0/x.db'
    output = on_a_mount(tmp_path, "size=1m,mode=700", script)
    stored, found, half, another, is_there_after = output.split()
    assert int(stored) == int(found) > 5
    assert (half, another, is_there_after) == ("None", "StorageFull", "True")


def test_emptying_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """What cannot be removed is there as before; with 5 MB of room everything can, in portions."""
    script = 'head -c 5000000 /dev/zero > $0/ballast && exec "$1" -m tests.sqlite_jobs empty_disk $0/x.db'
    before, after = on_a_mount(tmp_path, "size=16m,mode=700", script).splitlines()
    stored, refused, found = map(int, before.split())
    assert refused == 3
    assert stored == found > 200
    removed, size = map(int, after.split())
    assert removed == stored
    assert size < 100_000


async def test_the_log_is_not_kept_long(tmp_path: Path) -> None:
    """What a long reader made of it is given back with the first commits after it."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN").close()
        reader.execute("SELECT * FROM task").fetchall()
        for n in range(30):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * 2**20))
        log = path.with_name("x.db-wal")
        assert log.stat().st_size > 30 * 2**20
        reader.execute("COMMIT").close()
        reader.close()
        for n in range(3):
            await backend.store(f"u{n}", TaskResult.success(f"u{n}"))
        assert log.stat().st_size <= 2**24


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


@pytest.mark.parametrize("what", ["file", "its folder", "the log beside it"])
def test_no_right_to_read(what: str) -> None:
    """AccessDenied, not StorageUnavailable: to try again would not help."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as rest:
        folder = Path(name) / "folder"
        folder.mkdir()
        path = folder / "x.db"
        opened = SQLiteBackend(path)
        loop = rest.enter_context(asyncio.Runner())
        loop.run(opened.store("t", failed("t")))
        rest.callback(lambda: loop.run(opened.close()))
        Path(name).chmod(0o777)
        folder.chmod(0o000 if what == "its folder" else 0o777)
        rest.callback(folder.chmod, 0o700)
        if what != "its folder":
            path.chmod(0o000 if what == "file" else 0o666)
            for beside in ("x.db-wal", "x.db-shm"):
                path.with_name(beside).chmod(0o000)
        with child(sqlite_jobs.open_and_store, path) as (_, pipe):
            kind, message = pipe.recv()
    assert kind == "AccessDenied", message
    assert str(path) in message


@pytest.mark.parametrize("folder_mode", [0o555, 0o777])
def test_who_may_read_and_not_write(folder_mode: int) -> None:
    """Reads and waits, also for what others store later; each write raises AccessDenied."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as rest:
        path = Path(name) / "x.db"
        opened = SQLiteBackend(path)
        loop = rest.enter_context(asyncio.Runner())
        loop.run(opened.store("t", TaskResult.success("t", 7)))
        rest.callback(lambda: loop.run(opened.close()))
        for file in (path, path.with_name("x.db-wal"), path.with_name("x.db-shm")):
            file.chmod(0o444)
        Path(name).chmod(folder_mode)
        rest.callback(Path(name).chmod, 0o700)
        with child(sqlite_jobs.read_wait_and_write, path) as (_, pipe):
            assert pipe.recv() == (7, ["t"])
            assert pipe.recv() == "waiting"
            loop.run(opened.store("later", TaskResult.success("later", 8)))
            assert pipe.recv() == 8
            assert pipe.recv() == ["AccessDenied"] * 5


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


def test_a_program_that_forgets_to_close(tmp_path: Path) -> None:
    """It ends, with a ResourceWarning; what it was told is stored is on disk."""
    ended = forgetful.run(f"sqlite:///{tmp_path}/x.db")
    assert "ResourceWarning: SQLiteBackend" in ended.stderr
    assert asyncio.run(check_whole(tmp_path / "x.db")) >= forgetful.STORED


@pytest.mark.parametrize("during", ["opening", "storing"])
def test_a_program_whose_loop_dies(tmp_path: Path, during: str) -> None:
    """In a call that waits for the lock: a new loop goes on with the file, and no thread stays behind."""
    ended = run_program(f"lose_loop_{during}", tmp_path / "x.db")
    assert (ended.returncode, ended.stdout) == (0, "stored\n")
    assert "Exception in thread" not in ended.stderr
    assert asyncio.run(check_whole(tmp_path / "x.db")) >= {"before", "new"}
