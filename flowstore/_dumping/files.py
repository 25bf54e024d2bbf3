"""The files of exports, written in threads: under another name until they are whole.

The first line says what the file is, the last one how many records there are and the SHA-256 of their lines.
So a file that ends too early is told from a whole one, and so is one that was changed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from hashlib import sha256
from json import dumps
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic_core import from_json

from flowstore._dumping.lines import Dumped, read_line
from flowstore._dumping.outcomes import Unread
from flowstore._dumping.packing import Compression, packed, parts
from flowstore.errors import InvalidArchive

FORMAT: Final = 1
KIND: Final = "flowstore"
RECORDS: Final = "records"
RUNS: Final = "runs"
"""What is in a file: tasks, or runs with what belongs to them."""
_END: Final = b'{"end":'
_UNREADABLE: Final = b'"unreadable":['
"""Inside of a text its quotes would be escaped."""


class Writer:
    """Writes one file. ``of``: what the records are, of which a file that was begun can be carried on."""

    def __init__(self, path: Path, kind: Compression, overwrite: bool, header: Mapping[str, Any]) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._kind = kind
        self._overwrite = overwrite
        self._header = header
        self._digest = sha256()
        self._file: BinaryIO | None = None
        self.records = 0
        self.unread = Unread()

    def open(self, resume: bool) -> Dumped | None:
        """The last record of the file that was begun; None: it begins now. Raises FileExistsError."""
        self._check_target()
        file = open(self._part, "a+b", opener=_private)  # noqa: SIM115  # see close
        self._file = file
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_other = os.fstat(file.fileno()).st_ino != os.stat(self._part).st_ino
        except (BlockingIOError, FileNotFoundError):
            is_other = True
        if is_other:  # or was until just now, and the file has its name
            raise FileExistsError(f"path: {self._part} is being written by another export")
        return self._begin(file, resume)

    def _begin(self, file: BinaryIO, resume: bool) -> Dumped | None:
        last, end = self._found(file) if resume else (None, 0)
        file.truncate(end)
        if not end:
            self._write(dumps(self._header, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        return last

    def _found(self, file: BinaryIO) -> tuple[Dumped | None, int]:
        """The last record of what was written before, and where that ends."""
        file.seek(0)
        last = b""
        end = 0
        for data, ends_at in parts(file, self._kind):
            lines = data.splitlines(keepends=True)
            if not end:
                self._check_header(lines.pop(0))
            if lines and lines[-1].startswith(_END):
                break
            for line in lines:
                self._note(line)
                last = line
            end = ends_at
        return (read_line(last) if last else None), end

    def _check_header(self, line: bytes) -> None:
        found = header_of(str(self._part), line, self._header[KIND])
        if found.get("of") != self._header["of"] or found["format"] != FORMAT:
            raise ValueError(f"resume: {self._part} was begun with other arguments, or by another program")

    def write(self, lines: Sequence[bytes]) -> None:
        """One batch: after a crash it is there as a whole, or not at all but for its first lines."""
        for line in lines:
            self._note(line)
        self._write(b"".join(lines))

    def _note(self, line: bytes) -> None:
        self._digest.update(line)
        self.records += 1
        if _UNREADABLE in line:
            self.unread.note([read_line(line)])

    def finish(self) -> str:
        """Give the file its name, once all of it is on disk; the digest of its records."""
        digest = self._digest.hexdigest()
        end = {"records": self.records, "digest": digest}
        self._write(b'{"end":' + dumps(end, separators=(",", ":")).encode() + b"}\n")
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._check_target()
        os.replace(self._part, self._path)
        _sync_folder(self._path.parent)
        return digest

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.write(packed(self._kind, data))
        self._file.flush()

    def _check_target(self) -> None:
        check_target(self._path, self._overwrite)


def check_target(path: Path, overwrite: bool) -> None:
    """Raise FileExistsError where something is that is not to be replaced: a device or a pipe never is."""
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file():
        raise FileExistsError(f"path: {path} exists, and is no regular file; it is never replaced")
    if not overwrite:
        raise FileExistsError(f"path: {path} exists; with overwrite=True it is replaced")


class End:
    """What the last line says. Raises ValueError if it is none."""

    def __init__(self, line: bytes) -> None:
        found = from_json(line)["end"]
        self.records, self.digest = int(found["records"]), str(found["digest"])


def is_end(line: bytes) -> bool:
    return line.startswith(_END)


def header_of(path: str, line: bytes, kind: str) -> dict[str, Any]:
    """What the first line says. Raises InvalidArchive if it is none, or of a newer format."""
    try:
        found = from_json(line)
        number, other = found["format"], found[KIND]
    except (ValueError, LookupError, TypeError):
        number = other = None
    if type(number) is not int or number < 1:
        raise InvalidArchive(path, 1, "not a file of exported records")
    if other != kind:
        what = {RECORDS: "tasks, for backend.archive", RUNS: "runs, for backend.runs.archive"}
        raise InvalidArchive(path, 1, f"a file of {what.get(str(other), 'something else')}")
    if number > FORMAT:
        reason = f"format {number}; this flowstore reads up to {FORMAT}, a newer one wrote it"
        raise InvalidArchive(path, 1, reason)
    return dict(found)


def _private(name: str, flags: int) -> int:
    """What is exported is for whoever exports it; others may be let in afterwards."""
    return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _sync_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
