"""Statistics as an engine sees them: counters that writes add to, by the minute and by the hour; and groups.

An engine adds, keeps and returns. What a series is of and what a bucket means is known to the core alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

MOST_GROUPS: Final = 2_000
"""How many groups a namespace keeps. A new one beyond that takes the place of the one seen longest ago."""

OF_GROUP: Final = "!"
"""How the name of a series begins that is of a group."""

GROUP_KEPT: Final = 90 * 86_400_000_000
"""Microseconds after it was last seen until a purge removes a group."""


class Tier(StrEnum):
    """How finely is counted: in periods of a minute or an hour, which begin at multiples of their length."""

    MINUTE = "minute"
    HOUR = "hour"

    @property
    def length(self) -> int:
        """In microseconds."""
        return _LENGTHS[self]

    @property
    def kept(self) -> int:
        """For how many microseconds after a period has begun its counters are kept, at least."""
        return _KEPT[self]

    def start(self, at: int) -> int:
        """Of the period that a time is in."""
        return at - at % _LENGTHS[self]


_LENGTHS: Final = {Tier.MINUTE: 60_000_000, Tier.HOUR: 3_600_000_000}
_KEPT: Final = {Tier.MINUTE: 25 * 3_600_000_000, Tier.HOUR: 91 * 86_400_000_000}
"""A day and 90 days that are over, whenever one looks."""


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """What a write counts, once it is applied: one in ``bucket`` of ``series``.

    It counts in the minute and in the hour of ``entry.updated_at``: where no live record stood, and unless
    ``is_first`` also where one stood in another status or stage. So what is only written anew counts nothing.
    Series and buckets are any text, "" among them.

    One object serves many writes, and an engine may add up those that share it before it adds to anything.
    """

    series: str
    bucket: str
    is_first: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Noted:
    """The group that a write belongs to, and an example of it, not empty.

    It is counted as a Mark that is not ``is_first``, and counts one in ``bucket`` of a series, too, which has
    the name of the group behind OF_GROUP.
    """

    group: str
    example: bytes
    bucket: str = ""

    def added_to(self, known: Group | None, at: int) -> Group:
        """The group once it counts a write of this time as well; None: it was not known before."""
        if known is None:
            return Group(self.group, 1, at, at, self.example)
        example = self.example if at >= known.last_at else known.example
        first, last = min(known.first_at, at), max(known.last_at, at)
        return Group(self.group, known.total + 1, first, last, example)


class Group(NamedTuple):
    """A group as stored: how many writes it counts, when the first and the last were; the last one's example.

    Times are those of ``entry.updated_at``: the earliest and the latest of them.
    """

    id: str
    total: int
    first_at: int
    last_at: int
    example: bytes


class Tallied(NamedTuple):
    """The counters to read: of a series in the periods that begin from ``start`` to before ``end``.

    They are added up over spans of ``every`` microseconds from ``start`` on. Both are multiples of the length
    of the tier.
    """

    tier: Tier
    series: str
    start: int
    end: int
    every: int


class Cell(NamedTuple):
    """A counter that is not 0: of the span that begins at ``at``."""

    at: int
    bucket: str
    number: int
