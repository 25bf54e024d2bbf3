"""The storage over a tree of files: its verbs, files of others, errors of the system, and its life."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstore.errors import (
    AccessDenied,
    BackendClosed,
    CorruptStore,
    ForeignEntry,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageTimeout,
    StoreReplaced,
    WrongLoop,
)
from flowstore.testing.clock import ManualClock
from flowstore.typed.ids import below, id_of
from flowstore.typed.storage import After, Kind, New, Recent, Stored, Trouble
from flowstore.typed.tree import locks
from flowstore.typed.tree.names import checked_names_of, relative
from flowstore.typed.tree.storage import TreeStorage
from tests.tree_lab import data, litter, number

KIND, OTHER = Kind("default", "Counter"), Kind("lab", "Counter")
ODD = [
    "..",
    ".",
    "%",
    "_",
    "*",
    "a b",
    "😀",
    "A",
    "a",
    "con",
    "x.json",
    "x",
    ".flowstore",
    "\\",
    "a/b",
    "é",
    "É",
    "^a",
    "\0",
]


def new(id: str, n: int = 1, kind: Kind = KIND, **options: Any) -> New:
    return New(id, kind, data(n), **options)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def tree(tmp_path: Path, clock: ManualClock) -> AsyncIterator[TreeStorage]:
    """One that does not sync, which tests of tests do not need."""
    storage = TreeStorage(tmp_path / "tree", durability="normal", clock=clock)
    yield storage
    await storage.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "tree"


async def one(storage: TreeStorage, id: str) -> Stored:
    [found] = await storage.read([id])
    assert found is not None
    return found


async def listed(storage: TreeStorage, prefix: str = "", step: int = 2) -> list[str]:
    found: list[str] = []
    while page := await storage.scan(prefix, found[-1] if found else None, step):
        found += [stored.id for stored in page]
        if len(page) < step:
            break
    return found


def names(folder: Path) -> list[str]:
    """Everything in there but flowstore's own."""
    found = [path.relative_to(folder) for path in folder.rglob("*")]
    return sorted(str(path) for path in found if path.parts[0] != ".flowstore")


async def test_create_and_read(tree: TreeStorage, base: Path, clock: ManualClock) -> None:
    """What stands is left alone, and each file is where people look for it."""
    assert await tree.create([new("runs/7/metrics"), new("runs/7", 2), new("runs/7/metrics", 3)]) == [
        True,
        True,
        False,
    ]
    now = clock()
    expected = Stored("runs/7/metrics", KIND, 1, now, now, None, len(data(1)), data(1))
    assert await tree.read(["runs/7/metrics", "runs", "runs/8"]) == [expected, None, None]
    assert await tree.read(["runs/7/metrics"], with_data=False) == [expected._replace(data=None)]
    document = json.loads((base / "runs" / "7" / "metrics.json").read_text("utf-8"))
    assert (document["model_type"], document["data"]) == ("Counter", {"n": 1, "pad": "xxx"})
    assert (base / "runs" / "7.json").is_file()


async def test_replace_what_was_read(tree: TreeStorage, clock: ManualClock) -> None:
    """The version counts and the first time stays; what was written or removed meanwhile is not touched."""
    await tree.create([new("a")])
    first, began = await one(tree, "a"), clock()
    clock.advance(5)
    assert await tree.replace(new("a", 2, OTHER), first)
    second = await one(tree, "a")
    assert second == Stored("a", OTHER, 2, began, clock(), None, len(data(2)), data(2))
    assert not await tree.replace(new("a", 3), first)
    assert await tree.remove("a")
    assert not await tree.replace(new("a", 3), second)
    clock.advance(1)
    await tree.create([new("a", 4)])
    assert not await tree.replace(new("a", 3), first)
    assert number(await one(tree, "a")) == 4


async def test_remove_prunes(tree: TreeStorage, base: Path) -> None:
    """Empty folders go, others stay."""
    await tree.create([new("a/b/c/d"), new("a/x"), new("a")])
    assert await tree.remove("a/b/c/d")
    assert not await tree.remove("a/b/c/d")
    assert names(base) == ["a", "a.json", "a/x.json"]
    assert await tree.remove("a/x")
    assert names(base) == ["a.json"]
    assert litter(str(base)) == []


