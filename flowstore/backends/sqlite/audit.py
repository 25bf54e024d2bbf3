"""One step of an audit of a SQLite file: in one transaction, so that no writer comes in between.

SQL says of nearly every row that it is sound. What is left is looked at in Python, row by row, so that a page
that cannot be read hides only what is on it. Where two say differently who a row is, a third one decides: the
row, the index of ids, and the listing of all records.

The records are walked along the index of ids. Where that cannot be read, those that are listed take their
place.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydantic_core import to_json

from flowstore.backends.sqlite.audit_step import BEHIND, COLUMNS, Step
from flowstore.backends.sqlite.statements import listings, texts
from flowstore.engine import (
    STATUSES,
    WHOLE_STORE,
    Audited,
    AuditedRecord,
    FlawKind,
    Section,
    sort_key,
)

IDS: Final = "the index of ids"
EXPIRIES: Final = "the index of expiries"
TIMELINE: Final = "the timeline"
_SECTIONS: Final = (Section.HISTORY, Section.DATA, Section.CHECKPOINT)
_LEAST: Final = -(2**63)


class _Place(NamedTuple):
    """Where a walk has got to. ``has_lost_ids``: the index of ids could not be walked to its end.

    ``unsorted``: tables in which rows are not where their keys belong, and cannot be put there. Nothing is
    mended in them, as it could only get worse. None: nobody has looked.
    """

    phase: int = 0
    at: tuple[Any, ...] = ()
    has_lost_ids: bool = False
    unsorted: frozenset[str] | None = None


class _Row(NamedTuple):
    task: int
    id: str
    status: int
    submitted_at: int | None
    finished_at: int | None
    expires_at: int | None
    fixed: bytes | None
    facets: bytes | None
    has_history: int
    has_data: int
    has_checkpoints: int
    is_sound: int


def audit(
    raw: sqlite3.Connection,
    path: Path,
    ns: int,
    prefix: str,
    after: object,
    limit: int,
    repair: Collection[str] = (),
    disordered: Sequence[str] = (),
) -> Audited:
    """Within a transaction, of writing if anything is to be mended."""
    place = after if isinstance(after, _Place) else _Place()
    step = Step(raw, path, ns, prefix, limit, repair)
    step.has_lost_ids = place.has_lost_ids
    step.unsorted = frozenset(place.unsorted or ())
    step.unsorted |= {table for table in disordered if not step.put_in_order(table)}
    phases = _PHASES if not prefix else _PHASES[:_OF_ALL]
    at = phases[place.phase](step, place.at)
    phase = place.phase if at else place.phase + 1
    unsorted = step.unsorted if repair else place.unsorted
    behind = _Place(phase, at, step.has_lost_ids, unsorted) if phase < len(phases) else None
    return Audited(tuple(step.records), tuple(step.flaws), behind)


def disordered(raw: sqlite3.Connection, after: object) -> list[str]:
    """The tables whose rows are not where their keys belong, so that a search misses them.

    Asked once in a walk that mends, and outside of its transaction: it takes as long as reading them.
    """
    if isinstance(after, _Place) and after.unsorted is not None:
        return []
    checks = {table: raw.execute(f"PRAGMA integrity_check({table})").fetchall() for table in COLUMNS}
    return [table for table, found in checks.items() if found != [("ok",)]]


def _of_ids(step: Step, at: tuple[Any, ...]) -> tuple[Any, ...]:
    """Records along the index of ids; ``at``: the last one, as bytes, since it may be no text any more."""
    start = at[0] if at else _before(step.prefix)
    found = step.tried(IDS, "ids", start, step.behind, step.limit)
    if found is None:
        step.has_lost_ids = True
        if WHOLE_STORE in step.repair and step.reindex("reindex_ids"):
            step.flaws[-1] = step.flaws[-1]._replace(is_repaired=True)
        return ()
    _look_at_ids(step, found)
    return (found[-1][1],) if len(found) == step.limit else ()


def _before(prefix: str) -> bytes:
    """Whatever is greater than this begins with the prefix, or is behind it. No id ends with this byte."""
    *front, last = prefix.encode() or b"\0"
    return bytes(front) if not last else bytes([*front, last - 1, 0xFF])


def _look_at_ids(step: Step, found: Sequence[tuple[int, bytes]]) -> None:
    numbers = to_json([task for task, _ in found]).decode()
    try:
        rows = {row[0]: _Row._make(row) for row in step.rows("records", numbers)}
    except sqlite3.Error as error:
        if not step.is_damage(error):
            raise
        rows = {}
    for task, stored in found:
        row = rows.get(task)
        if row is None:
            row = _row_alone(step, task, stored)
        if row is not None:
            _look_at_row(step, row, stored)


def _row_alone(step: Step, task: int, stored: bytes) -> _Row | None:
    task_id = stored.decode(errors="replace")
    where = f"row {task} of the records"
    try:
        rows = step.rows("records", f"[{task}]")
    except sqlite3.Error as error:
        if not step.is_damage(error):
            raise
        step.found(FlawKind.DAMAGED, task_id, where, str(error))
        return None
    if not rows:
        mend = lambda: step.reindex("reindex_ids")  # noqa: E731
        step.found(FlawKind.DANGLING, task_id, IDS, "it lists a record that is not there", mend)
        return None
    return _Row._make(rows[0])


def _look_at_row(step: Step, row: _Row, stored: bytes) -> None:
    if row.id.encode() != stored:
        _look_at_two_ids(step, row, stored)
        return
    has = (row.has_history, row.has_data, row.has_checkpoints)
    sections = tuple(section for section, is_there in zip(_SECTIONS, has, strict=True) if is_there)
    step.records.append(AuditedRecord(row.id, sections))
    if not row.is_sound:
        step.each([row], lambda _: _look_closely(step, row))


def _look_at_two_ids(step: Step, row: _Row, stored: bytes) -> None:
    """The index of ids is wrong if the listing of all records agrees with the row."""
    listed = step.rows("listed_id", row.status, sort_key(row.submitted_at), row.task)
    is_right = (row.id,) in listed
    reason = f"it lists the record as {stored.decode(errors='replace')!r}"
    mend = (lambda: step.reindex("reindex_ids")) if is_right else None
    step.found(FlawKind.MISPLACED, row.id, IDS, reason, mend)


def _look_closely(step: Step, row: _Row) -> None:
    try:
        facets = texts(row.fixed), texts(row.facets)
    except ValueError:
        return  # whoever reads the record says so
    record, times = (step.ns, row.task, row.id, row.status), (row.submitted_at, row.finished_at)
    for listed in listings(record, times, *facets):
        there = step.rows("is_listed", *listed[1:5])
        if there != [(row.task, listed[6])]:
            _unlisted(step, row.id, _listing(listed[1], row.status), "add_facet", listed)
    for at, key in step.rows("untimed", row.task, row.id):
        _unlisted(step, row.id, TIMELINE, "log_time", (step.ns, at, key, row.id, row.task))
    if row.expires_at is not None and not step.rows("is_due", row.expires_at, row.task):
        reason = "it does not list the record"
        step.found(FlawKind.UNLISTED, row.id, EXPIRIES, reason, lambda: step.reindex("reindex_expiry"))


def _unlisted(step: Step, task_id: str, where: str, statement: str, values: tuple[Any, ...]) -> None:
    reason = "it does not list the record"
    step.found(FlawKind.UNLISTED, task_id, where, reason, lambda: step.run(statement, *values))


def _listing(facet: str, status: int) -> str:
    name = STATUSES[status] if 0 <= status < len(STATUSES) else status
    return f"listing {name} {facet!r}"


def _of_facets(step: Step, at: tuple[Any, ...]) -> tuple[Any, ...]:
    """Listing by listing, each newest last; ``at``: facet, status, sort key and id."""
    left = step.limit
    facet, status, sort, task_id = at or ("", _LEAST, _LEAST, "")
    while left > 0:
        if sort == _LEAST:
            found = step.tried("the listings", "next_range", facet, status)
            if not found:
                return ()
            [(facet, status)] = found
            sort, task_id = 2**63 - 1, BEHIND
        quoted = to_json(facet).decode()
        where = _listing(facet, status)
        entries = step.tried(
            where, "entries", facet, status, sort, task_id, step.prefix, step.behind, quoted, left
        )
        for entry in entries or ():
            _look_at_entry(step, facet, status, entry)
        sort = _LEAST
        if entries and len(entries) == left:
            sort, task_id = entries[-1][:2]
        left -= len(entries or ()) + 1
    return (facet, status, sort, task_id)


def _look_at_entry(step: Step, facet: str, status: int, entry: tuple[int, str, int, int, int]) -> None:
    if step.has_lost_ids and not facet and entry[1].startswith(step.prefix):
        step.records.append(AuditedRecord(entry[1]))
    if not entry[4]:
        step.each([entry], lambda _: _look_at_doubtful(step, facet, status, entry))


def _look_at_doubtful(step: Step, facet: str, status: int, entry: tuple[int, str, int, int, int]) -> None:
    sort, task_id, task, is_fixed, _ = entry
    where = _listing(facet, status)
    found = step.rows("records", f"[{task}]")
    mend = lambda: step.run("drop_facet", step.ns, facet, status, sort, task_id)  # noqa: E731
    if not found:
        step.found(FlawKind.DANGLING, task_id, where, "it lists a record that is not there", mend)
        return
    row = _Row._make(found[0])
    known = step.rows("number", row.id)
    if row.id == task_id and known != [(task,)]:
        reason = "it does not list the record"
        step.found(FlawKind.UNLISTED, task_id, IDS, reason, lambda: step.reindex("reindex_ids"))
        return
    record, times = (step.ns, row.task, row.id, row.status), (row.submitted_at, row.finished_at)
    own = listings(record, times, *_facets(row))
    if (step.ns, facet, status, sort, task_id, task, is_fixed) not in own:
        # The row may be what is damaged, if nobody else knows it by its id.
        is_sure = row.id == task_id or known == [(task,)]
        reason = "it lists the record where it does not belong"
        step.found(FlawKind.MISPLACED, task_id, where, reason, mend if is_sure else None)


def _facets(row: _Row) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        return texts(row.fixed), texts(row.facets)
    except ValueError:
        return (), ()


def _of_times(step: Step, at: tuple[Any, ...]) -> tuple[Any, ...]:
    start = at or (_LEAST, _LEAST, "")
    found = step.tried(TIMELINE, "times", *start, step.prefix, step.behind, step.limit)
    for entry in found or ():
        if not entry[4]:
            step.each([entry], lambda entry: _look_at_time(step, entry))
    return found[-1][:3] if found and len(found) == step.limit else ()


def _look_at_time(step: Step, entry: tuple[int, int, str, int, int]) -> None:
    at, key, task_id, task, _ = entry
    rows = step.rows("records", f"[{task}]")
    is_there = any(row[1] == task_id for row in rows)
    kind = FlawKind.MISPLACED if is_there else FlawKind.DANGLING
    reason = "it lists a transition that is not there"
    mend = lambda: step.run("drop_time", step.ns, at, key, task_id)  # noqa: E731
    # As in a listing: the row may be what is damaged.
    is_sure = is_there or not rows or step.rows("number", rows[0][1]) == [(task,)]
    step.found(kind, task_id, TIMELINE, reason, mend if is_sure else None)


def _of_expiries(step: Step, at: tuple[Any, ...]) -> tuple[Any, ...]:
    found = step.tried(EXPIRIES, "dues", *(at or (_LEAST, _LEAST)), step.limit)
    if found is None and WHOLE_STORE in step.repair and step.reindex("reindex_expiry"):
        step.flaws[-1] = step.flaws[-1]._replace(is_repaired=True)
    for entry in found or ():
        if not entry[2]:
            step.each([entry], lambda entry: _look_at_due(step, entry))
    return found[-1][:2] if found and len(found) == step.limit else ()


def _look_at_due(step: Step, entry: tuple[int, int, int]) -> None:
    rows = step.rows("records", f"[{entry[1]}]")
    task_id = rows[0][1] if rows else WHOLE_STORE
    kind = FlawKind.MISPLACED if rows else FlawKind.DANGLING
    reason = f"it lists row {entry[1]} of the records where it does not belong"
    step.found(kind, task_id, EXPIRIES, reason, lambda: step.reindex("reindex_expiry"))


def _of_items(step: Step, at: tuple[Any, ...]) -> tuple[Any, ...]:
    found = step.tried("the items", "items", *(at or (_LEAST, _LEAST, _LEAST)), step.limit)
    orphans: dict[int, list[tuple[Any, ...]]] = {}
    for task, section, key, is_sound in found or ():
        if not is_sound:
            orphans.setdefault(task, []).append((step.ns, task, section, key))
    for task, items in orphans.items():
        reason = f"there is no record that {len(items)} of them belong to"
        mend = lambda: [step.run("drop_item", *item) for item in items].count(False) == 0  # noqa: B023, E731
        step.found(FlawKind.ORPHANED, WHOLE_STORE, f"the items of row {task}", reason, mend)
    return found[-1][:3] if found and len(found) == step.limit else ()


def _of_tally(step: Step, _: tuple[Any, ...]) -> tuple[Any, ...]:
    for status, counted, listed in step.tried("the counts", "tally") or ():
        name = STATUSES[status] if 0 <= status < len(STATUSES) else str(status)
        reason = f"it says {counted}, and there are {listed}"
        mend = lambda: step.set_tally(status, listed)  # noqa: B023, E731
        step.found(FlawKind.MISCOUNTED, WHOLE_STORE, f"the count of {name}", reason, mend)
    return ()


_PHASES: Final = (_of_ids, _of_facets, _of_times, _of_expiries, _of_items, _of_tally)
_OF_ALL: Final = 3
"""The first of the phases that are of no record."""
