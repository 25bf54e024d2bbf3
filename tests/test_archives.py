"""Exports and imports that die, files that are damaged, values of any kind, tables, stores without await."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowstore.sync
from flowstore import InMemoryBackend, InvalidArchive, SQLiteBackend, TaskResult
from flowstore._dumping.lines import line_of, read_line, with_crc
from flowstore.errors import MissingPackage
from flowstore.testing.contract.values import SAMPLE_TYPES, native_values
from flowstore.testing.support import EFFORT, START

FOLDER = TemporaryDirectory(prefix="flowstore-")
EXPORT = """
import asyncio, sys
from flowstore import SQLiteBackend

async def main():
    async with SQLiteBackend(sys.argv[1]) as backend:
        print("begun", flush=True)
        await backend.archive.export(sys.argv[2], resume=True)

asyncio.run(main())
"""
IMPORT = EXPORT.replace("archive.export(sys.argv[2], resume=True)", "archive.load(sys.argv[2])")


def _killed(program: str, *arguments: Path, after: float) -> bool:
    """Whether it was killed so long after it began, and had not ended before."""
    process = subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        with suppress(subprocess.TimeoutExpired):
            process.wait(after)
        process.send_signal(signal.SIGKILL)
    return process.returncode == -signal.SIGKILL


async def _fill(path: Path, count: int) -> str:
    async with SQLiteBackend(path) as backend:
        for start in range(0, count, 1_000):
            names = [f"t{n}" for n in range(start, start + 1_000)]
            await backend.store_many(TaskResult.running(name, at=START) for name in names)
            await backend.store_many(
                TaskResult.success(name, "x" * 500, at=START + timedelta(seconds=start)) for name in names
            )
        await asyncio.gather(*(backend.data.set(f"t{n}", "k", n) for n in range(500)))
        return await backend.archive.digest()


KILLS: Final = 4 * EFFORT


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_exports_and_imports_that_are_killed(tmp_path: Path, suffix: str) -> None:
    """kill -9 at any time, again and again: once one gets through, all is there, each record once."""
    digest = asyncio.run(_fill(tmp_path / "from.db", 2_500))
    file, target = tmp_path / f"x{suffix}", tmp_path / "to.db"
    chance = random.Random(1)
    kills = sum(
        _killed(EXPORT, tmp_path / "from.db", file, after=chance.uniform(0, 0.2)) for _ in range(KILLS)
    )
    if not file.exists():
        subprocess.run([sys.executable, "-c", EXPORT, tmp_path / "from.db", file], check=True, timeout=60)
    kills += sum(_killed(IMPORT, target, file, after=chance.uniform(0, 0.4)) for _ in range(KILLS))
    subprocess.run([sys.executable, "-c", IMPORT, target, file], check=True, timeout=60)

    async def found() -> str:
        async with SQLiteBackend(target) as backend:
            return await backend.archive.digest()

    assert asyncio.run(found()) == digest
    assert kills >= KILLS // 2


async def test_flipped_bits_of_a_file(tmp_path: Path) -> None:
    """Of 300 single flipped bits each is found, and nothing is restored."""
    async with InMemoryBackend() as source:
        await source.store_many(TaskResult.success(f"t{n}", {"n": n}, at=START) for n in range(20))
        await source.archive.export(tmp_path / "x")
        await source.archive.export(tmp_path / "x.gz")
    chance = random.Random(2)
    header = (await asyncio.to_thread((tmp_path / "x").read_bytes)).index(b"\n") + 1
    for name, first in (("x", header), ("x.gz", 0)):
        whole = await asyncio.to_thread((tmp_path / name).read_bytes)
        async with InMemoryBackend() as target:
            for _ in range(150):
                place = chance.randrange(first, len(whole))
                bad = bytearray(whole)
                bad[place] ^= 1 << chance.randrange(8)
                await asyncio.to_thread((tmp_path / "bad").write_bytes, bad)
                with suppress(InvalidArchive):
                    came = await target.archive.load(tmp_path / "bad")
                    # some bits of the header of a gzip member say nothing that matters
                    assert (name, came.restored + came.unchanged) == ("x.gz", 20), place
                    await target.clear()
                assert not await target.exists("t1")
                with suppress(InvalidArchive):  # of what stands before it nothing may be another record
                    await target.archive.load(tmp_path / "bad", partial=True)
                async for task in target.iter_by_status():
                    assert task.result == {"n": int(task.task_id[1:])}
                await target.clear()


async def test_damage_in_a_store(tmp_path: Path) -> None:
    """Records and values that were changed behind flowstore are named, and all others come along."""
    async with SQLiteBackend(tmp_path / "a.db") as backend:
        await backend.store_many(TaskResult.success(f"t{n}", n, at=START) for n in range(9))
        for n in range(3):
            await backend.data.set(f"t{n}", "k", n)
    with closing(sqlite3.connect(tmp_path / "a.db")) as raw, raw:
        raw.execute("UPDATE task SET body = '{\"result\":99}' WHERE id = 't5'")
        raw.execute("UPDATE task SET stage = 1 WHERE id = 't6'")
        raw.execute(
            "UPDATE item SET value = '{\"value\":9}' WHERE task = (SELECT task FROM task WHERE id = 't1')"
        )
    async with SQLiteBackend(tmp_path / "a.db") as backend, InMemoryBackend() as target:
        copied = await backend.archive.copy_to(target)
        assert {each.task_id for each in copied.unreadable} == {"t1", "t5", "t6"}
        assert (copied.restored, copied.is_verified) == (7, True)
        assert await target.data.all("t1") == {}
        assert await target.data.all("t2") == {"k": 2}
        done = await backend.archive.export(tmp_path / "x")
        part = (await asyncio.to_thread((tmp_path / "x").read_bytes)).splitlines(keepends=True)
        for count in range(1, len(part)):  # carried on behind any line, also one of a damaged record
            await asyncio.to_thread((tmp_path / "y.part").write_bytes, b"".join(part[:count]))
            assert await backend.archive.export(tmp_path / "y", resume=True, overwrite=True) == done


@settings(max_examples=60)
@given(
    st.lists(native_values(), max_size=4),
    st.dictionaries(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=5), native_values(), max_size=3
    ),
)
async def test_values_of_any_kind(results: list[Any], data: dict[str, Any]) -> None:
    """Whatever can be stored is the same after two copies, of memory and of SQLite."""
    async with (
        InMemoryBackend(types=SAMPLE_TYPES) as first,
        SQLiteBackend(f"{FOLDER.name}/{token_hex(8)}.db", types=SAMPLE_TYPES) as second,
        InMemoryBackend(types=SAMPLE_TYPES) as third,
    ):
        for number, result in enumerate(results):
            await first.store(f"t{number}", TaskResult.success(f"t{number}", result, args=(result,)))
        await first.store("data", TaskResult.running("data"))
        for key, value in data.items():
            await first.data.set("data", key, value)
        out = await first.archive.copy_to(second)
        assert out.is_verified
        assert (await second.archive.copy_to(third)).digest == out.digest
        tasks = {each.task_id: repr(each) async for each in third.iter_by_status()}
        assert tasks == {each.task_id: repr(each) async for each in first.iter_by_status()}


@given(st.binary(max_size=200))
def test_lines_of_nobody(line: bytes) -> None:
    """Whatever bytes a line has, it is refused with a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        read_line(line)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("id", ""), ("id", "x" * 600), ("id", 1), ("status", "done"), ("stage", -1), ("version", 0)],
        *[("version", 2**60), ("updated_at", 2**62), ("submitted_at", "now"), ("fixed", ["parent:p"])],
        *[("facets", ["a", "a"]), ("facets", [""]), ("facets", "x"), ("head", ""), ("body", {"base64": "*"})],
        *[
            ("history", [[2, 1, "[]"], [1, 1, "[]"]]),
            ("history", [[4, 1, "[]"]]),
            ("history", [[3, 5, "[]"]]),
        ],
        *[
            ("data", [["b", 1, 1, "{}"], ["a", 1, 1, "{}"]]),
            ("data", [["", 1, 1, "{}"]]),
            ("data", [["a", 0, 1, "{}"]]),
        ],
        *[("checkpoints", [["1", 1, 1, "{}"]])],
    ],
)
def test_lines_that_are_no_record(field: str, value: Any) -> None:
    """Each field is checked, and the message names it."""
    line = {"id": "t", "status": "success", "stage": 2, "version": 3, "updated_at": 1}
    again = json.loads(line_of(read_line(with_crc(json.dumps(line).encode()))))
    del again["crc"]
    assert again == line
    with pytest.raises(ValueError, match=f"^{field}"):
        read_line(with_crc(json.dumps(line | {field: value}).encode()))


