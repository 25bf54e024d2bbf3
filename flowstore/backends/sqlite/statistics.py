"""Counters and groups: the rows that a step adds to them, and what is read of them.

What the writes of a transaction count is added up first, so that a busy series costs one row for each of its
buckets, however many writes there are. A trigger would add each by itself, which takes a fifth of a write.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from flowstore.backends.sqlite.statements import SQL, value_of
from flowstore.engine import (
    GROUP_KEPT,
    MOST_GROUPS,
    OF_GROUP,
    Cell,
    Group,
    Marks,
    Noted,
    Tallied,
    Tier,
    Write,
)

_ADD: Final = {Tier.MINUTE: "add_minute", Tier.HOUR: "add_hour"}
_READ: Final = {Tier.MINUTE: "minutes", Tier.HOUR: "hours"}
_FIRST: Final = {Tier.MINUTE: "first_in_minute", Tier.HOUR: "first_in_hour"}
_NEXT: Final = {Tier.MINUTE: "next_in_minute", Tier.HOUR: "next_in_hour"}
_MINUTE: Final = Tier.MINUTE.length
_TRIM_EVERY: Final = 600_000_000
_DROP: Final = {Tier.MINUTE: "drop_minutes", Tier.HOUR: "drop_hours"}

Place = tuple[str, int, str]
"""Series, beginning of the period, bucket."""


class Counts:
    """What the writes of one transaction count in a namespace."""

    def __init__(self, ns: int) -> None:
        self._ns = ns
        self._marks: dict[tuple[Marks, int, bool], int] = {}
        """How many writes there are by what they count, the minute they count in, and whether they are the
        first of their record. One object serves many writes, so each of these costs one addition.
        """
        self._groups: dict[str, Group] = {}

    def add(self, write: Write, is_first: bool) -> None:
        at = write.entry.updated_at
        if write.marks is not None:
            self._mark(write.marks, at, is_first)
        if (noted := write.noted) is not None:
            self._note(noted, at)
            self._mark(Marks((OF_GROUP + noted.group,), (), (noted.bucket,)), at, is_first)

    def _mark(self, marks: Marks, at: int, is_first: bool) -> None:
        key = (marks, at - at % _MINUTE, is_first)
        self._marks[key] = self._marks.get(key, 0) + 1

    def _note(self, noted: Noted, at: int) -> None:
        known = self._groups.get(noted.group)
        if known is None:
            self._groups[noted.group] = Group(noted.group, 1, at, at, noted.example)
            return
        example = noted.example if at >= known.last_at else known.example
        first, last = min(known.first_at, at), max(known.last_at, at)
        self._groups[noted.group] = Group(noted.group, known.total + 1, first, last, example)

    def store(self, raw: sqlite3.Connection) -> None:
        minutes: Counter[Place] = Counter()
        for (marks, minute, is_first), number in self._marks.items():
            for bucket in marks.first + marks.changed if is_first else marks.changed:
                for series in marks.series:
                    minutes[series, minute, bucket] += number
        hours: Counter[Place] = Counter()
        for (series, minute, bucket), number in minutes.items():
            hours[series, Tier.HOUR.start(minute), bucket] += number
        for tier, cells in ((Tier.MINUTE, minutes), (Tier.HOUR, hours)):
            if cells:
                raw.executemany(SQL[_ADD[tier]], [(self._ns, *cell, n) for cell, n in cells.items()])
        if self._groups:
            self._store_groups(raw)

    def _store_groups(self, raw: sqlite3.Connection) -> None:
        known = {group.id for group in groups(raw, self._ns, list(self._groups))}
        rows = [
            (self._ns, id, first, last, n, value_of(example))
            for id, n, first, last, example in self._groups.values()
        ]
        raw.executemany(SQL["add_group"], rows)
        if self._groups.keys() - known:
            raw.execute(SQL["trim_groups"], (self._ns, MOST_GROUPS))


def tallies(raw: sqlite3.Connection, ns: int, asked: Sequence[Tallied]) -> list[list[Cell]]:
    return [_cells(raw, ns, one) for one in asked]


def _cells(raw: sqlite3.Connection, ns: int, asked: Tallied) -> list[Cell]:
    values: tuple[object, ...] = (ns, asked.series, asked.start, asked.end)
    statement = _READ[asked.tier]
    if asked.every != asked.tier.length:
        statement, values = f"summed_{statement}", (*values, asked.every)
    return list(map(Cell._make, raw.execute(SQL[statement], values).fetchall()))


def groups(raw: sqlite3.Connection, ns: int, ids: Sequence[str] | None) -> list[Group]:
    if ids is None:
        return list(map(Group._make, raw.execute(SQL["groups"], (ns,)).fetchall()))
    rows = [raw.execute(SQL["group"], (ns, group)).fetchall() for group in dict.fromkeys(ids)]
    return [Group._make(row) for found in rows for row in found]


class Trimming:
    """Drops what is over, of each series a range from its beginning; now and then, as these may be many."""

    def __init__(self) -> None:
        self._next: float = -inf

    def step(self, raw: sqlite3.Connection, ns: int, now: int) -> None:
        if now < self._next:
            return
        self._next = now + _TRIM_EVERY
        for tier in Tier:
            for series in _series(raw, ns, tier):
                raw.execute(SQL[_DROP[tier]], (ns, series, now - tier.kept))
        raw.execute(SQL["drop_groups"], (ns, now - GROUP_KEPT))


def _series(raw: sqlite3.Connection, ns: int, tier: Tier) -> Iterator[str]:
    """Each by one search from the one before."""
    rows = raw.execute(SQL[_FIRST[tier]], (ns,)).fetchall()
    while rows:
        [(series,)] = rows
        yield series
        rows = raw.execute(SQL[_NEXT[tier]], (ns, series)).fetchall()
