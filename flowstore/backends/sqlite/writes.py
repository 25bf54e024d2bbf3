"""The writes of the SQLite engine, inside of the transaction of their call.

A call is carried out in three steps: read what stands of all its ids, decide in Python, and write what has
become of each record, with one executemany for each kind of row. No trigger helps: what a row has in other
tables is written by the same step, and counts are added up for the whole call.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from flowstore.backends.sqlite.deciding import Record, Records
from flowstore.backends.sqlite.statements import (
    CODES,
    SECTIONS,
    SQL,
    Stored,
    joined,
    listings,
    read_stored,
    texts,
    value_of,
)
from flowstore.backends.sqlite.statistics import Counts
from flowstore.engine import (
    ANY_STAGE,
    NAMESPACE,
    Entry,
    Expiry,
    Outcome,
    Put,
    Report,
    Standing,
    Verdict,
    Write,
)

Rows = list[tuple[Any, ...]]

_LONG_BODY: Final = 16_384


def write(raw: sqlite3.Connection, ns: int, writes: Sequence[Write], now: int) -> list[Outcome]:
    ids = [wanted.entry.id for wanted in writes]
    ids += {wanted.owner.id for wanted in writes if wanted.owner is not None}
    records = Records(read_stored(raw, ns, ids), now)
    outcomes = [records.apply(wanted) for wanted in writes]
    step = _Step(raw, ns)
    for record in records.values():
        if record.entry is not None:
            step.store(record, record.entry)
    step.finish()
    return outcomes


def remove(raw: sqlite3.Connection, ns: int, rows: Iterable[Stored]) -> None:
    step = _Step(raw, ns)
    for stored in rows:
        step.remove(stored)
    step.finish()


NO_LIMIT: Final = 2**63 - 1


def sweep(raw: sqlite3.Connection, ns: int, limit: int = NO_LIMIT) -> int:
    """Where no record is left, remove what only a change by hand can have left of them, and wrong counts.

    How many rows that were, at most ``limit``; if it is as many, there may be more.
    """
    if raw.execute(SQL["has_tasks"], (ns,)).fetchall():
        return 0
    removed = 0
    for kind in ("item", "facet", "time"):
        removed += _drop(raw, ns, f"lost_{kind}s", f"drop_{kind}", limit - removed)
    if removed < limit:
        raw.execute(SQL["drop_tally"], (ns,))
    return removed


def drop_namespace(raw: sqlite3.Connection, ns: int, limit: int, now: int) -> bool:
    """Remove what is left once all records are; False while there is more of it than ``limit`` rows."""
    removed = _drop(raw, ns, "some_items", "drop_item", limit)
    if removed < limit:
        removed += sweep(raw, ns, limit - removed)
    for kind in ("minute", "hour", "group"):
        removed += _drop(raw, ns, f"some_{kind}s", f"drop_{kind}", limit - removed)
    if removed >= limit:
        return False
    raw.execute(SQL["drop_marks_of_hours"], (ns,))
    raw.execute(SQL["mark_dropped"], (ns, now))
    return True


def _drop(raw: sqlite3.Connection, ns: int, find: str, drop: str, limit: int) -> int:
    rows = raw.execute(SQL[find], (ns, limit)).fetchall()
    raw.executemany(SQL[drop], rows)
    return len(rows)


def those_standing(
    found: Mapping[str, Stored], ids: Sequence[str], standing: Sequence[Standing], now: int
) -> list[str | None]:
    """The ids, with None in place of those that no live record has as it was read."""
    return [
        task_id if (stored := found.get(task_id)) and stored.is_live_as(wanted, now) else None
        for task_id, wanted in zip(ids, standing, strict=True)
    ]


_ORDER: Final = (
    *("drop_task", "insert", "update", "update_beside", "add_tally"),
    *("drop_facet", "drop_lost_facets", "add_facet", "drop_time", "log", "log_time"),
)
"""The statements of a step. What is dropped comes before what may take its place."""


class _Step:
    """Collects the rows of each statement, and carries them out all at once."""

    def __init__(self, raw: sqlite3.Connection, ns: int) -> None:
        self._raw = raw
        self._ns = ns
        self._last_task = 0
        self._tally: defaultdict[int, int] = defaultdict(int)
        self._counts = Counts(ns)
        self._rows: dict[str, Rows] = {name: [] for name in _ORDER}

    def store(self, record: Record, entry: Entry) -> None:
        rows, stored = self._rows, record.stored
        task = self._next_task() if stored is None else stored.task
        row, listed = rows_of(self._ns, task, record.version, entry)
        if entry.body is None:
            rows["update_beside"].append(row[:-1])
        else:
            rows["insert" if stored is None else "update"].append(row)
        self._tally[CODES[entry.status]] += 1
        if stored is not None:
            listed = self._replace(record, stored, listed)
        for write, is_first in record.counted:
            self._counts.add(write, is_first)
        rows["add_facet"] += listed
        for key, at, logged in record.logged:
            rows["log"].append((self._ns, task, key, at, logged.check, value_of(logged.value)))
            rows["log_time"].append((self._ns, at, key, entry.id, task))

    def remove(self, stored: Stored) -> None:
        self._tally[stored.status] -= 1
        self._rows["drop_task"].append((stored.task,))
        self._rows["drop_facet"] += [row[:5] for row in self._listed(stored)]
        self._drop_items(stored)

    def finish(self) -> None:
        rows = self._rows
        rows["add_tally"] = [(self._ns, *change) for change in self._tally.items() if change[1]]
        for name in _ORDER:
            if len(rows[name]) == 1:
                self._raw.execute(SQL[name], rows[name][0])
            elif rows[name]:
                self._raw.executemany(SQL[name], rows[name])
        self._counts.store(self._raw)

    def _replace(self, record: Record, stored: Stored, listed: Rows) -> Rows:
        """Drop what the standing record leaves behind; the rows of ``listed`` that are new."""
        self._tally[stored.status] -= 1
        if record.is_anew:
            self._drop_items(stored)
        elif record.older is not None and stored.version > record.older:
            self._drop_log("trim_log", stored, record.older)
        before = self._listed(stored)
        kept = {*before} & {*listed}
        self._rows["drop_facet"] += [row[:5] for row in before if row not in kept]
        return [row for row in listed if row not in kept]

    def _next_task(self) -> int:
        if not self._last_task:
            [(self._last_task,)] = self._raw.execute(SQL["last_task"], (self._ns,)).fetchall()
        self._last_task += 1
        return self._last_task

    def _listed(self, stored: Stored) -> Rows:
        """Where it is listed. If that cannot be told, nothing, and everything with its id will go."""
        key = (self._ns, stored.task, stored.id, stored.status)
        try:
            fixed, facets = texts(stored.fixed), texts(stored.facets)
        except ValueError:
            self._rows["drop_lost_facets"].append((self._ns, stored.id))
            return []
        return listings(key, (stored.submitted_at, stored.finished_at), fixed, facets)

    def _drop_items(self, stored: Stored) -> None:
        self._drop_log("drop_log", stored)
        self._raw.execute(SQL["drop_items"], (self._ns, stored.task))

    def _drop_log(self, statement: str, stored: Stored, *keep: int) -> None:
        found = self._raw.execute(SQL[statement], (self._ns, stored.task, *keep)).fetchall()
        self._rows["drop_time"] += [(self._ns, at, key, stored.id) for at, key in found]


def rows_of(ns: int, task: int, version: int, entry: Entry) -> tuple[tuple[Any, ...], Rows]:
    """The row of table ``task``, and those of table ``facet``."""
    code = CODES.get(entry.status, -1)  # none of an old file that was changed by hand
    row = (
        *(task, ns, entry.id, code, entry.stage, version, *entry[4:10]),  # from submission to expiry
        *(entry.check, joined(entry.fixed), joined(entry.facets), entry.head.decode()),
        None if entry.progress is None else entry.progress.decode(),
        value_of(entry.body or b"{}"),
    )
    times = (entry.submitted_at, entry.finished_at)
    return row, listings((ns, task, entry.id, code), times, entry.fixed, entry.facets)


def report(raw: sqlite3.Connection, ns: int, wanted: Report, now: int) -> bool:
    """A change of one column writes the whole row. So the progress of a long one goes beside it."""
    stages = wanted.stages or (0, ANY_STAGE)
    found = raw.execute(SQL["open_task"], (ns, wanted.id, *stages, now)).fetchall()
    if not found:
        return False
    [(task, version, has_bytes)] = found
    progress = wanted.progress.decode()
    if has_bytes and _body_size(raw, task) >= _LONG_BODY:
        raw.execute(SQL["report_beside"], (ns, task, version, now, progress))
    else:
        raw.execute(SQL["report"], (progress, task))
    if wanted.expiry is not None:
        expire(raw, ns, wanted.expiry, now)
    return True


def expire(raw: sqlite3.Connection, ns: int, wanted: Expiry, now: int) -> bool:
    values = (wanted.expires_at, wanted.check, ns, wanted.id, wanted.version, wanted.standing, now)
    return raw.execute(SQL["expire"], values).rowcount > 0


def _body_size(raw: sqlite3.Connection, task: int) -> int:
    """In bytes, without reading it, as no function of SQL in 3.38 can."""
    with raw.blobopen("task", "body", task, readonly=True) as opened:
        return len(opened)


def owner(raw: sqlite3.Connection, ns: int, task_id: str, now: int) -> int | None:
    """The number of a live record, 0 for the namespace, or None."""
    if task_id == NAMESPACE:
        return 0
    found = raw.execute(SQL["owner"], (ns, task_id, now)).fetchall()
    return found[0][0] if found else None


def put(raw: sqlite3.Connection, ns: int, wanted: Put, now: int) -> Outcome:
    task = owner(raw, ns, wanted.owner, now)
    if task is None:
        return Outcome(Verdict.OWNERLESS, key=wanted.key or "")
    section = (ns, task, SECTIONS[wanted.section])
    key = wanted.key
    if key is None:
        [(last,)] = raw.execute(SQL["last_key"], section).fetchall()
        key = f"{int(last or 0) + 1:016}"
    place = (*section, key)
    if wanted.if_version is not None or wanted.value is None:
        standing = raw.execute(SQL["item_version"], place).fetchall()
        version = standing[0][0] if standing else 0
        if wanted.if_version not in (None, version) or (wanted.value is None and not standing):
            return Outcome(Verdict.STANDING, version, key)
    if wanted.value is None:
        raw.execute(SQL["drop_item"], place)
        return Outcome(Verdict.APPLIED, 0, key)
    if wanted.stamp is None:
        values = (*place, now, wanted.check, value_of(wanted.value))
        [(version,)] = raw.execute(SQL["put"], values).fetchall()
    else:
        version, at = wanted.stamp
        raw.execute(SQL["drop_item"], place)
        raw.execute(SQL["add_item"], (*place, version, at, wanted.check, value_of(wanted.value)))
    if wanted.keep is not None:
        raw.execute(SQL["trim"], (*section, wanted.keep))
    return Outcome(Verdict.APPLIED, version, key)
