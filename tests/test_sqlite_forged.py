"""Rows and datagrams that somebody else made: an error for who reads them, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import itertools
import socket
import sqlite3
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowstore import CorruptRecord, SQLiteBackend, TaskResult, TaskStatus, UnreadableRecords
from flowstore.engine import ANY_STAGE, APPLIED, STATUSES, Outcome, Owner, Query, Verdict
from flowstore.testing.insides import storage_of
from flowstore.testing.samples import NOW, sample_write
from flowstore.testing.support import failed, ids, seen, waiting

COLUMNS: list[tuple[str, object]] = [
    *(("stage", number) for number in (-1, -(2**63), 2**62, 2**63 - 1)),
    *(("version", number) for number in (-1, -(2**63), 2**63 - 1)),
    *(("submitted_at", number) for number in (2**62, 2**63 - 1, 1 - 2**63, -(2**63))),
    *(("expires_at", number) for number in (2**62, 2**63 - 1)),
    *(("status", code) for code in (-1, 6, 2**63 - 1)),
    *(("checksum", number) for number in (0, -(2**63))),
    *(
        (column, text)
        for column in ("facets", "fixed")
        for text in ("x", '["a"', '["a"]', "[7]", "7", '{"a":1}', '["\\ud800"]', "[" * 10**5)
    ),
]


def forge(path: Path, column: str, value: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE task SET {column} = ? WHERE id = 't'", (value,))


async def outcome(call: Coroutine[Any, Any, Any]) -> Any:
    """Anything but the two of these would be an error without a meaning."""
    try:
        return await call
    except CorruptRecord as error:
        told: Exception = error
    except UnreadableRecords as error:
        [told] = error.errors
    assert isinstance(told, CorruptRecord)
    assert told.task_id == "t"
    assert len(str(told)) < 500
    return CorruptRecord


async def test_what_is_no_record_has_a_place(tmp_path: Path) -> None:
    """As a scan has it, with its body and without."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.count_by_status()
        engine = storage_of(backend)
        await engine.write([sample_write(task_id) for task_id in "stu"], NOW)
        forge(path, "fixed", "x")
        for with_body in (True, False):
            query = Query(STATUSES, 9, with_body=with_body)
            entries = await engine.at_places(query, await engine.places(query, NOW), NOW)
            assert entries == await engine.scan(query, NOW)
            assert [entry and entry.status for entry in entries] == ["pending", "", "pending"]


@pytest.mark.parametrize(("column", "value"), COLUMNS, ids=lambda part: str(part)[:20])
async def test_forged_columns(tmp_path: Path, column: str, value: object) -> None:
    """Huge counts and times, unknown statuses: the others are read, listed and written in the same trip."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store_many(failed(name, n, task_name="n") for n, name in enumerate(["b", "t", "a"]))
        forge(path, column, value)
        if (column, value) != ("version", 2**63 - 1):
            assert await outcome(backend.get("t")) is CorruptRecord
            assert await outcome(backend.wait_for("t", 5)) is CorruptRecord
        for limit, newest_first in itertools.product((1, 2, 3), (True, False)):
            page = await backend.page(TaskStatus.FAILED, limit=limit, newest_first=newest_first)
            assert set(ids(page.items)) | {one.task_id for one in page.unreadable} <= {"a", "b", "t"}
        await outcome(backend.list_by_status(TaskStatus.FAILED, offset=2))
        stores = [backend.store(name, failed(name, retries=3)) for name in ("a", "t", "b", "c")]
        written = await asyncio.gather(*map(outcome, stores))
        assert [written[0], *written[2:]] == [True] * 3
        assert written[1] in (True, CorruptRecord)
        again = await outcome(backend.store("t", failed("t", retries=3), overwrite=True))
        assert again in (True, CorruptRecord)
        assert await backend.delete("t") is True
        assert await backend.store("t", failed("t")) is True
        assert await backend.clear() == 4


@pytest.mark.parametrize("column", ["facets", "fixed"])
async def test_facets_that_cannot_be_read(tmp_path: Path, column: str) -> None:
    """Others in the same trip and listing are read; a removal leaves nothing of them in any index."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store_many(failed(name, worker_id="w", labels={"x"}) for name in ("t", "u"))
        forge(path, column, "x")
        waits = [backend.wait_for(name, 5) for name in ("t", "u")]
        unread, read = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(unread, CorruptRecord)
        assert isinstance(read, TaskResult)
        page = await backend.page(worker_id="w", label="x")
        assert (ids(page.items), [one.task_id for one in page.unreadable]) == (["u"], ["t"])
        assert await backend.store("t", failed("t", labels={"y"}), overwrite=True)
        assert ids((await backend.page(worker_id="w")).items) == ["u"]
        forge(path, column, "x")
        assert await backend.delete("t")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM facet WHERE id = 't'").fetchall() == []


