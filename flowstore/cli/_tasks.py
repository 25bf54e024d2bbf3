"""How tasks are printed."""

from __future__ import annotations

from typing import Any

from flowstore import TaskResult
from flowstore._faces.records import as_json, run_time
from flowstore._faces.showing import error_line, lasting, plain, short_id
from flowstore.cli._output import STYLES, Column, Kind, Out


def tasks(out: Out) -> Kind[TaskResult[Any]]:
    """Of a listing: what a line has room for."""
    return Kind(
        columns=(
            Column("status", lambda task: task.status.upper(), style=lambda task: STYLES[task.status]),
            Column("time", lambda task: out.time(task.finished_at or task.started_at or task.submitted_at)),
            Column("name", lambda task: plain(task.task_name or "")),
            Column("id", lambda task: short_id(task.task_id) if out.is_terminal else plain(task.task_id)),
            Column("try", lambda task: str(task.retries + 1), is_right=True),
            Column("run", lambda task: lasting(run_time(task, out.now)), is_right=True),
            Column("error", lambda task: error_line(task.error), may_shrink=True),
        ),
        as_json=as_json,
        id_of=lambda task: task.task_id,
        csv=(
            *("task_id", "status", "task_name", "submitted_at", "started_at", "finished_at"),
            *("retries", "worker_id", "error"),
        ),
    )