async def test_what_has_expired_is_absent(tree: TreeStorage, base: Path, clock: ManualClock) -> None:
    """Everywhere, and whoever meets it removes it; another one begins with version 1."""
    await tree.create([new(f"a/{n}", ttl=10) for n in range(7)])
    await tree.replace(new("a/0", ttl=10), await one(tree, "a/0"))
    await tree.create([new("stays", ttl=11), new("for ever", ttl=None)])
    standing = await one(tree, "a/1")
    clock.advance(10)
    assert await tree.read(["a/0", "a/1"]) == [None, None]
    assert not (base / "a" / "0.json").exists()
    assert await tree.create([new("a/2")]) == [True]
    assert (await one(tree, "a/2")).version == 1
    assert not await tree.remove("a/3")
    assert not await tree.replace(new("a/4"), standing)
    assert await listed(tree) == ["a/2", "for ever", "stays"]
    assert names(base / "a") == ["2.json"]
    clock.advance(1)
    assert await tree.clear() == 2
    assert names(base) == []


async def test_what_only_says_that_it_has_expired(tree: TreeStorage, base: Path, clock: ManualClock) -> None:
    """A damaged time removes nothing, and hides nothing."""
    await tree.create([new("a", ttl=10)])
    text = (base / "a.json").read_text("utf-8")
    (base / "a.json").write_text(text.replace('"expires_at": "2026', '"expires_at": "1926'), "utf-8")
    [found] = await tree.read(["a"], with_data=False)
    assert found is not None
    assert found.trouble is Trouble.DAMAGED
    assert await listed(tree) == ["a"]
    assert await tree.create([new("a")]) == [False]
    assert (await one(tree, "a")).trouble is Trouble.DAMAGED


async def test_ids_are_opaque(tree: TreeStorage, base: Path) -> None:
    """No part leads anywhere else, and no two ids share a file."""
    ids = [id_of([one, other]) for one in ODD for other in ODD] + [id_of([part]) for part in ODD]
    assert len(ids) == len(set(ids))
    assert all(await tree.create([new(id, n) for n, id in enumerate(ids)]))
    assert [number(found) for found in await tree.read(ids)] == list(range(len(ids)))
    assert await listed(tree, step=50) == sorted(ids)
    assert names(base.parent)[0] == "tree"
    for id in ids:
        expected = sorted(each for each in ids if each.startswith(below(id)))
        assert await listed(tree, below(id), step=50) == expected
    assert await tree.clear() == len(ids)
    assert litter(str(base)) == []
    assert names(base) == []


