"""The doorbell alone: who hears, what happens when a queue is full, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
import pytest_asyncio
from blockbuster import BlockingError

from flowstore._local.doorbell import LOOK_AT_EVERYTHING, Doorbell

T = TypeVar("T")


class Bells:
    """Doorbells of one file, with the thread that does what touches the file system."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.folder = file.with_name(f"{file.name}-bells")
        self.heard: list[list[bytes]] = []
        self.doors: list[Doorbell] = []
        self._thread = ThreadPoolExecutor(1)
        self._news = asyncio.Event()

    async def add(self) -> Doorbell:
        """One that hears into the last of ``heard``."""
        messages: list[bytes] = []

        def hear(message: bytes) -> None:
            messages.append(message)
            self._news.set()

        door = Doorbell(self.file, hear, self._thread.submit)
        self.heard.append(messages)
        self.doors.append(door)
        await self.do(door.bind)
        return door

    async def do(self, work: Callable[[], T]) -> T:
        """What is blocking, behind all that was asked of the thread before."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def ring(self, door: Doorbell, *messages: bytes) -> None:
        await self.do(lambda: door.ring(messages))

    def ring_in_the_way(self, door: Doorbell, *messages: bytes) -> None:
        """Nobody in this loop can listen meanwhile."""
        self._thread.submit(door.ring, messages).result()

    async def until(self, number: int, message: bytes) -> None:
        async with asyncio.timeout(20):
            while message not in self.heard[number]:
                self._news.clear()
                await self._news.wait()

    async def close(self) -> None:
        for door in self.doors:
            door.close()
        await asyncio.to_thread(self._thread.shutdown)


@pytest_asyncio.fixture
async def bells(tmp_path: Path) -> AsyncIterator[Bells]:
    """Three of them."""
    path = tmp_path / "x.db"
    path.touch(0o600)
    made = Bells(path)
    for _ in range(3):
        await made.add()
    yield made
    await made.close()


async def test_all_others_hear(bells: Bells) -> None:
    """Every other bell, every message, in order; not the one that rings."""
    await bells.ring(bells.doors[0], b"one", b"two")
    await asyncio.gather(*(bells.until(number, b"two") for number in (1, 2)))
    assert bells.heard == [[], [b"one", b"two"], [b"one", b"two"]]


async def test_nothing_is_left_behind(bells: Bells) -> None:
    """Only the owner gets in, as with the file; the last bell takes the folder with it."""

    def modes() -> set[int]:
        return {stat.S_IMODE(path.stat().st_mode) for path in bells.folder.iterdir()}

    assert stat.S_IMODE((await bells.do(bells.folder.stat)).st_mode) == 0o700
    assert await bells.do(modes) == {0o600}
    for left in (2, 1):
        bells.doors[left].close()
        assert len(await bells.do(lambda: list(bells.folder.iterdir()))) == left
    bells.doors[0].close()
    assert not await bells.do(bells.folder.exists)
    await bells.ring(bells.doors[0], b"nobody")


async def test_ringing_in_the_loop_is_noticed(bells: Bells) -> None:
    """It looks at files: every test runs under a check for that."""
    with pytest.raises(BlockingError, match="listdir"):
        bells.doors[0].ring([b"news"])


async def test_a_full_queue_ends_in_a_look_at_everything(bells: Bells) -> None:
    """The loop over there does not get to listen for a thousand messages; it is told that it missed some."""
    bells.ring_in_the_way(bells.doors[0], *(b"%d" % number for number in range(1_000)))
    await asyncio.gather(*(bells.until(number, LOOK_AT_EVERYTHING) for number in (1, 2)))
    assert len(bells.heard[1]) < 1_000


async def test_a_writer_that_ends_at_once(bells: Bells, monkeypatch: pytest.MonkeyPatch) -> None:
    """It owes "look at everything", and is gone: whoever finds a full queue does it anyway."""
    monkeypatch.setattr(bells.doors[0], "_missed", lambda name, pause: None)
    bells.ring_in_the_way(bells.doors[0], *(b"%d" % number for number in range(1_000)))
    await asyncio.gather(*(bells.until(number, LOOK_AT_EVERYTHING) for number in (1, 2)))


async def test_who_never_listens_is_rung_ever_more_seldom(
    bells: Bells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue stays full: each time the pause is twice as long."""
    for door in bells.doors[1:]:
        door.close()
    loop = asyncio.get_running_loop()
    later, pauses, often = loop.call_later, [], asyncio.Event()

    def call_later(delay: float, *call: Any) -> asyncio.TimerHandle:
        pauses.append(delay)
        if len(pauses) == 6:
            often.set()
        return later(0, *call)

    deaf = await bells.do(lambda: _bound(bells.folder))
    monkeypatch.setattr(loop, "call_later", call_later)
    await bells.ring(bells.doors[0], *[b"news"] * 1_000)
    await often.wait()
    monkeypatch.undo()
    deaf.close()
    assert pauses[:6] == [0.002 * 2**n for n in range(6)]


def _bound(folder: Path) -> socket.socket:
    """A socket that nobody reads from."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    address = os.open(folder, os.O_RDONLY)
    bound.bind(f"/proc/self/fd/{address}/bound")
    os.close(address)
    return bound


async def test_the_bell_of_a_dead_process_is_removed(bells: Bells) -> None:
    """A socket that nobody holds stays in the folder until the next ring."""
    (await bells.do(lambda: _bound(bells.folder))).close()
    await bells.ring(bells.doors[0], b"news")
    await bells.until(1, b"news")
    assert not await bells.do((bells.folder / "bound").exists)
    assert len(await bells.do(lambda: list(bells.folder.iterdir()))) == 3


async def test_a_removed_bell_is_noticed(bells: Bells) -> None:
    """Somebody cleans up the folder: binding again makes it whole."""
    await bells.do(lambda: shutil.rmtree(bells.folder))
    await bells.do(bells.doors[1].bind)
    await bells.ring(bells.doors[0], b"news")
    await bells.until(1, b"news")


async def test_binding_again_changes_nothing(bells: Bells) -> None:
    """A bell that hangs is left as it is, with what it was told and has not heard yet."""

    def found() -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_mtime_ns) for path in bells.folder.iterdir()}

    before = await bells.do(found)
    for door in bells.doors:
        await bells.do(door.bind)
    assert await bells.do(found) == before


async def test_no_folder_can_be_made(tmp_path: Path) -> None:
    """OSError for the listener, silence for who rings."""
    bells = Bells(tmp_path / "x.db")
    await bells.do(bells.file.touch)
    await bells.do(bells.folder.touch)
    with pytest.raises(OSError, match=r"x\.db-bells"):
        await bells.add()
    await bells.ring(bells.doors[0], b"news")
    await bells.close()


async def test_paths_longer_than_a_socket_address(tmp_path: Path) -> None:
    """108 bytes are the limit of an address, not of ours."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (deep / "x.db").touch()
    bells = Bells(deep / "x.db")
    one, _ = await bells.add(), await bells.add()
    await bells.ring(one, b"news")
    await bells.until(1, b"news")
    await bells.close()
