"""The doorbell alone: who hears, what happens when a queue is full, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flowstore.backends.doorbell import LOOK_AT_EVERYTHING, Doorbell


class Bell:
    """A bound doorbell and what it heard."""

    def __init__(self, file: Path) -> None:
        self.heard: list[bytes] = []
        self._news = asyncio.Event()
        self.door = Doorbell(file, self._hear)
        self.door.bind()

    def _hear(self, message: bytes) -> None:
        self.heard.append(message)
        self._news.set()

    async def until(self, message: bytes) -> None:
        async with asyncio.timeout(20):
            while message not in self.heard:
                self._news.clear()
                await self._news.wait()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.db"
    path.touch(0o600)
    return path


@pytest_asyncio.fixture
async def bells(file: Path) -> AsyncIterator[list[Bell]]:
    made = [Bell(file) for _ in range(3)]
    yield made
    for bell in made:
        bell.door.close()


def folder_of(file: Path) -> Path:
    return file.with_name("x.db-bells")


async def test_all_others_hear(bells: list[Bell]) -> None:
    """Every other bell, every message, in order; not the one that rings."""
    bells[0].door.ring([b"one", b"two"])
    await asyncio.gather(*(bell.until(b"two") for bell in bells[1:]))
    assert [bell.heard for bell in bells] == [[], [b"one", b"two"], [b"one", b"two"]]


async def test_nothing_is_left_behind(file: Path, bells: list[Bell]) -> None:
    """Only the owner gets in, as with the file; the last bell takes the folder with it."""
    folder = folder_of(file)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for bell in bells:
        assert bell.door.is_bound
        bell.door.close()
        assert not bell.door.is_bound
    assert not folder.exists()
    bells[0].door.ring([b"nobody"])


async def test_a_full_queue_ends_in_a_look_at_everything(bells: list[Bell]) -> None:
    """The loop over there does not get to listen for a thousand messages; it is told that it missed some."""
    for number in range(1_000):
        bells[0].door.ring([b"%d" % number])
    await asyncio.gather(*(bell.until(LOOK_AT_EVERYTHING) for bell in bells[1:]))
    assert len(bells[1].heard) < 1_000


async def test_the_bell_of_a_dead_process_is_removed(file: Path, bells: list[Bell]) -> None:
    """A socket that nobody holds stays in the folder until the next ring."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        address = os.open(folder_of(file), os.O_RDONLY)
        dead.bind(f"/proc/self/fd/{address}/dead")
        os.close(address)
    bells[0].door.ring([b"news"])
    await bells[1].until(b"news")
    assert not (folder_of(file) / "dead").exists()
    assert len(list(folder_of(file).iterdir())) == 3


async def test_a_removed_bell_is_noticed(file: Path, bells: list[Bell]) -> None:
    """Somebody cleans up the folder: binding again makes it whole."""
    for path in folder_of(file).iterdir():
        path.unlink()
    folder_of(file).rmdir()
    assert not bells[1].door.is_bound
    bells[1].door.bind()
    bells[0].door.ring([b"news"])
    await bells[1].until(b"news")


async def test_no_folder_can_be_made(file: Path) -> None:
    """OSError for the listener, silence for who rings."""
    folder_of(file).touch()
    door = Doorbell(file, lambda message: None)
    with pytest.raises(OSError, match=r"x\.db-bells"):
        door.bind()
    door.ring([b"news"])
    door.close()


async def test_paths_longer_than_a_socket_address(tmp_path: Path) -> None:
    """108 bytes are the limit of an address, not of ours."""
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    file = deep / "x.db"
    file.touch()
    one, other = Bell(file), Bell(file)
    one.door.ring([b"news"])
    await other.until(b"news")
    one.door.close()
    other.door.close()
