"""The statements of the SQL files, those that are made for a query, and the rows that they return."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from flowstore.backends.sqlite.connection import snapshot
from flowstore.engine import (
    BY_FINISH,
    STATUSES,
    UNSORTED,
    Entry,
    Item,
    Query,
    Section,
    Span,
    Standing,
    sort_key,
)

CODES: Final = {status: code for code, status in enumerate(STATUSES)}
SECTIONS: Final = {section: code for code, section in enumerate(Section)}
NAMES: Final = dict(enumerate(STATUSES))
_SIZES: Final = (10, 100, 500)
_SORT_BY: Final = f"coalesce(-task.{{column}}, {UNSORTED})"
_MOST_PER_READ: Final = 2**31 - 1  # of a blob, in bytes

WHOLE: Final = "CAST(body AS BLOB)"
OF_FINISHED: Final = f"CASE WHEN task.status > 2 THEN {WHOLE} END"
LEFT_OUT: Final = "NULL"
ROW: Final = f"CASE WHEN typeof(body) IN ('text', 'blob') THEN task.task ELSE {WHOLE} END"
"""What a statement selects as the body. For a part of it that is the number of its row, since any function of
SQL but typeof loads the whole body first, and for 3.38 to 3.42 even its length does: see ``entry_with_part``.
"""


class Stored(NamedTuple):
    """What a write has to know of the record that it meets; ``fixed`` and ``facets`` as they are stored."""

    task: int
    id: str
    status: int
    stage: int
    version: int
    submitted_at: int | None
    finished_at: int | None
    expires_at: int | None
    fixed: bytes | None
    facets: bytes | None
    check: int

    def is_expired(self, now: int) -> bool:
        return self.expires_at is not None and self.expires_at <= now

    def is_live_as(self, standing: Standing, now: int) -> bool:
        """Whether it is as it was read."""
        return (self.version, self.check) == standing and not self.is_expired(now)


def entry_of(row: Sequence[Any]) -> Entry:
    status = NAMES.get(row[1], "") if row[3] > 0 else ""
    try:
        return Entry._make((row[0], status, *row[2:10], texts(row[10]), texts(row[11]), *row[12:16], None))
    except ValueError:
        unread = b"%b %b" % (row[10] or b"", row[11] or b"")
        return Entry._make((row[0], "", *row[2:10], (), (), row[12], unread, *row[14:16], None))


def entry_with_part(raw: sqlite3.Connection, row: Sequence[Any], max_body: int) -> Entry:
    """The entry of a row with ROW as its body. Reads the pages with the beginning of the body, and no others.

    Within the transaction that the row was read in, or another record may have its number by now.
    """
    body = row[14]
    if isinstance(body, int):
        with raw.blobopen("task", "body", body, readonly=True) as opened:
            size, body = len(opened), opened.read(min(max_body, _MOST_PER_READ))
    else:  # a number, which somebody wrote by hand
        size, body = len(body), body[:max_body]
    entry = entry_of((*row[:14], body, *row[15:]))
    return entry if size <= max_body else entry._replace(body_size=size)


def texts(stored: bytes | None) -> tuple[str, ...]:
    """Raises ValueError for what this format never writes."""
    if stored is None:
        return ()
    return _parsed(stored) if len(stored) <= _MOST_REMEMBERED else _parse(stored)


def _parse(stored: bytes) -> tuple[str, ...]:
    found = from_json(stored)
    if type(found) is not list or not all(type(text) is str for text in found):
        raise ValueError("not a list of texts")
    return tuple(found)


_parsed: Final = lru_cache(500)(_parse)  # many records have the same name and worker
_MOST_REMEMBERED: Final = 500


def joined(facets: tuple[str, ...]) -> str | None:
    return to_json(facets).decode() if facets else None


def value_of(data: bytes) -> str | bytes:
    """JSON is stored as text, so that people can read it, and anything else as a blob."""
    try:
        return data.decode() if data[:1] in b"{[" else data
    except UnicodeDecodeError:
        return data


def listings(
    record: tuple[int, int, str, int], times: tuple[int | None, int | None], fixed: Any, facets: Any
) -> list[tuple[Any, ...]]:
    """The rows of table ``facet`` of one record: of ns, task, id and status; of submission and finish."""
    ns, task, task_id, status = record
    sort = sort_key(times[0])
    rows = [(ns, "", status, sort, task_id, task, 0)]
    for number, facet in enumerate((*fixed, *facets)):
        key = sort_key(times[1]) if facet[0] == BY_FINISH else sort
        rows.append((ns, facet, status, key, task_id, task, int(number < len(fixed))))
    return rows


def item_of(section: Section, owner: str, row: Sequence[Any]) -> Item:
    key, version, at, check, value = row
    return Item(owner, f"{key:016}" if section is Section.HISTORY else key, version, at, check, value)


def scan_statement(query: Query, now: int) -> tuple[str, list[Any]]:
    """One index range for each status and facet of the first group, merged by SQLite; and the values but ns.

    Other groups are tested on what is merged, so that the walk ends as soon as the page is full.
    "" where the range is empty.
    """
    bounds = bounds_of(query)
    if bounds is None:
        return "", []
    body = _body(query.with_body, query.max_body)
    statement = _scan(len(query.statuses), shape_of(query), query.newest_first, query.has_fixed, body)
    return statement, [now, *bounds, query.limit, *indexes_of(query)]


def bounds_of(query: Query) -> tuple[int, str | bytes, int] | None:
    """The place behind which the range begins, and the sort key that it ends with. None: it is empty."""
    low, high = query.within or (-UNSORTED, UNSORTED)
    # A blob is beyond all texts, "" before all ids: so the start of a range is a place, too.
    start, end = ((low, ""), high) if query.newest_first else ((high, b""), low)
    if (after := query.after) is not None and low <= after.sort <= high:
        start = after
    elif after is not None and (after.sort < low) is not query.newest_first:
        return None  # it is behind the range
    return (*start, end)


Shape = tuple[tuple[int, bool], ...]
"""Of each group how many facets it has, and whether they list by finish."""


def shape_of(query: Query) -> Shape:
    return tuple((len(group), group[0].startswith(BY_FINISH)) for group in (query.first, *query.groups[1:]))


def indexes_of(query: Query) -> list[int | str]:
    """The values for ``numbered``."""
    codes = [CODES[status] for status in query.statuses]
    return [*codes, *query.first, *(facet for group in query.groups[1:] for facet in group)]


def numbered(start: int, statuses: int, shape: Shape) -> tuple[list[str], list[list[str]]]:
    """The parameters of a statement from ``start``: of its statuses, and of the facets of each group."""
    numbers = iter(range(start, 10_000))
    codes = [f"?{next(numbers)}" for _ in range(statuses)]
    return codes, [[f"?{next(numbers)}" for _ in range(size)] for size, _ in shape]


def conditions_of(shape: Shape, facets: Sequence[Sequence[str]], has_fixed: bool | None) -> str:
    """What is tested on each row of ``merged``."""
    conditions = "".join(
        SQL["and_facet"].format(facets=", ".join(group), sort=_sort(shape[0][1], is_by_finish))
        for group, (_, is_by_finish) in zip(facets[1:], shape[1:], strict=True)
    )
    if has_fixed is not None:
        conditions += SQL["and_fixed"].format(negated="NOT" if has_fixed else "")
    return conditions


@cache
def _scan(statuses: int, shape: Shape, newest_first: bool, has_fixed: bool | None, body: str) -> str:
    codes, facets = numbered(7, statuses, shape)
    direction, after, until = ("ASC", ">", "<=") if newest_first else ("DESC", "<", ">=")
    conditions = conditions_of(shape, facets, has_fixed)
    columns = _columns("merged" if conditions else "facet", body)
    made = SQL["merged_range" if conditions else "scan_range"]
    ranges = " UNION ALL ".join(
        made.format(columns=columns, facet=facet, status=code, after=after, until=until)
        for code in codes
        for facet in facets[0]
    )
    if not conditions:
        return f"{ranges} ORDER BY sort {direction}, id {direction} LIMIT ?6"
    return SQL["scan_merged"].format(
        columns=columns, ranges=ranges, direction=direction, conditions=conditions
    )


def _sort(is_walk_by_finish: bool, is_by_finish: bool) -> str:
    if is_walk_by_finish is is_by_finish:
        return "merged.sort"
    return _SORT_BY.format(column="finished_at" if is_by_finish else "submitted_at")


def _body(with_body: bool, max_body: int | None) -> str:
    return LEFT_OUT if not with_body else WHOLE if max_body is None else ROW


def _columns(table: str, body: str) -> str:
    return SQL["columns"].format(table=table, body=body)


@cache
def read_statement(size: int, body: str) -> str:
    return SQL["read"].format(columns=_columns("task", body), ids=", ".join("?" * size))


@cache
def stored_statement(size: int, _: str) -> str:
    return SQL["stored"].format(ids=", ".join("?" * size))


def scan_entries(raw: sqlite3.Connection, ns: int, query: Query, now: int) -> list[Entry]:
    statement, values = scan_statement(query, now)
    if not statement:
        return []
    # Always fetchall: a cursor that is not exhausted keeps its snapshot, and the WAL can never be reset.
    if not query.with_body or query.max_body is None:
        return list(map(entry_of, raw.execute(statement, (ns, *values)).fetchall()))
    with snapshot(raw):
        rows = raw.execute(statement, (ns, *values)).fetchall()
        return [entry_with_part(raw, row, query.max_body) for row in rows]


def read_entries(raw: sqlite3.Connection, ns: int, ids: Sequence[str], body: str) -> list[Entry | None]:
    """``body``: WHOLE, OF_FINISHED or LEFT_OUT."""
    found = _rows(raw, ns, ids, read_statement, body)
    return list(map({row[0]: entry_of(row) for row in found}.get, ids))


def read_parts(raw: sqlite3.Connection, ns: int, ids: Sequence[str], max_body: int) -> list[Entry | None]:
    with snapshot(raw):
        rows = _rows(raw, ns, ids, read_statement, ROW)
        return list(map({row[0]: entry_with_part(raw, row, max_body) for row in rows}.get, ids))


def read_stored(raw: sqlite3.Connection, ns: int, ids: Sequence[str]) -> dict[str, Stored]:
    return {row[1]: Stored._make(row) for row in _rows(raw, ns, ids, stored_statement)}


def _rows(
    raw: sqlite3.Connection,
    ns: int,
    ids: Sequence[str],
    made: Callable[[int, str], str],
    body: str = "",
) -> list[Any]:
    """By statements of a few sizes, so that they stay prepared; padded with NULL, which equals no id."""
    if len(ids) == 1:
        return raw.execute(made(1, body), (ns, ids[0])).fetchall()
    rows = []
    for start in range(0, len(ids), _SIZES[-1]):
        part = ids[start : start + _SIZES[-1]]
        size = next(size for size in _SIZES if size >= len(part))
        values = (ns, *part, *[None] * (size - len(part)))
        rows += raw.execute(made(size, body), values).fetchall()
    return rows


@cache
def owned_statement(size: int, section: str) -> str:
    return SQL["owned"].format(section=section, ids=", ".join("?" * size))


def read_items(
    raw: sqlite3.Connection, ns: int, section: Section, owners: Sequence[str], now: int
) -> dict[str, list[Item]]:
    """All items of a section by their owner, of those that are live and have any."""
    found: dict[str, list[Item]] = {}
    for owner, expires_at, *row in _rows(raw, ns, owners, owned_statement, str(SECTIONS[section])):
        if expires_at is None or expires_at > now:
            found.setdefault(owner, []).append(item_of(section, owner, row))
    return found


@cache
def items_statement(keys: int | None) -> str:
    """For so many keys; None: for all."""
    return SQL["items"].format(and_key="" if keys is None else f"AND key IN ({', '.join('?' * keys)})")


def timeline_statement(span: Span) -> tuple[str, int, int, str, int, int]:
    """And its values, after the namespace."""
    first, behind = (span.start, -1, ""), (span.end + 1, -1, "")
    after = None if span.after is None else (span.after.at, int(span.after.key), span.after.owner)
    if span.newest_first:
        return SQL["timeline_back"], *min(behind, after or behind), span.start, span.limit
    return SQL["timeline"], *max(first, after or first), span.end, span.limit


def named_statements(file: str) -> dict[str, str]:
    """The statements of a file in this folder, by the name above each."""
    parts = files(__package__).joinpath(file).read_text("utf-8").split("-- name: ")[1:]
    return {name: sql.strip().rstrip(";") for name, sql in (part.split("\n", 1) for part in parts)}


def split(script: str) -> list[str]:
    """The statements of a script. Not ``executescript``, which commits the transaction around it."""
    statements, current = [], ""
    for line in script.splitlines(keepends=True):
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current)
            current = ""
    return [*statements, current] if current.strip() else statements


SCHEMA: Final = named_statements("schema.sql")
SQL: Final = named_statements("statements.sql")
