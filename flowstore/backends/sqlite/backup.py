"""A copy of a file that is in use.

VACUUM INTO writes down what one snapshot shows. It is done in one go, and whatever others write meanwhile
goes into the WAL. SQLite's backup API copies page by page, and begins anew when another process has written:
under load it never ends.

The copy is made under another name in the folder of the target, and is given its own once it is whole and on
disk.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Final

from flowstore._local.rights import OWNER_ONLY, follow
from flowstore.backends.sqlite.connection import Connection, translated

_OF_THE_TARGET: Final = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR)
_STEPS: Final = 10_000
"""How many steps SQLite takes between two looks at whether it should stop: for about a millisecond."""


async def back_up(copier: Connection, target: Path) -> int:
    """Copy the file of ``copier`` to ``target``; how many bytes. Cancelled, it ends soon in its thread."""
    stop = Event()
    try:
        return await copier.run(lambda raw: copy(raw, copier.file, target, stop))
    finally:
        stop.set()


def copy(raw: sqlite3.Connection, file: Path, target: Path, stop: Event) -> int:
    """How many bytes. Raises ValueError if there is something at ``target``, before or at the end."""
    if os.path.lexists(target):
        raise _exists(target)
    part = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        with translated(target):
            _create(part, file)
        raw.set_progress_handler(stop.is_set, _STEPS)
        _write(raw, part, target)
        with translated(target):
            return _publish(part, target)
    finally:
        for left in (part, part.with_name(f"{part.name}-journal")):
            with suppress(OSError):
                left.unlink()


def _exists(target: Path) -> ValueError:
    return ValueError(f"path: {target} exists, and a backup overwrites nothing")


def _create(part: Path, file: Path) -> None:
    """Empty, and no more readable than what is copied: SQLite would make it readable for everybody."""
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
    follow(part, os.stat(file))


def _write(raw: sqlite3.Connection, part: Path, target: Path) -> None:
    try:
        raw.execute("VACUUM INTO ?", (part.as_uri(),))
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_THE_TARGET:
            raise
        with translated(target):
            raise


def _publish(part: Path, target: Path) -> int:
    _sync(part, os.O_RDWR)
    try:
        os.link(part, target)  # unlike a rename it overwrites nothing
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise _exists(target) from None
        os.rename(part, target)
    _sync(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    return os.stat(target).st_size


def _sync(path: Path, how: int) -> None:
    opened = os.open(path, how | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