PARTS = st.lists(st.text("ab\\/!", min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(PARTS.map(id_of), max_size=12), st.integers(1, 4))
def test_a_walk_has_the_order_of_ids(tmp_path: Path, ids: set[str], step: int) -> None:
    """Page by page, at the top and below each of them."""
    base = tmp_path / str(len(list(tmp_path.iterdir())))

    async def run() -> None:
        storage = TreeStorage(base, durability="normal")
        await storage.create([new(id) for id in ids])
        assert await listed(storage, step=step) == sorted(ids)
        for id in list(ids)[:3]:
            assert await listed(storage, below(id), step) == sorted(x for x in ids if x.startswith(below(id)))
        await storage.close()

    asyncio.run(run())


async def test_a_page_costs_what_it_shows(
    tree: TreeStorage, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists the folders on its way, and opens as many files as it shows."""
    await tree.create([new(f"{a}/{b}/{c}") for a in range(6) for b in range(6) for c in range(3)])
    opened: list[str] = []
    folders: list[str] = []
    real_open, real_scandir = os.open, os.scandir

    def watched(path: str, *rest: Any) -> int:
        opened.append(path)
        return real_open(path, *rest)

    def listed(path: str) -> Any:
        folders.append(path)
        return real_scandir(path)

    monkeypatch.setattr(os, "open", watched)
    monkeypatch.setattr(os, "scandir", listed)
    page = await tree.scan("4/", "4/2/0", 4)
    assert [stored.id for stored in page] == ["4/2/1", "4/2/2", "4/3/0", "4/3/1"]
    assert len([path for path in opened if path.endswith(".json")]) == 4
    assert [str(Path(path).relative_to(base)) for path in folders] == ["4", "4/2", "4/3"]


async def test_recent_and_kinds(tree: TreeStorage, base: Path, clock: ManualClock) -> None:
    """By the time of the last write, newest first, ties by id; by kind and within bounds."""
    times = {}
    for ids in (["b", "a"], ["c/d"], ["x", "e"]):
        await tree.create([new(id, kind=OTHER if id in "ac/d" else KIND) for id in ids])
        times.update(dict.fromkeys(ids, clock()))
        clock.advance(1)
    (base / "broken.json").write_text('{"flowstore": 1')

    async def found(**wanted: Any) -> list[str]:
        return [stored.id for stored in await tree.recent(Recent(**{"limit": 10, **wanted}))]

    assert await found() == ["e", "x", "c/d", "a", "b"]
    assert await found(limit=2) == ["e", "x"]
    assert await found(after=After(times["e"], "e")) == ["x", "c/d", "a", "b"]
    assert await found(kinds=[OTHER]) == ["c/d", "a"]
    assert await found(since=times["c/d"], until=times["e"]) == ["c/d"]
    assert sorted(await tree.kinds()) == [KIND, OTHER]


@pytest.mark.parametrize("text", [b'{"name": "left-pad"}', b"[" * 5_000, b"not JSON", b'{"flowstore": 2}'])
async def test_files_of_others_are_left_alone(tree: TreeStorage, base: Path, text: bytes) -> None:
    """Whatever is called; and they are not listed."""
    await tree.create([new("a/b")])
    (base / "a" / "package.json").write_bytes(text)
    assert (await one(tree, "a/package")).trouble is Trouble.FOREIGN
    assert await tree.create([new("a/package")]) == [False]
    assert not await tree.replace(new("a/package"), await one(tree, "a/b"))
    with pytest.raises(ForeignEntry, match="id 'a/package' is taken by "):
        await tree.remove("a/package")
    assert await listed(tree) == ["a/b"]
    assert await tree.clear() == 1
    assert (base / "a" / "package.json").read_bytes() == text


async def test_things_of_others_that_are_no_files(tree: TreeStorage, base: Path) -> None:
    """Folders, links, pipes, files where a folder would have to be, and names that no id has."""
    await tree.create([new("real")])
    (base / "folder.json").mkdir()
    (base / "link.json").symlink_to(base / "real.json")
    (base / "round").symlink_to(base)
    os.mkfifo(base / "pipe.json")
    (base / "file").touch()
    for name in ("Upper.json", "con.json", "x.json.json", "text.txt", ".hidden.json"):
        (base / name).touch()
    for id in ("folder", "link", "pipe", "file/below", "file/below/it"):
        assert (await one(tree, id)).trouble is Trouble.FOREIGN, id
        assert await tree.create([new(id)]) == [False]
        with pytest.raises(ForeignEntry):
            await tree.remove(id)
    assert await listed(tree) == ["real"]
    before = names(base)
    assert await tree.clear() == 1
    assert names(base) == [name for name in before if name != "real.json"]


async def test_damaged_ones_hide_nothing(tree: TreeStorage, base: Path) -> None:
    """They are listed, stand in the way of nothing else, and can be removed."""
    await tree.create([new(id, n) for n, id in enumerate("abcd")])
    text = (base / "a.json").read_bytes()
    (base / "a.json").write_bytes(text.replace(b'"n": 0', b'"n": 7'))
    (base / "b.json").write_bytes(text[:100])
    (base / "empty.json").touch()
    found = await tree.read(["a", "b", "c", "empty"])
    assert [stored and stored.trouble for stored in found] == ["damaged", "damaged", None, "damaged"]
    assert found[0] is not None
    assert (found[0].kind, found[0].reason) == (KIND, "its checksum does not agree")
    assert await listed(tree) == ["a", "b", "c", "d", "empty"]
    assert await tree.create([new("a")]) == [False]
    assert await tree.remove("a")
    assert await tree.create([new("a")]) == [True]
    assert await tree.clear() == 4  # not the empty file, which anybody may have made
    assert await listed(tree) == ["empty"]
    assert await tree.remove("empty")


async def test_a_part_that_is_too_long(tree: TreeStorage, base: Path) -> None:
    """It is named before anything is made; nothing can be stored under it, so nothing is."""
    id = "a/" + "X" * 200
    with pytest.raises(ValueError, match=r"id: .*at most 250 bytes, got 400 for 'XXX"):
        await tree.create([new("first"), new(id)])
    with pytest.raises(ValueError, match="at most 250 bytes"):
        await tree.appeared(id, 1)
    with pytest.raises(ValueError, match="ttl: expected"):
        await tree.create([new("first"), new("second", ttl=-1)])
    assert await tree.read([id, "first"]) == [None, None]
    assert not await tree.remove(id)
    assert await tree.scan(below(id), None, 9) == []
    assert not (base / "a").exists()


async def test_a_tree_that_was_deleted_or_replaced(tree: TreeStorage, base: Path) -> None:
    """Every call says so, and none makes a new one."""
    await tree.create([new("a/b")])
    standing = await one(tree, "a/b")
    shutil.rmtree(base)
    for again in range(2):
        for call in (
            tree.create([new("x/y")]),
            tree.create([new("x")]),
            tree.replace(new("a/b"), standing),
            tree.read(["a/b"]),
            tree.scan("", None, 9),
            tree.remove("a/b"),
            tree.clear(),
        ):
            with pytest.raises(StoreReplaced, match="was deleted, or replaced"):
                await call
        if not again:
            assert not os.path.exists(base)  # noqa: ASYNC240
            (base / "a").mkdir(parents=True)
    assert names(base) == ["a"]


async def test_a_base_that_is_a_file(tmp_path: Path) -> None:
    """Or is below one; and whatever else cannot be a folder."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match=r"^base_dir: expected a folder, found a file at .*file"):
            await TreeStorage(path).open()
    for bad, error in ((7, TypeError), (b"x", TypeError), ("", ValueError), ("a\0b", ValueError)):
        with pytest.raises(error, match=r"^base_dir: expected"):
            TreeStorage(bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^durability: expected one of full, normal, got 'low'"):
        TreeStorage(tmp_path, durability="low")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^op_timeout: expected"):
        TreeStorage(tmp_path, op_timeout=0)


async def test_a_tree_of_a_newer_program(tree: TreeStorage, base: Path) -> None:
    """It is not opened, and neither is one whose mark cannot be read."""
    await tree.open()
    mark = base / ".flowstore" / "format"
    assert mark.read_text() == "1\n"
    for text, error in (("2\n", SchemaTooNew), ("what?", CorruptStore)):
        mark.write_text(text)
        with pytest.raises(error, match=str(base)):
            await TreeStorage(base).open()
    mark.write_text("")  # somebody is just making it
    another = TreeStorage(base)
    await another.open()
    await another.close()


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> Iterator[None]:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number), "that/file")

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


@pytest.mark.parametrize("step", ["write", "replace", "mkdir", "open"])
@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EACCES, AccessDenied),
        (errno.EROFS, AccessDenied),
        (errno.EIO, StorageError),
    ],
)
async def test_errors_of_the_system(
    tree: TreeStorage,
    base: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    number: int,
    error: type[StorageError],
) -> None:
    """They are flowstore's, name the file, keep their cause, and leave nothing behind."""
    await tree.create([new("old")])
    with failing(monkeypatch, step, number), pytest.raises(error, match="that/file: ") as raised:
        await tree.create([new("a/b/c")])
    assert isinstance(raised.value.__cause__, OSError)
    assert litter(str(base)) == []
    assert await listed(tree) == ["old"]
    assert await tree.create([new("a/b/c")]) == [True]


