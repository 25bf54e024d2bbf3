"""Records as an engine sees them, the writes that replace them, and the listings that find them.

Times are int microseconds since the Unix epoch. A record has no meaning here: what it is listed by is data
(facets), which write may replace it is a number to compare (stage), and head, body and progress are bytes
that nobody below the core looks into.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from flowstore.engine.tallies import Mark, Noted

STATUSES: Final = ("pending", "running", "retrying", "success", "failed", "cancelled")
FINAL: Final = frozenset({"success", "failed", "cancelled"})
"""A record in one of these is finished: nothing is reported for it, and a wait for it is over."""

UNSORTED: Final = 2**63 - 1
"""The sort key of a record without the time that a listing goes by: after all others, newest first."""

ANY_STAGE: Final = 2**53 - 1
"""The ceiling of a write that replaces whatever stands. No stage is higher."""

BY_FINISH: Final = "~"
"""How a facet begins that lists its records by ``finished_at``. All others list by ``submitted_at``."""

EVERYTHING: Final = ("",)
"""The group that lists all records where a storage keeps an index of them. A query for all has no groups."""

NO_LIMIT: Final = 2**63 - 1
"""The limit of a count of all there is."""

SWEPT_PER_WRITE: Final = 2
"""How many expired records a write removes along the way: twice what it adds, so the backlog shrinks."""


def sort_key(time: int | None) -> int:
    """Minus the time, so that newest first is ascending; within 64 bits whatever was stored."""
    if time is None:
        return UNSORTED
    if -UNSORTED <= time <= UNSORTED:
        return -time
    return UNSORTED if time < 0 else -UNSORTED


class Position(NamedTuple):
    """A place in a listing. Ids break ties, by code point, which is also the order of their UTF-8 bytes."""

    sort: int
    id: str


class Entry(NamedTuple):
    """One record as stored.

    ``status`` is one of STATUSES; "" marks stored bytes that are no record of this format, with the beginning
    of them in ``head`` and the other fields without meaning, except for ``submitted_at`` if it is known.
    ``version`` counts the writes of the record from 1; one that is stored anew after it was removed, or has
    expired, begins with 1 again. ``expires_at`` None: never.

    ``fixed`` and ``facets`` are what it is listed by besides its status, each an index of its own. A record
    gets its ``fixed`` facets by the first write that has any, and keeps them. Both hold any text but "",
    without duplicates, together at most 261. A facet that is fixed in one record is so wherever it occurs.

    ``check`` is a signed number of 64 bits that the core stores along, to find damage when it reads.
    ``body`` is None if it was not asked for, ``progress`` if there is none. A head and a progress are text in
    UTF-8, a body is any bytes, and none is empty.

    ``body_size`` is not stored. Where ``body`` is only the beginning, since no more was asked for, it
    is the size in bytes of the whole; None where ``body`` is whole or left out.
    """

    id: str
    status: str
    stage: int
    version: int
    submitted_at: int | None
    started_at: int | None
    finished_at: int | None
    due_at: int | None
    updated_at: int
    expires_at: int | None
    fixed: tuple[str, ...]
    facets: tuple[str, ...]
    check: int
    head: bytes
    body: bytes | None
    progress: bytes | None = None
    body_size: int | None = None

    @property
    def position(self) -> Position:
        """Its place in every listing by submission."""
        return Position(sort_key(self.submitted_at), self.id)

    def position_in(self, facet: str) -> Position:
        is_by_finish = facet.startswith(BY_FINISH)
        return Position(sort_key(self.finished_at if is_by_finish else self.submitted_at), self.id)

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class Logged(NamedTuple):
    """A history item that an applied write leaves: its value and check; ``keep``: see ``Put``."""

    value: bytes
    check: int
    keep: int | None = None


class Owner(NamedTuple):
    """The record that a write needs: live, in a stage from ``lowest`` to ``highest``, both included, and if
    ``is_open`` not finished.
    """

    id: str
    lowest: int = 0
    highest: int = ANY_STAGE
    is_open: bool = False

    def admits(self, status: str, stage: int) -> bool:
        """Whether it is such a record, if it is live."""
        return self.lowest <= stage <= self.highest and not (self.is_open and status in FINAL)


class Write(NamedTuple):
    """One write, applied whole or not at all. ``entry`` replaces what stands; its ``version`` is not read.

    An engine decides in this order, looking at live records only, but for the token:

    1. The standing record, live or expired, has the same ``token``: the write was applied before, by a driver
       that sent it twice. APPLIED, nothing is written. (An engine whose driver sends once need not look.)
    2. The write has an ``owner``, and no such record stands: OWNERLESS. One that is UNREADABLE is none.
    3. The guard. ``if_version`` None: the record is absent, or its ``stage <= ceiling``. Otherwise its
       version is exactly ``if_version``, 0 meaning absent, and ``ceiling`` is not read; and its check is
       ``standing``, if that is given. If not: STANDING.
    4. The standing record has ``fixed`` facets, and they are not those of the entry: FIXED.

    Applied, it gets the next version, loses the items of an expired predecessor, and appends ``logged`` to
    the items of Section.HISTORY: at ``entry.updated_at``, with the new version in 16 digits as the key, and
    version 1 of its own.

    With ``standing``, which comes with an ``if_version`` of at least 1, the body of the entry is None: that
    of the standing record stays.

    ``marks`` and ``noted`` are counted with it, in the same commit: see there. Whatever is told again of a
    write that was applied before, under 1., is not counted again.
    """

    entry: Entry
    token: str
    ceiling: int
    if_version: int | None = None
    logged: Logged | None = None
    standing: int | None = None
    owner: Owner | None = None
    marks: tuple[Mark, ...] = ()
    noted: Noted | None = None


class Verdict(StrEnum):
    """What became of a write or a put."""

    APPLIED = "applied"
    STANDING = "standing"
    FIXED = "fixed"
    OWNERLESS = "ownerless"
    UNREADABLE = "unreadable"


class Outcome(NamedTuple):
    """APPLIED: it is the stored state. Otherwise nothing was written, and no other write was affected.

    STANDING: the guard does not hold; ``version`` is the one that stands, 0 if there is no live record.
    FIXED: the standing record has other ``fixed`` facets, these. UNREADABLE: what stands can be neither read
    nor replaced; ``reason`` says why. Of a write, OWNERLESS: its owner does not stand as it has to, in
    ``version`` or, with 0, not at all. Of a put: its owner is no live record; ``key`` is the key of the item,
    and ``version`` the one that stands there now, 0 if none does.
    """

    verdict: Verdict
    version: int = 0
    key: str = ""
    fixed: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_applied(self) -> bool:
        return self.verdict is Verdict.APPLIED


APPLIED: Final = Outcome(Verdict.APPLIED)


class Standing(NamedTuple):
    """What tells a record that was read from whatever else has its id before or after."""

    version: int
    check: int


@dataclass(frozen=True, slots=True)
class Query:
    """A range of the merged listing of some statuses: at most ``limit`` live records after ``after``.

    ``groups``: a record qualifies that has one facet of each group; (): all do. The first group is the index
    that is walked, the others are tested on the way; no record has two facets of one group, and those of the
    first group all begin with BY_FINISH or none does. ``after`` None: from the start. ``within``: only sort
    keys from the first to the second, both included. ``newest_first`` False: exactly the reverse order.
    ``with_body`` False leaves ``Entry.body`` None and costs nothing that grows with the bodies. ``max_body``:
    as in ``Engine.read``. ``has_fixed``: only records that have ``fixed`` facets, or if False only those that
    have none, which is tested on the way; None: both.
    """

    statuses: tuple[str, ...]
    limit: int
    groups: tuple[tuple[str, ...], ...] = ()
    after: Position | None = None
    within: tuple[int, int] | None = None
    newest_first: bool = True
    with_body: bool = True
    max_body: int | None = None
    has_fixed: bool | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether anything is tested on the way."""
        return len(self.groups) > 1 or self.has_fixed is not None

    @property
    def first(self) -> tuple[str, ...]:
        """The group that is walked."""
        return self.groups[0] if self.groups else EVERYTHING

    @property
    def is_everything(self) -> bool:
        """Whether it is about all records in its statuses."""
        return not self.groups and self.within is None and self.after is None and self.has_fixed is None

    def holds(self, entry: Entry, place: Position, now: int) -> bool:
        """Whether a record that was listed at ``place`` still belongs there, under whichever status.

        One that cannot be read does: only the listing says where it belongs.
        """
        if not entry.status:
            return True
        is_there = entry.status in self.statuses and entry.position_in(self.first[0]) == place
        return is_there and not entry.is_expired(now) and self._has_first(entry) and self.admits(entry)

    def _has_first(self, entry: Entry) -> bool:
        return not self.groups or not {*entry.fixed, *entry.facets}.isdisjoint(self.groups[0])

    def admits(self, entry: Entry) -> bool:
        """Whether the record passes what is tested on the way."""
        if self.has_fixed is not None and bool(entry.fixed) is not self.has_fixed:
            return False
        facets = {*entry.fixed, *entry.facets}
        return not any(facets.isdisjoint(group) for group in self.groups[1:])


class Listed(NamedTuple):
    """An entry of a listing: where it is, in which status, and what its engine wants to know again.

    See ``Engine.places``. The status is that of the listing in which it was found.
    """

    position: Position
    status: str
    mark: object = None


def every(*groups: tuple[str, ...]) -> Query:
    """To count all records that have one facet of each group."""
    return Query(STATUSES, NO_LIMIT, groups, with_body=False)


class Counted(NamedTuple):
    """How many records of a query there are in each status; one without any may be left out.

    ``next``: the place of the last one that was looked at, if there are others behind; None: these are all.
    """

    counts: dict[str, int]
    next: Position | None = None

    @property
    def total(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Purged:
    """What one bounded step removed. ``is_done``: nothing was left to remove at its end."""

    live: int
    expired: int
    is_done: bool
