"""How tasks and their changes are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from flowstore import TaskChange, TaskResult, Unreadable, UnreadableRecord
from flowstore._faces.records import as_json, run_time
from flowstore._faces.showing import error_line, lasting, plain, short_id
from flowstore.cli._output import STYLES, Column, Kind, Out

_MOST_TOLD: Final = 10


def tasks(out: Out, *, has_values: bool = False) -> Kind[TaskResult[Any]]:
    """Of a listing: what a line has room for. ``has_values``: also arguments and results."""
    values: tuple[Column[TaskResult[Any]], ...] = (
        Column("args", lambda task: _value(as_json(task), "args", "kwargs"), may_shrink=True),
        Column("result", lambda task: _value(as_json(task), "result"), may_shrink=True),
    )
    return Kind(
        columns=(
            Column("status", lambda task: task.status.upper(), style=lambda task: STYLES[task.status]),
            Column("time", lambda task: out.time(task.finished_at or task.started_at or task.submitted_at)),
            Column("name", lambda task: plain(task.task_name or "")),
            Column("id", lambda task: id_shown(out, task)),
            Column("try", lambda task: str(task.retries + 1), is_right=True),
            Column("run", lambda task: lasting(run_time(task, out.now)), is_right=True),
            *(values if has_values else ()),
            Column("error", lambda task: error_line(task.error), may_shrink=True),
        ),
        as_json=as_json,
        id_of=lambda task: task.task_id,
        csv=(
            *("task_id", "status", "task_name", "submitted_at", "started_at", "finished_at"),
            *("retries", "worker_id", "labels"),
            *(("args", "kwargs", "result") if has_values else ()),
            "error",
        ),
        as_row=as_row,
    )


def id_shown(out: Out, task: TaskResult[Any]) -> str:
    """On a terminal so much of it as tells it from others, as a rule."""
    return short_id(task.task_id) if out.is_terminal else plain(task.task_id)


def as_row(task: TaskResult[Any]) -> dict[str, Any]:
    """As ``as_json``, with the error on one line and the labels in one text."""
    return {
        **as_json(task),
        "error": error_line(task.error) or None,
        "labels": ", ".join(sorted(task.labels)),
    }


def _value(document: dict[str, Any], *names: str) -> str:
    values = [document[name] for name in names if document.get(name)]
    return plain(" ".join(json.dumps(value, ensure_ascii=False) for value in values))


def changes(out: Out) -> Kind[TaskChange]:
    """As they come, so that no line knows how wide the others are."""

    def clock(change: TaskChange) -> str:
        if out.settings.time != "relative":
            return out.time(change.at)
        return f"{change.at.astimezone():%H:%M:%S}"  # an age would be wrong as soon as it is printed

    return Kind(
        columns=(
            Column("time", clock),
            Column("status", lambda change: f"{change.status.upper():9}", style=_style),
            Column("name", lambda change: f"{plain(change.name or ''):20}"),
            Column("id", lambda change: plain(change.task_id)),
            Column("try", lambda change: str(change.retries + 1)),
            Column("error", _error, may_shrink=True),
        ),
        as_json=lambda change: {"v": 1, **change.model_dump(mode="json")},
        id_of=lambda change: change.task_id,
        csv=("task_id", "status", "name", "at", "retries", "worker_id"),
    )


def _style(change: TaskChange) -> str:
    return STYLES[change.status]


def _error(change: TaskChange) -> str:
    task = change.task
    return error_line(task.error) if task is not None and task.status == change.status else ""


def tell_unreadable(out: Out, unreadable: Sequence[Unreadable | UnreadableRecord], count: int = 0) -> None:
    """Which tasks belong into what is shown, and are not; ``count``: of how many, if these are not all."""
    for each in unreadable[:_MOST_TOLD]:
        out.note(f"flowstore: {plain(each.task_id)} cannot be read: {plain(each.reason)}")
    others = max(count, len(unreadable)) - min(len(unreadable), _MOST_TOLD)
    if others:
        out.note(f"flowstore: {others:,} others cannot be read")
