"""What the SQLite engine writes, item by item, inside of the transaction of its trip."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from flowstore.backends.sqlite_statements import SQL, escaped
from flowstore.belongings import OWNERLESS, Put, PutOutcome, Report
from flowstore.engine import ANY_STAGE, APPLIED, FAMILY, UNREADABLE, Commit, Outcome


def commit(raw: sqlite3.Connection, ns: int, write: Commit, now: int) -> Outcome:
    if write.parent is None:
        outcome = _commit(raw, ns, write, None, now)
    elif _is_simple(write) and raw.execute(SQL["commit_child"], _child_values(ns, write, now)).rowcount:
        outcome = APPLIED
    else:
        outcome = _commit_child(raw, ns, write, now)
    if outcome.is_applied and write.labels:
        rows = [(ns, escaped(label), write.status, write.sort, write.id) for label in write.labels]
        raw.executemany(SQL["add_label"], rows)
    if outcome.is_applied and write.history:
        raw.execute(SQL["drop_oldest"], {"ns": ns, "id": write.id, "keep": write.history})
    return outcome


def _is_simple(write: Commit) -> bool:
    """Whether one statement may do for a child."""
    return not write.if_version and write.parent != write.id


def _record(write: Commit) -> tuple[object, ...]:
    progress = None if write.progress is None else write.progress.decode()
    columns = (write.status, write.stage, write.name, write.submitted_at, write.expires_at)
    return (*columns, write.head.decode(), write.body.decode(), progress, write.parent)


def _rest(write: Commit) -> tuple[object, ...]:
    labels = json.dumps([*map(escaped, write.labels)], ensure_ascii=False) if write.labels else None
    return write.worker, labels, None if write.history == 0 else write.at


def _ceiling(write: Commit) -> int:
    return write.ceiling if write.if_version is None else -1


def _child_values(ns: int, write: Commit, now: int) -> tuple[object, ...]:
    key, parent = (ns, write.id), write.parent
    record = (*key, *_record(write), ns, parent, parent, *_rest(write))
    return (*record, *key, parent, now, *key, now, now, _ceiling(write), now)


def _commit(raw: sqlite3.Connection, ns: int, write: Commit, root: str | None, now: int) -> Outcome:
    key = (ns, write.id)
    record = (*_record(write), root, *_rest(write))
    if write.if_version:
        written = raw.execute(SQL["commit_version"], (*record, *key, write.if_version, now))
    else:
        times = (now, now, now, _ceiling(write), now)
        written = raw.execute(SQL["commit_advance"], (*key, *record, *times))
    if written.rowcount:
        return APPLIED
    return _obstacle(raw.execute(SQL["standing"], (*key, now)).fetchall())


def _obstacle(standing: list[tuple[int, int]]) -> Outcome:
    """No commit leaves numbers beyond the exact integers of JSON; only overflow would come of such."""
    if standing and not all(0 <= number < ANY_STAGE for number in standing[0]):
        return Outcome(
            is_applied=False, version=UNREADABLE, reason="the standing record is not of this format"
        )
    return Outcome(is_applied=False, version=standing[0][0] if standing else 0)


def _commit_child(raw: sqlite3.Connection, ns: int, write: Commit, now: int) -> Outcome:
    """Under the parent that the write names, unless it cannot be: then as if it had not been written."""
    values = {"ns": ns, "id": write.id, "parent": write.parent, "now": now}
    [(parent, root, root_above, has_children)] = raw.execute(SQL["family"], values).fetchall()
    if parent == write.parent:
        return _commit(raw, ns, write, root, now)
    reason = "" if parent is None else f"its parent is {parent!r}"
    if not reason and raw.execute(SQL["is_ancestor"], values).fetchall():
        reason = "is a descendant of the task, or the task itself"
    if reason:
        raw.execute("SAVEPOINT refused")
    outcome = _commit(raw, ns, write, root_above, now)
    if reason:
        raw.execute("ROLLBACK TO refused")
        raw.execute("RELEASE refused")
        return Outcome(is_applied=False, version=FAMILY, reason=reason) if outcome.is_applied else outcome
    if has_children and outcome.is_applied:
        raw.execute(SQL["move_descendants"], {**values, "root": root_above})
    return outcome


def report(raw: sqlite3.Connection, ns: int, wanted: Report, now: int) -> bool:
    stages = wanted.stages or (0, ANY_STAGE)
    values = (wanted.progress.decode(), ns, wanted.id, *stages, now)
    return raw.execute(SQL["report"], values).rowcount > 0


def put(raw: sqlite3.Connection, ns: int, wanted: Put, now: int) -> PutOutcome:
    place: dict[str, Any] = {"ns": ns, "owner": wanted.owner, "section": wanted.section, "now": now}
    if wanted.owner and not raw.execute(SQL["owner"], place).fetchall():
        return PutOutcome(is_applied=False, key=wanted.key or "", version=OWNERLESS)
    key = wanted.key
    if key is None:
        [(last,)] = raw.execute(SQL["last_key"], place).fetchall()
        key = f"{int(last or 0) + 1:016}"
    place["key"] = key
    standing = raw.execute(SQL["put_version"], place).fetchall()
    version = standing[0][0] if standing else 0
    if wanted.if_version is not None and version != wanted.if_version:
        return PutOutcome(is_applied=False, key=key, version=version)
    if wanted.value is None:
        is_applied = raw.execute(SQL["put_nothing"], place).rowcount > 0
        return PutOutcome(is_applied=is_applied, key=key, version=0)
    raw.execute(SQL["put"], {**place, "value": wanted.value.decode()})
    if wanted.keep is not None:
        raw.execute(SQL["keep_last"], {**place, "keep": wanted.keep})
    return PutOutcome(is_applied=True, key=key, version=version + 1)
