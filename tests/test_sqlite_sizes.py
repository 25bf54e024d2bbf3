"""What calls read of a SQLite file does not grow with the payloads that they do not show.

Bodies are made unreadable behind their first bytes. Whoever reads further fails; so what succeeds has not.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest

from flowstore import CorruptStore, Progress, SQLiteBackend, TaskResult, TaskStatus
from flowstore.engine import STATUSES, Query
from flowstore.testing.insides import engine_of, storage_of

PAGE: Final = 4_096
SIZE: Final = 1_000_000
LEFT: Final = 20_000
"""How many bytes of a body, at most, can still be read."""
TASKS: Final = 6


def task(n: int) -> TaskResult:
    fields: dict[str, Any] = {"task_name": "a", "worker_id": "w", "labels": {"x"}}
    return TaskResult.failed(f"t{n}", ValueError("no"), args=("x" * SIZE,), **fields)


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A file with large bodies, as text and as blobs, whose pages behind the first ones end nowhere."""
    file = tmp_path / "x.db"
    async with SQLiteBackend(file) as backend:
        await backend.store_many(map(task, range(TASKS)))
        await backend.store("r", TaskResult.running("r", args=("x" * SIZE,)))
    data = file.read_bytes()
    pages = [data[start : start + PAGE] for start in range(0, len(data), PAGE)]
    run = 0
    for number, page in enumerate(pages):
        run = run + 1 if page[4:] == b"x" * (PAGE - 4) else 0
        if run * PAGE > LEFT // 2:
            pages[number] = bytes(4) + page[4:]
    file.write_bytes(b"".join(pages))
    return file


async def first_state(backend: SQLiteBackend) -> None:
    async with aclosing(backend.watch("r")) as states:
        assert (await anext(states)).status is TaskStatus.RUNNING


async def page(backend: SQLiteBackend, **filters: Any) -> None:
    found = await backend.page(TaskStatus.FAILED, load_result=False, **filters)
    assert len(found.items) == TASKS


async def count(backend: SQLiteBackend) -> None:
    counts = await backend.count_by_status(name="a", worker_id="w", label="x")
    assert counts[TaskStatus.FAILED] == TASKS


async def beginnings(backend: SQLiteBackend) -> None:
    engine = engine_of(backend)
    for groups in ((), (("run:a",),), (("worker:w",), ("label:x",))):
        entries = await engine.scan(Query(("failed",), 9, groups, max_body=100), 0)
        assert entries == await engine.read([entry.id for entry in entries], max_body=100)
        for entry in entries:
            assert entry.body == b'{"args":["' + b"x" * 90
            assert entry.body_size == SIZE + len('{"args":[""]}')


async def data(backend: SQLiteBackend) -> None:
    await backend.data.set("t0", "k", 1)
    await backend.checkpoints.save("t0", 1)
    assert await backend.data.get("t0", "k") == 1


async def report(backend: SQLiteBackend) -> None:
    for note in ("a", "b" * 300, "c"):
        assert await backend.set_progress("r", 1, note=note)
    [entry] = await engine_of(backend).read(["r"], max_body=5)
    assert b'"note":"c"' in entry.progress


async def heads(backend: SQLiteBackend) -> None:
    assert await backend.exists("t0")
    assert len(await engine_of(backend).scan(Query(STATUSES, 99, with_body=False), 0)) == TASKS + 1
    assert not await backend.store("t0", TaskResult.running("t0"))


async def history(backend: SQLiteBackend) -> None:
    assert len(await backend.history.of("t0")) == 1
    assert len([one async for one in backend.history.iter()]) == TASKS + 1


CALLS: Final[dict[str, Callable[[SQLiteBackend], Coroutine[Any, Any, None]]]] = {
    "heads": heads,
    "page": page,
    "page by one": lambda backend: page(backend, name="a"),
    "page by three": lambda backend: page(backend, name="a", worker_id="w", label="x"),
    "count": count,
    "watch": first_state,
    "beginnings": beginnings,
    "data": data,
    "progress": report,
    "history": history,
}


@pytest.mark.parametrize("name", CALLS)
async def test_no_more_is_read_than_is_shown(path: Path, name: str) -> None:
    """The first bytes of a body at most, wherever it is found."""
    async with SQLiteBackend(path) as backend:
        await CALLS[name](backend)


async def test_who_reads_more_fails(path: Path) -> None:
    """So the file is damaged enough to show it."""
    async with SQLiteBackend(path) as backend:
        for call in (backend.get("t0"), backend.get("r"), backend.page(), backend.wait_for("t1", 5)):
            with pytest.raises(CorruptStore):
                await call
        with pytest.raises(CorruptStore):
            await engine_of(backend).read(["t0"], max_body=2 * LEFT)


async def test_a_body_that_is_a_number(tmp_path: Path) -> None:
    """Somebody wrote it by hand: its digits are shown, and no column is opened that has no bytes."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        await backend.store("t", task(1).model_copy(update={"task_id": "t"}))
        engine = engine_of(backend)
        change = "UPDATE task SET body = 12345"
        await storage_of(backend)._writer.run(lambda raw: raw.execute(change).fetchall())
        [cut] = await engine.read(["t"], max_body=3)
        [whole] = await engine.read(["t"], max_body=5)
        assert (cut.body, cut.body_size) == (b"123", 5)
        assert (whole.body, whole.body_size) == (b"12345", None)


@pytest.mark.parametrize("size", [10, 20_000])
async def test_progress_beside_a_row_ends_with_it(tmp_path: Path, size: int) -> None:
    """With the next write, and for good with the record, whose number another one may get."""
    running = TaskResult.running("t", args=("x" * size,))
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        rows = storage_of(backend)._rows
        for _ in range(2):
            await backend.store("t", running)
            assert await progress(backend) is None
            for done in (1, 2):
                assert await backend.set_progress("t", done)
                assert await progress(backend) == Progress(done=done)
            beside = await rows("SELECT value FROM item WHERE ns = ? AND section = -1")
            assert len(beside) == int(size > 16_384)
            await backend.store("t", running)
            assert await progress(backend) is None
            assert await backend.delete("t")
            assert await rows("SELECT value FROM item WHERE ns = ?") == []


async def progress(backend: SQLiteBackend) -> Progress | None:
    found = await backend.get("t")
    assert found is not None
    return found.progress
