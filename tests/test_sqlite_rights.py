"""SQLite files that several users share: whoever opens them first, and by whatever name."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import flowstore
from flowstore import SQLiteBackend, StoreReplaced, TaskResult
from flowstore.testing.insides import storage_of
from flowstore.testing.support import failed, seen, waiting
from tests import sqlite_jobs
from tests.test_sqlite_outages import check_whole, child, modes_in, on_a_mount, store_one

GROUP = 31_000
ONE, OTHER, STRANGER = 31_001, 31_002, 31_003
"""Users with a group of their own each; the first two are in GROUP besides."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="this run may not be another user")


@pytest.fixture
def folder() -> Iterator[Path]:
    """That every user may reach and write to."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name)


@pytest.fixture
def no_umask() -> Iterator[None]:
    """One that takes all away from others: rights are given in spite of it."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o660, 0o666])
@pytest.mark.usefixtures("no_umask")
async def test_a_new_file_and_all_beside_it(tmp_path: Path, mode: int) -> None:
    """Have the mode, and no others; a folder that may be read may be entered."""
    async with SQLiteBackend(tmp_path / "x.db", mode=mode) as backend:
        task = await waiting(backend, "t")
        await seen(backend, task, "t")
        modes, bells = modes_in(tmp_path), modes_in(tmp_path / "x.db-bells")
        await backend.store("t", failed("t"))
        await task
    of_folder = mode | (mode & 0o444) >> 2
    assert modes == {"x.db": mode, "x.db-wal": mode, "x.db-shm": mode, "x.db-bells": of_folder}
    assert set(bells.values()) == {mode}


async def test_the_mode_of_an_existing_file_decides(tmp_path: Path) -> None:
    """Unless another one is given, which its owner then gives to it; also to what lies there already."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as first:
        task = await waiting(first, "t")
        await seen(first, task, "t")
        path.chmod(0o640)
        async with SQLiteBackend(path) as second:
            other = await waiting(second, "t")
            await seen(second, other, "t")
            assert {**modes_in(tmp_path), **modes_in(tmp_path / "x.db-bells")} == {
                **dict.fromkeys(("x.db", "x.db-wal", "x.db-shm"), 0o640),
                **{name: 0o640 for name in modes_in(tmp_path / "x.db-bells") if name != bell_of(first)},
                "x.db-bells": 0o750,
                bell_of(first): 0o600,
            }
            async with SQLiteBackend(path, mode=0o660) as third:
                assert set(modes_in(tmp_path).values()) == {0o660, 0o750}
                await third.store("t", failed("t"))
            await asyncio.gather(task, other)


def bell_of(backend: SQLiteBackend) -> str:
    name: str = storage_of(backend)._changes._bell._name
    return name


@needs_root
@pytest.mark.parametrize("order", [(ONE, OTHER), (OTHER, ONE)], ids=["owner first", "owner last"])
def test_two_users(folder: Path, order: tuple[int, int]) -> None:
    """By a group of both: each stores, and is woken by the other one's stores, whoever opens it first."""
    path = folder / "x.db"
    with ExitStack() as stack:
        _, pipe = stack.enter_context(child(sqlite_jobs.make_for_group, path, ONE, GROUP))
        assert pipe.recv() == "made"
        ends = [
            stack.enter_context(child(sqlite_jobs.share, path, user, peer, GROUP))[1]
            for user, peer in (order, order[::-1])
        ]
        for pipe in ends:
            assert pipe.recv() == "waiting"
        files = (path, path.with_name("x.db-wal"), path.with_name("x.db-shm"))
        rights = {(file.stat().st_gid, stat.S_IMODE(file.stat().st_mode)) for file in files}
        assert rights == {(GROUP, 0o660)}
        _, pipe = stack.enter_context(child(sqlite_jobs.open_and_store, path, STRANGER))
        kind, message = pipe.recv()
        assert (kind, str(path) in message) == ("AccessDenied", True)
        for pipe in ends:
            pipe.send("go")
        for pipe in ends:
            assert pipe.recv() == ["by bell", *range(20)]
        for pipe in ends:
            pipe.send("end")
    assert len(asyncio.run(check_whole(path))) == 41


@needs_root
def test_a_file_of_a_foreign_group(folder: Path) -> None:
    """Everybody may use it, so everybody may ring: who made the folder of the bells is in no group of it."""
    path = folder / "x.db"
    asyncio.run(store_one(path))
    path.chmod(0o666)
    with ExitStack() as stack:
        ends = [
            stack.enter_context(child(sqlite_jobs.share, path, user, peer, user))[1]
            for user, peer in ((ONE, OTHER), (OTHER, ONE))
        ]
        for pipe in ends:
            assert pipe.recv() == "waiting"
        modes = modes_in(folder)
        assert (modes["x.db-wal"], modes["x.db-shm"], modes["x.db-bells"]) == (0o666, 0o666, 0o777)
        for pipe in ends:
            pipe.send("go")
        for pipe in ends:
            assert pipe.recv() == ["by bell", *range(20)]
        for pipe in ends:
            pipe.send("end")


