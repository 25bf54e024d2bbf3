"""What a SQLite file says of itself: its size, and what is wrong with it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from flowstore import Facts, SQLiteBackend, StorageWarning, TaskResult, TaskStatus
from flowstore.backends.sqlite import facts as sqlite_facts
from flowstore.backends.sqlite.format import FORMAT
from flowstore.testing.insides import storage_of

ALWAYS = {"sqlite-bug", "sqlite-disk"}
"""What depends on the machine of the tests."""


def codes(facts: Facts) -> set[str]:
    return {warning.code for warning in facts.warnings} - ALWAYS


async def test_a_new_file(tmp_path: Path) -> None:
    """Nothing is wrong with it, and it has the size that others see."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store_many(TaskResult.success(f"t{n}", "x" * 1_000) for n in range(500))
        facts = await backend.facts()
        files = {name: (tmp_path / f"x.db{name}").stat().st_size for name in ("", "-wal")}
    assert codes(facts) == set()
    assert (facts.backend, facts.server, facts.server_version) == ("sqlite", "SQLite", sqlite3.sqlite_version)
    assert facts.driver == "aiosqlite"
    assert (facts.format, facts.program_format, facts.is_writable) == (FORMAT, FORMAT, True)
    assert facts.sizes["wal"] == files["-wal"]
    assert facts.sizes["file"] >= max(files[""], 500_000)
    assert facts.size == facts.sizes["file"] + facts.sizes["wal"]
    assert facts.sizes["disk"] > facts.sizes["disk_free"]
    assert facts.policies["journal_mode"] == "wal"
    assert facts.policies["file_mode"] == "600"


async def test_no_text_of_it_is_the_path(tmp_path: Path) -> None:
    """A path may say more than an operator's page should."""
    async with SQLiteBackend(tmp_path / "secret.db") as backend:
        assert "secret" not in (await backend.facts()).model_dump_json()


async def test_durability_and_rights(tmp_path: Path) -> None:
    """What the backend was made with, and what anybody may do."""
    async with SQLiteBackend(tmp_path / "x.db", durability="normal", mode=0o666) as backend:
        facts = await backend.facts()
    assert codes(facts) == {"sqlite-durability", "sqlite-open-to-all"}
    [warning] = [warning for warning in facts.warnings if warning.code == "sqlite-open-to-all"]
    assert isinstance(warning, StorageWarning)
    assert "666" in warning.problem


async def test_free_pages(tmp_path: Path) -> None:
    """Until vacuum has given them back."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store_many(TaskResult.success(f"t{n}", "x" * 100_000) for n in range(200))
        assert codes(await backend.facts()) == set()
        await backend.clear()
        assert codes(await backend.facts()) == {"sqlite-free-pages"}
        await backend.vacuum()
        assert codes(await backend.facts()) == set()


async def test_a_long_log(tmp_path: Path) -> None:
    """A reader that does not end keeps it from being emptied."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", TaskResult.success("t"))
        reader = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        try:
            reader.execute("BEGIN")
            reader.execute("SELECT 1 FROM task").fetchall()
            await backend.store_many(TaskResult.success(f"t{n}", "x" * 1_000_000) for n in range(80))
            assert codes(await backend.facts()) == {"sqlite-wal"}
        finally:
            reader.close()


async def test_a_network_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the system's list of mounts has it; where there is no such list it is unknown."""
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/x / ext4 rw 0 0\nhost:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(sqlite_facts, "_MOUNTS", mounts)
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        assert codes(await backend.facts()) == {"sqlite-network"}
        mounts.unlink()
        facts = await backend.facts()
    assert facts.policies["file_system"] is None
    assert codes(facts) == set()


async def test_a_file_of_a_newer_program(tmp_path: Path) -> None:
    """It says so, and that nothing can be written; what it holds is counted."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", TaskResult.success("t"))
    with sqlite3.connect(tmp_path / "x.db") as raw:
        raw.execute(f"PRAGMA user_version = {FORMAT + 1}")
        raw.execute("UPDATE compatibility SET oldest_writer = ?", (FORMAT + 1,))
    raw.close()
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        facts = await backend.facts()
    assert (facts.format, facts.is_writable) == (FORMAT + 1, False)
    assert codes(facts) == {"format-newer"}
    assert facts.counts[TaskStatus.SUCCESS] == 1


async def test_costs_the_same_for_any_size(tmp_path: Path) -> None:
    """Steps of SQLite's virtual machine, which walk over every row that is read."""
    steps: list[int] = []

    async def measured(backend: SQLiteBackend) -> int:
        steps.clear()
        for connection in storage_of(backend)._connections:
            await connection.run(lambda raw: raw.set_progress_handler(lambda: steps.append(1), 1))
        await backend.facts()
        return len(steps)

    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store_many(tasks(100))
        few = await measured(backend)
        await backend.store_many(tasks(5_000))
        assert await measured(backend) <= few + 20


def tasks(count: int) -> list[TaskResult[Any]]:
    made = (TaskResult.pending, TaskResult.running, TaskResult.success)
    return [made[n % 3](f"t{count}.{n}") for n in range(count)]