async def test_removing_on_a_full_disk(
    tree: TreeStorage, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It works, though no note of it can be made."""
    await tree.create([new("a/b/c"), new("x")])
    with failing(monkeypatch, "pwrite", errno.ENOSPC), failing(monkeypatch, "write", errno.ENOSPC):
        assert await tree.remove("a/b/c")
        assert await tree.clear() == 1
    assert names(base) == []


async def test_a_file_that_may_not_be_read(
    tree: TreeStorage, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be anybody's, and hides no other."""
    await tree.create([new("a"), new("b")])
    real = os.open

    def refuse(path: str, *rest: Any, **more: Any) -> int:
        if str(path).endswith("/a.json"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", refuse)
    found = await tree.read(["a", "b"])
    assert [stored and stored.trouble for stored in found] == [Trouble.FOREIGN, None]
    assert await listed(tree) == ["b"]
    assert await tree.clear() == 1


async def test_full_durability_syncs_file_and_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file before it is moved, and each folder that has a new name in it, before the call returns."""
    told: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(descriptor: int) -> None:
        told.append("sync " + os.readlink(f"/proc/self/fd/{descriptor}").replace(str(tmp_path), ""))
        real_sync(descriptor)

    def replace(old: str, new: str) -> None:
        real_replace(old, new)
        told.append(f"move {new}".replace(str(tmp_path), ""))

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", replace)
    storage = TreeStorage(tmp_path / "t")
    await storage.create([new("a/b/c")])
    stripe = f"{locks.stripe_of('a/b/c'):02x}"
    written, moved = f"sync /t/.flowstore/{stripe}.new", "move /t/a/b/c.json"
    assert told == ["sync /t", "sync ", written, moved, "sync /t/a/b", "sync /t/a", "sync /t"]
    told.clear()
    assert await storage.replace(new("a/b/c"), await one(storage, "a/b/c"))
    assert told == [written, moved, "sync /t/a/b"]
    told.clear()
    await storage.remove("a/b/c")
    assert told == ["sync /t"]
    await storage.close()
    told.clear()
    quick = TreeStorage(tmp_path / "u", durability="normal")
    await quick.create([new("a/b/c")])
    await quick.close()
    assert [line for line in told if line.startswith("sync")] == []


HOLDER = """
import sys
from flowstore.typed.tree.files import Tree
tree = Tree(sys.argv[1], False, lambda: 0, 10)
tree.open()
with tree._locked("a"):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def holder(base: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of the id "a"."""
    command = [sys.executable, "-c", HOLDER, str(base)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


async def test_a_lock_that_another_process_holds(tmp_path: Path) -> None:
    """StorageTimeout after op_timeout; reading goes on; one that dies holds it no longer."""
    storage = TreeStorage(tmp_path, durability="normal", op_timeout=0.2)
    await storage.create([new("a", ttl=0.000_001)])
    with holder(tmp_path) as process:
        assert await storage.read(["a"]) == [None]  # it has expired, and nobody waits to remove it
        with pytest.raises(
            StorageTimeout, match=r"\.lock: others held this lock for all of op_timeout, 0.2 s"
        ):
            await storage.create([new("a")])
        assert await storage.create([new("b")]) == [True]
        another = TreeStorage(tmp_path)
        waits = asyncio.ensure_future(another.create([new("a")]))
        await another.read(["b"])
        process.kill()
        assert await waits == [True]
    await storage.close()
    await another.close()


async def test_threads_queue_for_a_lock(tmp_path: Path) -> None:
    """They do not look again and again, and give up at their time."""
    storage = TreeStorage(tmp_path, durability="normal", op_timeout=0.1)
    await storage.open()
    stripe = storage._here.tree._locked("a")
    await asyncio.to_thread(stripe.__enter__)
    with pytest.raises(StorageTimeout, match="op_timeout"):
        await storage.remove("a")
    await asyncio.to_thread(stripe.__exit__)
    assert not await storage.remove("a")
    await storage.close()


async def test_a_note_that_leads_elsewhere(tree: TreeStorage, base: Path) -> None:
    """Of a lock file that somebody has written into: nothing outside of the tree is touched."""
    await tree.create([new("a")])
    for folder in (base.parent / "victim", base / "stays"):
        folder.mkdir()
    for note in ("../victim/x", "stays/\xff/x", "a//x", "..", "stays\0/x", "^stays/x"):
        for lock in (base / ".flowstore").glob("*.lock"):
            lock.write_bytes(note.encode("latin-1") + b"\nrest")
        assert await tree.create([new("a")]) == [False]
        assert litter(str(base)) == [str(base / "stays")]
    assert names(base.parent / "victim") == []


async def test_a_cancelled_caller(tree: TreeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has begun is finished in its thread, the lock is given back, and close waits for it."""
    await tree.open()
    begun, go_on, real = threading.Event(), threading.Event(), os.replace

    def slow(old: str, new: str) -> None:
        begun.set()
        assert go_on.wait(30)
        real(old, new)

    monkeypatch.setattr(os, "replace", slow)
    call = asyncio.ensure_future(tree.create([new("a/b")]))
    await asyncio.to_thread(begun.wait)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    closing = asyncio.ensure_future(tree.close())
    await asyncio.wait([closing], timeout=0.1)
    assert not closing.done()
    go_on.set()
    await closing
    another = TreeStorage(tree._base, op_timeout=1)
    assert number(await one(another, "a/b")) == 1
    assert await another.remove("a/b")
    await another.close()


async def test_closed(tree: TreeStorage) -> None:
    """For good, and more than once."""
    await tree.create([new("a")])
    changes = tree.changes("")
    await tree.close()
    await tree.close()
    for call in (
        tree.read(["a"]),
        tree.create([new("b")]),
        tree.clear(),
        tree.appeared("x", 1),
        anext(changes),
    ):
        with pytest.raises(BackendClosed):
            await call
    with pytest.raises(BackendClosed):
        await anext(tree.changes(""))


def test_one_loop_after_the_other(tmp_path: Path) -> None:
    """As backends: it lives on in the next loop if one was closed before it was; two at once are refused."""
    storage = TreeStorage(tmp_path, durability="normal")

    async def begin() -> None:
        await storage.create([new("a")])
        waiting = asyncio.ensure_future(storage.appeared("x", 30))
        await asyncio.wait([waiting], timeout=0.05)
        assert (tmp_path / ".flowstore" / "format-bells").is_dir()

    async def go_on() -> None:
        assert (await one(storage, "a")).version == 1
        assert not (tmp_path / ".flowstore" / "format-bells").exists()
        with pytest.raises(WrongLoop):
            await asyncio.to_thread(asyncio.run, storage.read(["a"]))
        await storage.close()

    asyncio.run(begin())
    asyncio.run(go_on())


FORKED = """
import asyncio, os, sys
from flowstore.errors import WrongProcess
from flowstore.typed.tree.storage import TreeStorage

async def read(storage):
    return await storage.read(["a"])

unopened, opened = TreeStorage(sys.argv[1]), TreeStorage(sys.argv[1])
with asyncio.Runner() as runner:
    runner.run(read(opened))
    if os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
try:
    asyncio.run(read(opened))
except WrongProcess:
    os._exit(0 if asyncio.run(read(unopened)) == [None] else 2)
os._exit(1)
"""


async def test_after_a_fork(tmp_path: Path) -> None:
    """One that was open in the parent says so, one that was not works."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", FORKED, str(tmp_path))
    assert await process.wait() == 0


async def test_many_at_once(tree: TreeStorage) -> None:
    """More than there are threads."""
    ids = [f"{n % 7}/{n}" for n in range(300)]
    assert await asyncio.gather(*(tree.create([new(id, n)]) for n, id in enumerate(ids))) == [[True]] * 300
    assert [number(await one(tree, id)) for id in ids] == list(range(300))
    assert len(await tree.scan("", None, 1_000)) == 300
    assert await asyncio.gather(*(tree.remove(id) for id in ids)) == [True] * 300


def test_a_file_can_be_copied_by_hand(tmp_path: Path) -> None:
    """Also to where no entry was: its name is its id."""

    async def run() -> None:
        storage = TreeStorage(tmp_path, durability="normal")
        await storage.create([new("a", 5)])
        copy = tmp_path / relative(checked_names_of("Copies/of a"))
        copy.parent.mkdir()
        shutil.copy(tmp_path / "a.json", copy)
        assert number(await one(storage, "Copies/of a")) == 5
        assert await listed(storage) == ["Copies/of a", "a"]
        await storage.close()

    asyncio.run(run())


async def test_a_link_leads_nowhere(tree: TreeStorage, base: Path, tmp_path: Path) -> None:
    """A link in the place of a folder is somebody else's: nothing is read, written or removed behind it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    await tree.create([new("a/b")])
    (outside / "b.json").write_bytes((base / "a" / "b.json").read_bytes())
    (base / "link").symlink_to(outside)
    [found] = await tree.read(["link/b"])
    assert found is not None
    assert found.trouble is Trouble.FOREIGN
    assert await tree.create([new("link/c"), new("link/d/e")]) == [False, False]
    with pytest.raises(ForeignEntry, match="a symbolic link in the place of a folder"):
        await tree.remove("link/b")
    assert await tree.clear() == 1
    assert names(outside) == ["b.json"]


async def test_other_files_beside_the_locks(tree: TreeStorage, base: Path) -> None:
    """They are left alone."""
    await tree.create([new("a")])
    (base / ".flowstore" / "foo.lock").touch()
    again = TreeStorage(base)
    await again.open()
    await again.close()
    assert (base / ".flowstore" / "foo.lock").exists()
