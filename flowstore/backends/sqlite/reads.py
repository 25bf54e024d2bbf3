"""Reads of the SQLite engine that take more than one statement."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from flowstore.backends.sqlite import writes
from flowstore.backends.sqlite.statements import SECTIONS, SQL, item_of, items_statement, read_items
from flowstore.engine import NAMESPACE, Asked, Item, Section


def facets(raw: sqlite3.Connection, ns: int, prefix: str, limit: int | None, after: str | None) -> list[str]:
    """Each by one search from the one before, so that it does not matter how many records have it."""
    found: list[str] = []
    start = prefix if after is None else max(prefix, after + "\0")
    while limit is None or len(found) < limit:
        rows = raw.execute(SQL["next_facet"], (ns, start)).fetchall()
        if not rows or not rows[0][0].startswith(prefix):
            break
        [(facet, is_fixed)] = rows
        if facet and not (is_fixed and not raw.execute(SQL["is_also_free"], (ns, facet)).fetchall()):
            found.append(facet)
        start = facet + "\0"
    return found


def items(raw: sqlite3.Connection, ns: int, asked: Sequence[Asked], now: int) -> list[list[Item]]:
    """All items of several records by one statement for each section, and whatever else one by one."""
    owners: dict[Section, list[str]] = {}
    for each in asked:
        if each.owner != NAMESPACE and each.keys is None and each.last is None:
            owners.setdefault(each.section, []).append(each.owner)
    found = {
        section: read_items(raw, ns, section, ids, now) for section, ids in owners.items() if len(ids) > 1
    }
    return [
        found[each.section].get(each.owner, [])
        if each.owner != NAMESPACE and each.keys is None and each.last is None and each.section in found
        else _items(raw, ns, each, now)
        for each in asked
    ]


def _items(raw: sqlite3.Connection, ns: int, asked: Asked, now: int) -> list[Item]:
    task = writes.owner(raw, ns, asked.owner, now)
    if task is None:
        return []
    keys: Sequence[object] | None = asked.keys
    if keys is not None and asked.section is Section.HISTORY:
        keys = [int(key) for key in asked.keys or () if key.isdecimal() and f"{int(key):016}" == key]
    place = (ns, task, SECTIONS[asked.section])
    values = (*place, *(keys or ()), -1 if asked.last is None else asked.last)
    rows = raw.execute(items_statement(None if keys is None else len(keys)), values).fetchall()
    return [item_of(asked.section, asked.owner, row) for row in reversed(rows)]