@pytest.mark.parametrize("column", ["stage", "version"])
async def test_overflow_of_an_expired_record(tmp_path: Path, column: str) -> None:
    """It counts as absent, so the next one begins at version 1."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, clock=lambda: 10) as backend:
        await backend.store("t", failed("t"))
        forge(path, column, 2**63 - 1)
        forge(path, "expires_at", 5)
        assert await backend.store("t", failed("t")) is True
        assert (await backend.wait_for("t", 5)).version == 1


def by_hand(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(script)


async def test_an_id_that_was_changed(tmp_path: Path) -> None:
    """What it leaves keeps nobody from storing the old id, not even at the same time; each can be removed."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, clock=lambda: 10) as backend:
        await backend.store("t", failed("t"))
        by_hand(path, "UPDATE task SET id = 'other' WHERE id = 't'")
        assert await backend.store("t", failed("t", retries=1)) is True
        assert (await backend.wait_for("t", 5)).version == 1
        assert len(await backend.history.of("t")) == 1
        assert await backend.delete_many(["t", "other"]) == 2


async def test_rows_that_were_removed(tmp_path: Path) -> None:
    """The next one does not get what belonged to them."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        for name in ("t", "u"):
            await backend.store(name, failed(name))
            await backend.data.set(name, "k", name)
        by_hand(path, "DELETE FROM task")
        for name in ("new", "newer"):
            assert await backend.store(name, failed(name)) is True
            assert await backend.data.all(name) == {}
            assert len(await backend.history.of(name)) == 1


async def test_clear_mends_what_was_written_by_hand(tmp_path: Path) -> None:
    """Counts that are wrong, and what is left of records; but not the workers and the app."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend, SQLiteBackend(path, namespace="other") as other:
        await backend.app.register({"k": 1})
        await backend.workers.register("w")
        await backend.store_many(failed(name, labels={"x"}) for name in "abc")
        await other.store("d", failed("d"))
        by_hand(path, "UPDATE tally SET tasks = 77 WHERE ns = 1; DELETE FROM task WHERE id = 'b'")
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 77
        assert await backend.clear() == 2
        assert set((await backend.count_by_status()).values()) == {0}
        assert await backend.clear() == 0
        assert [worker.worker_id for worker in await backend.workers.all()] == ["w"]
        assert await backend.app.info() is not None
        assert ids((await other.page()).items) == ["d"]
        assert (await other.count_by_status())[TaskStatus.FAILED] == 1
    with closing(sqlite3.connect(path)) as connection:
        for table in ("facet", "timeline", "tally", "item"):
            of_tasks = "AND task > 0" if table == "item" else ""
            assert connection.execute(f"SELECT * FROM {table} WHERE ns = 1 {of_tasks}").fetchall() == []


DATAGRAMS = [
    b"x",
    b"\xff",
    b"[]",
    b"[" * 30_000,
    b"[1,2,3]",
    b'[1,"q",["t"]]',
    b'[1,"f",7]',
    b'[1,"w",[[]]]',
]


async def test_forged_datagrams(tmp_path: Path) -> None:
    """What cannot be read is reported to the loop; the wait goes on and hears of its store."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, recheck_interval=1_000) as waiter, SQLiteBackend(path) as worker:
        task = await waiting(waiter, "t")
        await seen(waiter, task, "t")
        [bell] = (tmp_path / "x.db-bells").iterdir()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(bell))
            for number, datagram in enumerate(DATAGRAMS, 1):
                sender.send(b'[999,"d",["t"]]')
                sender.send(datagram)
                while len(told) < number:
                    await seen(waiter, task, f"t after {number}")
        await worker.store("t", TaskResult.success("t", 1))
        assert (await task).result == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("stage", -1),
        ("stage", ANY_STAGE + 1),
        ("version", 0),
        ("version", 2**62),
        ("status", 6),
        ("status", -1),
    ],
)
async def test_an_owner_that_is_no_record(tmp_path: Path, column: str, value: int) -> None:
    """Is none."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        engine = storage_of(backend)
        await engine.write([sample_write("t")], NOW)
        forge(path, column, value)
        writes = [sample_write("u", owner=Owner("t")), sample_write("v")]
        assert await engine.write(writes, NOW) == [Outcome(Verdict.OWNERLESS), APPLIED]
