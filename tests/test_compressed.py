"""Compressed values as they are stored, by and for programs that have zstd, and that have not."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

import flowstore
from flowstore import (
    BaseResultBackend,
    DamagedEntry,
    EntryExists,
    SQLiteBackend,
    TaskResult,
    UnreadableRecord,
)
from flowstore._values import compression
from flowstore._values.codec import Codec
from flowstore._values.compression import HEADER_BYTES, ZLIB, ZSTD, compress, decompress, plain_size
from flowstore.engine import Asked, Section
from flowstore.testing.contract.values import is_same
from flowstore.testing.insides import core_of, encoded, plant, plant_kept
from flowstore.testing.support import stored
from flowstore.testing.typed_contract.base import MODELS, Report, walked
from flowstore.typed import AsyncResultsManager, WriteBehavior
from tests.conftest import KINDS
from tests.formats.make import COMPRESSED
from tests.formats.sample import TYPES, VALUE

NOTES: Final = {"text": "x" * 20_000}
ROWS: Final[Any] = [{"id": n, "name": f"row {n}"} for n in range(3_000)]
FIXTURE = {name: base64.b64decode(text) for name, text in json.loads(COMPRESSED.read_text("ascii")).items()}


@pytest.fixture(params=["sqlite", *KINDS])
def url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    return f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else empty_database(request.param)


@pytest.fixture(params=[ZLIB, ZSTD])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As programs compress that have zstd, and that have not."""
    number: int = request.param
    monkeypatch.setattr(compression, "best", lambda: number)
    return number


async def bodies(backend: BaseResultBackend, *task_ids: str) -> list[bytes]:
    entries = await core_of(backend).engine.read([*task_ids])
    return [entry.body or b"" for entry in entries if entry is not None]


async def kept(backend: BaseResultBackend, *places: tuple[Section, str]) -> list[bytes]:
    """The values of these sections and owners."""
    asked = [Asked(section, owner, None, None) for section, owner in places]
    return [item.value for items in await core_of(backend).engine.items(asked, 0) for item in items]


@pytest.mark.parametrize("name", ["zlib", "zstd"])
async def test_the_fixture_of_each_algorithm(url: str, name: str) -> None:
    """It is read as a body, as data and as a checkpoint; and so is its beginning."""
    body = FIXTURE[name]
    assert body[0] == {"zlib": ZLIB, "zstd": ZSTD}[name]
    plain = Codec(TYPES).encode_fields({"result": [VALUE] * 9})
    assert decompress(body, len(plain)) == plain
    kept = compress(b'{"value":%b' % plain.removeprefix(b'{"result":'), body[0])
    async with flowstore.connect(url, types=TYPES) as backend:
        await plant(backend, TaskResult.success("t"), body=body)
        await plant_kept(backend, "data", "t", "k", kept)
        await plant_kept(backend, "checkpoint", "t", None, kept)
        assert (await stored(backend, "t")).result == [VALUE] * 9
        assert await backend.data.get("t", "k") == [VALUE] * 9
        [saved] = await backend.checkpoints.all("t")
        assert saved.value == [VALUE] * 9
        shown = await backend.get("t", max_value=len(body) - 1)
        assert shown is not None
        excerpt: Any = shown.result
        assert excerpt.size == len(plain)
        assert excerpt.data[0]["plain"][0] is None


async def test_everything_above_the_size_is_stored_compressed(url: str, how: int) -> None:
    """And only that; the stored bytes are fewer, and readers need no option."""
    async with flowstore.connect(url, compress_over=1_000) as backend:
        large = TaskResult.success("large", ROWS)
        small = TaskResult.success("small", "x" * 900)
        await backend.store_many([large, small])
        for value in (ROWS, "x" * 900):
            await backend.checkpoints.save("large", value)
            await backend.data.set("large", f"{len(value)}", value)
        await backend.app.register({"rows": ROWS})
        [body, plain] = await bodies(backend, "large", "small")
        assert (body[0], plain_size(body)) == (how, len(encoded(backend, large)))
        assert plain == encoded(backend, small)
        assert len(body) < plain_size(body) / 3
        values = await kept(
            backend, (Section.DATA, "large"), (Section.CHECKPOINT, "large"), (Section.APP, "")
        )
        assert sorted(value[0] for value in values) == sorted([how] * 3 + [ord("{")] * 2)
    async with flowstore.connect(url) as other:
        assert (await stored(other, "large")).result == ROWS
        assert [one.value for one in await other.checkpoints.all("large")] == [ROWS, "x" * 900]
        assert sorted((await other.data.all("large")).items()) == [("3000", ROWS), ("900", "x" * 900)]
        assert await other.store("large", TaskResult.success("large", ROWS), overwrite=True)
        [body] = await bodies(other, "large")
        assert body[:1] == b"{"


