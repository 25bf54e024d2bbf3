"""Copies of SQLite files that are in use: whole, or not there."""

from __future__ import annotations

import asyncio
import errno
import filecmp
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    AccessDenied,
    BackendClosed,
    SQLiteBackend,
    StorageUnavailable,
    StoreReplaced,
    TaskResult,
    WrongLoop,
)
from flowstore.backends.sqlite import backup
from flowstore.engine import let_go
from flowstore.testing.contract.moving import Loops, assert_opened, opened
from flowstore.testing.support import failed
from tests import sqlite_jobs
from tests.test_sqlite_outages import check_acknowledged, check_whole, child, look, on_a_mount

MIB = 2**20


async def fill(backend: SQLiteBackend, mib: int) -> None:
    for n in range(mib):
        await backend.store(f"large-{n}", TaskResult.success(f"large-{n}", "x" * MIB))


def names_in(folder: Path) -> set[str]:
    return {found.name for found in folder.iterdir()}


async def test_under_a_writer_in_another_process(tmp_path: Path) -> None:
    """What it had been told is stored by then is in the copy; it goes on meanwhile, and the copy ends."""
    path, target = tmp_path / "x.db", tmp_path / "copy.db"
    acknowledged: dict[str, str] = {}

    def take(pipe: Connection) -> None:
        with suppress(EOFError):
            while True:
                acknowledged.update([pipe.recv()])

    async with SQLiteBackend(path) as backend:
        await fill(backend, 40)
        with child(sqlite_jobs.write_until_killed, path, 7) as (process, pipe):
            acknowledged.update([await asyncio.to_thread(pipe.recv)])
            taking = asyncio.create_task(asyncio.to_thread(take, pipe))
            before = dict(acknowledged)
            async with asyncio.timeout(60):
                size = await backend.backup(target)
            assert len(acknowledged) > len(before)
            process.kill()
            await taking
    assert size == target.stat().st_size > 40 * MIB
    assert names_in(tmp_path) >= {"x.db", "copy.db"}
    assert not [name for name in names_in(tmp_path) if "part" in name]
    await check_acknowledged(target, 7, before)
    assert len(await check_whole(target)) >= 40 + len(before)


async def test_everything_is_in_it(tmp_path: Path) -> None:
    """Each namespace, with all that belongs to its tasks; and it is used like the file it was made of."""
    path, target = tmp_path / "x.db", tmp_path / "copy.db"
    for namespace in ("default", "other"):
        async with SQLiteBackend(path, namespace=namespace) as backend:
            await backend.store("t", TaskResult.running("t", worker_id="w", labels={namespace}))
            await backend.data.set("t", "k", [namespace])
            await backend.checkpoints.save("t", namespace)
            await backend.workers.register("w")
            await backend.app.register({"version": namespace})
            await backend.backup(tmp_path / f"copy of {namespace}.db")
    async with SQLiteBackend(path) as backend:
        await backend.backup(target)
    for namespace in ("default", "other"):
        async with SQLiteBackend(target, namespace=namespace) as backend:
            assert [task.task_id for task in (await backend.page(label=namespace)).items] == ["t"]
            assert await backend.data.get("t", "k") == [namespace]
            assert [one.value for one in await backend.checkpoints.all("t")] == [namespace]
            assert len(await backend.history.of("t")) == 1
            assert [worker.worker_id for worker in await backend.workers.all()] == ["w"]
            app = await backend.app.info()
            assert app is not None
            assert app.info == {"version": namespace}
            await backend.delete("t")
            assert await backend.vacuum() >= 0
    for pragma in ("auto_vacuum", "application_id", "user_version"):
        assert look(target, f"PRAGMA {pragma}") == look(path, f"PRAGMA {pragma}")
    async with SQLiteBackend(path) as backend:
        assert await backend.exists("t")


async def test_stores_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the same backend, while the copy is being written; they are not in it."""
    go_on, has_begun = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    plain = backup._write

    def write(raw: Any, part: Path, target: Path) -> None:
        raw.execute("BEGIN").close()
        assert raw.execute("SELECT count(*) FROM task").fetchall() == [(1,)]
        loop.call_soon_threadsafe(has_begun.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)
        raw.execute("COMMIT")
        plain(raw, part, target)

    monkeypatch.setattr(backup, "_write", write)
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", failed("t"))
        copying = asyncio.create_task(backend.backup(tmp_path / "copy.db"))
        await has_begun.wait()
        for n in range(100):
            assert await backend.store(f"t{n}", failed(f"t{n}"))
            assert await backend.wait_for(f"t{n}", 5)
        go_on.set()
        assert await copying > 0


@pytest.mark.parametrize("what", ["file", "folder", "link to nothing", "itself"])
async def test_nothing_is_overwritten(tmp_path: Path, what: str) -> None:
    """ValueError that names it, and it is what it was."""
    path, target = tmp_path / "x.db", tmp_path / "copy.db"
    match what:
        case "file":
            target.write_text("something else")
        case "folder":
            target.mkdir()
        case "link to nothing":
            target.symlink_to("nothing")
        case _:
            target = path
    async with SQLiteBackend(path) as backend:
        await backend.store("t", failed("t"))
        before = names_in(tmp_path), os.lstat(target)[:7]
        with pytest.raises(ValueError, match=rf"^path: {target} exists"):
            await backend.backup(target)
        assert (names_in(tmp_path), os.lstat(target)[:7]) == before
        assert await backend.exists("t")


@pytest.mark.parametrize("has_links", [True, False])
async def test_a_target_that_appears_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    """It stays, and nothing of the copy does; also where the file system has no hard links."""
    target, plain = tmp_path / "copy.db", backup._write

    def write(raw: Any, part: Path, named: Path) -> None:
        plain(raw, part, named)
        target.write_text("faster")

    monkeypatch.setattr(backup, "_write", write)
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", failed("t"))
        before = names_in(tmp_path)
        with pytest.raises(ValueError, match="exists"):
            await backend.backup(target)
        assert names_in(tmp_path) == before | {"copy.db"}
        assert target.read_text() == "faster"


def no_links(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


async def test_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy gets its name in another way."""
    monkeypatch.setattr(os, "link", no_links)
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", failed("t"))
        before = names_in(tmp_path)
        await backend.backup(tmp_path / "copy.db")
        assert names_in(tmp_path) == before | {"copy.db"}
    assert await check_whole(tmp_path / "copy.db") == {"t"}


