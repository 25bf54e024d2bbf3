"""A tree of files is a stored format: one that was written once is read for ever."""

from __future__ import annotations

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from flowstore.testing import ManualClock
from flowstore.typed.storage import Stored
from flowstore.typed.tree import content, files
from flowstore.typed.tree.storage import TreeStorage
from tests.formats.make import FOLDER
from tests.formats.tree_sample import CODEC, FULL, entries, fill_tree, notes
from tests.test_formats import DOCUMENT, NAMED

FIXTURES = sorted(path.name for path in FOLDER.glob("tree-*"))
FILES = [
    "%2E%2E/%63on/%2Ex%2Ejson.json",
    "^notes/über %25/a%2Fb.json",
    "runs/7.json",
    "runs/7/metrics.json",
]


def test_each_format_has_a_fixture() -> None:
    """That of today, and all before it."""
    assert [f"tree-{number}" for number in range(1, content.FORMAT + 1)] == FIXTURES
    assert content.FORMAT == files.FORMAT


def test_the_document_is_of_today() -> None:
    """It names the format, every key and every file of flowstore's own."""
    assert f"[trees of files](#trees-of-files) at format {content.FORMAT}." in DOCUMENT
    keys = re.findall(r'^  "(\w+)":', (FOLDER / "tree-1" / FILES[1]).read_text("utf-8"), re.MULTILINE)
    assert len(keys) == 11
    assert {*keys, "form", "format", "format-bells"} <= NAMED


@pytest_asyncio.fixture(params=FIXTURES)
async def tree(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[TreeStorage]:
    """A copy of each fixture, opened by the code of today."""
    shutil.copytree(FOLDER / request.param, tmp_path / "tree")
    clock = ManualClock()
    clock.advance(60)
    storage = TreeStorage(tmp_path / "tree", clock=clock, durability="normal")
    yield storage
    await storage.close()


async def test_every_entry_is_read(tree: TreeStorage) -> None:
    """By id and by listing, with all that was stored."""
    began = ManualClock()()
    expected = [
        Stored(
            entry.id,
            entry.kind,
            1,
            began + n * 1_000_000,
            began + n * 1_000_000,
            None,
            len(entry.data),
            entry.data,
        )
        for n, entry in enumerate(entries())
    ]
    expected[0] = expected[0]._replace(version=2, updated_at=began + 4_000_000)
    expected[3] = expected[3]._replace(expires_at=began + 86_403_000_000)
    assert await tree.read([entry.id for entry in entries()]) == expected
    listed = [stored._replace(data=None) for stored in sorted(expected, key=lambda stored: stored.id)]
    assert await tree.scan("", None, 100) == listed
    assert CODEC.decode_fields(expected[0].data or b"") == {"result": FULL}
    assert CODEC.decode_fields(expected[2].data or b"") == {"result": notes()}


async def test_it_can_be_written_on(tree: TreeStorage) -> None:
    """Entries go on from where they were, and go whole."""
    first = entries()[0]
    [standing] = await tree.read([first.id])
    assert standing is not None
    assert await tree.replace(first, standing)
    assert await tree.create([first]) == [False]
    assert await tree.clear() == len(entries())


async def test_today_it_is_written_in_the_same_way(tmp_path: Path) -> None:
    """Byte for byte: people keep such trees under version control, and compare them."""
    await fill_tree(str(tmp_path / "made"))
    for folder in (FOLDER / FIXTURES[-1], tmp_path / "made"):
        found = [path.relative_to(folder) for path in folder.rglob("*.json")]
        assert sorted(map(str, found)) == FILES
    for name in (*FILES, ".flowstore/format"):
        assert (tmp_path / "made" / name).read_bytes() == (FOLDER / FIXTURES[-1] / name).read_bytes()
