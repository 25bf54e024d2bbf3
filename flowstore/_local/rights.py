"""Who may use what lies beside a file: the file decides, and the rest follows it."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

OWNER_ONLY: Final = 0o600
READ_AND_WRITE: Final = 0o666
_ONLY_PATH: Final[int | None] = getattr(os, "O_PATH", None)
"""Only Linux has it. On other systems what is made gets the group of its folder anyway."""


def make_folder(path: Path, file: os.stat_result) -> None:
    """Make the folder unless it exists, with the rights and the group of the file from its first moment."""
    if path.is_dir():
        return follow(path, file)
    new = new_name(path)
    os.mkdir(new, _of_folder(OWNER_ONLY))
    try:
        os.chmod(new, _of_folder(file.st_mode & READ_AND_WRITE))
        follow(new, file)
        os.rename(new, path)  # an empty one of somebody else's, too, who then finds this one
    except OSError:
        os.rmdir(new)
        if not path.is_dir():
            raise


def new_name(path: Path) -> str:
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
    mode = file.st_mode & READ_AND_WRITE
    if found.st_gid != file.st_gid:
        try:
            os.chown(path, -1, file.st_gid)
        except PermissionError:  # the group of this user gets no more than everybody
            mode = mode & ~0o060 | (mode & 0o006) << 3
    if stat.S_ISDIR(found.st_mode):
        mode = _of_folder(mode)
    if stat.S_IMODE(found.st_mode) != mode:
        os.chmod(path, mode)
