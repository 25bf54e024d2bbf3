"""Files as entries: one by its path, and all of them in the order of their ids.

A reader takes no lock, for each file is moved to its place whole. Folders come and go while they are walked:
each is listed when the walk comes to it, and one that is gone by then is empty.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Iterator
from typing import Final, NamedTuple

from flowstore.typed.ids import below, parts_of, spelling
from flowstore.typed.storage import Stored, Trouble, unusable
from flowstore.typed.tree.content import HEADER_BYTES, entry_of, header_of, is_ours
from flowstore.typed.tree.names import SUFFIX, names_of, unescape

_TO_READ: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_FILE: Final = "something that is no file"
_ABSENT: Final = (errno.ENOENT, errno.ENAMETOOLONG)
_FOREIGN: Final = {
    errno.ENOTDIR: "a file in the place of a folder",
    errno.ELOOP: "a symbolic link",
    errno.EISDIR: _NO_FILE,
    errno.ENXIO: _NO_FILE,
    errno.EAGAIN: _NO_FILE,
}
_DENIED: Final = (errno.EACCES, errno.EPERM)
_BROKEN: Final = (errno.EIO, errno.EBADMSG)


def find(id: str, path: str, *, is_whole: bool = True, with_data: bool = True) -> Stored | None:
    """What is at the path, be it expired or not; None if there is nothing.

    ``is_whole``: read all of the file, and look whether it is damaged; else only the header.
    """
    try:
        descriptor = os.open(path, _TO_READ)
        try:
            return _read(id, descriptor, is_whole, with_data)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _instead(id, path, error)


def is_marked(path: str) -> bool:
    """Whether the file can be read, and says that flowstore has written it."""
    try:
        descriptor = os.open(path, _TO_READ)
    except OSError:
        return False
    try:
        return is_ours(os.read(descriptor, HEADER_BYTES))
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _read(id: str, descriptor: int, is_whole: bool, with_data: bool) -> Stored:
    text = os.read(descriptor, HEADER_BYTES)
    if not is_whole and (stored := header_of(id, text)) is not None:
        return stored
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        return unusable(id, Trouble.FOREIGN, _NO_FILE)
    if len(text) == HEADER_BYTES and is_ours(text):
        portions = [text]
        while portions[-1]:
            portions.append(os.read(descriptor, max(HEADER_BYTES, found.st_size)))
        text = b"".join(portions)
    return entry_of(id, text, with_data=with_data)


def _instead(id: str, path: str, error: OSError) -> Stored | None:
    if error.errno in _ABSENT:
        return None
    if error.errno in _FOREIGN:
        return unusable(id, Trouble.FOREIGN, _FOREIGN[error.errno])
    if error.errno in _BROKEN:
        return unusable(id, Trouble.DAMAGED, f"{path}: {error.strerror}")
    if error.errno in _DENIED and _is_seen(path):
        return unusable(id, Trouble.FOREIGN, "a file that this process may not read")
    raise error


def _is_seen(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError:
        return False
    return True


class Place(NamedTuple):
    """Where a walk is: a file, or a folder. ``key``: the id, or what all ids in it begin with."""

    key: str
    name: str
    folder: str
    is_folder: bool

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.name}" if self.name else self.folder


def walk(base: str, prefix: str, after: str | None = None, since: int | None = None) -> Iterator[Place]:
    """The files of the ids that begin with ``prefix`` and follow ``after``, in the order of the ids.

    ``prefix``: "" or what ``ids.below`` returns. ``since``: only those that were moved to their place at that
    time or later, in nanoseconds, in the order of folders.
    """
    names = names_of(spelling(parts_of(prefix)[:-1])) if prefix else []
    if names is not None:
        yield from _within(Place(prefix, "", "/".join((base, *names)), True), after, since)


def _within(folder: Place, after: str | None, since: int | None) -> Iterator[Place]:
    places = _listed(folder, after, since)
    heapq.heapify(places)  # often only the first few are asked for
    while places:
        place = heapq.heappop(places)
        if place.is_folder:
            yield from _within(place, after, since)
        else:
            yield place


def _listed(folder: Place, after: str | None, since: int | None) -> list[Place]:
    path = folder.path
    try:
        # A file that is moved there changes the folder, too.
        has_files = since is None or _latest(os.stat(path).st_mtime_ns) >= since
        with os.scandir(path) as found:
            entries = (_place(folder, path, entry, has_files) for entry in found)
            places = [place for place in entries if place is not None and _follows(place, after)]
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return []
        raise
    return places if since is None else [place for place in places if _is_since(place, since)]


def _place(folder: Place, path: str, entry: os.DirEntry[str], has_files: bool) -> Place | None:
    """None: it is of somebody else, or a file where none are wanted."""
    name, is_folder = entry.name, entry.is_dir(follow_symlinks=False)
    if not is_folder and not (has_files and name.endswith(SUFFIX)):
        return None
    part = unescape(name if is_folder else name[: -len(SUFFIX)])
    if part is None:
        return None
    id = folder.key + (spelling([part]) if "/" in part else part)
    return Place(below(id) if is_folder else id, name, path, is_folder)


def _follows(place: Place, after: str | None) -> bool:
    """Whether the place, or something in it, has an id that follows."""
    if after is None or place.key > after:
        return True
    return place.is_folder and after.startswith(place.key)


def _is_since(place: Place, since: int) -> bool:
    try:
        return place.is_folder or _latest(os.lstat(place.path).st_ctime_ns) >= since
    except FileNotFoundError:
        return False


def _latest(time: int) -> int:
    """When it may have been at the latest: some file systems know only seconds."""
    return time if time % 1_000_000_000 else time + 999_999_999
