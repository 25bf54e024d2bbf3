"""The writes of the SQLite engine, item by item, inside the transaction of their trip."""

from __future__ import annotations

import sqlite3
from typing import Any

from pydantic_core import to_json

from flowstore.backends.sqlite.statements import SQL, escaped
from flowstore.engine import (
    ANY_STAGE,
    APPLIED,
    FAMILY,
    OWNERLESS,
    UNREADABLE,
    Commit,
    Outcome,
    Put,
    PutOutcome,
    Report,
)


class Commits:
    """The commits of one transaction, in order."""

    def __init__(self, raw: sqlite3.Connection, ns: int, now: int) -> None:
        self._raw = raw
        self._ns = ns
        self._now = now
        self._roots: dict[str, str] = {}
        """The roots of parents that were looked up. An entry is valid until its parent is written."""

    def apply(self, write: Commit) -> Outcome:
        # Most writes take one statement. Only a parent that is new to its record needs the slow way.
        if write.parent is None:
            outcome = self._write(write)
        elif self._write_child(write, write.parent):
            outcome = APPLIED
        else:
            outcome = self._join_family(write)
        if outcome.is_applied:
            self._roots.pop(write.id, None)
            if write.labels:
                rows = [
                    (self._ns, escaped(label), write.status, write.sort, write.id) for label in write.labels
                ]
                self._raw.executemany(SQL["add_label"], rows)
            if write.history:
                oldest = {"ns": self._ns, "id": write.id, "keep": write.history}
                self._raw.execute(SQL["drop_oldest"], oldest)
        return outcome

    def _write(self, write: Commit) -> Outcome:
        key, record = (self._ns, write.id), (*_record(write), *_rest(write))
        now = self._now
        if write.if_version:
            written = self._raw.execute(SQL["commit_version"], (*record, *key, write.if_version, now))
        else:
            times = (now, now, now, _ceiling(write), now)
            written = self._raw.execute(SQL["commit_advance"], (*key, *record, *times))
        if written.rowcount:
            return APPLIED
        return _obstacle(self._raw.execute(SQL["standing"], (*key, now)).fetchall())

    def _write_child(self, write: Commit, parent: str) -> bool:
        """False where nothing was written, and the family must be examined first.

        The fast way: one statement that applies only if the record is new or has this parent already, and
        that a trigger aborts if a new record has children. Those are the cases in which no circle can arise.
        """
        if write.if_version or parent == write.id:
            return False
        root = self._root_of(parent)
        if root == write.id:  # the parent descends from this very task
            return False
        record = (*_record(write), parent, root, *_rest(write))
        values = (self._ns, write.id, *record, _ceiling(write), self._now)
        try:
            return self._raw.execute(SQL["commit_child"], values).rowcount > 0
        except sqlite3.IntegrityError:  # by the trigger; an aborted statement leaves the transaction usable
            return False

    def _root_of(self, parent: str) -> str:
        if parent not in self._roots:
            found = self._raw.execute(SQL["root"], (self._ns, parent)).fetchall()
            self._roots[parent] = found[0][0] if found else parent
        return self._roots[parent]

    def _join_family(self, write: Commit) -> Outcome:
        """Write, and set the parent that the write names; or refuse it, and leave everything as it was."""
        values = {"ns": self._ns, "id": write.id, "parent": write.parent, "now": self._now}
        [(parent, has_children)] = self._raw.execute(SQL["family"], values).fetchall()
        descends = parent is None and self._raw.execute(SQL["is_ancestor"], values).fetchall()
        is_refused = descends or parent not in (None, write.parent)
        # A write that would have lost anyway must say so, with the version that stands, before the family
        # is a reason. Only the write itself can tell; so it is made, and undone.
        if is_refused:
            self._raw.execute("SAVEPOINT refused")
        outcome = self._write(write)
        if is_refused:
            self._raw.execute("ROLLBACK TO refused")
            self._raw.execute("RELEASE refused")
            refusal = Outcome(is_applied=False, version=FAMILY, reason=parent or "")
            return refusal if outcome.is_applied else outcome
        if outcome.is_applied and parent is None:
            assert write.parent is not None
            root = self._root_of(write.parent)
            # The parent's root may descend from this task, if what was between them has been deleted. As
            # a root it would close a circle; the parent itself cannot.
            is_below = self._raw.execute(SQL["is_ancestor"], {**values, "parent": root}).fetchall()
            values["root"] = write.parent if is_below else root
            self._raw.execute(SQL["join_family"], values)
            if has_children:
                self._raw.execute(SQL["move_descendants"], values)
                self._roots.clear()  # any of them may be among the descendants that moved
        return outcome


def _record(write: Commit) -> tuple[object, ...]:
    progress = None if write.progress is None else write.progress.decode()
    columns = (write.status, write.stage, write.name, write.submitted_at, write.expires_at)
    return (*columns, write.head.decode(), write.body.decode(), progress)


def _rest(write: Commit) -> tuple[object, ...]:
    labels = to_json([*map(escaped, write.labels)]).decode() if write.labels else None
    return write.worker, labels, None if write.history == 0 else write.at


def _ceiling(write: Commit) -> int:
    return write.ceiling if write.if_version is None else -1


def _obstacle(standing: list[tuple[int, int]]) -> Outcome:
    """What the write lost against. Numbers beyond 2**53 are of no commit, and could only overflow."""
    if standing and not all(0 <= number < ANY_STAGE for number in standing[0]):
        return Outcome(
            is_applied=False, version=UNREADABLE, reason="the standing record is not of this format"
        )
    return Outcome(is_applied=False, version=standing[0][0] if standing else 0)


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
