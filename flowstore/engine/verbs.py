"""What a storage must speak: a few verbs over lists of plain data.

The rules of flowstore live above and reach a storage as data: a write carries the highest ``stage`` it may
replace, an expiry is a number to compare with ``now``. An engine compares and stores; it never interprets.
Times are int microseconds since the Unix epoch, given by the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Protocol

from flowstore.engine.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.engine.rows import ANYWHERE, Commit, Outcome, Purged, Query, Row, Where


class Change(StrEnum):
    """What happened to an id: it was stored in a status, its progress was reported, it is gone."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REPORTED = "p"
    DELETED = "d"
    EXPIRED = "e"


ANY_ID: Final = ""
"""Watched, it stands for all ids: each that is stored in a status is reported, whether watched or not."""


class Hints(Protocol):
    """Where an engine reports changes of watched ids. Hints may be lost or doubled, never invented.

    What happens to an id that is not watched may be reported as well.
    """

    def changed(self, ids: Iterable[str], change: Change) -> None: ...

    def look_again(self) -> None:
        """Something may have been missed: every watched id has to be read again."""

    @property
    def is_waiting(self) -> bool:
        """Whether anybody waits; while False an engine need not listen."""


class Engine(ABC):
    """A storage of one namespace. Lists in, lists of the same length and order out.

    Every verb is atomic per item; one bad item fails its own call, before anything is written.
    Errors are StorageError, with the driver's error as the cause.
    """

    @abstractmethod
    async def open(self, hints: Hints) -> None:
        """Connect and prepare the storage. A failed open leaves nothing behind."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything this engine made, and nothing else. Called once, never with verbs in flight."""

    async def room(self) -> None:  # noqa: B027  # where writes never queue up there is always room
        """Return when one more write may be encoded: a storage that falls behind holds its callers up."""

    @abstractmethod
    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        """Apply each write in order, tell its watchers, and purge a few expired records on the way."""

    @abstractmethod
    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        """The stored rows, expired ones included; None where there is no record."""

    @abstractmethod
    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        """From now on report changes of ``ids``; then ``fetch`` them.

        The body may be left out (None) while the record is not finished. Between registering and
        reading no change is lost. Watching an id again renews it.
        """

    @abstractmethod
    async def scan(self, query: Query, now: int) -> list[Row]:
        """The live rows of a range, in order. Fewer than ``limit`` only at the end of the listing."""

    @abstractmethod
    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        """Records per status; one without any may be missing. ANYWHERE at a cost that does not grow."""

    @abstractmethod
    async def names(self) -> list[str]:
        """The names of all records without a parent, expired ones too, each once, in any order."""

    @abstractmethod
    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        """Delete records and all that belongs to them; True where a live one was deleted."""

    @abstractmethod
    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        """Remove at most ``limit`` expired records, or with ``everything`` records of any kind."""

    @abstractmethod
    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        """Replace the progress of live, unfinished records and tell their watchers; nothing else changes."""

    @abstractmethod
    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        """Fewer than ``limit`` only at the end of the stretch.

        What an expired record leaves may be among that of all tasks; of its own id there is nothing.
        """

    @abstractmethod
    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        """Keep or remove each value, in order."""

    @abstractmethod
    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        """In the order of keys by code point."""

    @abstractmethod
    async def namespaces(self) -> list[str]:
        """All namespaces of the storage, this one included, in any order."""
