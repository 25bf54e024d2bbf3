"""Records to files and back, and from one backend into another: exactly as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Protocol, Unpack, get_args

from flowstore._core.core import STEP, Core
from flowstore._core.filters import Selection
from flowstore._core.listing import selected
from flowstore._dumping.copying import CoreReceiver, Receiver, copy
from flowstore._dumping.exporting import Progress, Target, digest, export
from flowstore._dumping.importing import load
from flowstore._dumping.outcomes import Copied, Exported, ImportConflict, Imported, OnConflict
from flowstore._dumping.packing import Compression, compression_of
from flowstore._dumping.reading import Source, listed, named
from flowstore._dumping.tables import Format, format_of, write_table
from flowstore._dumping.task_rows import COLUMNS, Rows, task_row
from flowstore._values.arguments import check_bool, check_callable, check_ids
from flowstore.fields import Record
from flowstore.models import Statuses, Unreadable

FilePath = str | os.PathLike[str]
__all__ = ["Archive", "Copied", "Destination", "Exported", "ImportConflict", "Imported", "Tabled"]


class Destination(Protocol):
    """A backend to copy into."""

    @property
    def archive(self) -> Archive: ...


class Tabled(Record):
    """What is in a table: how many ``rows``, and the first 1,000 records that cannot be read."""

    rows: int
    unreadable: list[Unreadable]


class Archive:
    """Records out of this backend and into it, exactly as they are: ``backend.archive``.

    With a record go its version, its times and its place in a family, its history, its data and its
    checkpoints. Workers, the app and its data do not belong to a record, and stay. Values are not decoded, so
    their types need not be known here. Calls take what they select as ``page`` does, the oldest first, or
    ``task_ids``, in their order. They go through any number of records in bounded memory: 500 at a time, and
    4 MiB of values or one record. ``progress`` is called with the number of records so far after each of
    these steps, in the event loop. What is written meanwhile is there as it was at some time of the call.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    @property
    def _receiver(self) -> Receiver:
        return CoreReceiver(self._core)

    async def export(
        self,
        path: FilePath,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        compress: Compression | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Exported:
        """Write records to a file, a line of JSON for each. See docs/formats.md.

        ``compress``: "gzip", "zstd" or "none"; None: as the name says, which may end in .gz or .zst. zstd
        needs Python 3.14 or ``flowstore[zstd]``. The file has its name once it is whole and on disk; before
        that there is one beside it whose name ends in .part. That of an export that was killed, or failed, is
        carried on by the same call with ``resume=True``, behind its last whole line, and is written anew
        without. A record that is damaged is named, in the file and in what is returned, and hides no other.
        Raises FileExistsError for a file that is there, unless with ``overwrite``, and other OSErrors.
        """
        target = Target(
            path_of(path),
            compression_of(os.fspath(path), compress),
            check_bool("overwrite", overwrite),
            check_bool("resume", resume),
        )
        source = self._source(statuses, task_ids, selection)
        await self._core.life.open()
        return await export(self._core, source, target, progress_of(progress))

    async def load(
        self,
        path: FilePath,
        *,
        on_conflict: OnConflict = "raise",
        partial: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Imported:
        """Restore the records of a file that ``export`` has written, from any backend.

        What is there already and the same is left alone, so a call that was killed can be repeated, and
        completes. ``on_conflict``, where another record has the id: "raise" RestoreConflict, before anything
        of that step is written; "keep" it, and name it in ``conflicts``; or "replace" it with all that
        belongs to it. Records that have expired are left out. Waits for what is restored end; observers are
        told nothing, and ``redact`` sees nothing. What a record is listed by is what it was written with:
        ``facets`` of this backend do not change it. A version is written as often as it says.

        The file is read to its end first. Raises InvalidArchive with the line, and nothing is restored, if it
        was cut off, changed, or written by a newer flowstore; with ``partial`` the lines before that are
        restored. Raises PayloadTooLarge for values above ``max_result_bytes``.
        """
        wanted = conflict_of(on_conflict)
        check_bool("partial", partial)
        await self._core.life.open()
        return await load(self._core, path_of(path), wanted, partial, progress_of(progress))

    async def copy_to(
        self,
        other: Destination,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        on_conflict: OnConflict = "raise",
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Copied:
        """Copy records into another backend, as ``export`` and ``load`` would, without a file.

        What was copied is read again there: ``is_verified`` says that it is the same to the last byte, unless
        somebody writes to it meanwhile. A call that was interrupted can be repeated, and completes.
        """
        wanted = conflict_of(on_conflict)
        receiver = getattr(getattr(other, "archive", None), "_receiver", None)
        if receiver is None:
            raise TypeError(f"other: expected a backend, got {type(other).__name__}")
        source = self._source(statuses, task_ids, selection)
        await self._core.life.open()
        return await copy(self._core, source, receiver, wanted, progress_of(progress))

    async def digest(
        self,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> str:
        """The SHA-256 of records, with all that ``export`` writes of them: 64 hexadecimal digits.

        It is the same for the same records on every backend, and that of the file that they are exported to.
        """
        await self._core.life.open()
        return await digest(self._core, self._source(statuses, task_ids, selection), progress_of(progress))

    async def table(
        self,
        path: FilePath,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        format: Format | None = None,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Tabled:
        """Write tasks to a table for other programs, with a row for each and the columns of ``to_frame``.

        ``format``: "csv" or "parquet"; None: as the name says. Parquet needs ``flowstore[parquet]``. Values,
        labels, meta, progress and cancel requests are texts of JSON, as ``to_jsonable`` shows them. Nothing
        reads a table back: for that use ``export``. Raises FileExistsError as ``export`` does.
        """
        file = path_of(path)
        kind = format_of(file, format)
        check_bool("overwrite", overwrite)
        await self._core.life.open()
        rows = Rows(self._core, task_row, progress_of(progress))
        found = self._source(statuses, task_ids, selection, whole=True).start(None)
        async with aclosing(rows.of(found)) as steps:
            count = await write_table(file, COLUMNS, steps, kind, overwrite=overwrite)
        return Tabled(rows=count, unreadable=rows.unreadable)

    def _source(
        self, statuses: Statuses, task_ids: Iterable[str] | None, selection: Selection, *, whole: bool = False
    ) -> Source:
        if task_ids is None:
            listing = selected(self._core, statuses, selection, STEP, newest_first=False)
            return listed(self._core, listing, whole=whole)
        if statuses is not None or selection:
            raise ValueError("task_ids: expected None with statuses or filters")
        return named(self._core, check_ids(task_ids), whole=whole)


def path_of(path: FilePath) -> Path:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(f"path: expected the path of a file, got {path!r:.80}")
    return Path(path)


def conflict_of(wanted: OnConflict) -> OnConflict:
    if wanted not in get_args(OnConflict):
        expected = ", ".join(get_args(OnConflict))
        raise ValueError(f"on_conflict: expected one of {expected}, got {wanted!r:.80}")
    return wanted


def progress_of(progress: Progress | None) -> Progress | None:
    return None if progress is None else check_callable("progress", progress)
