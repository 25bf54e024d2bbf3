"""The contract of the files of exports: whole or refused, carried on, never overwritten unasked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    InMemoryBackend,
    InvalidArchive,
    PayloadTooLarge,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import plant, plant_kept
from flowstore.testing.support import START


def _files(folder: Path) -> list[Path]:
    return [*folder.iterdir()]


class ArchiveFilesContract(Contract):
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Where nothing else is."""
        folder = tmp_path / "exported"
        folder.mkdir()
        return folder

    async def test_what_is_damaged_hides_no_other(self, make_backend: MakeBackend, folder: Path) -> None:
        """It is named in the outcome and in the file, and not restored; a value is left out of its record."""
        async with make_backend() as source, make_backend() as target:
            await source.store_many([TaskResult.success(name, 1) for name in ("a", "half", "z")])
            bad = TaskResult.success("bad", 1, at=START)
            await plant(source, bad, is_checked=False, body=b'{"result":2}')
            await plant_kept(source, "data", "half", "k", b'{"value":1}', is_checked=False)
            await source.data.set("half", "l", 2)
            out = await source.archive.export(folder / "x")
            assert {each.task_id for each in out.unreadable} == {"bad", "half"}
            assert (out.records, out.unreadable_count) == (4, 2)
            came = await target.archive.load(folder / "x")
            assert came.unreadable == out.unreadable
            assert (came.restored, came.unreadable_count) == (3, 2)
            assert await target.data.all("half") == {"l": 2}
            assert await target.get("bad") is None
            copied = await source.archive.copy_to(target)
            assert (copied.is_verified, copied.unchanged, copied.unreadable) == (True, 3, out.unreadable)

    async def test_files_that_are_not_whole(self, make_backend: MakeBackend, folder: Path) -> None:
        """Cut off, changed, or of another kind: refused with the line, and nothing is written."""
        async with make_backend() as source:
            await source.store_many([TaskResult.success(f"t{n}", n) for n in range(5)])
            await source.archive.export(folder / "x")
        whole = await asyncio.to_thread((folder / "x").read_bytes)
        lines = whole.splitlines(keepends=True)
        bad = {
            "cut off": b"".join(lines[:3]),
            "in a line": whole[: len(lines[0]) + 20],
            "empty": b"",
            "only a header": lines[0],
            "another": b'{"a": 1}\n',
            "binary": b"\x00\xff\xfe",
            "newer": whole.replace(b'"format":1', b'"format":2'),
            "changed": whole.replace(b"result", b"Result", 1),
            "a line less": b"".join([*lines[:2], *lines[3:]]),
            "a line twice": b"".join([*lines[:2], *lines[1:]]),
            "no JSON": b"".join([*lines[:2], b"{\n", *lines[3:]]),
            "no record": b"".join([*lines[:2], b'{"id":"x"}\n', *lines[3:]]),
            "more behind": whole + lines[1],
            "gzip, cut off": b"\x1f\x8b\x08\0",
        }
        async with make_backend() as target:
            for name, data in bad.items():
                await asyncio.to_thread((folder / "bad").write_bytes, data)
                with pytest.raises(InvalidArchive) as caught:
                    await target.archive.load(folder / "bad")
                assert caught.value.line is not None, name
                assert await target.count_by_status() == dict.fromkeys(TaskStatus, 0), name
            await asyncio.to_thread((folder / "bad").write_bytes, bad["no JSON"])
            with pytest.raises(InvalidArchive, match=r"line 3: its checksum"):
                await target.archive.load(folder / "bad")
            await asyncio.to_thread((folder / "bad").write_bytes, bad["newer"])
            with pytest.raises(InvalidArchive, match=r"format 2.*up to 1"):
                await target.archive.load(folder / "bad", partial=True)
            await asyncio.to_thread((folder / "bad").write_bytes, bad["cut off"])
            came = await target.archive.load(folder / "bad", partial=True)
            assert (came.restored, came.is_whole) == (2, False)

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    async def test_an_export_that_was_killed_is_carried_on(
        self, make_backend: MakeBackend, folder: Path, suffix: str
    ) -> None:
        """Wherever its file ends: the records are those of one that was not, each once."""
        async with make_backend() as backend:
            await backend.store_many(
                [
                    TaskResult.success(f"t{n}", n, submitted_at=START + timedelta(seconds=n % 7))
                    for n in range(600)
                ]
            )
            whole = folder / f"whole{suffix}"
            out = await backend.archive.export(whole)
            data = await asyncio.to_thread(whole.read_bytes)
            file, part = folder / f"x{suffix}", folder / f"x{suffix}.part"
            for size in (0, 10, *range(100, len(data), len(data) // 3), len(data) - 30, len(data)):
                await asyncio.to_thread(part.write_bytes, data[:size])
                again = await backend.archive.export(file, resume=True, overwrite=True)
                assert again == out
                assert not await asyncio.to_thread(part.exists)
                async with InMemoryBackend() as memory:
                    assert (await memory.archive.load(file)).restored == 600
                    assert await memory.archive.digest() == out.digest
            await asyncio.to_thread(part.write_bytes, data[:-30])
            with pytest.raises(ValueError, match=r"resume: .*other arguments"):
                await backend.archive.export(file, "success", resume=True, overwrite=True)

    async def test_an_export_of_some_ids_is_carried_on(
        self, backend: BaseResultBackend, folder: Path
    ) -> None:
        """Behind the last of them that is in the file."""
        await backend.store_many([TaskResult.success(f"t{n}", n) for n in range(20)])
        ids = [f"t{n}" for n in (5, 3, 99, 5, 7, 1)]
        out = await backend.archive.export(folder / "whole", task_ids=ids)
        lines = (await asyncio.to_thread((folder / "whole").read_bytes)).splitlines(keepends=True)
        assert out.records == 4
        for count in range(1, 5):
            await asyncio.to_thread((folder / "x.part").write_bytes, b"".join(lines[:count]))
            again = await backend.archive.export(folder / "x", task_ids=ids, resume=True, overwrite=True)
            assert again == out

    async def test_files_are_not_overwritten(self, backend: BaseResultBackend, folder: Path) -> None:
        """Unless that is asked for; until it is whole the old one stays."""
        await backend.store("t", TaskResult.success("t", 1))
        for name, write in (("x", backend.archive.export), ("x.csv", backend.archive.table)):
            file = folder / name
            await asyncio.to_thread(file.write_text, "mine")
            with pytest.raises(FileExistsError, match=r"^path: .*overwrite=True"):
                await write(file)
            assert await asyncio.to_thread(file.read_text) == "mine"
            await write(file, overwrite=True)
            assert await asyncio.to_thread(file.read_text) != "mine"
        with pytest.raises(FileNotFoundError):
            await backend.archive.export(folder / "nowhere" / "x")
        assert {path.name for path in await asyncio.to_thread(_files, folder)} == {"x", "x.csv"}

    async def test_tables_have_a_row_for_each_task(self, backend: BaseResultBackend, folder: Path) -> None:
        """With the columns of to_frame; what cannot be read is named."""
        await backend.store(
            "t", TaskResult.failed("t", ValueError('no,\n"yes"'), labels=["b", "a"], at=START)
        )
        await backend.store("u", TaskResult.success("u", {"a": (1, None)}, at=START))
        await plant(backend, TaskResult.success("bad", at=START), body=b"{")
        out = await backend.archive.table(folder / "x.csv", order="finished", statuses="failed")
        assert (out.rows, out.unreadable) == (1, [])
        out = await backend.archive.table(folder / "y.csv")
        assert (out.rows, [each.task_id for each in out.unreadable]) == (2, ["bad"])
        text = await asyncio.to_thread((folder / "x.csv").read_text)
        assert text.splitlines()[0] == ",".join(TaskResult.model_fields)
        assert '"ValueError: no,\n""yes"""' in text
        assert '"[""a"", ""b""]"' in text

    async def test_bad_arguments_of_an_archive(self, backend: BaseResultBackend, folder: Path) -> None:
        """Each is named, and no file is made."""
        archive: Any = backend.archive
        cases: tuple[tuple[Callable[[], Awaitable[object]], type[Exception], str], ...] = (
            (lambda: archive.export(1), TypeError, "^path: "),
            (lambda: archive.export(""), TypeError, "^path: "),
            (lambda: archive.export(folder / "x", compress="zip"), ValueError, "^compress: "),
            (lambda: archive.export(folder / "x", resume=1), TypeError, "^resume: "),
            (lambda: archive.export(folder / "x", overwrite=1), TypeError, "^overwrite: "),
            (lambda: archive.export(folder / "x", progress=1), TypeError, "^progress: "),
            (lambda: archive.export(folder / "x", color="red"), TypeError, "^color: "),
            (lambda: archive.export(folder / "x", "done"), ValueError, "^statuses: "),
            (lambda: archive.export(folder / "x", task_ids="t"), TypeError, "^task_ids: "),
            (lambda: archive.export(folder / "x", label="a", task_ids=["t"]), ValueError, "^task_ids: "),
            (lambda: archive.load(folder / "x", on_conflict="skip"), ValueError, "^on_conflict: "),
            (lambda: archive.load(folder / "x", partial=1), TypeError, "^partial: "),
            (lambda: archive.load(folder / "x"), FileNotFoundError, "x"),
            (lambda: archive.copy_to(backend, on_conflict=None), ValueError, "^on_conflict: "),
            (lambda: archive.copy_to(1), TypeError, "^other: "),
            (lambda: archive.digest(task_ids=[1]), TypeError, "^task_ids: "),
            (lambda: archive.table(folder / "x"), ValueError, "^path: "),
            (lambda: archive.table(folder / "x", format="xls"), ValueError, "^format: "),
        )
        for call, error, match in cases:
            with pytest.raises(error, match=match):
                await call()
        assert await asyncio.to_thread(_files, folder) == []

    async def test_values_above_the_limit(self, make_backend: MakeBackend, folder: Path) -> None:
        """What this backend would refuse to read is not restored."""
        async with make_backend() as source, make_backend(max_result_bytes=1_000) as target:
            await source.store("t", TaskResult.success("t", "x" * 2_000))
            await source.archive.export(folder / "x")
            with pytest.raises(PayloadTooLarge, match="t: "):
                await target.archive.load(folder / "x")
            assert not await target.exists("t")