def test_fields_of_a_newer_program() -> None:
    """They are passed over."""
    line = b'{"id":"t","status":"success","stage":2,"version":3,"updated_at":1,"new":[1]}'
    assert b"new" not in line_of(read_line(with_crc(line)))


async def test_zstd(tmp_path: Path) -> None:
    """By the name or the argument, read whatever the name; without the package the extra is named."""
    async with InMemoryBackend() as backend:
        await backend.store_many(TaskResult.success(f"t{n}", n, at=START) for n in range(700))
        if find_spec("backports.zstd" if find_spec("backports") else "compression") is None:
            with pytest.raises(MissingPackage, match="zstd"):
                await backend.archive.export(tmp_path / "x", compress="zstd")
            return
        out = await backend.archive.export(tmp_path / "x.zst")
        data = await asyncio.to_thread((tmp_path / "x.zst").read_bytes)
        assert data[:4] == b"\x28\xb5\x2f\xfd"
        for size in (20, len(data) // 2, len(data) - 5):
            await asyncio.to_thread((tmp_path / "y.part").write_bytes, data[:size])
            again = await backend.archive.export(tmp_path / "y", compress="zstd", resume=True, overwrite=True)
            assert again == out
        async with InMemoryBackend() as target:
            assert (await target.archive.load(tmp_path / "y")).restored == 700
            await asyncio.to_thread((tmp_path / "bad").write_bytes, data[:-200])
            with pytest.raises(InvalidArchive, match="cut off"):
                await target.archive.load(tmp_path / "bad")


async def test_parquet(tmp_path: Path) -> None:
    """Types are those of the columns; without the package a sentence says what to install."""
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.success("t", {"a": (1, None)}, labels=["x"], at=START))
        await backend.store("u", TaskResult.failed("u", ValueError("\ud800"), at=START))
        if find_spec("pyarrow") is None:
            with pytest.raises(MissingPackage, match=r"flowstore\[parquet\]"):
                await backend.archive.table(tmp_path / "x.parquet")
            return
        assert (await backend.archive.table(tmp_path / "x.parquet")).rows == 2
    from pyarrow import parquet

    rows = {row["task_id"]: row for row in parquet.read_table(tmp_path / "x.parquet").to_pylist()}
    assert rows["t"]["result"] == '{"a": [1, null]}'
    assert (rows["t"]["finished_at"], rows["t"]["version"], rows["t"]["error"]) == (START, 1, None)
    assert rows["u"]["labels"] == "[]"
    assert [*rows["t"]] == [*TaskResult.model_fields]


