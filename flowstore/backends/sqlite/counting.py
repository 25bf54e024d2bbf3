"""Counts of the SQLite engine: of ranges of the indexes, without a look into records where that can be.

What a limit allows is found first, as a place: then each range is counted up to it by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from flowstore.backends.sqlite.connection import snapshot
from flowstore.backends.sqlite.statements import (
    NAMES,
    SQL,
    Shape,
    bounds_of,
    conditions_of,
    indexes_of,
    numbered,
    shape_of,
)
from flowstore.engine import NO_LIMIT, Counted, Position, Query

Bounds = tuple[int, str | bytes, int]


def count(raw: sqlite3.Connection, ns: int, query: Query) -> Counted:
    if query.is_everything:
        counted = Counted(_added(query, raw.execute(SQL["count"], (ns,)).fetchall()))
        if counted.total <= query.limit:
            return counted
    bounds = bounds_of(replace(query, newest_first=True))
    if bounds is None or not query.statuses:
        return Counted({})
    with snapshot(raw):
        last = _last(raw, ns, query, bounds)
        end = last or (bounds[2], b"")
        statement = counting_statement(len(query.statuses), shape_of(query), query.has_fixed)
        values = (ns, *bounds[:2], *end, *indexes_of(query))
        return Counted(_added(query, raw.execute(statement, values).fetchall()), last)


def _last(raw: sqlite3.Connection, ns: int, query: Query, bounds: Bounds) -> Position | None:
    """The place of the last entry that may be looked at; None if that is the end anyway."""
    if query.limit == NO_LIMIT:
        return None
    first = replace(query, groups=query.groups[:1])
    statement = last_statement(len(query.statuses), len(query.first))
    values = (ns, *bounds, query.limit - 1, *indexes_of(first))
    places = raw.execute(statement, values).fetchall()
    return Position(*places[0]) if len(places) > 1 else None


def _added(query: Query, rows: Iterable[tuple[int, int]]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for code, number in rows:
        status = NAMES.get(code)
        if status in query.statuses:
            counts[status] = counts.get(status, 0) + number
    return counts


@cache
def last_statement(statuses: int, facets: int) -> str:
    codes, [names] = numbered(6, statuses, ((facets, False),))
    ranges = [SQL["counted_place"].format(facet=name, status=code) for code in codes for name in names]
    return SQL["last_counted"].format(ranges=" UNION ALL ".join(ranges))


@cache
def counting_statement(statuses: int, shape: Shape, has_fixed: bool | None) -> str:
    codes, facets = numbered(6, statuses, shape)
    conditions = conditions_of(shape, facets, has_fixed)
    join = SQL["join_task"].format(table="merged") if "task." in conditions else ""
    return " UNION ALL ".join(
        SQL["counted_range"].format(status=code, facet=facet, join=join, conditions=conditions)
        for code in codes
        for facet in facets[0]
    )