async def test_by_default_nothing_is_compressed(url: str) -> None:
    async with flowstore.connect(url) as backend:
        await backend.store("t", TaskResult.success("t", ROWS))
        await backend.data.set("t", "k", ROWS)
        found = [*await bodies(backend, "t"), *await kept(backend, (Section.DATA, "t"))]
        assert [value[:1] for value in found] == [b"{"] * 2


async def test_a_program_without_zstd(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads what others have compressed by zlib, names the extra for the rest, and compresses itself."""
    async with flowstore.connect(url, compress_over=100) as backend:
        await backend.store("by zstd", TaskResult.success("by zstd", ROWS))
        await backend.data.set("by zstd", "k", ROWS)
    monkeypatch.setattr(compression, "zstd", lambda: None)
    async with flowstore.connect(url, compress_over=100) as backend:
        await backend.store("by zlib", TaskResult.success("by zlib", ROWS))
        assert (await stored(backend, "by zlib")).result == ROWS
        for call in (backend.get("by zstd"), backend.data.get("by zstd", "k"), backend.wait_for("by zstd")):
            with pytest.raises(UnreadableRecord, match=r"pip install 'flowstore\[zstd\]'") as caught:
                await call
            assert type(caught.value) is UnreadableRecord
        page = await backend.page()
        assert [one.task_id for one in page.items] == ["by zlib"]
        assert ["flowstore[zstd]" in one.reason for one in page.unreadable] == [True]
    monkeypatch.undo()
    async with flowstore.connect(url) as backend:
        assert [(await stored(backend, name)).result for name in ("by zstd", "by zlib")] == [ROWS, ROWS]


async def test_the_view_of_a_file(tmp_path: Path, how: int) -> None:
    """A result is shown where it is not compressed, and is absent where it is; nothing else differs."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path, compress_over=1_000) as backend:
        await backend.store_many([TaskResult.success("large", ROWS), TaskResult.success("small", [1, "a"])])
        await backend.data.set("small", "k", ROWS)
    with closing(sqlite3.connect(path)) as connection:
        shown = connection.execute("SELECT id, status, result FROM results ORDER BY id").fetchall()
        assert shown == [("large", "success", None), ("small", "success", '[1,"a"]')]
        kinds = "SELECT typeof(body) FROM task UNION ALL SELECT typeof(value) FROM item WHERE section = 1"
        assert sorted(connection.execute(kinds)) == [("blob",), ("blob",), ("text",)]
        assert connection.execute("SELECT body FROM task WHERE id = 'large'").fetchone()[0][0] == how


@pytest.mark.parametrize("place", ["memory", "shared"])
async def test_typed_results(url: str, place: str, how: int) -> None:
    """They come back equal, are compared by their values, and tell the size of their JSON."""
    large = Report(score=1, notes=NOTES)
    made = "memory://" if place == "memory" else url
    async with (
        flowstore.connect(made, compress_over=100) as backend,
        flowstore.connect(made) as plain,
    ):
        manager = AsyncResultsManager(backend, registry=MODELS)
        other = manager if place == "memory" else AsyncResultsManager(plain, registry=MODELS)
        await manager.set("a/large", large)
        await manager.set_many({"a/small": Report(score=2), "b": large})
        assert await other.get("a/large", Report) == large
        assert await other.get_many(["b", "a/small"]) == {"b": large, "a/small": Report(score=2)}
        assert await other.set("a/large", large, WriteBehavior.RAISE_IF_DIFFERENT)
        assert not await other.set("b", large, WriteBehavior.OVERWRITE_IF_DIFFERENT)
        with pytest.raises(EntryExists):
            await other.set("b", Report(score=3), WriteBehavior.RAISE_IF_DIFFERENT)
        [body] = await bodies(backend, "a/large")
        assert (body[0] == how) is (place == "shared")
        size = plain_size(body)
        assert size > 20_000
        sizes = {info.id: info.size for info in await walked(other)}
        assert sizes["a/large"] == sizes["b"] == size
        entry = await other.entry("a/large")
        assert entry is not None
        assert (entry.size, entry.version) == (size, 1)
        assert await other.set("b", Report(score=3), if_version=1)
        assert await manager.get("b", Report) == Report(score=3)


async def test_a_typed_result_without_zstd(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its readers are told what is missing; it harms no neighbour, and can be listed and removed."""
    async with flowstore.connect(url, compress_over=100) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        await manager.set_many({"a": Report(score=1, notes=NOTES), "b": Report(score=2)})
        monkeypatch.setattr(compression, "zstd", lambda: None)
        with pytest.raises(DamagedEntry, match=r"flowstore\[zstd\]"):
            await manager.get("a")
        assert await manager.get("b") == Report(score=2)
        assert await manager.list_ids() == ["a", "b"]
        assert await manager.delete("a")


def test_the_size_of_an_entry_takes_no_more_than_its_header() -> None:
    """So listings read so many bytes of each."""
    assert HEADER_BYTES == 9
    assert is_same(plain_size(compress(b'{"result":"' + b"x" * 999 + b'"}')[:9]), 1_012)
