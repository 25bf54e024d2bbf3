"""Waits on a tree of files: nobody misses a write of this process or another one, and nobody polls."""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flowstore._local.doorbell import LOOK_AT_EVERYTHING
from flowstore.errors import BackendClosed, StoreReplaced, WaitTimeout
from flowstore.testing.clock import ManualClock
from flowstore.typed.tree import news
from flowstore.typed.tree.files import Tree, Written
from flowstore.typed.tree.storage import TreeStorage
from flowstore.typed.tree.watchers import Audience, _file_clock
from tests.test_tree import new, one

NEVER = 1_000.0
"""Seconds between two looks: what a test hears of it was told."""


@pytest.fixture(params=[True, False], ids=["bell", "no bell"])
def has_bell(request: pytest.FixtureRequest, tmp_path: Path) -> bool:
    """Whether one can be bound; else there is a file in its place."""
    if not request.param:
        (tmp_path / ".flowstore").mkdir()
        (tmp_path / ".flowstore" / "format-bells").touch()
    return bool(request.param)


@pytest_asyncio.fixture
async def tree(tmp_path: Path) -> AsyncIterator[TreeStorage]:
    storage = TreeStorage(tmp_path, durability="normal", recheck_interval=NEVER)
    yield storage
    await storage.close()


@pytest_asyncio.fixture
async def other(tmp_path: Path) -> AsyncIterator[TreeStorage]:
    """Another storage on the same tree, which shares nothing but the files with the first."""
    storage = TreeStorage(tmp_path, durability="normal", recheck_interval=NEVER)
    yield storage
    await storage.close()


async def taken(changes: AsyncGenerator[str, None], *wanted: str) -> list[str]:
    """What comes until all of these have come."""
    found: list[str] = []
    async with asyncio.timeout(30):
        while not set(wanted) <= set(found):
            found.append(await anext(changes))
    return found


WRITER = """
import asyncio, sys
from flowstore.typed.tree.storage import TreeStorage
from tests.test_tree import new, one

async def main():
    storage = TreeStorage(sys.argv[1], durability="normal")
    await storage.open()
    print("ready", flush=True)
    for line in sys.stdin:
        for id in line.split():
            if not (await storage.create([new(id)]))[0]:
                await storage.replace(new(id), await one(storage, id))
        print("done", flush=True)
    await storage.close()

asyncio.run(main())
"""


class Writer:
    """Another process that writes what it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def tell(self, *ids: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{' '.join(ids)}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    async def write(self, *ids: str) -> None:
        self.tell(*ids)
        assert await asyncio.to_thread(self.answer) == "done"


@contextmanager
def writer(base: Path) -> Iterator[Writer]:
    command = [sys.executable, "-c", WRITER, str(base)]
    with subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        made = Writer(process)
        assert made.answer() == "ready"
        yield made
        process.kill()


async def test_waits_for_another_process(tmp_path: Path, has_bell: bool, tree: TreeStorage) -> None:
    """For ids that are written one after the other, at once, and while they are being waited for."""
    with writer(tmp_path) as process:
        for n in range(20):
            waits = [asyncio.ensure_future(tree.appeared(id, 30)) for id in (f"a/{n}", f"b/{n}")]
            await asyncio.sleep(0)
            process.tell(f"b/{n}", "noise", f"a/{n}")
            await asyncio.gather(*waits)
            assert await asyncio.to_thread(process.answer) == "done"
            assert (await one(tree, f"a/{n}")).version == 1
    assert tree._here.news._is_deaf is not has_bell
    await tree.appeared("a/1", None)


async def test_waiting_does_not_look(
    tree: TreeStorage, other: TreeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 200 waits each looks once, and then only sleeps until it is told."""
    looks: list[str] = []
    real = tree._here.tree.get
    monkeypatch.setattr(tree._here.tree, "get", lambda id: looks.append(id) or real(id))  # type: ignore[func-returns-value]
    ids = [f"w/{n}" for n in range(200)]
    waits = [asyncio.ensure_future(tree.appeared(id, 30)) for id in ids]
    while len(looks) < 200:
        await asyncio.wait(waits, timeout=0.01)
    await asyncio.wait(waits, timeout=0.2)
    assert sorted(looks) == sorted(ids)
    await other.create([new(id) for id in ids])
    await asyncio.gather(*waits)
    assert len(looks) == 200


async def test_one_poller_where_there_is_no_bell(tree: TreeStorage, has_bell: bool) -> None:
    """For all waits together."""
    waits = [asyncio.ensure_future(tree.appeared(f"w/{n}", 0.5)) for n in range(50)]
    looks = 0
    tree._here.news._found, real = lambda *args: count() or real(*args), tree._here.news._found  # type: ignore[method-assign,func-returns-value]

    def count() -> None:
        nonlocal looks
        looks += 1

    results = await asyncio.gather(*waits, return_exceptions=True)
    assert all(isinstance(result, WaitTimeout) for result in results)
    assert looks == 0 if has_bell else 3 <= looks <= 0.5 / news.POLLING + 1


