"""The steps on the disk that entries are written and removed in, each of which a process may die after.

A file is written beside the tree and then moved to its place, so that readers find the old one or the new
one. With the durability "full" it is synced before, and the folder afterwards. With "normal" nothing is
synced: after a loss of power the file may be the old one, the new one, or on some file systems empty.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from flowstore.errors import StorageTimeout
from flowstore.typed.tree.locks import Stripe
from flowstore.typed.tree.names import relative

_TO_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Disk:
    """What is done to the files of a tree, below the lock of their stripe. ``names``: see names.py."""

    def __init__(self, base: str, is_synced: bool, timeout: float) -> None:
        self._base = base
        self._is_synced = is_synced
        self._timeout = timeout

    def path(self, names: Sequence[str]) -> str:
        """Raises OSError (ELOOP) where a link stands for a folder: it would lead out of the tree."""
        folder = self._base
        for name in names[:-1]:
            folder = f"{folder}/{name}"
            try:
                mode = os.lstat(folder).st_mode
            except OSError:  # whoever uses the path finds out
                break
            if stat.S_ISLNK(mode):
                raise OSError(errno.ELOOP, "a symbolic link in the place of a folder", folder)
        return f"{self._base}/{relative(names)}"

    def put(self, stripe: Stripe, names: Sequence[str], text: bytes) -> None:
        """Put a file in its place, with the folders that it needs."""
        try:
            self._write(stripe.new, text)
            has_new_folders = self._move(stripe, names)
        except BaseException:
            self.tidy(stripe, names)
            raise
        if self._is_synced:
            # Also of folders that were there, as another process may have made them only just now.
            for depth in range(len(names) - 1, -1 if has_new_folders else len(names) - 2, -1):
                self._sync(names[:depth])
        if has_new_folders:
            stripe.cross_out()

    def remove(self, stripe: Stripe, names: Sequence[str]) -> None:
        """Remove a file, and the folders that are empty then."""
        folders = names[:-1]
        if folders:
            stripe.write("/".join(names))
        try:
            os.unlink(self.path(names))
            left = self._prune(folders)
            if self._is_synced:
                self._sync(left)
        finally:
            if folders:
                stripe.cross_out()

    def tidy(self, stripe: Stripe, names: Sequence[str]) -> None:
        """Remove what was left when a file was to be put in its place, or removed."""
        with suppress(FileNotFoundError):
            os.unlink(stripe.new)
        self._prune(names[:-1])
        stripe.cross_out()

    def _write(self, path: str, text: bytes) -> None:
        descriptor = os.open(path, _TO_WRITE, 0o666)
        try:
            left = memoryview(text)
            while left:
                left = left[os.write(descriptor, left) :]
            if self._is_synced:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _move(self, stripe: Stripe, names: Sequence[str]) -> bool:
        """Whether folders had to be made."""
        path, has_new_folders = self.path(names), False
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                os.replace(stripe.new, path)
                return has_new_folders
            except FileNotFoundError:  # no folder yet, or somebody has just pruned it: that one makes way
                if len(names) == 1 or not os.path.lexists(stripe.new):  # the whole tree is gone
                    raise
                if time.monotonic() > deadline:
                    raise StorageTimeout(f"{path}: its folder was removed again and again") from None
            if not has_new_folders:
                stripe.write("/".join(names))
                has_new_folders = True
            self._make_folders(names[:-1])

    def _make_folders(self, names: Sequence[str]) -> None:
        """All but the base: without that there is no tree."""
        path = self._base
        for name in names:
            path = f"{path}/{name}"
            try:
                os.mkdir(path)
            except FileExistsError:
                continue
            except FileNotFoundError:  # pruned under way
                return

    def _prune(self, folders: Sequence[str]) -> Sequence[str]:
        """Remove those that are empty, from the last one upwards; those that are left."""
        while folders:
            try:
                os.rmdir("/".join((self._base, *folders)))
            except FileNotFoundError:
                pass
            except OSError:  # not empty, most of the time
                break
            folders = folders[:-1]
        return folders

    def _sync(self, folders: Sequence[str]) -> None:
        """Make names made in and removed from a folder last; one that is gone was removed by its pruner."""
        try:
            sync_folder("/".join((self._base, *folders)))
        except FileNotFoundError:
            if not folders:
                raise
            self._sync(folders[:-1])


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