def test_tables_are_read_by_other_programs(tmp_path: Path) -> None:
    """By Python's own reader of CSV, whatever a text holds."""
    with flowstore.sync.connect("memory://") as store:
        text = 'a,"b"\r\n\n;\t=1'
        store.store("t", TaskResult.success("t", text, at=START))
        done: list[int] = []
        store.archive.table(tmp_path / "x.csv", progress=done.append)
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert (json.loads(row["result"]), row["finished_at"], done) == (text, START.isoformat(), [1])


def test_stores_without_await(tmp_path: Path) -> None:
    """Copies go from the loop of one store to that of another, or to the store itself."""
    with (
        flowstore.sync.connect(f"sqlite:///{tmp_path / 'a.db'}") as one,
        flowstore.sync.connect("memory://") as other,
    ):
        for n in range(700):
            one.store(f"t{n}", TaskResult.success(f"t{n}", n, at=START))
        copied = one.archive.copy_to(other)
        assert (copied.restored, copied.is_verified, copied.digest) == (700, True, other.archive.digest())
        assert one.archive.copy_to(one).unchanged == 700
        assert other.archive.copy_to(one, task_ids=["t1"]).unchanged == 1
        with pytest.raises(TypeError, match=r"^other: "):
            one.archive.copy_to(flowstore.InMemoryBackend())  # type: ignore[arg-type]
        out = one.archive.export(tmp_path / "x")
        assert other.archive.load(tmp_path / "x").unchanged == out.records


async def test_two_exports_to_one_file(tmp_path: Path) -> None:
    """The second is refused while the first one writes; a file is for its owner alone."""
    async with InMemoryBackend() as backend:
        await backend.store_many(TaskResult.success(f"t{n}", n) for n in range(5_000))
        tried = [backend.archive.export(tmp_path / "x") for _ in range(3)]
        outcomes = await asyncio.gather(*tried, return_exceptions=True)
        assert sorted(type(each).__name__ for each in outcomes) == ["Exported", *["FileExistsError"] * 2]
        assert await asyncio.to_thread(os.listdir, tmp_path) == ["x"]
        assert (await asyncio.to_thread(os.stat, tmp_path / "x")).st_mode & 0o777 == 0o600


async def test_what_is_no_file_is_never_replaced(tmp_path: Path) -> None:
    """A pipe, a device or a link, whatever ``overwrite`` says."""
    pipe, link, file = tmp_path / "pipe.csv", tmp_path / "link.csv", tmp_path / "file"
    await asyncio.to_thread(os.mkfifo, pipe)
    await asyncio.to_thread(file.write_bytes, b"mine")
    await asyncio.to_thread(link.symlink_to, file)
    async with InMemoryBackend() as backend:
        for path in (pipe, link):
            with pytest.raises(FileExistsError, match="no regular file"):
                await backend.archive.export(path, overwrite=True)
            with pytest.raises(FileExistsError, match="no regular file"):
                await backend.archive.table(path, overwrite=True)
    assert await asyncio.to_thread(pipe.is_fifo)
    assert await asyncio.to_thread(link.read_bytes) == b"mine"