@needs_root
def test_a_bell_that_may_not_be_rung(folder: Path) -> None:
    """Neither hinders the store nor is it tried again and again: who waits there finds it at a re-check."""
    path = folder / "x.db"
    with child(sqlite_jobs.ring_a_closed_bell, path, ONE) as (_, pipe):
        assert pipe.recv() == [True, []]


@pytest.mark.parametrize("place", ["beside it", "elsewhere", "nothing yet"])
async def test_symbolic_links(tmp_path: Path, place: str) -> None:
    """Whoever uses the link and whoever uses the file wake each other; nothing lies beside the link."""
    links, files = tmp_path / "links", tmp_path / "files"
    links.mkdir()
    files.mkdir()
    path = files / "x.db"
    link = (files if place == "beside it" else links) / "link.db"
    link.symlink_to(path)
    if place != "nothing yet":
        async with SQLiteBackend(path) as backend:
            await backend.store("before", failed("before"))
    by_link, by_path = (SQLiteBackend(name, recheck_interval=1_000) for name in (link, path))
    async with by_link as one, by_path as other:
        for waiter, worker, name in ((one, other, "a"), (other, one, "b")):
            task = await waiting(waiter, name)
            await seen(waiter, task, name)
            await worker.store(name, TaskResult.success(name, 1))
            assert (await asyncio.wait_for(task, 20)).unwrap() == 1
        assert set(modes_in(files)) >= {"x.db", "x.db-wal", "x.db-shm", "x.db-bells"}
        assert set(modes_in(links)) <= {"link.db"}
        assert "link.db-bells" not in modes_in(files)
    assert await check_whole(path) >= {"a", "b"}


async def test_a_link_that_leads_elsewhere_later(tmp_path: Path) -> None:
    """StoreReplaced, as for a file that was replaced; neither file is touched by who had opened the first."""
    link, one, other = tmp_path / "link.db", tmp_path / "one.db", tmp_path / "other.db"
    link.symlink_to(one)
    async with SQLiteBackend(link) as backend:
        await backend.store("t", failed("t"))
        async with SQLiteBackend(other) as second:
            await second.store("u", failed("u"))
        link.unlink()
        link.symlink_to(other)
        with pytest.raises(StoreReplaced):
            await backend.get("t")
        with pytest.raises(StoreReplaced):
            await backend.backup(tmp_path / "copy.db")
    assert await check_whole(one) == {"t"}
    assert await check_whole(other) == {"u"}


def test_a_link_in_a_closed_folder() -> None:
    """AccessDenied for what it leads to, not StorageUnavailable."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as rest:
        Path(name).chmod(0o777)
        closed, link = Path(name) / "closed", Path(name) / "link.db"
        closed.mkdir()
        link.symlink_to(closed / "x.db")
        asyncio.run(store_one(link))
        (closed / "x.db").chmod(0o666)
        for mode in (0o000, 0o555):
            closed.chmod(mode)
            rest.callback(closed.chmod, 0o700)
            with child(sqlite_jobs.open_and_store, link) as (_, pipe):
                kind, message = pipe.recv()
            assert kind == "AccessDenied", message
            assert str(link) in message


@pytest.mark.parametrize("what", ["existing", "missing"])
def test_a_mount_that_is_read_only(tmp_path: Path, what: str) -> None:
    """AccessDenied at open, for root as well."""
    make = f'"$1" -m tests.sqlite_jobs store_one $0/{"x" if what == "existing" else "y"}.db'
    again = "mount -o remount,ro flowstore $0"
    job = 'exec "$1" -m tests.sqlite_jobs store_one $0/x.db'
    output = on_a_mount(tmp_path, "size=1m,mode=700", f"{make} && {again} && {job}")
    assert output == f"None\nAccessDenied naming {tmp_path}/x.db\n"


@pytest.mark.parametrize("bad", [660, 0o1660, 0o060, 0o400, 0, 0o770, -1, "660", 6.6, True])
def test_bad_modes(bad: Any) -> None:
    """Named at construction. The usual slip is to forget that rights are octal."""
    with pytest.raises((ValueError, TypeError), match=r"^mode: expected"):
        SQLiteBackend("x.db", mode=bad)


def test_the_mode_in_a_url(tmp_path: Path) -> None:
    """In octal, however it is spelled."""

    async def open_one(url: str) -> None:
        async with flowstore.connect(url):
            pass

    for number, text in enumerate(("660", "0660", "0o660")):
        asyncio.run(open_one(f"sqlite:///{tmp_path}/{number}.db?mode={text}"))
        assert modes_in(tmp_path)[f"{number}.db"] == 0o660
    assert isinstance(flowstore.connect("sqlite:///x.db?mode=none"), SQLiteBackend)
    for bad in ("rw", "0x1", "680", ""):
        with pytest.raises(
            ValueError, match=rf"^mode: expected octal digits such as 660 in the URL, got '{bad}'"
        ):
            flowstore.connect(f"sqlite:///x.db?mode={bad}")
    with pytest.raises(ValueError, match=r"^mode: expected rights"):
        flowstore.connect("sqlite:///x.db?mode=777")
