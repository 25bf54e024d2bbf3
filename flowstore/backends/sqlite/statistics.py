"""Counters and groups: the rows that a step adds to them, and what is read of them.

What the writes of a transaction count is added up first, so that a busy series costs one row for each of its
buckets, however many writes there are. A trigger would add each by itself, which takes a fifth of a write.

A write adds to the minutes only. An hour that is over is closed by whoever purges: its minutes are added up,
in one transaction with the mark up to which hours are closed. Whatever comes later than that adds to its hour
as well. So an hour is what its row says if it is closed, and otherwise the sum of its minutes, at any moment.

What was counted since ever is told likewise: closed hours are added to the totals, in one transaction with
the mark up to which they are, and whatever comes later adds to these as well. No hour is dropped before. A
total is a row of the hours, at the end of time, where no program looks that does not know of it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from math import inf
from typing import Final

from flowstore.backends.sqlite.connection import snapshot
from flowstore.backends.sqlite.statements import SQL, value_of
from flowstore.engine import (
    GROUP_KEPT,
    MOST_GROUPS,
    OF_GROUP,
    UNSORTED,
    Cell,
    Group,
    Mark,
    Tallied,
    Tier,
    Write,
)

_MINUTE: Final = Tier.MINUTE.length
_HOUR: Final = Tier.HOUR.length
_FIRST: Final = {Tier.MINUTE: "first_in_minute", Tier.HOUR: "first_in_hour"}
_NEXT: Final = {Tier.MINUTE: "next_in_minute", Tier.HOUR: "next_in_hour"}
_CLOSED, _ADDED_UP = "", "totals"
"""The keys of the marks: hours that begin before that time are closed, or in the totals."""
_BEHIND_GROUPS: Final = OF_GROUP + "\U0010ffff"
_TRIM_EVERY: Final = 600_000_000
_GRACE: Final = 300_000_000
"""How long after its end an hour is closed: until then most writes of it have come."""
_ROWS_PER_STEP: Final = 5_000
_HOURS_PER_STEP: Final = 100

Place = tuple[str, int, str]
"""Series, beginning of the period, bucket."""


class Counts:
    """What the writes of one transaction count in a namespace."""

    def __init__(self, ns: int) -> None:
        self._ns = ns
        self._marks: dict[tuple[Mark, int], int] = {}
        """How often a mark counts in a minute. One object serves many writes."""
        self._groups: dict[str, Group] = {}

    def add(self, write: Write, is_first: bool) -> None:
        at, marks = write.entry.updated_at, self._marks
        minute = at - at % _MINUTE
        for mark in write.marks:
            if is_first or not mark.is_first:
                key = (mark, minute)
                marks[key] = marks.get(key, 0) + 1
        if (noted := write.noted) is not None:
            self._groups[noted.group] = noted.added_to(self._groups.get(noted.group), at)
            marks[Mark(OF_GROUP + noted.group, noted.bucket), minute] = 1

    def store(self, raw: sqlite3.Connection) -> None:
        if self._marks:
            self._store_cells(raw)
        if self._groups:
            self._store_groups(raw)

    def _store_cells(self, raw: sqlite3.Connection) -> None:
        minutes: Counter[Place] = Counter()
        for (mark, minute), number in self._marks.items():
            minutes[mark.series, minute, mark.bucket] += number
        raw.executemany(SQL["add_minute"], [(self._ns, *cell, n) for cell, n in minutes.items()])
        closed = _mark(raw, self._ns, _CLOSED)
        if any(minute < closed for _, minute, _ in minutes):
            self._store_late(raw, {place: n for place, n in minutes.items() if place[1] < closed})

    def _store_late(self, raw: sqlite3.Connection, minutes: dict[Place, int]) -> None:
        added_up, hours = _mark(raw, self._ns, _ADDED_UP), Counter[Place]()
        for (series, minute, bucket), number in minutes.items():
            hour = Tier.HOUR.start(minute)
            hours[series, hour, bucket] += number
            if hour < added_up and not series.startswith(OF_GROUP):
                hours[series, UNSORTED, bucket] += number
        raw.executemany(SQL["add_hour"], [(self._ns, *cell, n) for cell, n in hours.items()])

    def _store_groups(self, raw: sqlite3.Connection) -> None:
        known = {group.id for group in groups(raw, self._ns, list(self._groups))}
        rows = [
            (self._ns, id, first, last, n, value_of(example))
            for id, n, first, last, example in self._groups.values()
        ]
        raw.executemany(SQL["add_group"], rows)
        if self._groups.keys() - known:
            raw.execute(SQL["trim_groups"], (self._ns, MOST_GROUPS))


def _mark(raw: sqlite3.Connection, ns: int, key: str) -> int:
    rows = raw.execute(SQL["mark_of_hours"], (ns, key)).fetchall()
    return rows[0][0] if rows else -UNSORTED


def series(raw: sqlite3.Connection, ns: int, prefix: str) -> list[str]:
    return list({name for tier in Tier for name in _series(raw, ns, tier, prefix)})


def tallies(raw: sqlite3.Connection, ns: int, asked: Sequence[Tallied]) -> list[list[Cell]]:
    with snapshot(raw):  # an hour may be closed between two reads
        closed = _mark(raw, ns, _CLOSED)
        return [_cells(raw, ns, one, closed) for one in asked]


def totals(raw: sqlite3.Connection, ns: int, series: Sequence[str]) -> list[dict[str, int]]:
    with snapshot(raw):
        since = _mark(raw, ns, _ADDED_UP), _mark(raw, ns, _CLOSED)
        return [_total(raw, ns, one, *since) for one in series]


def _total(raw: sqlite3.Connection, ns: int, series: str, added_up: int, closed: int) -> dict[str, int]:
    if series.startswith(OF_GROUP):
        return {}
    sums: Counter[str] = Counter()
    for bucket, number in raw.execute(SQL["total"], (ns, series, added_up, closed, UNSORTED)):
        sums[bucket] += number
    return dict(sums)


def _cells(raw: sqlite3.Connection, ns: int, asked: Tallied, closed: int) -> list[Cell]:
    if asked.tier is Tier.MINUTE:
        return list(map(Cell._make, _read(raw, ns, "minutes", asked, asked.start, asked.end)))
    rows = _read(raw, ns, "hours", asked, asked.start, min(asked.end, closed))
    rows += _read(raw, ns, "minutes", asked, max(asked.start, closed), asked.end)
    sums: Counter[tuple[int, str]] = Counter()
    for at, bucket, number in rows:
        sums[at, bucket] += number
    return [Cell(*place, number) for place, number in sorted(sums.items())]


def _read(
    raw: sqlite3.Connection, ns: int, table: str, asked: Tallied, start: int, end: int
) -> list[tuple[int, str, int]]:
    """The sums of the rows from ``start`` to before ``end``, in the spans that are asked for."""
    if start >= end:
        return []
    values = (ns, asked.series, start, end)
    if asked.every == (_MINUTE if table == "minutes" else _HOUR):
        return raw.execute(SQL[table], values).fetchall()
    return raw.execute(SQL[f"summed_{table}"], (*values, asked.every, asked.start)).fetchall()


def groups(raw: sqlite3.Connection, ns: int, ids: Sequence[str] | None) -> list[Group]:
    if ids is None:
        return list(map(Group._make, raw.execute(SQL["groups"], (ns,)).fetchall()))
    rows = [raw.execute(SQL["group"], (ns, group)).fetchall() for group in dict.fromkeys(ids)]
    return [Group._make(row) for found in rows for row in found]


class Trimming:
    """Closes hours that are over, and drops what is older than it is kept, both now and then.

    Both go through all series, of which there may be thousands. After a long pause hours are closed in
    several steps, so that no other process waits for long, and nothing is dropped before all are.
    """

    def __init__(self) -> None:
        self._trimmed_at: float = -inf

    def step(self, raw: sqlite3.Connection, ns: int, now: int) -> bool:
        """True if there is nothing left to do for the time being."""
        over = Tier.HOUR.start(now - _GRACE)
        closed = _close(raw, ns, over)
        added_up = _add_up(raw, ns, closed)
        if added_up < over:
            return False
        if abs(now - self._trimmed_at) < _TRIM_EVERY:  # whichever way the clock has gone
            return True
        self._trimmed_at = now
        for name in _series(raw, ns, Tier.MINUTE):
            raw.execute(SQL["drop_minutes"], (ns, name, now - Tier.MINUTE.kept))
        for name in _series(raw, ns, Tier.HOUR):
            raw.execute(SQL["drop_hours"], (ns, name, now - Tier.HOUR.kept))
        raw.execute(SQL["drop_groups"], (ns, now - GROUP_KEPT))
        return True


def _close(raw: sqlite3.Connection, ns: int, over: int) -> int:
    """Close hours that are over; up to where they are closed then."""
    return _moved(raw, ns, _CLOSED, over, lambda: list(_series(raw, ns, Tier.MINUTE)))


def _add_up(raw: sqlite3.Connection, ns: int, closed: int) -> int:
    """Add closed hours to the totals; up to where they are added up then.

    Nothing is added up for groups, of which there would be ever more.
    """

    return _moved(raw, ns, _ADDED_UP, closed, lambda: list(_series_but_groups(raw, ns, Tier.HOUR)))


_FIRST_OF: Final = {_CLOSED: "first_minute", _ADDED_UP: "first_hour"}
_STEP_OF: Final = {_CLOSED: "close_hour", _ADDED_UP: "add_up_hour"}


def _moved(raw: sqlite3.Connection, ns: int, key: str, over: int, series: Callable[[], list[str]]) -> int:
    """Where a mark stands once it is moved towards ``over``, hour by hour, with what belongs to it."""
    mark = _mark(raw, ns, key)
    if mark >= over:
        return mark
    names, rows, moved = series(), 0, 0
    for _ in range(_HOURS_PER_STEP):
        if not moved:  # there may be years without any
            found = [raw.execute(SQL[_FIRST_OF[key]], (ns, name, mark)).fetchall() for name in names]
            mark = min([over, *(Tier.HOUR.start(first[0][0]) for first in found if first)])
        if mark >= over or rows > _ROWS_PER_STEP:
            break
        hour = (mark, mark + _HOUR)
        moved = sum(raw.execute(SQL[_STEP_OF[key]], (ns, name, *hour)).rowcount for name in names)
        rows += moved
        mark += _HOUR
    raw.execute(SQL["set_mark_of_hours"], (ns, key, mark))
    return mark


def _series(raw: sqlite3.Connection, ns: int, tier: Tier, prefix: str = "") -> Iterator[str]:
    """Each by one search from the one before."""
    rows = raw.execute(SQL[_FIRST[tier]], (ns, prefix)).fetchall()
    while rows and rows[0][0].startswith(prefix):
        yield rows[0][0]
        rows = raw.execute(SQL[_NEXT[tier]], (ns, rows[0][0])).fetchall()


def _series_but_groups(raw: sqlite3.Connection, ns: int, tier: Tier) -> Iterator[str]:
    rows = raw.execute(SQL[_FIRST[tier]], (ns, "")).fetchall()
    while rows:
        is_group = rows[0][0].startswith(OF_GROUP)
        if not is_group:
            yield rows[0][0]
        rows = raw.execute(SQL[_NEXT[tier]], (ns, _BEHIND_GROUPS if is_group else rows[0][0])).fetchall()
