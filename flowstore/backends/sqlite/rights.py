"""Who may use the file and what lies beside it: the file decides, and the rest follows it.

SQLite gives its files the rights of the database, but the group of whoever makes them. Of two users who share
a file by a group of theirs, the one who opens it first would lock the other one out.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from flowstore._local.rights import OWNER_ONLY, READ_AND_WRITE, follow, new_name

BESIDE: Final = ("-wal", "-shm")

_creating: Final = Lock()


def check_mode(mode: int | None) -> int | None:
    if mode is None:
        return None
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"mode: expected int or None, got {type(mode).__name__}")
    if mode & ~READ_AND_WRITE or mode & OWNER_ONLY != OWNER_ONLY:
        expected = "rights to read and write, such as 0o660, and those of the owner among them"
        raise ValueError(f"mode: expected {expected}; got {mode:#o}, which is {mode} in decimal")
    return mode


def create(path: Path, mode: int | None) -> None:
    """Create the file unless it exists; ``mode`` None: only its owner may use it, or as it is.

    An existing file is not opened, because closing it would drop the locks of all connections of this process
    (see connection.py). ``_creating`` keeps other threads from connecting between this open and close.
    """
    with _creating, suppress(FileExistsError):
        made = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode or OWNER_ONLY)
        try:
            os.fchmod(made, mode or OWNER_ONLY)  # whatever the umask takes away
        finally:
            os.close(made)
    if mode is not None and stat.S_IMODE(os.stat(path).st_mode) != mode:
        with suppress(OSError):  # it is another user's, whose rights stand
            os.chmod(path, mode)


def prepare(path: Path) -> None:
    """Make the WAL and its index in place of SQLite, where they would get a group that is not the file's.

    They are made under another name, so that they have its rights and its group from their first moment on:
    another user may open the file at any time. SQLite takes empty ones for none.
    """
    file = os.stat(path)
    if file.st_gid == os.getegid() or file.st_gid not in os.getgroups():
        return
    for name in BESIDE:
        if os.path.lexists(f"{path}{name}"):
            continue
        with suppress(OSError):  # somebody was faster, or this user may make nothing in the folder
            new = new_name(path)
            os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
            try:
                follow(new, file)
                os.link(new, f"{path}{name}")
            finally:
                os.unlink(new)
