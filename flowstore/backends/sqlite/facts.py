"""What SQLite and the file system say of a file, all from headers: it costs the same for any size."""

from __future__ import annotations

import os
import sqlite3
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import aiosqlite

from flowstore.backends.sqlite.format import FORMAT
from flowstore.engine import Fact, StorageFacts

_MOUNTS: Final = Path("/proc/self/mounts")
_MOST_MOUNTS_BYTES: Final = 2**20
_ESCAPED: Final = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


def facts(raw: sqlite3.Connection, path: Path, durability: str, *, is_writable: bool) -> StorageFacts:
    """To be called in a thread. ``path``: what it leads to is looked at, and never opened."""
    path = Path(os.path.realpath(path))
    page = _pragma(raw, "page_size")
    sizes = {
        "file": page * _pragma(raw, "page_count"),
        "wal": _size(Path(f"{path}-wal")),
        "free": page * _pragma(raw, "freelist_count"),
        **_disk(path.parent),
    }
    policies: dict[str, Fact] = {
        "journal_mode": _pragma(raw, "journal_mode"),
        "durability": durability,
        "file_system": file_system(path, _mounts()),
        "file_mode": _mode(path),
    }
    return StorageFacts(
        "sqlite",
        server="SQLite",
        server_version=sqlite3.sqlite_version,
        driver="aiosqlite",
        driver_version=aiosqlite.__version__,
        format=_pragma(raw, "user_version"),
        own_format=FORMAT,
        is_writable=is_writable,
        size=sizes["file"] + sizes["wal"],
        sizes=sizes,
        policies=policies,
    )


def _pragma(raw: sqlite3.Connection, name: str) -> Any:
    [(value,)] = raw.execute(f"PRAGMA {name}").fetchall()
    return value


def _size(path: Path) -> int:
    """0 where there is none, as before the first write."""
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def _mode(path: Path) -> str | None:
    """Its rights, as ``chmod`` takes them."""
    with suppress(OSError):
        return f"{stat.S_IMODE(os.stat(path).st_mode):o}"
    return None


def _disk(folder: Path) -> dict[str, int]:
    if sys.platform == "win32":
        return {}
    with suppress(OSError):
        found = os.statvfs(folder)
        return {"disk": found.f_frsize * found.f_blocks, "disk_free": found.f_frsize * found.f_bavail}
    return {}


def _mounts() -> str:
    """ "" on systems that do not say."""
    with suppress(OSError), _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as opened:
        return opened.read(_MOST_MOUNTS_BYTES)
    return ""


def file_system(path: Path, mounts: str) -> str | None:
    """The kind of the one that the file is on, such as "ext4" or "nfs4"; None if ``mounts`` does not say."""
    found, longest = None, -1
    for line in mounts.splitlines():
        _, folder, kind, *_ = *line.split(" "), "", "", ""
        for escaped, char in _ESCAPED.items():
            folder = folder.replace(escaped, char)
        # The last of those on the same folder is what is seen there.
        if folder.startswith("/") and len(folder) >= longest and path.is_relative_to(folder):
            found, longest = kind, len(folder)
    return found
