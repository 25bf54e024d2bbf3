"""Tasks as JSON for programs: one form for the command line and the page."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from flowstore import TaskResult

VERSION: Final = 1
"""Of the form. A field that is added does not change it; one that changes its meaning or goes away does."""


def as_json(task: TaskResult[Any]) -> dict[str, Any]:
    """All fields; those of values that were not loaded are left out, null is not.

    Times are ISO 8601 in UTC with microseconds, durations seconds. See TaskResult for the rest.
    """
    return {"v": VERSION, **task.model_dump(mode="json")}


def run_time(task: TaskResult[Any], now: datetime) -> float | None:
    """The seconds that its last attempt ran, or has been running; None if that is not known."""
    if task.started_at is None:
        return None
    if task.finished_at is not None:
        return (task.finished_at - task.started_at).total_seconds()
    return (now - task.started_at).total_seconds() if task.status == "running" else None


def wait_time(task: TaskResult[Any], now: datetime) -> float | None:
    """The seconds from its submission to the start of its last attempt, or up to now; None: not known."""
    if task.submitted_at is None:
        return None
    if task.started_at is not None and task.status not in ("pending", "retrying"):
        return (task.started_at - task.submitted_at).total_seconds()
    return None if task.is_finished else (now - task.submitted_at).total_seconds()
