"""The data that an engine takes and gives: records, writes and what became of them, listings.

Times are int microseconds since the Unix epoch. What a field means is the business of the layers above; an
engine compares and stores it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

UNSORTED: Final = 2**63 - 1
"""The sort key of a record without ``submitted_at``: after all others, newest first."""

ANY_STAGE: Final = 2**53 - 1
"""The ceiling of a write that replaces whatever stands; no stage is higher."""


class Position(NamedTuple):
    """A place in every listing. Newest first is ascending: the sort key is minus the submission time."""

    sort: int
    id: str


def sort_key(submitted_at: int | None) -> int:
    """Of 64 bits, whatever somebody else wrote for a time."""
    return UNSORTED if submitted_at is None else max(-UNSORTED, min(-submitted_at, UNSORTED))


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
        """Its place in every listing that it was found in, also of what is no record of this format."""
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
