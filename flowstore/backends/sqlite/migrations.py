"""The steps from one format of the file to the next, each inside of the transaction of its caller."""

from __future__ import annotations

import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final

from pydantic_core import from_json, to_json

from flowstore._values.checks import entry_check, item_check
from flowstore._values.facets import facets_of, fixed_of
from flowstore.backends.sqlite.statements import SCHEMA, SECTIONS, SQL, named_statements, split, value_of
from flowstore.backends.sqlite.writes import rows_of
from flowstore.engine import Entry, Section
from flowstore.times import from_iso, to_micros

_STEPS: Final = named_statements("migrations.sql")
_ROWS_AT_ONCE: Final = 1_000


def run_script(raw: sqlite3.Connection, script: str) -> None:
    for statement in split(script):
        raw.execute(statement)


def _from_2(raw: sqlite3.Connection) -> None:
    run_script(raw, _STEPS["to_3"])


def _from_3(raw: sqlite3.Connection) -> None:
    run_script(raw, _STEPS["to_4"])
    run_script(raw, SCHEMA["records"])
    tally: Counter[tuple[int, int]] = Counter()
    for rows in _parts(raw, "tasks_3"):
        records = [rows_of(row[1], row[0], row[5], _entry(row)) for row in rows]
        tally.update((task[1], task[3]) for task, _ in records)
        raw.executemany(SQL["insert"], [task for task, _ in records])
        raw.executemany(SQL["add_facet"], [listed for _, listings in records for listed in listings])
    raw.executemany(SQL["add_tally"], [(*key, number) for key, number in tally.items()])
    for rows in _parts(raw, "transitions_3"):
        raw.executemany(SQL["log_time"], [(ns, at, seq, name, task) for ns, task, name, seq, at, *_ in rows])
        raw.executemany(SQL["add_item"], map(_transition, rows))
    for rows in _parts(raw, "kept_3"):
        raw.executemany(SQL["add_item"], [_kept(*row) for row in rows if row[3] in set(Section)])
    run_script(raw, _STEPS["end_3"])


def _parts(raw: sqlite3.Connection, name: str) -> Iterator[list[Any]]:
    cursor = raw.execute(_STEPS[name])
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        yield rows


def _entry(row: tuple[Any, ...]) -> Entry:
    _, _, task_id, status, stage, version, name, submitted_at, expires_at, head, body, progress, *rest = row
    parent, root, worker, labels, logged_at = rest
    head, started_at, finished_at = _without_times(head)
    known = [time for time in (logged_at, finished_at, started_at, submitted_at) if time is not None]
    facets = facets_of(name, parent is not None, worker, _labels(labels))
    entry = Entry(
        *(task_id, status, stage, version, submitted_at, started_at, finished_at, None),
        *((known or [0])[0], expires_at, fixed_of(parent, root), facets, 0, head, body, progress),
    )
    return entry._replace(check=entry_check(entry))


def _without_times(head: bytes) -> tuple[bytes, int | None, int | None]:
    """They were a part of the head. One that cannot be read stays as it is, and stays unreadable."""
    try:
        fields = from_json(head)
        texts = fields.pop("started_at", None), fields.pop("finished_at", None)
        started_at, finished_at = [None if text is None else to_micros(from_iso(text)) for text in texts]
    except (ValueError, TypeError, AttributeError):
        return head, None, None
    return to_json(fields), started_at, finished_at


def _labels(stored: str | None) -> list[str]:
    """Format 3 wrote NUL in another way."""
    with suppress(ValueError, TypeError):
        return [re.sub("\1([\1\2])", _unescaped, label) for label in from_json(stored or "[]")]
    return []


def _unescaped(found: re.Match[str]) -> str:
    return "\1" if found[1] == "\1" else "\0"


def _transition(row: tuple[Any, ...]) -> tuple[Any, ...]:
    ns, task, task_id, seq, at, *value = row
    return _item(ns, task, task_id, Section.HISTORY, seq, 1, at, to_json(value))


def _kept(*row: Any) -> tuple[Any, ...]:
    ns, task, owner, section, *rest = row
    return _item(ns, task, owner, Section(section), *rest)


def _item(
    ns: int, task: int, owner: str, section: Section, key: Any, version: int, at: int, value: bytes
) -> tuple[Any, ...]:
    check = item_check(section, owner, key, at, value)
    return ns, task, SECTIONS[section], key, version, at, check, value_of(value)


MIGRATIONS: Final[dict[int, Callable[[sqlite3.Connection], None]]] = {2: _from_2, 3: _from_3}
"""By format, the step to the next one. Append only: files of every released format stay readable."""
