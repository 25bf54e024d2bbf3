"""Single bits flipped in a SQLite file: what a verification finds, and what its repair makes of it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from flowstore import (
    Filters,
    SQLiteBackend,
    StorageError,
    TaskResult,
    UnreadableRecord,
    UnreadableRecords,
)
from flowstore.testing.support import EFFORT, walk
from tests.test_sqlite_damage import RECORDS, is_like

EXPECTED: Final = {record.task_id: record for record in RECORDS}
ERRORS: Final = (UnreadableRecord, UnreadableRecords, StorageError)
FILTERS: Final[tuple[Filters, ...]] = (
    {},
    {"name": "add"},
    {"label": "x"},
    {"worker_id": "w"},
    {"parent_id": "big 0"},
)


class Seen(NamedTuple):
    """What readers met: records that are gone, errors, listings and counts that are wrong."""

    missing: int
    errors: int
    wrong: int


async def see(backend: SQLiteBackend) -> Seen:
    """Fails at the first record or value that came back as another one."""
    missing, errors = await _read(backend)
    wrong = 0
    for call in (*(_listing(backend, filters) for filters in FILTERS), _counts(backend), _history(backend)):
        try:
            wrong += not await call
        except ERRORS:
            errors += 1
    return Seen(missing, errors, wrong)


async def _read(backend: SQLiteBackend) -> tuple[int, int]:
    missing = errors = 0
    for task_id, record in EXPECTED.items():
        try:
            found = await backend.get(task_id)
        except ERRORS:
            errors += 1
            continue
        missing += found is None
        assert found is None or is_like(found, record), found
    with suppress(*ERRORS):
        data = await backend.data.all("big 0")
        assert data in ({"key": "value"}, {})
        missing += not data
    return missing, errors


async def _listing(backend: SQLiteBackend, filters: Filters) -> bool:
    named: list[str] = []
    for page in await walk(backend, None, **filters):
        assert all(is_like(item, EXPECTED[item.task_id]) for item in page.items if item.task_id in EXPECTED)
        named += [item.task_id for item in page.items] + [one.task_id for one in page.unreadable]
    return sorted(named) == sorted(task_id for task_id, record in EXPECTED.items() if fits(record, filters))


def fits(record: TaskResult, filters: Filters) -> bool:
    fields: dict[str, Any] = {"name": record.task_name, **record.__dict__}
    has_label = filters.get("label") in (None, *record.labels)
    return has_label and all(fields[name] == value for name, value in filters.items() if name != "label")


async def _counts(backend: SQLiteBackend) -> bool:
    counts = await backend.count_by_status()
    return {status.value: count for status, count in counts.items() if count} == {"failed": 100, "success": 5}


async def _history(backend: SQLiteBackend) -> bool:
    whole = len([step async for step in backend.history.iter()])
    return whole == len(RECORDS) and all([len(await backend.history.of(name)) == 1 for name in EXPECTED])


async def flipped(path: Path) -> None:
    backend = SQLiteBackend(path, purge_interval=None)
    try:
        await backend.open()
    except StorageError:
        return  # which nobody can overlook
    try:
        before = await see(backend)
        found = await backend.integrity.verify()
        assert found.is_sound is (found.found == 0)
        assert before == Seen(0, 0, 0) or not found.is_sound
        mended = await backend.integrity.verify(repair=True)
        again = await backend.integrity.verify()
        assert again.is_sound or not mended.is_sound
        after = await see(backend)
        assert after.missing <= before.missing
        assert after.errors <= before.errors
        assert after.wrong <= before.wrong
        assert after == Seen(0, 0, 0) or not again.is_sound
    finally:
        await backend.close()


def test_a_verification_of_flipped_bits(tmp_path: Path) -> None:
    """Whatever a reader could notice is found, and no repair makes anything worse, or other data of it."""

    async def fill() -> None:
        async with SQLiteBackend(tmp_path / "x.db") as backend:
            await backend.store_many(RECORDS)
            await backend.data.set("big 0", "key", "value")

    asyncio.run(fill())
    image, choose = (tmp_path / "x.db").read_bytes(), random.Random("verified")
    for flip in range(30 * EFFORT):
        path = tmp_path / f"{flip}.db"
        damaged = bytearray(image)
        damaged[choose.randrange(len(image))] ^= 1 << choose.randrange(8)
        path.write_bytes(damaged)
        asyncio.run(flipped(path))
        path.unlink()
