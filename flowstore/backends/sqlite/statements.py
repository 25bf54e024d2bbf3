"""The statements of statements.sql, those that are built for a query, and the rows that they return."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final, NamedTuple

from flowstore.engine import Asked, Query, Row, Span, Where

_FETCH_SIZES: Final = (1, 10, 100, 500)
_HAS_LABEL: Final = "EXISTS (SELECT 1 FROM json_each(labels) WHERE value = :label)"
_IN_FAMILY: Final = "(root_id = :root OR task.id = :root)"


class _Range(NamedTuple):
    """One index range: where its rows come from, in the order of that index, and what they must satisfy."""

    source: str
    table: str
    """The table whose status, sort and id are in the index."""
    conditions: str


def row_of(found: Sequence[Any]) -> Row:
    *columns, text = found
    labels = _labels(text) if text else ()
    if labels is None:
        return Row._make((*columns, ()))._replace(status="", head=text.encode())
    return Row._make((*columns, labels))


def _labels(text: str) -> tuple[str, ...] | None:
    """None for text that this format never writes."""
    try:
        labels = json.loads(text)
        return tuple(map(_unescaped, labels)) if isinstance(labels, list) else None
    except (ValueError, TypeError, RecursionError):
        return None


def escaped(label: str) -> str:
    """Without NUL, at which SQLite's JSON functions end a text."""
    return label.replace("\1", "\1\1").replace("\0", "\1\2")


def _unescaped(label: str) -> str:
    return re.sub("\1([\1\2])", lambda found: "\1" if found[1] == "\1" else "\0", label)


def scan_statement(query: Query) -> tuple[str, dict[str, Any]]:
    """One index range per status, merged by SQLite.

    Only constants are pasted into the text. All values are bound: ids and names may contain anything.
    """
    before, direction = (">", "ASC") if query.newest_first else ("<", "DESC")
    branches = [
        SQL["scan_branch"].format(
            columns=_columns(query.with_body, part.table),
            source=part.source,
            table=part.table,
            status=f"status_{number}",
            conditions=part.conditions,
            and_after=""
            if query.after is None
            else f"AND ({part.table}.sort, {part.table}.id) {before} (:after_sort, :after_id)",
        )
        for number in range(len(query.statuses))
        for part in _ranges(query.where)
    ]
    order = f" ORDER BY sort {direction}, id {direction} LIMIT :limit"
    values: dict[str, Any] = {f"status_{number}": status for number, status in enumerate(query.statuses)}
    values |= {"limit": query.limit, **_values(query.where)}
    if query.after is not None:
        values |= {"after_sort": query.after.sort, "after_id": query.after.id}
    return " UNION ALL ".join(branches) + order, values


def count_statement(where: Where) -> tuple[str, dict[str, Any]]:
    branches = [
        SQL["count_branch"].format(source=part.source, table=part.table, conditions=part.conditions)
        for part in _ranges(where)
    ]
    return SQL["count_where"].format(branches=" UNION ALL ".join(branches)), _values(where)


def _values(where: Where) -> dict[str, Any]:
    return {**where._asdict(), "label": where.label and escaped(where.label)}


def _ranges(where: Where) -> list[_Range]:
    """The first filter given, of parent, worker, root, label and name, picks the index; others are tested.

    INDEXED BY, because the planner has no statistics and may choose an index that has to be sorted.
    """
    conditions = {
        "parent": "parent_id = :parent",
        "worker": "worker_id = :worker",
        "root": _IN_FAMILY,
        "label": _HAS_LABEL,
        "name": "task_name = :name" + (" AND parent_id IS NULL" if where.is_root else ""),
    }
    given = [name for name in conditions if getattr(where, name) is not None]
    if not given:
        return [_Range("task INDEXED BY task_by_status", "task", "TRUE")]
    first, *others = given
    rest = "".join(f" AND {conditions[name]}" for name in others)
    return [part._replace(conditions=part.conditions + rest) for part in _leading(first, where)]


def _leading(first: str, where: Where) -> list[_Range]:
    if first == "root":
        # Three ranges that do not overlap, so that no record is listed twice. The last two add up to
        # root_id = :root; the children are found by their parent, and the index of roots leaves them out.
        below = "root_id = :root AND root_id <> parent_id"
        return [
            _Range("task", "task", "task.id = :root AND root_id IS NOT :root"),
            _Range("task INDEXED BY task_by_parent", "task", "parent_id = :root AND root_id = :root"),
            _Range("task INDEXED BY task_by_root", "task", below),
        ]
    if first == "label":
        joined = "label CROSS JOIN task ON task.ns = label.ns AND task.id = label.id"
        return [_Range(joined, "label", "label.label = :label")]
    if first == "name":
        runs = _Range("task INDEXED BY task_by_run", "task", "task_name = :name AND parent_id IS NULL")
        steps = _Range("task INDEXED BY task_by_step", "task", "task_name = :name AND parent_id IS NOT NULL")
        return [runs] if where.is_root else [runs, steps]
    return [_Range(f"task INDEXED BY task_by_{first}", "task", f"{first}_id = :{first}")]


def history_statement(span: Span) -> tuple[str, dict[str, Any]]:
    at, seq, after_id = (span.start, 0, "") if span.after is None else span.after[:3]
    name = "history" if span.id is None else "history_of_task"
    values = {"start": span.start, "end": span.end, "after_at": at, "after_seq": seq, "after_id": after_id}
    return SQL["history_first" if span.first_only else name], {**values, "id": span.id, "limit": span.limit}


def kept_statement(asked: Asked) -> tuple[str, dict[str, Any]]:
    names = {f"key_{number}": key for number, key in enumerate(asked.keys or ())}
    and_key = "" if asked.keys is None else f"AND key IN ({', '.join(f':{name}' for name in names)})"
    statement = SQL["kept"].format(and_key=and_key, direction="ASC" if asked.last is None else "DESC")
    limit = -1 if asked.last is None else asked.last
    return statement, {**names, "section": asked.section, "owner": asked.owner, "limit": limit}


def fetches(ids: Sequence[str], with_body: bool) -> Iterator[tuple[str, tuple[str | None, ...]]]:
    """Statements of a few sizes, so that they stay prepared; padded with NULL, which equals no id."""
    for start in range(0, len(ids), _FETCH_SIZES[-1]):
        part = ids[start : start + _FETCH_SIZES[-1]]
        size = next(size for size in _FETCH_SIZES if size >= len(part))
        yield _fetch_statement(size, with_body), (*part, *[None] * (size - len(part)))


@cache
def _fetch_statement(size: int, with_body: bool) -> str:
    return SQL["fetch"].format(columns=_columns(with_body, "task"), ids=", ".join("?" * size))


def _columns(with_body: bool, table: str) -> str:
    return SQL["columns"].format(table=table, body="CAST(body AS BLOB)" if with_body else "NULL")


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


SQL: Final = named_statements("statements.sql")
