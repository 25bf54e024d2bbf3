"""What a storage must speak: a few verbs over lists of plain data.

The rules of flowstore live in base.py and reach a storage as data: a write carries the highest
``stage`` it may replace, an expiry is a number to compare with ``now``. An engine compares and
stores; it never interprets. Times are int microseconds since the Unix epoch, given by the caller.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from flowstore.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.errors import CorruptRecord

UNSORTED: Final = 2**63 - 1
"""The sort key of a record without ``submitted_at``: after all others, newest first."""

ANY_STAGE: Final = 2**53 - 1
"""The ceiling of a write that replaces whatever stands; no stage is higher."""


class Position(NamedTuple):
    """A place in every listing. Newest first is ascending: the sort key is minus the submission time."""

    sort: int
    id: str


def sort_key(submitted_at: int | None) -> int:
    return UNSORTED if submitted_at is None else -submitted_at


class Row(NamedTuple):
    """One record as stored. ``head`` is JSON of the small fields, ``body`` JSON of the values.

    ``body`` is None when it was not asked for. ``stage`` orders the states of a task (see records.py).
    ``expires_at`` None: never; a row whose time has come may still be handed out by ``fetch`` and
    ``watch``, the caller checks it. ``status`` "" marks stored bytes that are no record of this
    format; ``head`` then holds their beginning. ``progress`` is JSON. ``parent`` and ``root`` are ids
    of other records; a record without a parent is a root itself and has None for both.
    """

    id: str
    status: str
    stage: int
    version: int
    name: str | None
    submitted_at: int | None
    expires_at: int | None
    head: bytes
    body: bytes | None
    progress: bytes | None = None
    parent: str | None = None
    root: str | None = None
    worker: str | None = None
    labels: tuple[str, ...] = ()

    @property
    def position(self) -> Position:
        """Raises CorruptRecord for what is no record: who went on behind it could skip or repeat others."""
        if not self.status:
            raise CorruptRecord(self.id, "not a record of this format, so it has no place in a listing")
        return Position(sort_key(self.submitted_at), self.id)

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class Commit(NamedTuple):
    """One write, applied whole or not at all.

    ``if_version`` None: written when there is no live record of this id, or the standing one has
    ``stage <= ceiling``. Otherwise written when the standing version is exactly ``if_version``,
    0 meaning that there is no live record; ``ceiling`` is then ignored. ``token`` names the call:
    when the standing record was written with the same token, this write is already applied.

    ``parent`` None keeps the standing record's. The first write that names one fixes it: its root is
    the parent's root, and moves along to all descendants that the record has. Where the parent has none
    or is not stored it is the parent itself; also where that root is the record itself, or a descendant,
    as what was between it and the parent is deleted. A parent that is a descendant, or another one than
    the standing record's, is refused (FAMILY).

    With ``history`` other than 0 the write appends a TransitionRow at ``at``; no more than the newest
    ``history`` stay, None: all of them.
    """

    id: str
    status: str
    stage: int
    ceiling: int
    if_version: int | None
    is_finished: bool
    name: str | None
    submitted_at: int | None
    expires_at: int | None
    token: str
    head: bytes
    body: bytes
    progress: bytes | None = None
    parent: str | None = None
    worker: str | None = None
    labels: tuple[str, ...] = ()
    at: int = 0
    history: int | None = 0

    @property
    def sort(self) -> int:
        return sort_key(self.submitted_at)


class Outcome(NamedTuple):
    """Whether a commit is the stored state now, and where it is not, the version that stands in its way.

    0: there is no live record. UNREADABLE: what stands cannot be read or written over, ``reason`` says why.
    FAMILY: the parent cannot be; ``reason`` is the id of the standing one, "" when the named one descends
    from the record or is the record itself. What stands was left alone, and the other writes of the call
    were not affected.
    """

    is_applied: bool
    version: int
    reason: str = ""


UNREADABLE: Final = -1
FAMILY: Final = -2

APPLIED: Final = Outcome(is_applied=True, version=0)

SWEPT_PER_COMMIT: Final = 2
"""How many expired records a write removes on the way, at the most: twice what it can add."""


class Where(NamedTuple):
    """What the records of a listing have in common; None: anything. Each alone is an index.

    ``root``: the record of this id and all that have it as their root. ``is_root``: without a parent;
    goes only with ``name``, and with it is an index as well.
    """

    name: str | None = None
    parent: str | None = None
    root: str | None = None
    worker: str | None = None
    label: str | None = None
    is_root: bool = False


ANYWHERE: Final = Where()


@dataclass(frozen=True, slots=True)
class Query:
    """A range of the listing of some statuses, merged: at most ``limit`` live rows behind ``after``.

    ``after`` None: from the start. ``newest_first`` False is the exact reverse of the order.
    ``with_body`` False leaves ``Row.body`` None.
    """

    statuses: tuple[str, ...]
    limit: int
    where: Where = ANYWHERE
    after: Position | None = None
    newest_first: bool = True
    with_body: bool = True


@dataclass(frozen=True, slots=True)
class Purged:
    """What one bounded step removed. ``is_done``: nothing was left to remove when it ended."""

    live: int
    expired: int
    is_done: bool


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
