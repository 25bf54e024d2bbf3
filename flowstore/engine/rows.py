"""The data that an engine takes and returns: records, writes and their outcomes, listings.

Times are int microseconds since the Unix epoch. What a field means is known only in the layers above: an
engine stores and compares.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

UNSORTED: Final = 2**63 - 1
"""The sort key of a record without ``submitted_at``: after all others when the newest come first."""

ANY_STAGE: Final = 2**53 - 1
"""The ceiling of a write that replaces whatever stands. No stage is higher."""


class Position(NamedTuple):
    """A place in every listing. The sort key is minus the submission time, so newest first is ascending."""

    sort: int
    id: str


def sort_key(submitted_at: int | None) -> int:
    """The sort key of a record, kept within 64 bits even for a time that no flowstore has written."""
    return UNSORTED if submitted_at is None else max(-UNSORTED, min(-submitted_at, UNSORTED))


class Row(NamedTuple):
    """One record as stored. ``head`` is JSON of the small fields, ``body`` is JSON of the values.

    ``body`` is None if it was not asked for. ``stage`` orders the states of a task (see records.py).
    ``expires_at`` None: never. ``fetch`` and ``watch`` may return a row that has expired; the caller checks.
    ``status`` "" marks stored bytes that are no record of this format, and ``head`` holds the beginning of
    them. ``progress`` is JSON. ``parent`` and ``root`` are ids of other records; a record without a parent is
    a root itself and has None for both.
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
        """Its place in every listing it was found in, even if it is no record of this format."""
        return Position(sort_key(self.submitted_at), self.id)

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class Commit(NamedTuple):
    """One write, applied whole or not at all.

    ``if_version`` None: applied if there is no live record of this id, or if the standing one has ``stage <=
    ceiling``. Otherwise applied if the standing version is exactly ``if_version``, where 0 means that there
    is no live record; ``ceiling`` is then ignored. ``token`` identifies the write. An engine whose driver may
    send it twice must recognise that the standing record has the same token: it is applied already.

    ``parent`` None keeps that of the standing record. The first write that names one fixes it, and gives the
    parent's root to the record and to all descendants that it has. The root is the parent itself if the
    parent has none or is not stored; and also if the parent's root is the record itself or a descendant of
    it, as can happen when what was between them has been deleted. A parent that descends from the record, or
    differs from that of the standing record, is refused (FAMILY).

    Unless ``history`` is 0, the write appends a TransitionRow at ``at``, and only the newest ``history`` ones
    are kept; None: all.
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
    """Whether a commit is now the stored state; if not, ``version`` is the one that it lost against.

    0: there is no live record. UNREADABLE: the standing record can be neither read nor replaced, ``reason``
    says why. FAMILY: the parent is refused; ``reason`` is the id of the standing parent, "" if the named one
    is the record itself or descends from it. Nothing was written, and other writes of the call were not
    affected.
    """

    is_applied: bool
    version: int
    reason: str = ""


UNREADABLE: Final = -1
FAMILY: Final = -2

APPLIED: Final = Outcome(is_applied=True, version=0)

SWEPT_PER_COMMIT: Final = 2
"""How many expired records a write removes along the way: twice what it adds, so the backlog shrinks."""


class Where(NamedTuple):
    """Conditions on the records of a listing; None: any. Each field alone is served by an index.

    ``root``: the record of this id and all whose root it is. ``is_root``: only records without a parent; used
    only together with ``name``, and then an index as well.
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
    """A range of the merged listing of some statuses: at most ``limit`` live rows after ``after``.

    ``after`` None: from the start. ``newest_first`` False: in exactly the reverse order. ``with_body`` False
    leaves ``Row.body`` None.
    """

    statuses: tuple[str, ...]
    limit: int
    where: Where = ANYWHERE
    after: Position | None = None
    newest_first: bool = True
    with_body: bool = True


@dataclass(frozen=True, slots=True)
class Purged:
    """What one bounded step removed. ``is_done``: nothing was left to remove at its end."""

    live: int
    expired: int
    is_done: bool
