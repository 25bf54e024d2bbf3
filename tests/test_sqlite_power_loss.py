"""Power loss at any moment: ``full`` loses nothing, ``normal`` only the last stores; neither corrupts."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from flowstore import CorruptRecord, SQLiteBackend, StorageError, TaskResult
from flowstore.testing.insides import storage_of
from flowstore.testing.runs_contract.base import stored
from flowstore.testing.support import EFFORT, IS_STRESS
from tests.power_loss import ConnectionOnUnsafeDisk, UnsafeDisk
from tests.test_sqlite_outages import check_whole

TASKS = 60
SAVED_EVERY = 20
SHARE = 0.15 if IS_STRESS else 0.05  # of all writes and syncs before which a loss of power is looked at


class Losses:
    """Losses of power at random moments of one run; for each its folder and how much was acknowledged."""

    def __init__(self, folder: Path, seed: int, share: float = SHARE) -> None:
        self._folder = folder
        self._share = share
        self._chance = random.Random(seed)
        self.acknowledged = 0
        self.found: list[tuple[Path, int]] = []
        self.disk = UnsafeDisk(self._moment)

    def _moment(self) -> None:
        if self._chance.random() < self._share:
            folder = self._folder / f"loss {len(self.found)}"
            self.found.append((folder / "x.db", self.acknowledged))
            self.disk.lose_power(folder, self._chance)


@contextmanager
def on_unsafe_disk(losses: Losses, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """New connections of the backend are on a disk that loses its power."""

    def connect(address: str, *, timeout: float, **_: Any) -> ConnectionOnUnsafeDisk:
        return ConnectionOnUnsafeDisk(address, timeout)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        yield
    losses.disk.unregister()


async def write(backend: SQLiteBackend, losses: Losses) -> None:
    """Each task is pending, then finished; what is longer than a page among them."""
    async with backend:
        for n in range(TASKS):
            await backend.store(f"t{n}", TaskResult.pending(f"t{n}"))
            losses.acknowledged += 1
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", "x" * (n % 7) * 1_500))
            losses.acknowledged += 1


async def write_run(backend: SQLiteBackend, losses: Losses) -> None:
    """Append to a run, evaluate each record, and replace a dataset every few; counted are the records."""
    async with backend:
        await backend.runs.start("r")
        for n in range(TASKS):
            if n % SAVED_EVERY == 0:
                await backend.runs.datasets.save("r", [*range(510), n])
            await backend.runs.append("r", "x" * (n % 7) * 1_500, key=f"{n}")
            losses.acknowledged += 1
            await backend.runs.evaluate("r", "latest", n)


async def surviving_records(path: Path) -> int:
    """How many records are there, which must be the first ones; the rest of the run is of the same moment."""
    async with SQLiteBackend(path) as backend:
        runs = backend.runs
        found = [record async for record in runs.records("r")]
        assert [record.key for record in found] == [f"{n}" for n in range(len(found))]
        assert all(len(record.value) == n % 7 * 1_500 for n, record in enumerate(found))
        if await runs.get("r") is not None:
            assert (await runs.progress("r")).done == len(found)
            await _check_beside(backend, len(found))
            assert await runs.delete("r", force=True)
        assert await stored(backend) == 0
    await check_whole(path)
    return len(found)


async def _check_beside(backend: SQLiteBackend, records: int) -> None:
    runs = backend.runs
    evaluated = await runs.evaluation("r", "latest")
    assert (-1 if evaluated is None else evaluated.value) in (records - 1, records - 2)
    last = (records - 1) // SAVED_EVERY * SAVED_EVERY
    if records or await runs.datasets.all("r"):
        rows = [row async for row in runs.datasets.load("r")]
        assert rows[:-1] == [*range(510)]
        assert rows[-1] in (max(0, last), records)


async def survivors(path: Path) -> int:
    """How many of the stores are there, which must be the first ones, each whole."""
    await check_whole(path)
    async with SQLiteBackend(path) as backend:
        found = await backend.get_many(f"t{n}" for n in range(TASKS))
        finished = [result for result in found.values() if result.is_finished]
        for n, result in enumerate(finished):
            assert result.unwrap() == "x" * (n % 7) * 1_500
    assert list(found) == [f"t{n}" for n in range(len(found))]
    assert finished == list(found.values())[: len(finished)]
    assert len(found) - len(finished) in (0, 1)
    return len(found) + len(finished)


@pytest.mark.parametrize("seed", range(EFFORT))
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, seed: int) -> None:
    """At every moment: in the opening, between a write and its sync, in the middle of a checkpoint."""
    losses = Losses(tmp_path, seed)
    with on_unsafe_disk(losses, monkeypatch):
        asyncio.run(write(SQLiteBackend(tmp_path / "x.db", durability=durability), losses))
    lost = [known - asyncio.run(survivors(path)) for path, known in losses.found]
    assert len(lost) > 50
    if durability == "full":
        assert max(lost) <= 0
    else:
        assert max(lost) > 0


@pytest.mark.parametrize("seed", range(EFFORT))
@pytest.mark.parametrize("durability", ["full", "normal"])
def test_power_loss_in_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Any, seed: int
) -> None:
    """Of records, counters, evaluations and datasets nothing is lost, and all are of one moment."""
    losses = Losses(tmp_path, seed, SHARE / 2)
    with on_unsafe_disk(losses, monkeypatch):
        asyncio.run(write_run(SQLiteBackend(tmp_path / "x.db", durability=durability), losses))
    lost = [known - asyncio.run(surviving_records(path)) for path, known in losses.found]
    assert len(lost) > 30
    if durability == "full":
        assert max(lost) <= 0
    else:
        assert max(lost) > 0


def test_the_simulation_has_teeth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any sync, which the backend does not offer, the same losses damage files."""
    losses = Losses(tmp_path, 0)
    backend = SQLiteBackend(tmp_path / "x.db")
    storage_of(backend)._durability = "off"
    with on_unsafe_disk(losses, monkeypatch):
        asyncio.run(write(backend, losses))
    damaged = 0
    for path, _ in losses.found:
        try:
            asyncio.run(survivors(path))
        except (AssertionError, StorageError, CorruptRecord, sqlite3.DatabaseError):
            damaged += 1
    assert damaged > 5
