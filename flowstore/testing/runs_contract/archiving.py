"""The contract of exported, imported and copied runs: exactly what they were, on any backend."""

from __future__ import annotations

import asyncio
import csv
import json
from pathlib import Path

import pytest

from flowstore import (
    BaseResultBackend,
    InMemoryBackend,
    InvalidArchive,
    RestoreConflict,
    TaskResult,
    UnknownRun,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.runs_contract.base import VALUES
from flowstore.testing.runs_contract.datasets import loaded, payloads
from flowstore.testing.runs_contract.removing import fill


async def full(backend: BaseResultBackend) -> None:
    await fill(backend, "a", 20)
    await backend.runs.start("b", group="g", config={"n": (1,)}, labels=["x"])
    await backend.runs.append_many("b", [(str(n), value) for n, value in enumerate(VALUES)])
    await backend.runs.append("b", None, key="bad", status="failed", error=ValueError("x"))
    await backend.runs.datasets.save("b", range(10))
    await backend.runs.datasets.save("b", VALUES, "values")


class RunArchiveContract(Contract):
    async def test_runs_come_back(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        """On another backend, with everything; the digests agree, and nothing is there twice."""
        await full(backend)
        path = tmp_path / "runs.jsonl.gz"
        exported = await backend.runs.archive.export(path)
        digest = await backend.runs.archive.digest()
        assert exported.digest == digest
        async with InMemoryBackend() as other:
            imported = await other.runs.archive.load(path)
            assert imported.restored == exported.records
            assert await other.runs.archive.digest() == digest
            for run_id in ("a", "b"):
                assert await other.runs.get(run_id) == await backend.runs.get(run_id)
                assert await other.runs.progress(run_id) == await backend.runs.progress(run_id)
                ours = [record async for record in backend.runs.records(run_id)]
                assert [record async for record in other.runs.records(run_id)] == ours
                assert await other.runs.checkpoints(run_id) == await backend.runs.checkpoints(run_id)
                assert await other.runs.all_evaluations(run_id) == await backend.runs.all_evaluations(run_id)
            assert len(await loaded(other, "b", "values")) == len(VALUES)
            assert await payloads(other) == await payloads(backend)
            assert (await other.runs.verify()).found == 0
            again = await other.runs.archive.load(path)
            assert (again.restored, again.unchanged) == (0, exported.records)
            assert await other.runs.archive.digest() == digest
            await other.runs.delete("a")
            await other.runs.delete("b", force=True)
            assert await payloads(other) == 0

    async def test_from_another_backend(self, make_backend: MakeBackend, tmp_path: Path) -> None:
        """Into this one; and one run alone shares its payloads with those that are there."""
        async with InMemoryBackend() as other, make_backend() as backend:
            await full(other)
            await backend.runs.start("own")
            await backend.runs.datasets.save("own", range(10))
            copied = await other.runs.archive.copy_to(backend.runs, "b")
            assert copied.is_verified
            digest = await other.runs.archive.digest("b")
            assert await backend.runs.archive.digest("b") == digest
            assert await loaded(backend, "b") == [*range(10)]
            assert await payloads(backend) == 2
            repeated = await other.runs.archive.copy_to(backend.runs, "b")
            assert (repeated.restored, repeated.is_verified) == (0, True)
            await backend.runs.delete("own", force=True)
            assert await loaded(backend, "b") == [*range(10)]
            assert (await backend.runs.verify()).found == 0

    async def test_resumed_after_a_change(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        """Where the last record that was written is somewhere else by now, it is an error, not a gap."""
        await backend.runs.start("r")
        await backend.runs.append_many("r", {str(n): n for n in range(1_200)})
        path = tmp_path / "r.jsonl"

        def stop(done: int) -> None:
            if done > 600:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await backend.runs.archive.export(path, "r", progress=stop)
        lines = (await asyncio.to_thread((tmp_path / "r.jsonl.part").read_bytes)).splitlines()
        last = json.loads(lines[-1])["id"].rpartition("\x1f")[2]
        assert 600 < len(lines) < 1_200
        await backend.runs.append("r", "again", key=last)
        with pytest.raises(ValueError, match="resume: the runs have changed"):
            await backend.runs.archive.export(path, "r", resume=True)
        assert (await backend.runs.archive.export(path, "r")).records == 1_201

    async def test_tasks_are_no_runs(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        """A file of one is refused as the other."""
        await backend.store("t", TaskResult.success("t", 1))
        await backend.runs.start("r")
        await backend.archive.export(tmp_path / "tasks")
        await backend.runs.archive.export(tmp_path / "runs")
        with pytest.raises(InvalidArchive, match="a file of tasks"):
            await backend.runs.archive.load(tmp_path / "tasks")
        with pytest.raises(InvalidArchive, match="a file of runs"):
            await backend.archive.load(tmp_path / "runs")

    async def test_of_one_group(self, backend: BaseResultBackend) -> None:
        await full(backend)
        async with InMemoryBackend() as other:
            await backend.runs.archive.copy_to(other.runs, group="g")
            assert [run.run_id async for run in other.runs.iter()] == ["b"]
            assert await other.runs.archive.digest(group="g") == await backend.runs.archive.digest("b")

    async def test_a_conflict(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        """Another run of that id stays, and is named."""
        await fill(backend, "r")
        await backend.runs.archive.export(tmp_path / "r.jsonl", "r")
        async with InMemoryBackend() as other:
            mine = await other.runs.start("r")
            with pytest.raises(RestoreConflict):
                await other.runs.archive.load(tmp_path / "r.jsonl")
            assert await other.runs.get("r") == mine
            assert (await other.runs.progress("r")).done == 0
            await other.runs.archive.load(tmp_path / "r.jsonl", on_conflict="replace")
            assert await other.runs.archive.digest("r") == await backend.runs.archive.digest("r")

    async def test_files_that_are_not_whole(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        await fill(backend, "r")
        path = tmp_path / "r.jsonl"
        await backend.runs.archive.export(path, "r")
        lines = (await asyncio.to_thread(path.read_bytes)).splitlines(keepends=True)
        await asyncio.to_thread(path.write_bytes, b"".join(lines[:-3]))
        async with InMemoryBackend() as other:
            with pytest.raises(InvalidArchive):
                await other.runs.archive.load(path)
            assert await other.runs.get("r") is None

    async def test_a_table(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        await backend.runs.start("r")
        await backend.runs.append("r", {"score": 0.5}, key="a")
        await backend.runs.append("r", None, key="b", status="failed", error=ValueError("bad"))
        path = tmp_path / "r.csv"
        tabled = await backend.runs.archive.table(path, "r")
        assert tabled.rows == 2
        text = await asyncio.to_thread(path.read_text)
        rows = [*csv.DictReader(text.splitlines())]
        assert [(row["key"], row["status"], row["error"]) for row in rows] == [
            ("a", "success", ""),
            ("b", "failed", "ValueError: bad"),
        ]
        assert rows[0]["value"] == '{"score": 0.5}'

    async def test_archives_of_no_run(self, backend: BaseResultBackend, tmp_path: Path) -> None:
        for call in (
            backend.runs.archive.export(tmp_path / "x.jsonl", "no"),
            backend.runs.archive.digest("no"),
            backend.runs.archive.table(tmp_path / "x.csv", "no"),
            backend.runs.archive.copy_to(backend.runs, "no"),
        ):
            with pytest.raises(UnknownRun):
                await call
        with pytest.raises(ValueError, match="group: cannot be combined"):
            await backend.runs.archive.digest("no", group="g")
        with pytest.raises(TypeError, match="other: expected the runs"):
            await backend.runs.archive.copy_to(backend, "no")  # type: ignore[arg-type]
        assert not await asyncio.to_thread(lambda: [*tmp_path.glob("x.*")])
