"""The SQLite backend: the contract, and what a file adds to it."""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import stat
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    EVER,
    CorruptStore,
    Progress,
    ResultDeleted,
    SQLiteBackend,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    connect,
)
from flowstore.backends.sqlite.statements import value_of
from flowstore.engine import ANY_STAGE, APPLIED, Write
from flowstore.testing import ManualClock
from flowstore.testing.contract import (
    BackendContract,
    CountedNamesContract,
    ErrorGroupsContract,
    MakeBackend,
    SharedTripsContract,
    StatisticsContract,
)
from flowstore.testing.insides import storage_of
from flowstore.testing.support import failed, seen, waiting
from flowstore.times import from_micros
from tests.support.following import cancel_elsewhere, follow
from tests.support.limits import Limits
from tests.test_sqlite_outages import look

FAILED = 4


class TestSQLite(
    BackendContract,
    StatisticsContract,
    CountedNamesContract,
    ErrorGroupsContract,
    SharedTripsContract,
    Limits,
):
    @pytest.fixture
    def make_backend(self, tmp_path: Path) -> MakeBackend:
        numbers = itertools.count()

        def make(**options: Any) -> SQLiteBackend:
            return SQLiteBackend(tmp_path / f"{next(numbers)}.db", **options)

        return make


async def fill(path: Path, **options: Any) -> None:
    async with SQLiteBackend(path, **options) as backend:
        await backend.store_many(failed(f"t{n:05}", n) for n in range(1_000))


@pytest.mark.parametrize("durability", ["full", "normal"])
async def test_records_survive_reopening(tmp_path: Path, durability: Any) -> None:
    """What was stored is there for the next process, in a file that only its owner reads."""
    path = tmp_path / "x.db"
    await fill(path, durability=durability)
    async with connect(f"sqlite:///{path}") as backend:
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 1_000
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