async def test_a_write_while_a_wait_begins(
    tree: TreeStorage, other: TreeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it has looked in vain, and before it sleeps; nobody looks again."""
    await other.open()
    real = tree._here.tree.get

    def look(id: str) -> object:
        found = real(id)
        other._here.tree.create([new(id)])
        return found

    monkeypatch.setattr(tree._here.tree, "get", look)
    for n in range(5):
        await tree.appeared(f"w/{n}", 10)


async def test_called_to_look_while_it_looks(tree: TreeStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks once more, for what has been written since."""
    wait = asyncio.ensure_future(tree.appeared("a", 10))
    await asyncio.wait([wait], timeout=0.1)
    listener, loop = tree._here.news, asyncio.get_running_loop()
    real = listener._found

    def look(*args: Any) -> Any:
        found = real(*args)
        monkeypatch.setattr(listener, "_found", real)
        silent = Tree(tree._base, False, lambda: 0, 10)
        silent.open()
        silent.create([new("a")])
        loop.call_soon_threadsafe(listener._heard, LOOK_AT_EVERYTHING)
        return found

    monkeypatch.setattr(listener, "_found", look)
    listener._heard(LOOK_AT_EVERYTHING)
    await wait


def test_what_was_told_is_forgotten() -> None:
    """A process that writes, and never watches, remembers a few of its writes."""
    audience = Audience()
    for n in range(10_000):
        audience.note([Written(f"w/{n}", 1, n)])
    assert audience.has_heard(Written("w/9999", 1, 9_999))
    assert audience.has_heard(Written("w/9000", 1, 9_000))
    assert len(audience._told) + len(audience._told_before) < 3_000


async def test_time_is_up(tree: TreeStorage) -> None:
    """With the id and the timeout; a cancelled wait leaves nothing."""
    with pytest.raises(WaitTimeout) as raised:
        await tree.appeared("a", 0.01)
    assert (raised.value.task_id, raised.value.timeout) == ("a", 0.01)
    wait = asyncio.ensure_future(tree.appeared("a", None))
    await asyncio.wait([wait], timeout=0.05)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert not tree._here.news.audience.is_waiting


async def test_what_has_expired_has_not_appeared(tmp_path: Path) -> None:
    """And a new one has."""
    clock = ManualClock()
    tree = TreeStorage(tmp_path, clock=clock, durability="normal", recheck_interval=NEVER)
    await tree.create([new("a", ttl=1)])
    clock.advance(1)
    with pytest.raises(WaitTimeout):
        await tree.appeared("a", 0.05)
    await tree.create([new("a")])
    await tree.appeared("a", 5)
    await tree.close()


async def test_changes_of_this_process_and_others(tmp_path: Path, has_bell: bool, tree: TreeStorage) -> None:
    """From the call on, below the prefix only, each at least once after its last write."""
    await tree.create([new("p/old"), new("p/again")])
    changes = tree.changes("p/")
    with writer(tmp_path) as process:
        await tree.create([new("p/mine"), new("q"), new("p")])
        await process.write("p/theirs", "p/again", "pp/x")
        found = await taken(changes, "p/mine", "p/theirs", "p/again")
        assert sorted(found) == ["p/again", "p/mine", "p/theirs"]
        await tree.replace(new("p/mine"), await one(tree, "p/mine"))
        assert await taken(changes, "p/mine") == ["p/mine"]
        for n in range(10):
            process.tell("p/again", f"p/{n}/deep")
            assert {*await taken(changes, f"p/{n}/deep", "p/again")} == {f"p/{n}/deep", "p/again"}
            assert await asyncio.to_thread(process.answer) == "done"
    await changes.aclose()


async def test_a_slow_watcher_keeps_each_id_once(tree: TreeStorage, other: TreeStorage) -> None:
    """However often it is written meanwhile."""
    changes = tree.changes("")
    await other.create([new("a"), new("b")])
    assert await anext(changes) in ("a", "b")
    for _ in range(50):
        await other.replace(new("a"), await one(other, "a"))
    await other.create([new("last")])
    found = await taken(changes, "last")
    assert len(found) <= 4
    assert "a" in found
    await changes.aclose()


async def ticks() -> None:
    """Return when files get another time than before, for sure: their clock ticks slowly."""
    seen: set[int] = set()
    while len(seen) < 4:
        seen.add(_file_clock())
        await asyncio.sleep(0.001)


async def test_a_watcher_that_missed_the_bell(
    tree: TreeStorage, other: TreeStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After "look at everything" it finds what was written, also replaced, and nothing that it knows."""
    await other.create([new(id) for id in ("known", "replaced", "quiet")])
    await tree.open()
    await ticks()
    changes = tree.changes("")
    await other.replace(new("known"), await one(other, "known"))
    assert await taken(changes, "known") == ["known"]
    with monkeypatch.context() as patch:
        patch.setattr(other._here.news._bell, "ring", lambda messages: None)
        await other.replace(new("replaced"), await one(other, "replaced"))
        await other.create([new("deep/er/created")])
    tree._here.news._heard(LOOK_AT_EVERYTHING)
    assert sorted(await taken(changes, "replaced", "deep/er/created")) == ["deep/er/created", "replaced"]
    tree._here.news._heard(LOOK_AT_EVERYTHING)
    tree._here.news._heard(LOOK_AT_EVERYTHING)
    await other.create([new("end")])
    assert await taken(changes, "end") == ["end"]
    await changes.aclose()


async def test_the_recheck_finds_what_was_not_told(tmp_path: Path, other: TreeStorage) -> None:
    """For waits and for watchers."""
    tree = TreeStorage(tmp_path, durability="normal", recheck_interval=0.05)
    changes = tree.changes("")
    wait = asyncio.ensure_future(tree.appeared("a/b", 30))
    await other.create([new("first")])
    assert await taken(changes, "first") == ["first"]
    bell: Any = other._here.news._bell
    bell.ring = lambda messages: None
    await other.create([new("a/b")])
    await wait
    assert await taken(changes, "a/b") == ["a/b"]
    await changes.aclose()
    await tree.close()


async def test_many_ids_ring_in_pieces(tree: TreeStorage, other: TreeStorage) -> None:
    """Long ids, which do not fit in one datagram."""
    ids = [f"{'x' * 240}/{n:03d}{'y' * 240}" for n in range(200)]
    waits = [asyncio.ensure_future(tree.appeared(id, 30)) for id in ids]
    await other.create([new(id) for id in ids])
    await asyncio.gather(*waits)


async def test_close_ends_waits(tree: TreeStorage) -> None:
    """Also one that has not looked yet, and a step of a watcher."""
    changes = tree.changes("")
    waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(tree.appeared(id, None)) for id in "ab"]
    waits.append(asyncio.ensure_future(anext(changes)))
    await asyncio.wait(waits, timeout=0.1)
    waits.append(asyncio.ensure_future(tree.appeared("c", 30)))
    await asyncio.sleep(0)
    await tree.close()
    for wait in waits:
        with pytest.raises(BackendClosed):
            await wait


async def test_nothing_is_left(tmp_path: Path, tree: TreeStorage) -> None:
    """No socket once nobody waits and somebody writes; and a watcher that was dropped is forgotten."""
    changes = tree.changes("")
    await tree.create([new("a")])
    assert await anext(changes) == "a"
    bells = tmp_path / ".flowstore" / "format-bells"
    assert len(listed(bells)) == 1
    await changes.aclose()
    tree.changes("")
    del changes
    gc.collect()
    assert not tree._here.news.audience.is_waiting
    with writer(tmp_path) as process:
        await process.write("b")
        async with asyncio.timeout(30):
            while listed(bells):  # noqa: ASYNC110  # the file system tells nobody
                await asyncio.sleep(0.01)
    await tree.appeared("b", 5)
    await tree.close()
    assert listed(bells) == []


def listed(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


async def test_a_wait_in_a_tree_that_is_gone(tmp_path: Path, tree: TreeStorage) -> None:
    """It says so at once."""
    await tree.create([new("a")])
    (tmp_path / ".flowstore").rename(tmp_path / "gone")
    with pytest.raises(StoreReplaced):
        await tree.appeared("b", 30)
    with pytest.raises(StoreReplaced):
        await anext(tree.changes(""))


async def test_messages_are_pinned(tree: TreeStorage, other: TreeStorage) -> None:
    """Programs of other versions on the same machine read them."""
    heard: list[bytes] = []
    wait = asyncio.ensure_future(tree.appeared("é/x", 30))
    await asyncio.wait([wait], timeout=0.1)
    bell: Any = tree._here.news._bell
    told = asyncio.Event()

    def hear(message: bytes) -> None:
        heard.append(message)
        told.set()

    bell._heard = hear
    await other.create([new("é/x")])
    stored = await one(other, "é/x")
    await asyncio.wait_for(told.wait(), 30)
    assert [json.loads(message) for message in heard] == [[["é/x", 1, stored.updated_at]]]
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