async def test_a_cancelled_copy_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stops in the midst of it, and the backend goes on."""
    has_begun = asyncio.Event()
    loop, plain = asyncio.get_running_loop(), backup._create

    def create(part: Path, file: Path) -> None:
        plain(part, file)
        loop.call_soon_threadsafe(has_begun.set)

    monkeypatch.setattr(backup, "_create", create)
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await fill(backend, 40)
        # Many small ones, too: SQLite looks up only between its steps, and a large one is a single step.
        await backend.store_many(TaskResult.success(f"small-{n}", n) for n in range(20_000))
        before = names_in(tmp_path)
        copying = asyncio.create_task(backend.backup(tmp_path / "copy.db"))
        await has_begun.wait()
        copying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert names_in(tmp_path) == before
        assert await backend.exists("large-0")
        assert await backend.backup(tmp_path / "copy.db") > 40 * MIB


async def test_it_has_the_rights_of_the_file(tmp_path: Path) -> None:
    """And not those that SQLite gives to what it makes."""
    path = tmp_path / "x.db"
    for mode in (0o600, 0o640, 0o660):
        async with SQLiteBackend(path, mode=mode) as backend:
            await backend.backup(tmp_path / f"{mode:o}.db")
        assert stat.S_IMODE((tmp_path / f"{mode:o}.db").stat().st_mode) == mode


async def test_where_it_cannot_be_made(tmp_path: Path) -> None:
    """The error names the target, not the file."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", failed("t"))
        for folder in ("missing", "x.db"):
            with pytest.raises(StorageUnavailable, match=f"{folder}/copy.db"):
                await backend.backup(tmp_path / folder / "copy.db")
        for bad in ("", "a\0b", ":memory:"):
            with pytest.raises(ValueError, match=r"^path: "):
                await backend.backup(bad)
        with pytest.raises(TypeError):
            await backend.backup(7)  # type: ignore[arg-type]  # on purpose
        assert await backend.exists("t")


def test_no_right_to_make_it() -> None:
    """AccessDenied."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        (Path(name) / "closed").mkdir(0o555)
        target = Path(name) / "closed" / "copy.db"
        with child(sqlite_jobs.store_and_back_up, Path(name) / "x.db", target) as (_, pipe):
            kind, message = pipe.recv()
    assert kind == AccessDenied.__name__
    assert str(target) in message


def test_no_room_for_it(tmp_path: Path) -> None:
    """StorageFull that names the target, of which nothing is left; a smaller one finds room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'exec "$1" -m tests.sqlite_jobs back_up_to_disk $0/copy.db'
    output = on_a_mount(disk, "size=1m,mode=700", script)
    assert output.splitlines() == ["StorageFull True []", "True ['copy.db']"]


async def test_a_file_that_was_deleted(tmp_path: Path) -> None:
    """StoreReplaced: no copy of anything else, and no new file in its place."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store("t", failed("t"))
        path.unlink()
        with pytest.raises(StoreReplaced):
            await backend.backup(tmp_path / "copy.db")
        assert not names_in(tmp_path) & {"x.db", "copy.db"}
        shutil.copy(__file__, path)
        with pytest.raises(StoreReplaced):
            await backend.backup(tmp_path / "copy.db")
        assert filecmp.cmp(path, __file__, shallow=False)
        path.unlink()


async def test_misuse(tmp_path: Path) -> None:
    """As with any other call: it opens by itself, in one loop, until it is closed, which waits for it."""
    backend = SQLiteBackend(tmp_path / "x.db")
    assert await backend.backup(tmp_path / "0.db") > 0

    def elsewhere() -> None:
        with pytest.raises(WrongLoop):
            asyncio.run(backend.backup(tmp_path / "1.db"))

    await asyncio.to_thread(elsewhere)
    copying = asyncio.create_task(backend.backup(tmp_path / "2.db"))
    await asyncio.sleep(0)
    await backend.close()
    assert copying.done()
    assert await copying > 0
    with pytest.raises(BackendClosed):
        await backend.backup(tmp_path / "3.db")
    assert names_in(tmp_path) == {"x.db", "0.db", "2.db"}


async def test_a_loop_that_is_closed_under_it(tmp_path: Path) -> None:
    """The backend goes on in the next one, and nothing of the old one is left."""
    loops = Loops()

    async def start(backend: SQLiteBackend, steps: int) -> asyncio.Task[int]:
        copying = asyncio.ensure_future(backend.backup(tmp_path / f"{steps}.db"))
        for _ in range(steps):
            await asyncio.sleep(0)
        return copying

    def live() -> None:
        before = opened()
        backend = SQLiteBackend(tmp_path / "x.db")
        loops.run(fill(backend, 20))
        for steps in range(6):
            let_go(loops.run_and_close(start(backend, steps)))
            assert loops.run(backend.exists("large-0"))
        loops.run(backend.close())
        del backend
        assert_opened(before)

    await asyncio.to_thread(live)
    assert not [name for name in names_in(tmp_path) if "part" in name]