async def test_namespaces_share_a_file(tmp_path: Path) -> None:
    """clear of one leaves the other, whatever characters their names have."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, namespace="a") as one, SQLiteBackend(path, namespace="a%") as other:
        await one.store("t", failed("t"))
        await other.store("t", TaskResult.success("t", 1))
        assert await one.clear() == 1
        assert (await other.wait_for("t", 5)).unwrap() == 1


async def test_file_is_readable_by_people(tmp_path: Path) -> None:
    """The view shows what an operator asks for, with real columns and dates."""
    path = tmp_path / "x.db"
    await fill(path)
    [row] = look(path, "SELECT id, status, error_type, submitted_at FROM results WHERE id = 't00060'")
    assert row == ("t00060", "failed", "ValueError", "2026-01-01 00:01:00.000")


@pytest.mark.parametrize("way", ["delete", "clear", "expiry"])
async def test_nothing_is_left_of_a_task(tmp_path: Path, way: str) -> None:
    """Behind the backend's back: no row of it in any table, whichever way it goes.

    The one item that is left says up to when hours are closed.
    """
    path, clock = tmp_path / "x.db", ManualClock()
    async with SQLiteBackend(path, clock=clock) as backend:
        for result in (TaskResult.running("t", labels={"x"}), failed("t", labels={"y"}, parent_id="p")):
            await backend.store("t", result, ttl=5)
        await backend.data.set("t", "k", 1)
        await backend.checkpoints.save("t", 1)
        if way == "delete":
            assert await backend.delete("t")
        elif way == "clear":
            assert await backend.clear() == 1
        else:
            clock.advance(6)
            assert await backend.purge_expired() == 1
    for table in ("task", "facet", "item WHERE section <> -3", "timeline"):
        assert look(path, f"SELECT * FROM {table}") == []
    assert {row[2] for row in look(path, "SELECT * FROM tally")} <= {0}


async def test_counts_are_one_row_for_each_status(tmp_path: Path) -> None:
    """The tally is kept by each write."""
    await fill(tmp_path / "x.db")
    assert look(tmp_path / "x.db", "SELECT * FROM tally") == [(1, FAILED, 1_000)]


async def test_purge_leaves_nothing(tmp_path: Path) -> None:
    """Behind the backend's back: no row, and a tally of zero."""
    path, clock = tmp_path / "x.db", ManualClock()
    async with SQLiteBackend(path, clock=clock) as backend:
        await backend.store_many((failed(f"t{n}") for n in range(100)), ttl=5)
        clock.advance(6)
        assert await backend.purge_expired() == 100
    assert look(path, "SELECT count(*) FROM task") == [(0,)]
    assert look(path, "SELECT sum(tasks) FROM tally") == [(0,)]
    assert look(path, "PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("has_bells", [True, False])
async def test_waits_hear_of_other_connections(tmp_path: Path, has_bells: bool) -> None:
    """By doorbell without asking SQLite, or by asking it where no bell can be hung; not by the re-check."""
    path = tmp_path / "x.db"
    if not has_bells:
        (tmp_path / "x.db-bells").touch()
    waiter = SQLiteBackend(path, recheck_interval=1_000)
    async with waiter, SQLiteBackend(path) as worker, SQLiteBackend(path, namespace="other") as other:
        doomed = await waiting(waiter, "doomed")
        for n in range(50):
            task = await waiting(waiter, f"t{n}")
            await seen(waiter, task, f"t{n}")
            await other.store(f"t{n}", TaskResult.success(f"t{n}", "other"))
            await worker.store_many(
                [TaskResult.running("doomed", worker_id=str(n)), TaskResult.success(f"t{n}", n)]
            )
            assert (await task).result == n
        assert asks_sqlite(waiter) is not has_bells
        await worker.delete("doomed")
        with pytest.raises(ResultDeleted):
            await doomed
    assert (tmp_path / "x.db-bells").exists() is not has_bells


async def test_a_large_batch_rings_in_pieces(tmp_path: Path) -> None:
    """Ids of 512 bytes that JSON spells six times as long do not fit in one datagram."""
    path = tmp_path / "x.db"
    ids = [f"{n:03d}" + "\0" * 509 for n in range(300)]
    async with SQLiteBackend(path, recheck_interval=1_000) as waiter, SQLiteBackend(path) as worker:
        waits = [await waiting(waiter, task_id) for task_id in ids]
        await seen(waiter, waits[0], "all")
        assert all(await worker.store_many([TaskResult.success(task_id) for task_id in ids]))
        await asyncio.gather(*waits)


def asks_sqlite(backend: SQLiteBackend) -> bool:
    return storage_of(backend)._detector is not None


async def test_foreign_files_are_refused(tmp_path: Path) -> None:
    """A clear error, the file untouched, and nothing left open."""
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    look(foreign, "CREATE TABLE theirs (x)")
    with pytest.raises(CorruptStore, match="another program"):
        await SQLiteBackend(foreign).open()
    assert look(foreign, "SELECT name FROM sqlite_schema") == [("theirs",)]
    text.write_text("This is no database. " * 1_000)
    with pytest.raises(CorruptStore, match="not a database"):
        await SQLiteBackend(text).open()
    with pytest.raises(StorageUnavailable, match="missing"):
        await SQLiteBackend(tmp_path / "missing" / "x.db").open()


@pytest.mark.parametrize("bad", ["", ":memory:", "file:x.db", "a\0b", b"x.db", 7])
def test_bad_paths(bad: Any) -> None:
    """Named at construction."""
    with pytest.raises((ValueError, TypeError), match=r"path|PathLike"):
        SQLiteBackend(bad)


async def test_stored_text_is_pinned(tmp_path: Path) -> None:
    """Format 4, to the letter: what is written today is read tomorrow."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, clock=ManualClock(), stats=None) as backend:
        record = failed("t", args=(1,), kwargs={"k": b"x"}, retries=2, task_name="add", labels={"b"})
        more = {"progress": Progress(done=1), "parent_id": "p", "worker_id": "w"}
        await backend.store("t", record.model_copy(update=more))
    now = 1_767_225_600_000_000
    [row] = look(path, "SELECT * FROM task")
    assert row == (
        *(1, 1, "t", FAILED, 10, 1),
        *(now, None, now, None, now, None),
        *(8_550_773_254_747_644_611, '["child:p"]'),
        '["step:add","worker:w","label:b","~","error:c55ab58557a38484","~error:c55ab58557a38484"]',
        '{"error":{"type":"ValueError","message":"t","args":["t"],"module":"builtins"}}',
        '{"done":1,"crc":3229201830}',
        '{"args":[1],"kwargs":{"k":{"$bytes":"eA=="}}}',
    )
    facets = [("", 0), ("child:p", 1), ("error:c55ab58557a38484", 0), ("label:b", 0), ("step:add", 0)]
    facets += [("worker:w", 0), ("~", 0), ("~error:c55ab58557a38484", 0)]
    assert look(path, "SELECT * FROM facet") == [
        (1, facet, FAILED, -now, "t", 1, fixed) for facet, fixed in facets
    ]
    said = '["failed",10,"w",{"type":"ValueError","message":"t"}]'
    assert look(path, "SELECT * FROM item") == [(1, 1, 0, 1, 1, now, 498_925_165, said)]
    assert look(path, "SELECT * FROM timeline") == [(1, now, 1, "t", 1)]


async def test_stored_statistics_are_pinned(tmp_path: Path) -> None:
    """To the letter: what is counted today is read tomorrow."""
    path = tmp_path / "x.db"
    at = from_micros(1_767_225_600_000_000)
    async with SQLiteBackend(path, clock=ManualClock()) as backend:
        submitted = at - timedelta(seconds=1)
        running = TaskResult.running("t", task_name="add", at=at, submitted_at=submitted)
        await backend.store("t", TaskResult.failed(running, ValueError("t"), at=at + timedelta(seconds=3)))
    now = 1_767_225_600_000_000
    cells = [(1, "!c55ab58557a38484", now, "add", 1)]
    cells += [(1, "=add", now, bucket, 1) for bucket in ("f47", "n", "w40")]
    assert look(path, "SELECT * FROM minute") == cells
    assert look(path, "SELECT * FROM hour") == []
    example = '{"type":"ValueError","message":"t","normalised":"t","task_id":"t","name":"add"'
    example += ',"normaliser":1}'
    assert look(path, "SELECT * FROM error_group") == [(1, "c55ab58557a38484", now, now, 1, example)]
    [names] = look(path, "SELECT section, key, version, at, value FROM item WHERE task = 0")
    assert names == (4, "statistics:names", 1, now, '{"series":["=add"]}')
    over = at + timedelta(hours=2)
    async with SQLiteBackend(path, clock=ManualClock(over)) as backend:
        await backend.purge_expired()
    totals = [(1, "=add", 2**63 - 1, bucket, 1) for bucket in ("f47", "n", "w40")]
    assert look(path, "SELECT * FROM hour") == cells + totals
    marks = look(path, "SELECT key, at FROM item WHERE task = 0 AND section = -3")
    assert marks == [("", now + 3_600_000_000), ("totals", now + 3_600_000_000)]


async def test_totals_of_hours_that_an_older_program_has_closed(tmp_path: Path) -> None:
    """It knows of no totals, and may close hours and count in those that are closed."""
    path, clock = tmp_path / "x.db", ManualClock()
    async with SQLiteBackend(path, clock=clock) as backend:
        for n in range(40):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name="add"))
            clock.advance(36 * 3_600)
            await backend.purge_expired()
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("DELETE FROM hour WHERE at = 9223372036854775807")
        raw.execute("DELETE FROM item WHERE section = -3 AND key = 'totals'")
    async with SQLiteBackend(path, clock=clock) as backend:
        for days in (0, 1, 100):
            assert (await backend.stats.total("add", since=EVER)).succeeded == 40
            clock.advance(days * 86_400)
            await backend.purge_expired()
        assert (await backend.stats.total("add", since=EVER)).succeeded == 40
    assert look(path, "SELECT series, at, bucket, n FROM hour WHERE bucket = 's'") == [
        ("=add", 2**63 - 1, "s", 40)
    ]


async def test_a_body_that_is_no_json(tmp_path: Path) -> None:
    """It is a blob, so that nobody takes it for text; the view leaves it out."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store_many([TaskResult.success("t", 1), TaskResult.success("u", 2)])
        [entry] = await storage_of(backend).read(["t"])
        coded = entry._replace(body=b"\0\xff", stage=6)
        assert await storage_of(backend).write([Write(coded, "", ANY_STAGE)], 0) == [APPLIED]
        assert (await storage_of(backend).read(["t"]))[0].body == b"\0\xff"
    assert look(path, "SELECT id, typeof(body), result FROM results JOIN task USING (id) ORDER BY id") == [
        ("t", "blob", None),
        ("u", "text", "2"),
    ]


async def test_the_view_shows_what_facets_say(tmp_path: Path) -> None:
    """Name, worker, family and labels, of records with some, with others and with none of them."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store_many(
            [
                TaskResult.running("a", task_name="n", labels={"x:y", "z"}),
                TaskResult.running("b", parent_id="a", task_name="m", worker_id="w"),
                TaskResult.running("c", parent_id="b", root_id="a", retries=3),
                TaskResult.pending("d"),
            ]
        )
    columns = "id, status, retries, task_name, worker_id, parent_id, root_id, labels"
    assert look(path, f"SELECT {columns} FROM results ORDER BY id") == [
        ("a", "running", 0, "n", None, None, None, '["x:y","z"]'),
        ("b", "running", 0, "m", "w", "a", "a", "[]"),
        ("c", "running", 3, None, None, "b", "a", "[]"),
        ("d", "pending", 0, None, None, None, None, "[]"),
    ]


async def test_a_watch_follows_another_process(tmp_path: Path) -> None:
    """Status and progress stored through one backend are seen through another at once, one by one."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as watcher, SQLiteBackend(path) as worker:
        await follow(watcher, worker)


async def test_a_block_hears_of_another_process(tmp_path: Path) -> None:
    """That cancels its task: at once, with no look of its own in sight."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend, SQLiteBackend(path, recheck_interval=600) as worker:
        await cancel_elsewhere(backend, worker)


@pytest.mark.parametrize("data", [b'{"result":1}', b'{"\xff', b"[\x80", b"\x78\x9c"])
def test_bodies_of_any_bytes(data: bytes) -> None:
    """JSON is stored as text, for people to read; what only begins like it is kept as it is."""
    kept = value_of(data)
    assert (kept.encode() if isinstance(kept, str) else kept) == data
    assert isinstance(kept, str) == (data == b'{"result":1}')
