"""The verbs of the storage on a tree of files, for threads that may wait.

Whoever writes or removes holds the lock of the id's stripe, reads what stands, and then decides.
"""

from __future__ import annotations

import errno
import heapq
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from threading import Condition
from typing import Final, NamedTuple

from flowstore._values.arguments import check_ttl
from flowstore._values.records import DefaultTtl
from flowstore.errors import (
    CorruptStore,
    ForeignEntry,
    SchemaTooNew,
    StorageError,
    StorageTimeout,
    StoreReplaced,
)
from flowstore.typed.storage import Kind, New, Recent, Stored, Trouble, unusable
from flowstore.typed.tree.content import Header, written
from flowstore.typed.tree.disk import Disk, sync_folder
from flowstore.typed.tree.faults import translated
from flowstore.typed.tree.locks import LOCK, NEW, Locks, Stripe, stripe_of
from flowstore.typed.tree.names import checked_names_of, names_of, unescape
from flowstore.typed.tree.reading import Place, find, is_marked, walk

OWN: Final = ".flowstore"
"""The folder in the tree that holds what is not entries. No id has this name."""
FORMAT: Final = 1
_FORMAT_FILE: Final = "format"
CLEARED_AT_ONCE: Final = 200
_OF_STRIPE: Final = re.compile(f"([0-9a-f]{{2}})({re.escape(LOCK)}|{re.escape(NEW)})")


class Written(NamedTuple):
    """An entry that was written."""

    id: str
    version: int
    updated_at: int


