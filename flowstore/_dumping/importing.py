"""From a file into a storage.

The file is read twice: first all of it, to see that it is whole, and only then to restore what is in it. So a
file that was cut off or changed is refused before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final

from flowstore._core.core import STEP, Core
from flowstore._core.threads import in_thread
from flowstore._dumping.exporting import Progress
from flowstore._dumping.files import RECORDS, End, header_of, is_end
from flowstore._dumping.lines import Dumped, read_line
from flowstore._dumping.outcomes import Imported, OnConflict, Tally
from flowstore._dumping.packing import torn, unpacking
from flowstore._dumping.restoring import Restore, restore
from flowstore._trips.lanes import MAX_TRIP_BYTES
from flowstore._values.reading import decode
from flowstore.errors import CorruptRecord, InvalidArchive

_MOST_LINE_BYTES: Final = 2**30


async def load(
    core: Core,
    path: Path,
    on_conflict: OnConflict,
    partial: bool,
    progress: Progress | None = None,
    restoring: Restore = restore,
    kind: str = RECORDS,
) -> Imported:
    """Restore the records of the file. Raises InvalidArchive, and nothing was written, if it is not whole.

    ``partial``: all lines in front of what is missing or wrong are restored.
    """
    reader = Reader(path, kind)
    try:
        is_whole = await in_thread(reader.check, partial, stop=reader.stop)
        tally = Tally()
        done = 0
        while batch := await in_thread(reader.batch):
            for place, each in batch:
                _check(core, reader, place, each)
            await restoring(core, [each for _, each in batch], on_conflict, tally)
            done += len(batch)
            if progress is not None:
                progress(done)
        return tally.imported(is_whole)
    finally:
        await in_thread(reader.close)


def _check(core: Core, reader: Reader, place: int, each: Dumped) -> None:
    """Raise InvalidArchive for a record that could not be read again."""
    if each.entry is None:
        return
    try:
        decode(each.entry._replace(body=None), core.records.codec)
    except CorruptRecord as error:
        raise InvalidArchive(reader.name, place, error.reason) from error


class Reader:
    """Reads one file in batches, in whatever thread. Raises InvalidArchive, which names the line."""

    def __init__(self, path: Path, kind: str = RECORDS) -> None:
        self._kind = kind
        self.name = str(path)
        self._path = path
        self._file: BufferedReader | None = None
        self._is_stopped = False
        self._lines: Iterator[tuple[int, bytes]] = iter(())
        self._left = 0

    def check(self, partial: bool) -> bool:
        """Whether the file is whole; opens it, and begins to read its records."""
        trouble: InvalidArchive | None = None
        self._file = open(self._path, "rb")  # noqa: SIM115  # see close
        try:
            self._left = self._check()
        except InvalidArchive as error:
            if not partial or error.line is None or error.line == 1:
                raise
            trouble = error
            self._left = error.line - 2
        self._lines = self._records()
        return trouble is None

    def batch(self) -> list[tuple[int, Dumped]]:
        """The next records, with the numbers of their lines; empty at the end."""
        found: list[tuple[int, Dumped]] = []
        size = 0
        for place, line in islice(self._lines, min(STEP, self._left)):
            found.append((place, self._read(place, line)))
            self._left -= 1
            size += len(line)
            if size > MAX_TRIP_BYTES:
                break
        return found

    def stop(self) -> None:
        """Let ``check`` end soon, whatever it has found."""
        self._is_stopped = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _read(self, place: int, line: bytes) -> Dumped:
        try:
            return read_line(line)
        except ValueError as error:
            raise InvalidArchive(self.name, place, str(error)) from error

    def _check(self) -> int:
        """How many records there are. The error of a file that is not whole names the first bad line."""
        digest, count, place, is_over = sha256(), 0, 1, False
        try:
            for place, line in self._records():
                if is_over:
                    raise InvalidArchive(self.name, place, "it is behind the end of the file")
                if is_end(line):
                    self._check_end(place, line, digest.hexdigest(), count)
                    is_over = True
                else:
                    digest.update(line)
                    count += 1
            if not is_over:
                reason = "the file ends here, before its last line: it was cut off"
                raise InvalidArchive(self.name, place + 1, reason)
        except InvalidArchive as error:
            if error.line is not None and error.line > 1:
                self._look(error.line)
            raise
        return count

    def _check_end(self, place: int, line: bytes, digest: str, count: int) -> None:
        try:
            end = End(line)
        except (ValueError, LookupError, TypeError) as error:
            raise InvalidArchive(self.name, place, f"not the end of the file: {error}") from error
        if end.records != count:
            reason = f"the end of a file of {end.records} records, behind {count}: lines are missing"
            raise InvalidArchive(self.name, place, reason)
        if end.digest != digest:
            reason = "the digest is not that of the lines before: one of them was changed"
            raise InvalidArchive(self.name, place, reason)

    def _look(self, end: int) -> None:
        """Raise InvalidArchive for the first line before ``end`` that is none."""
        for place, line in self._records():
            if place >= end or is_end(line):
                return
            self._read(place, line)

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """The lines behind the first one, which is checked, with their numbers."""
        assert self._file is not None
        place, broken = 0, torn()  # not when it is closed: the garbage collector does that amid an import
        try:
            for line in _lines(unpacking(self._file)):
                place += 1
                if self._is_stopped:
                    return
                if not line.endswith(b"\n"):
                    raise InvalidArchive(self.name, place, "the line has no end: the file was cut off")
                if place > 1:
                    yield place, line
                else:
                    header_of(self.name, line, self._kind)
        except broken as error:
            reason = f"cannot be decompressed: it is damaged, or was cut off ({error})"
            raise InvalidArchive(self.name, place + 1, reason) from error
        if not place:
            raise InvalidArchive(self.name, 1, "not a file of exported records: it is empty")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_MOST_LINE_BYTES):
        yield line
