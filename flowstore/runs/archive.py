"""Runs to files and back, and from one backend into another: with all that belongs to them.

Everything goes as it is, but for payloads: of one that runs share, how often it was written and when is of no
run. It is written as its first version, at time 0, and restored as if a run had just claimed it: after the
claims, and over what stands, for the same reason (payloads.py).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final, Protocol

from flowstore._core.core import Core
from flowstore._core.listing import walk
from flowstore._dumping.copying import CoreReceiver, Receiver, copy
from flowstore._dumping.exporting import Target, digest, export
from flowstore._dumping.files import RUNS
from flowstore._dumping.importing import load
from flowstore._dumping.lines import Dumped, Last
from flowstore._dumping.outcomes import Copied, Exported, Imported, OnConflict, Tally
from flowstore._dumping.packing import Compression, compression_of
from flowstore._dumping.reading import MOST_BYTES, Source
from flowstore._dumping.restoring import restore
from flowstore._dumping.tables import Format, Kind, Row, format_of, write_table
from flowstore._dumping.task_rows import Rows, error_of
from flowstore._values.arguments import check_bool
from flowstore.engine import Entry, Verdict
from flowstore.errors import CorruptRecord, UnknownRun
from flowstore.features.archive import FilePath, Tabled, conflict_of, path_of, progress_of
from flowstore.models import TaskResult
from flowstore.runs.belongings import Belongings, children_of
from flowstore.runs.ids import BLOBS, blob_id, check_group, check_run, datasets_of, evaluations_of, is_blob
from flowstore.runs.listing import ids_of_runs
from flowstore.runs.models import record_of
from flowstore.runs.payloads import held

COLUMNS: Final[dict[str, Kind]] = {
    "key": "text",
    "status": "text",
    "at": "time",
    "value": "json",
    "error": "text",
    "version": "int",
}
"""Of a table of records."""


class RunsDestination(Protocol):
    """The runs of a backend to copy into."""

    @property
    def archive(self) -> RunsArchive: ...


class RunsArchive:
    """Runs out of this backend and into it, exactly as they are: ``backend.runs.archive``.

    With a run go its records, evaluations, datasets, shared values, checkpoints and history. Calls take one
    run, those of a ``group``, or by default all runs. Otherwise they are like those of ``backend.archive``.
    """

    def __init__(self, belongings: Callable[[], Belongings]) -> None:
        self._belongings = belongings

    @property
    def _core(self) -> Core:
        return self._belongings().core

    @property
    def _runs_receiver(self) -> Receiver:
        return CoreReceiver(self._core, restore_runs, shown)

    async def export(
        self,
        path: FilePath,
        run_id: str | None = None,
        *,
        group: str | None = None,
        compress: Compression | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Exported:
        """Write runs to a file, a line of JSON for each record of any kind. Raises UnknownRun.

        ``compress``, ``overwrite``, ``resume``, ``progress``: as in ``backend.archive.export``.
        """
        target = Target(
            path_of(path),
            compression_of(os.fspath(path), compress),
            check_bool("overwrite", overwrite),
            check_bool("resume", resume),
        )
        source = await self._source(run_id, group)
        return await export(self._core, source, target, progress_of(progress), RUNS)

    async def load(
        self,
        path: FilePath,
        *,
        on_conflict: OnConflict = "raise",
        partial: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Imported:
        """Restore the runs of a file, as ``backend.archive.load`` does tasks, whose errors it raises.

        What is there already and the same is left alone, so a call that was killed can be repeated. A run
        that stands there with something else is a conflict of each record that differs: "replace" replaces
        these, and leaves what else that run has; delete it first to have none of it.
        """
        wanted = conflict_of(on_conflict)
        check_bool("partial", partial)
        await self._core.life.open()
        told = progress_of(progress)
        return await load(self._core, path_of(path), wanted, partial, told, restore_runs, RUNS)

    async def copy_to(
        self,
        other: RunsDestination,
        run_id: str | None = None,
        *,
        group: str | None = None,
        on_conflict: OnConflict = "raise",
        progress: Callable[[int], object] | None = None,
    ) -> Copied:
        """Copy runs into the ``runs`` of another backend, and read them there again to compare.

        A call that was interrupted can be repeated, and completes. Raises UnknownRun.
        """
        wanted = conflict_of(on_conflict)
        receiver = getattr(getattr(other, "archive", None), "_runs_receiver", None)
        if receiver is None:
            raise TypeError(f"other: expected the runs of a backend, got {type(other).__name__}")
        source = await self._source(run_id, group)
        return await copy(self._core, source, receiver, wanted, progress_of(progress))

    async def digest(
        self,
        run_id: str | None = None,
        *,
        group: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> str:
        """The SHA-256 of runs, with all that ``export`` writes of them: 64 hexadecimal digits.

        It is the same for the same runs on every backend, and that of the file they are exported to.
        """
        source = await self._source(run_id, group)
        return await digest(self._core, source, progress_of(progress))

    async def table(
        self,
        path: FilePath,
        run_id: str,
        *,
        format: Format | None = None,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Tabled:
        """Write the records of a run to a table for other programs: key, status, at, value, error, version.

        ``format``, and what becomes of values: as in ``backend.archive.table``.
        """
        file = path_of(path)
        kind = format_of(file, format)
        check_bool("overwrite", overwrite)
        await self._source(run_id, None)
        rows = Rows(self._core, _row, progress_of(progress))
        async with aclosing(rows.of(walk(self._core, children_of(run_id)))) as steps:
            count = await write_table(file, COLUMNS, steps, kind, overwrite=overwrite)
        return Tabled(rows=count, unreadable=rows.unreadable)

    async def _source(self, run_id: str | None, group: str | None) -> Source:
        """What a call is about. Raises UnknownRun."""
        belongings = self._belongings()
        name = repr((belongings.core.namespace, "runs", run_id, group))
        if run_id is None:
            if group is not None:
                check_group(group)
            return Source(name, lambda last: _behind(last, _all_of(belongings, group)), shown)
        if group is not None:
            raise ValueError("group: cannot be combined with run_id")
        [entry] = await belongings.read([check_run(run_id)], with_body=False)
        if entry is None:
            raise UnknownRun(run_id)
        return Source(name, lambda last: _behind(last, _one(belongings, run_id)), shown)


async def _all_of(belongings: Belongings, group: str | None) -> AsyncGenerator[Sequence[Entry], None]:
    async for run_ids in ids_of_runs(belongings.core, group):
        for run_id in run_ids:
            async for entries in _own(belongings, run_id):
                yield entries
    seen: set[str] = set()
    async for run_ids in ids_of_runs(belongings.core, group):
        for run_id in run_ids:
            async for entries in _payloads(belongings, run_id, seen):
                yield entries


async def _one(belongings: Belongings, run_id: str) -> AsyncGenerator[Sequence[Entry], None]:
    """A run with its payloads."""
    async for entries in _own(belongings, run_id):
        yield entries
    async for entries in _payloads(belongings, run_id, set()):
        yield entries


async def _own(belongings: Belongings, run_id: str) -> AsyncGenerator[Sequence[Entry], None]:
    """A run and what belongs to it alone, in an order that is the same on every storage."""
    yield await _read(belongings, [run_id])
    async for entries in _children(belongings, run_id):
        yield entries
    async for evaluations in _children(belongings, evaluations_of(run_id)):
        for evaluation in evaluations:
            yield [evaluation]
            async for entries in _children(belongings, evaluation.id):
                yield entries
    async for entries in _children(belongings, datasets_of(run_id)):
        yield entries
    async for claims, _ in held(belongings, run_id):
        yield claims


async def _payloads(
    belongings: Belongings, run_id: str, seen: set[str]
) -> AsyncGenerator[Sequence[Entry], None]:
    """Those that a run claims, each once: behind the claims of all runs. ``seen``: the digests so far."""
    async for _, digests in held(belongings, run_id):
        new = [digest for digest in dict.fromkeys(digests) if digest not in seen]
        seen.update(new)
        yield await _read(belongings, [blob_id(digest) for digest in new])


def _children(belongings: Belongings, parent: str) -> AsyncIterator[list[Entry]]:
    return walk(belongings.core, replace(children_of(parent), max_body=MOST_BYTES))


async def _read(belongings: Belongings, ids: Sequence[str]) -> list[Entry]:
    core = belongings.core
    async with core.life:
        return core.live(await core.engine.read(ids, max_body=MOST_BYTES)) if ids else []


async def _behind(
    last: Last | None, found: AsyncGenerator[Sequence[Entry], None]
) -> AsyncGenerator[Sequence[Entry], None]:
    """What comes after ``last``: the others are walked over without their values."""
    is_behind = last is None
    async with aclosing(found) as steps:
        async for entries in steps:
            if is_behind or last is None:
                yield entries
                continue
            places = [entry.id for entry in entries]
            if last.id in places:
                place = places.index(last.id)
                is_behind = is_blob(last.id) or entries[place].submitted_at == last.submitted_at
                if not is_behind:
                    break
                yield entries[place + 1 :]
    if not is_behind:  # it was appended again, or is gone, and nobody can tell what else has changed
        raise ValueError("resume: the runs have changed since; without it the file is written anew")


def shown(dumped: Dumped) -> Dumped:
    """A payload without what is of no run: see above."""
    if dumped.entry is None or not is_blob(dumped.id):
        return dumped
    entry = dumped.entry._replace(version=1, submitted_at=0, updated_at=0)
    return dumped._replace(entry=entry, last=Last(dumped.id, 0, None))


async def restore_runs(
    core: Core, batch: Sequence[Dumped], on_conflict: OnConflict, tally: Tally
) -> list[str]:
    """As ``restore``, but payloads are claimed."""
    there = await restore(core, [each for each in batch if not is_blob(each.id)], on_conflict, tally)
    payloads = [each for each in batch if is_blob(each.id)]
    tally.unread.note(payloads)
    belongings = Belongings(core)
    bodies = [(each.id, _content(each.entry)) for each in payloads if each.entry is not None]
    writes = [
        belongings.written(each, None, None, owner=None, facets=(BLOBS,), body=body) for each, body in bodies
    ]
    standing = await belongings.read([each for each, _ in bodies], with_body=False)
    outcomes = await belongings.write(writes)
    for write, before, outcome in zip(writes, standing, outcomes, strict=True):
        assert outcome.verdict is Verdict.APPLIED
        tally.unchanged += before is not None
        tally.restored += before is None
        there.append(write.entry.id)
    return there


def _content(entry: Entry) -> bytes:
    body = entry.body or b"{}"
    if blob_id(hashlib.sha256(body).hexdigest()) != entry.id:
        raise CorruptRecord(entry.id, "its content is not what its name says")
    return body


def _row(result: TaskResult[Any]) -> Row:
    record = record_of(result)
    row = {name: getattr(record, name) for name in COLUMNS}
    return row | {"error": error_of(result), "status": record.status.value}