class Tree:
    """``tell`` is called, in the thread, with what a call has written, also when it failed in the end."""

    def __init__(self, base: str, is_synced: bool, clock: Callable[[], int], timeout: float) -> None:
        self.base = base
        self.own = f"{base}/{OWN}"
        self.format_file = f"{self.own}/{_FORMAT_FILE}"
        self.tell: Callable[[Sequence[Written]], None] = lambda written: None
        self._is_synced = is_synced
        self._clock = clock
        self._timeout = timeout
        self._disk = Disk(base, is_synced, timeout)
        self._locks = Locks(self.own, self._recover)
        self._identity: tuple[int, int] | None = None
        self._calls = 0
        self._ended = Condition()

    def open(self) -> None:
        """Make the tree unless it is there, and tidy up after processes that have died."""
        with translated(self.base):
            self._make()
            found = os.stat(self.own)
            self._identity = found.st_dev, found.st_ino
            self._check_format()
            for name in os.listdir(self.own):
                if (ours := _OF_STRIPE.fullmatch(name)) is not None:
                    self._tidy_up(int(ours[1], 16))

    def close(self) -> None:
        """Return when all calls have ended, also those whose callers did not wait for them."""
        with self._ended:
            self._ended.wait_for(lambda: not self._calls)

    @contextmanager
    def call(self) -> Iterator[None]:
        """Surrounds each call."""
        with self._ended:
            self._calls += 1
        try:
            with translated(self.base):
                try:
                    yield
                finally:
                    self._check_there()
        finally:
            with self._ended:
                self._calls -= 1
                self._ended.notify_all()

    def create(self, entries: Sequence[New]) -> list[bool]:
        """One that fails leaves the others alone: the first error is raised when all have been tried."""
        named = [(entry, checked_names_of(entry.id), self._ttl(entry)) for entry in entries]
        done: list[Written] = []
        created: list[bool] = []
        errors: list[Exception] = []
        for each in named:
            try:
                created.append(self._create(*each, done))
            except (OSError, StorageError) as error:
                errors.append(error)
        self.tell(done)
        if errors:
            raise errors[0]
        return created

    def replace(self, entry: New, standing: Stored) -> bool:
        names, ttl = checked_names_of(entry.id), self._ttl(entry)
        with self._locked(entry.id) as stripe:
            now = self._clock()
            found = self._find(entry.id, names, is_whole=False)
            if found is None or found.trouble or _is_expired(found, now):
                return False
            if (found.version, found.created_at) != (standing.version, standing.created_at):
                return False
            self._put(stripe, entry, names, found.version + 1, found.created_at, now, ttl)
        self.tell([Written(entry.id, found.version + 1, now)])
        return True

    def overwrite(self, entry: New) -> Stored | None:
        names, ttl = checked_names_of(entry.id), self._ttl(entry)
        with self._locked(entry.id) as stripe:
            now = self._clock()
            found = self._find(entry.id, names, is_whole=True)
            if found is not None and found.trouble:
                return found
            version, created_at = 1, now
            if found is not None and not _is_expired(found, now):
                version, created_at = found.version + 1, found.created_at
            self._put(stripe, entry, names, version, created_at, now, ttl)
        self.tell([Written(entry.id, version, now)])
        return None

    def read(self, ids: Sequence[str], with_data: bool) -> list[Stored | None]:
        return [self.get(id, with_data=with_data) for id in ids]

    def get(self, id: str, *, with_data: bool = False) -> Stored | None:
        names = names_of(id)
        return None if names is None else self._live(self._find(id, names, with_data, with_data))

    def _find(self, id: str, names: Sequence[str], is_whole: bool, with_data: bool = False) -> Stored | None:
        """As ``find``. What is behind a link in the place of a folder is outside of the tree."""
        try:
            path = self._disk.path(names)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            return unusable(id, Trouble.FOREIGN, f"{error.strerror}, {error.filename}")
        return find(id, path, is_whole=is_whole, with_data=with_data)

    def remove(self, id: str) -> bool:
        names = names_of(id)
        if names is None:
            return False
        with self._locked(id) as stripe:
            found = self._standing(id, names, now := self._clock())
            if found is None:
                return False
            if found.trouble is Trouble.FOREIGN:
                raise ForeignEntry(id, found.reason)
            self._disk.remove(stripe, names)
            return found.trouble is not None or not _is_expired(found, now)

    def scan(self, prefix: str, after: str | None, limit: int) -> list[Stored]:
        return self.step(self.entries(prefix, after), limit)

    def step(self, entries: Iterator[Stored], limit: int) -> list[Stored]:
        """The next ones of a walk. In between others come and go; what has gone is passed over."""
        return list(islice(entries, limit))

    def recent(self, wanted: Recent) -> list[Stored]:
        matching = (
            stored for stored in self.entries("") if not stored.trouble and _is_wanted(stored, wanted)
        )
        return heapq.nsmallest(wanted.limit, matching, key=_newest_first)

    def kinds(self) -> list[Kind]:
        return list({stored.kind for stored in self.entries("") if not stored.trouble})

    def places(self) -> Iterator[Place]:
        """Those of all files that may be entries."""
        return walk(self.base, "")

    def clear(self, places: Iterator[Place]) -> tuple[int, bool]:
        """Remove the entries at the next ones of these; how many, and whether those were the last."""
        some = list(islice(places, CLEARED_AT_ONCE))
        return sum(map(self._clear, some)), len(some) < CLEARED_AT_ONCE

    def written_since(self, prefix: str, since: int) -> list[Written]:
        """What was moved to its place at that time of the system or later, in nanoseconds."""
        found = (self._entry(place) for place in walk(self.base, prefix, since=since))
        return [
            Written(stored.id, stored.version, stored.updated_at) for stored in found if stored is not None
        ]

    def entries(self, prefix: str, after: str | None = None) -> Iterator[Stored]:
        for place in walk(self.base, prefix, after):
            if (stored := self._entry(place)) is not None:
                yield stored

    def _entry(self, place: Place) -> Stored | None:
        """What a listing shows of a file: None if it is of somebody else, or expired."""
        stored = self._live(find(place.key, place.path, is_whole=False, with_data=False))
        return None if stored is None or stored.trouble is Trouble.FOREIGN else stored

    def _live(self, found: Stored | None) -> Stored | None:
        if found is None or found.trouble or not _is_expired(found, self._clock()):
            return found
        names = checked_names_of(found.id)
        whole = self._find(found.id, names, is_whole=True)  # its header may be damaged, and say so wrongly
        if whole is not None and whole.trouble:
            return whole
        with suppress(OSError, StorageTimeout):  # another one will meet it
            self._expire(found.id, names)
        return None

    def _expire(self, id: str, names: Sequence[str]) -> None:
        with self._locks.stripe(stripe_of(id), 0) as stripe:
            found = self._standing(id, names, now := self._clock())
            if found is not None and not found.trouble and _is_expired(found, now):
                self._disk.remove(stripe, names)

    def _standing(self, id: str, names: Sequence[str], now: int) -> Stored | None:
        """Without data. If it says that it has expired, it is whole, too."""
        found = self._find(id, names, is_whole=False)
        if found is None or found.trouble or not _is_expired(found, now):
            return found
        return self._find(id, names, is_whole=True)

    def _create(self, entry: New, names: Sequence[str], ttl: int | None, done: list[Written]) -> bool:
        with self._locked(entry.id) as stripe:
            now = self._clock()
            found = self._standing(entry.id, names, now)
            if found is not None and (found.trouble or not _is_expired(found, now)):
                return False
            self._put(stripe, entry, names, 1, now, now, ttl)
        done.append(Written(entry.id, 1, now))
        return True

    def _put(
        self,
        stripe: Stripe,
        entry: New,
        names: Sequence[str],
        version: int,
        created_at: int,
        now: int,
        ttl: int | None,
    ) -> None:
        expires_at = None if ttl is None else now + ttl
        header = Header(entry.kind, version, created_at, now, expires_at, len(entry.data))
        self._disk.put(stripe, names, written(header, entry.data))

    def _clear(self, place: Place) -> bool:
        if (names := names_of(place.key)) is None:
            return False
        with self._locked(place.key) as stripe:
            found = self._standing(place.key, names, now := self._clock())
            if found is None or found.trouble is Trouble.FOREIGN or not is_marked(self._disk.path(names)):
                return False
            self._disk.remove(stripe, names)
            return found.trouble is not None or not _is_expired(found, now)

    def _ttl(self, entry: New) -> int | None:
        return None if isinstance(entry.ttl, DefaultTtl) else check_ttl("ttl", entry.ttl)

    def _locked(self, id: str) -> Stripe:
        return self._locks.stripe(stripe_of(id), self._timeout)

    def _recover(self, stripe: Stripe) -> None:
        names = stripe.note.split("/")
        self._disk.tidy(stripe, names if all(map(unescape, names)) else [])

    def _tidy_up(self, number: int) -> None:
        # Whoever holds a lock is alive, and of another user's the own processes take care.
        with suppress(StorageTimeout, PermissionError):
            try:
                with self._locks.stripe(number, 0) as stripe:
                    self._recover(stripe)  # a file may be left without a note
            except OSError as error:
                if error.errno != errno.EROFS:  # there it cannot be, and need not: it is only read
                    raise

    def _make(self) -> None:
        is_new = not os.path.isdir(self.own)
        try:
            os.makedirs(self.own, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise StorageError(f"base_dir: expected a folder, found a file at {error.filename}") from error
        if is_new and self._is_synced:
            sync_folder(self.base)
            with suppress(PermissionError):  # what is above may be closed to this user
                sync_folder(os.path.dirname(self.base))

    def _check_format(self) -> None:
        with suppress(FileExistsError), open(self.format_file, "x") as made:
            made.write(f"{json.dumps(FORMAT)}\n")
        with open(self.format_file) as found:
            text = found.read().strip() or str(FORMAT)  # empty: somebody is just writing it
        if not text.isdecimal():
            raise CorruptStore(f"{self.format_file}: expected a number, found {text!r:.80}")
        if (number := int(text)) > FORMAT:
            raise SchemaTooNew(self.base, number, FORMAT)

    def _check_there(self) -> None:
        try:
            found = os.stat(self.own)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError:  # such as a folder that must not be looked into: that says nothing
            return
        if found is None or (found.st_dev, found.st_ino) != self._identity:
            raise StoreReplaced(f"{self.base}: was deleted, or replaced by another folder, while it was open")


def _is_expired(stored: Stored, now: int) -> bool:
    return stored.expires_at is not None and stored.expires_at <= now


def _is_wanted(stored: Stored, wanted: Recent) -> bool:
    if wanted.kinds is not None and stored.kind not in wanted.kinds:
        return False
    if wanted.since is not None and stored.updated_at < wanted.since:
        return False
    if wanted.until is not None and stored.updated_at >= wanted.until:
        return False
    return wanted.after is None or _newest_first(stored) > (-wanted.after.updated_at, wanted.after.id)


def _newest_first(stored: Stored) -> tuple[int, str]:
    return -stored.updated_at, stored.id
