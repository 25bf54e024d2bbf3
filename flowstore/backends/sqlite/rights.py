"""Who may use the file and what lies beside it: the file decides, and the rest follows it.

SQLite gives its files the rights of the database, but the group of whoever makes them. Of two users who share
a file by a group of theirs, the one who opens it first would lock the other one out.
"""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

OWNER_ONLY: Final = 0o600
BESIDE: Final = ("-wal", "-shm")
_READ_AND_WRITE: Final = 0o666
_ONLY_PATH: Final[int | None] = getattr(os, "O_PATH", None)
"""Only Linux has it. On other systems what is made gets the group of its folder anyway."""

_creating: Final = Lock()


def check_mode(mode: int | None) -> int | None:
    if mode is None:
        return None
    if isinstance(mode, bool) or not isinstance(mode, int):
        raise TypeError(f"mode: expected int or None, got {type(mode).__name__}")
    if mode & ~_READ_AND_WRITE or mode & OWNER_ONLY != OWNER_ONLY:
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
            new = _new(path)
            os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, OWNER_ONLY))
            try:
                follow(new, file)
                os.link(new, f"{path}{name}")
            finally:
                os.unlink(new)


def make_folder(path: Path, file: os.stat_result) -> None:
    """Make the folder unless it exists, with the rights and the group of the file from its first moment."""
    if path.is_dir():
        return follow(path, file)
    new = _new(path)
    os.mkdir(new, _of_folder(OWNER_ONLY))
    try:
        os.chmod(new, _of_folder(file.st_mode & _READ_AND_WRITE))
        follow(new, file)
        os.rename(new, path)  # an empty one of somebody else's, too, who then finds this one
    except OSError:
        os.rmdir(new)
        if not path.is_dir():
            raise


def _new(path: Path) -> str:
    return f"{path}.{secrets.token_hex(6)}.new"


def _of_folder(mode: int) -> int:
    """A folder that may be read may be entered."""
    return mode | (mode & 0o444) >> 2


def follow(name: str | Path, file: os.stat_result, *, folder: int | None = None) -> None:
    """Give what lies beside the file its rights and its group, as far as this user may.

    ``folder``: an open folder that ``name`` is in.
    """
    if _ONLY_PATH is None:
        return
    with suppress(OSError):
        # By a descriptor of the file itself: by name, somebody could put a link in its place. One like this
        # can be closed without dropping any locks.
        opened = os.open(name, _ONLY_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            _adapt(opened, file)
        finally:
            os.close(opened)


def _adapt(opened: int, file: os.stat_result) -> None:
    path, found = f"/proc/self/fd/{opened}", os.fstat(opened)
    mode = file.st_mode & _READ_AND_WRITE
    if found.st_gid != file.st_gid:
        try:
            os.chown(path, -1, file.st_gid)
        except PermissionError:  # the group of this user gets no more than everybody
            mode = mode & ~0o060 | (mode & 0o006) << 3
    if stat.S_ISDIR(found.st_mode):
        mode = _of_folder(mode)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(path, mode)
