"""What any older flowstore has exported is read for ever, and its bytes are those of docs/formats.md."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import pytest

from flowstore import InMemoryBackend, SQLiteBackend
from flowstore._dumping.files import FORMAT
from flowstore._dumping.lines import _Line
from flowstore.testing import ManualClock
from tests.formats.make import FOLDER, export, fill
from tests.formats.sample import TYPES

FIXTURES = sorted(path.name for path in FOLDER.glob("archive-*.lines"))


def test_each_format_has_a_fixture() -> None:
    assert [f"archive-{number}.lines" for number in range(1, FORMAT + 1)] == FIXTURES


@pytest.mark.parametrize("name", FIXTURES)
async def test_fixtures_are_restored(name: str, tmp_path: Path) -> None:
    """All that was in the store that it is of, and it would be written as the same lines today."""
    clock = ManualClock()
    async with (
        InMemoryBackend(types=TYPES, clock=clock, namespace="app", error_groups=False) as expected,
        SQLiteBackend(tmp_path / "a.db", types=TYPES, clock=clock, namespace="app") as backend,
    ):
        await fill(expected, clock)
        came = await backend.archive.load(FOLDER / name)
        assert (came.conflict_count, came.unreadable_count, came.is_whole) == (0, 0, True)
        assert came.restored > 5
        assert await backend.archive.digest() == await expected.archive.digest()
        tasks = [each async for each in backend.iter_by_status()]
        assert tasks == [each async for each in expected.iter_by_status()]


async def test_the_bytes_of_today(tmp_path: Path) -> None:
    """To the last one; the digest is that of the lines, as any program can compute it."""
    await export(tmp_path / "today")
    today, fixture = tmp_path / "today", FOLDER / FIXTURES[-1]
    assert _read(today) == _read(fixture)
    lines = _read(fixture).splitlines(keepends=True)
    end = json.loads(lines[-1])["end"]
    assert end == {"records": len(lines) - 2, "digest": sha256(b"".join(lines[1:-1])).hexdigest()}


def _read(path: Path) -> bytes:
    return path.read_bytes()


def test_the_document_has_every_key() -> None:
    """Those of the lines of a record."""
    document = (FOLDER.parents[1] / "docs" / "formats.md").read_text("utf-8")
    part = document.partition("## Exported records")[2].partition("\n## ")[0]
    assert {*re.findall(r"`(\w+)`", part)} >= {*_Line.model_fields}
