"""SQLite files get smaller, whoever else uses them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flowstore import SQLiteBackend, TaskResult, TaskStatus
from flowstore.backends.sqlite.vacuum import PAGES
from flowstore.testing.insides import replaced_verb
from tests import sqlite_jobs
from tests.test_sqlite_outages import check_acknowledged, check_whole, child, look

MIB = 2**20
LARGE = "x" * MIB


async def fill(backend: SQLiteBackend) -> None:
    """40 MiB, and behind it what stays."""
    for n in range(40):
        await backend.store(f"large-{n}", TaskResult.success(f"large-{n}", LARGE))
    await backend.store_many(TaskResult.success(f"small-{n}", "y" * 1_000) for n in range(2_000))


async def check_kept(backend: SQLiteBackend) -> None:
    found = await backend.get_many(f"small-{n}" for n in range(2_000))
    assert [task.unwrap() for task in found.values()] == ["y" * 1_000] * 2_000


async def test_a_cleared_file_is_small(tmp_path: Path) -> None:
    """All the room that was used, while the backend is open, and its WAL as well."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await fill(backend)
        before = path.stat().st_size
        assert await backend.clear() == 2_040
        freed = await backend.vacuum()
        assert before > 40 * MIB
        assert freed > 40 * MIB
        assert path.stat().st_size < MIB / 4
        assert path.with_name("x.db-wal").stat().st_size == 0


async def test_beside_writers_in_another_process(tmp_path: Path) -> None:
    """They go on writing, and what they were told is stored is there, as is what was there before."""
    path = tmp_path / "x.db"
    acknowledged: dict[str, str] = {}

    def take(pipe: Connection) -> None:
        with suppress(EOFError):
            while True:
                acknowledged.update([pipe.recv()])

    async with SQLiteBackend(path) as backend:
        await fill(backend)
        await backend.delete_many(f"large-{n}" for n in range(40))
        with child(sqlite_jobs.write_until_killed, path, 7) as (process, pipe):
            acknowledged.update([await asyncio.to_thread(pipe.recv)])
            taking = asyncio.create_task(asyncio.to_thread(take, pipe))
            before = len(acknowledged)
            assert await backend.vacuum() > 39 * MIB
            assert len(acknowledged) > before
            process.kill()
            await taking
        await backend.vacuum()
        assert path.stat().st_size < 15 * MIB
        await check_kept(backend)
    await check_acknowledged(path, 7, acknowledged)
    await check_whole(path)


async def test_in_short_steps(tmp_path: Path) -> None:
    """Stores of the same backend go in between."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await fill(backend)
        await backend.delete_many(f"large-{n}" for n in range(40))
        steps: list[int] = []

        def noted(verb: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
            async def vacuum(**options: Any) -> int:
                steps.append(await verb(**options))
                return steps[-1]

            return vacuum

        with replaced_verb(backend, "vacuum", noted):
            vacuuming = asyncio.create_task(backend.vacuum())
            for n in range(5):
                await backend.store(f"between-{n}", TaskResult.success(f"between-{n}"))
            assert not vacuuming.done()
            assert await vacuuming == sum(steps)
        assert len(steps) > 20
        assert max(steps) <= (PAGES + 10) * 4_096  # pages that only say where others are go with them
        await check_kept(backend)


async def test_a_file_made_without_it(tmp_path: Path) -> None:
    """It keeps its room until it is written anew as a whole; from then on it is like a new one."""
    path = tmp_path / "x.db"
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA journal_mode = WAL")
    raw.close()
    async with SQLiteBackend(path) as backend:
        await fill(backend)
        await backend.delete_many(f"large-{n}" for n in range(20))
        assert await backend.vacuum() == 0
        assert path.stat().st_size > 40 * MIB
        assert await backend.vacuum(full=True) > 19 * MIB
        await check_kept(backend)
        await backend.delete_many(f"large-{n}" for n in range(20, 40))
        assert await backend.vacuum() > 19 * MIB
        await check_kept(backend)
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 2_000
    assert path.stat().st_size < 10 * MIB
    assert look(path, "PRAGMA auto_vacuum") == [(2,)]
    await check_whole(path)
