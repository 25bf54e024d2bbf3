"""The interface of a storage: a few verbs over lists of plain data.

The rules of flowstore live in the layers above and reach a storage as data: a write carries the highest
``stage`` that it may replace, an expiry is a number to compare with ``now``. An engine stores and compares,
and never interprets. Times are int microseconds since the Unix epoch, and come from the caller: an engine
reads no clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import Final, Protocol

from flowstore.engine.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.engine.rows import ANYWHERE, Commit, Outcome, Purged, Query, Row, Where


class Change(StrEnum):
    """What happened to an id: it was stored in a status, its progress was reported, or it was removed."""

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
"""To watch this id is to watch all ids: every store in a status is reported."""


class Hints(Protocol):
    """Where an engine reports changes of watched ids. Hints may be lost, late or doubled, but never invented.

    Changes of ids that are not watched may be reported as well.
    """

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        """``at``: the ``now`` of the call that made the change; None if it cannot have been long ago.

        Where a hint may arrive long after the call that made the change has returned, it has to be given: a
        wait that begins in between is not concerned.
        """

    def look_again(self) -> None:
        """Changes may have been missed: all watched ids must be read again."""

    @property
    def is_waiting(self) -> bool:
        """Whether anyone waits. While False, an engine need not listen."""


class Engine(ABC):
    """The storage of one namespace. Lists in, lists of the same length and order out.

    Every verb is atomic per item. A bad item fails its own call, before anything is written. Errors are
    StorageError, with the driver's error as the cause.
    """

    @abstractmethod
    async def open(self, hints: Hints) -> None:
        """Connect and prepare the storage. A failed open leaves nothing behind and may be retried."""

    @abstractmethod
    async def close(self) -> None:
        """Release everything this engine has made, and nothing else. Called once, with no verb in flight."""

    async def room(self) -> None:  # noqa: B027  # writes that never queue always have room
        """Return when one more write may be encoded: the backpressure of a storage that falls behind."""

    @abstractmethod
    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        """Apply each write in order, notify its watchers, and purge a few expired records along the way."""

    @abstractmethod
    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        """The stored rows, including expired ones; None where there is no record."""

    @abstractmethod
    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        """Report changes of ``ids`` from now on, and ``fetch`` them.

        No change is lost between the registration and the read. The body may be left out (None) while the
        record is not finished. A registration may end with a hint that ends the wait, or after a while;
        watching an id again renews it.
        """

    @abstractmethod
    async def scan(self, query: Query, now: int) -> list[Row]:
        """The live rows of a range, in order; fewer than ``limit`` only at the end of the listing."""

    @abstractmethod
    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        """Records per status; one without any may be left out. ANYWHERE must not cost more as they grow."""

    @abstractmethod
    async def names(self) -> list[str]:
        """The distinct names of all records without a parent, including expired ones, in any order."""

    @abstractmethod
    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        """Delete records and everything that belongs to them; True where a live one was deleted."""

    @abstractmethod
    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        """Remove at most ``limit`` expired records, or with ``everything`` records of any kind."""

    @abstractmethod
    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        """Replace the progress of live, unfinished records, notify their watchers, change nothing else."""

    @abstractmethod
    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        """The transitions of a span; fewer than ``limit`` only at its end.

        Those of an expired record may still be among those of all tasks; asked for by its id, it has none.
        """

    @abstractmethod
    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        """Store or remove each value, in order."""

    @abstractmethod
    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        """The values asked for, in the order of their keys by code point; none for a record that expired."""

    @abstractmethod
    async def namespaces(self) -> list[str]:
        """All namespaces of the storage, including this one, in any order."""
