"""A disk that loses its power: SQLite on a file system that remembers what was not synced yet.

Of what was written since the last sync of a file, each sector of 512 bytes may be there afterwards or not,
whatever the order of the writes was; the same goes for names made and deleted since the folder was synced.
SQLite syncs the folder with the first sync of a journal or WAL that it made. The -shm file is gone.

It is SQLite as apsw brings it along, not Python's; the statements and PRAGMAs are the backend's own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apsw

_SECTOR = 512
_JOURNALS = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL


class _Content:
    """Of one file: what a sync has made safe, and what was done since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[tuple[int, bytes | None]] = []
        """Offset and data of a write, or the size after a truncation and None."""
        self.is_name_safe = False
        self.is_deleted = False

    def sync(self) -> None:
        for change in self.pending:
            _apply(self.safe, *change)
        self.pending.clear()

    def after_loss(self, chance: random.Random) -> bytes | None:
        """What may be found afterwards; None: no file."""
        if not self.is_name_safe and chance.random() < 0.5:
            return None
        if self.is_deleted and chance.random() < 0.5:
            return None
        found = bytearray(self.safe)
        kept = chance.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        for offset, data in self.pending:
            if data is None:
                if chance.random() < kept:
                    _apply(found, offset, None)
                continue
            for start in range(0, len(data), _SECTOR):
                if chance.random() < kept:
                    _apply(found, offset + start, data[start : start + _SECTOR])
        return bytes(found)


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


class UnsafeDisk(apsw.VFS):
    """The default file system, remembering; ``moment`` is called before each change and each sync."""

    def __init__(self, moment: Callable[[], None]) -> None:
        super().__init__("unsafe disk", "")
        self.moment = moment
        self.contents: dict[str, _Content] = {}

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        return _File(self, path, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.moment()
        super().xDelete(filename, syncdir)
        if filename in self.contents:
            self.contents[filename].is_deleted = True
        if syncdir:
            self.sync_folder()

    def sync_folder(self) -> None:
        for path, content in list(self.contents.items()):
            content.is_name_safe = True
            if content.is_deleted:
                del self.contents[path]

    def lose_power(self, folder: Path, chance: random.Random) -> None:
        """Make ``folder``, with what may be found after a loss of power now."""
        folder.mkdir()
        for path, content in self.contents.items():
            found = content.after_loss(chance)
            if found is not None:
                (folder / Path(path).name).write_bytes(found)


class _File(apsw.VFSFile):
    def __init__(self, disk: UnsafeDisk, path: str, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        known = disk.contents.get(path)
        is_new = known is None or known.is_deleted
        if known is None or known.is_deleted:
            known = disk.contents[path] = _Content()
        self._content = known
        self._syncs_folder = is_new and bool(flags[0] & _JOURNALS)

    def xWrite(self, data: Any, offset: int) -> None:
        self._disk.moment()
        super().xWrite(data, offset)
        self._content.pending.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:
        self._disk.moment()
        super().xTruncate(newsize)
        self._content.pending.append((newsize, None))

    def xSync(self, flags: int) -> None:
        self._disk.moment()
        self._content.sync()
        if self._syncs_folder:
            self._disk.sync_folder()
            self._syncs_folder = False


class _Answer:
    def __init__(self, rows: list[Any], rowcount: int) -> None:
        self._rows = rows
        self.rowcount = rowcount

    def fetchall(self) -> list[Any]:
        return self._rows


class ConnectionOnUnsafeDisk:
    """As much of sqlite3.Connection as the backend uses; checkpoints are frequent."""

    def __init__(self, uri: str, timeout: float) -> None:
        flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_URI
        self._raw = apsw.Connection(uri, flags, vfs="unsafe disk")
        self._raw.set_busy_timeout(int(timeout * 1000))
        self.execute("PRAGMA wal_autocheckpoint = 20")

    def execute(self, statement: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> _Answer:
        rows = self._raw.execute(statement, values).fetchall()
        return _Answer(rows, self._raw.changes())

    def executemany(self, statement: str, values: Sequence[Sequence[Any]]) -> None:
        self._raw.executemany(statement, values)

    @property
    def in_transaction(self) -> bool:
        return self._raw.in_transaction

    def close(self) -> None:
        self._raw.close()
