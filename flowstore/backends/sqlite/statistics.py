"""Counters and groups: the rows that a step adds to them, and what is read of them.

What the writes of a transaction count is added up first, so that a busy series costs one row for each of its
buckets, however many writes there are. A trigger would add each by itself, which takes a fifth of a write.

A write adds to the minutes only. An hour that is over is closed by whoever purges: its minutes are added up,
in one transaction with the mark up to which hours are closed. Whatever comes later than that adds to its hour
as well. So an hour is what its row says if it is closed, and otherwise the sum of its minutes, at any moment.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
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
        closed = _closed(raw, self._ns)
        if any(minute < closed for _, minute, _ in minutes):
            hours: Counter[Place] = Counter()
            for (series, minute, bucket), number in minutes.items():
                if minute < closed:
                    hours[series, Tier.HOUR.start(minute), bucket] += number
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


def _closed(raw: sqlite3.Connection, ns: int) -> int:
    """Hours that begin before this time are closed."""
    rows = raw.execute(SQL["closed"], (ns,)).fetchall()
    return rows[0][0] if rows else -UNSORTED


def series(raw: sqlite3.Connection, ns: int, prefix: str) -> list[str]:
    return list({name for tier in Tier for name in _series(raw, ns, tier, prefix)})


def tallies(raw: sqlite3.Connection, ns: int, asked: Sequence[Tallied]) -> list[list[Cell]]:
    with snapshot(raw):  # an hour may be closed between two reads
        closed = _closed(raw, ns)
        return [_cells(raw, ns, one, closed) for one in asked]


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
    several steps, so that no other process waits for long.
    """

    def __init__(self) -> None:
        self._trimmed_at: float = -inf

    def step(self, raw: sqlite3.Connection, ns: int, now: int) -> None:
        closed = _close(raw, ns, now)
        if abs(now - self._trimmed_at) < _TRIM_EVERY:  # whichever way the clock has gone
            return
        self._trimmed_at = now
        for name in _series(raw, ns, Tier.MINUTE):  # those of open hours are still to be added up
            raw.execute(SQL["drop_minutes"], (ns, name, min(now - Tier.MINUTE.kept, closed)))
        for name in _series(raw, ns, Tier.HOUR):
            raw.execute(SQL["drop_hours"], (ns, name, now - Tier.HOUR.kept))
        raw.execute(SQL["drop_groups"], (ns, now - GROUP_KEPT))


def _close(raw: sqlite3.Connection, ns: int, now: int) -> int:
    """Close hours that are over; up to where they are closed then."""
    closed, over = _closed(raw, ns), Tier.HOUR.start(now - _GRACE)
    if closed >= over:
        return closed
    names, rows = list(_series(raw, ns, Tier.MINUTE)), 0
    if closed == -UNSORTED:
        firsts = [raw.execute(SQL["first_minute"], (ns, name)).fetchall()[0][0] for name in names]
        closed = min([over, *map(Tier.HOUR.start, firsts)])
    for _ in range(_HOURS_PER_STEP):
        if closed >= over or rows > _ROWS_PER_STEP:
            break
        for name in names:
            rows += raw.execute(SQL["close_hour"], (ns, name, closed, closed + _HOUR)).rowcount
        closed += _HOUR
    if not names:
        closed = over
    raw.execute(SQL["set_closed"], (ns, closed))
    return closed


def _series(raw: sqlite3.Connection, ns: int, tier: Tier, prefix: str = "") -> Iterator[str]:
    """Each by one search from the one before."""
    rows = raw.execute(SQL[_FIRST[tier]], (ns, prefix)).fetchall()
    while rows and rows[0][0].startswith(prefix):
        yield rows[0][0]
        rows = raw.execute(SQL[_NEXT[tier]], (ns, rows[0][0])).fetchall()
