"""The values of terms: prefixes, moments and ranges. Each is immutable, and its str is how a query says it.

What is relative, such as ``2h`` ago or ``today``, stays so until it is asked for its bounds at a time.
Bounds are the least and the greatest int that a range has, both included; None: there is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal

from flowstore._queries.scanning import as_value
from flowstore.times import from_micros, to_micros

Bounds = tuple[int | None, int | None]
Comparison = Literal["<", ">", ".."]

_UNITS: Final = {
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 604_800_000_000,
}
_DAY: Final = _UNITS["d"]
_MOST: Final = 100 * 366 * _DAY
_DURATION: Final = re.compile(r"([0-9]{1,12})(ms|[smhdw])")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?"
)
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}
_EPOCH: Final = date(1970, 1, 1)

A_DURATION: Final = "a number and one of ms, s, m, h, d, w, such as 90s, up to 100 years"
A_MOMENT: Final = (
    "a duration ago such as 2h, up to 100 years, a day in UTC such as 2026-11-25, today or yesterday, "
    "or a time with its zone such as 2026-11-25T10:00Z"
)


@dataclass(frozen=True, slots=True)
class Prefix:
    """How an id begins."""

    text: str

    def __str__(self) -> str:
        return f"{as_value(self.text)}*"


@dataclass(frozen=True, slots=True)
class Duration:
    """So many of a unit; as a moment: that long ago."""

    count: int
    unit: str

    @property
    def micros(self) -> int:
        return self.count * _UNITS[self.unit]

    def __str__(self) -> str:
        return f"{self.count}{self.unit}"

    def begins(self, now: int) -> int:
        return now - self.micros

    ends = begins


@dataclass(frozen=True, slots=True)
class Day:
    """A day in UTC: a date, or as many days ago as its name says."""

    on: date | str

    def __str__(self) -> str:
        return str(self.on)

    def begins(self, now: int) -> int:
        if isinstance(self.on, str):
            return (now // _DAY - _DAYS_AGO[self.on]) * _DAY
        return (self.on - _EPOCH).days * _DAY

    def ends(self, now: int) -> int:
        return self.begins(now) + _DAY


@dataclass(frozen=True, slots=True)
class Instant:
    """Microseconds since the epoch."""

    micros: int

    def __str__(self) -> str:
        """As short as can be: never longer than how it was said."""
        at = from_micros(self.micros).replace(tzinfo=None)
        if at.microsecond:
            return f"{at.isoformat().rstrip('0')}Z"
        return f"{at.isoformat(timespec='seconds' if at.second else 'minutes')}Z"

    def begins(self, now: int) -> int:
        return self.micros

    ends = begins


Moment = Duration | Day | Instant


@dataclass(frozen=True, slots=True)
class Times:
    """A range of times: from where ``first`` begins up to where ``last`` ends, which is not in it.

    With "<" and ">" one of them is a duration: the time is less, or more, than that long ago.
    """

    comparison: Comparison
    first: Moment | None = None
    last: Moment | None = None

    def __str__(self) -> str:
        if self.comparison != "..":
            return f"{self.comparison}{self.first or self.last}"
        if isinstance(self.first, Day) and self.first == self.last:
            return str(self.first)
        return f"{_said(self.first)}..{_said(self.last)}"

    def bounds(self, now: int) -> Bounds:
        is_less = self.comparison == "<"
        first = None if self.first is None else self.first.begins(now) + is_less
        return first, None if self.last is None else self.last.ends(now) - 1


@dataclass(frozen=True, slots=True)
class Amounts:
    """A range of durations or of numbers: less or more than one, or from one to another, both included."""

    comparison: Comparison
    least: Duration | int | None = None
    most: Duration | int | None = None

    def __str__(self) -> str:
        if self.comparison == "<":
            return f"<{self.most}"
        if self.comparison == ">":
            return f">{self.least}"
        if type(self.least) is int and self.least == self.most:
            return str(self.least)
        return f"{_said(self.least)}..{_said(self.most)}"

    def bounds(self, now: int) -> Bounds:
        least, most = _number(self.least), _number(self.most)
        if self.comparison == "<":
            return None, None if most is None else most - 1
        return (least + 1, None) if self.comparison == ">" and least is not None else (least, most)


def _said(end: Moment | int | None) -> str:
    return "" if end is None else str(end)


def _number(amount: Duration | int | None) -> int | None:
    return amount.micros if isinstance(amount, Duration) else amount


def duration(text: str) -> Duration | None:
    """None for what is not ``A_DURATION``, here and below."""
    found = _DURATION.fullmatch(text)
    if found is None:
        return None
    read = Duration(int(found[1]), found[2])
    return read if read.micros <= _MOST else None


def moment(text: str) -> Moment | None:
    if text in _DAYS_AGO:
        return Day(text)
    try:
        if _DATE.fullmatch(text):
            return Day(date.fromisoformat(text))
        if found := _INSTANT.fullmatch(text):
            return _instant(text) if found[3] else None
    except (ValueError, OverflowError):
        return None
    return duration(text)


def _instant(text: str) -> Instant:
    """Raises ValueError or OverflowError for what no datetime in UTC can be."""
    at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return Instant(to_micros(at.astimezone(UTC)))
