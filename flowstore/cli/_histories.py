"""How the history of a task is printed: its transitions, and the attempts that they make up."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowstore import TaskStatus, Transition
from flowstore._faces.attempts import Attempt
from flowstore._faces.showing import error_line, lasting, plain
from flowstore.cli._output import STYLES, Column, Kind, Out


def attempts(out: Out) -> Kind[Attempt]:
    """A line each; one that runs shows for how long it has."""
    return Kind(
        columns=(
            Column("try", lambda attempt: str(attempt.number), is_right=True),
            Column("status", lambda each: each.status.upper(), style=lambda each: STYLES[each.status]),
            Column("started", lambda attempt: out.time(attempt.started_at)),
            Column("wait", lambda attempt: lasting(attempt.wait), is_right=True),
            Column("run", lambda attempt: lasting(run_of(attempt, out.now)), is_right=True),
            Column("worker", lambda attempt: plain(attempt.worker_id or "")),
            Column("error", lambda attempt: error_line(attempt.error), may_shrink=True),
        ),
        as_json=attempt_json,
        csv=("number", "status", "started_at", "ended_at", "wait", "run", "worker_id", "error"),
        as_row=lambda attempt: {**attempt_json(attempt), "error": error_line(attempt.error) or None},
    )


def run_of(attempt: Attempt, now: datetime) -> float | None:
    """The seconds that it ran, or has been running; None: it has not begun, or nobody knows when."""
    if attempt.status == TaskStatus.RUNNING and attempt.started_at is not None:
        return (now - attempt.started_at).total_seconds()
    return attempt.run


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One attempt, for programs."""
    return {
        "v": 1,
        "number": attempt.number,
        "status": attempt.status,
        "submitted_at": _iso(attempt.submitted_at),
        "started_at": _iso(attempt.started_at),
        "ended_at": _iso(attempt.ended_at),
        "wait": attempt.wait,
        "run": attempt.run,
        "worker_id": attempt.worker_id,
        "error": attempt.error and attempt.error.model_dump(mode="json"),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def transitions(out: Out) -> Kind[Transition]:
    """A line each: a status that the task came to, or an event that left it as it was."""
    return Kind(
        columns=(
            Column("time", lambda step: out.time(step.at)),
            Column("what", _what, style=lambda step: None if step.event else STYLES[step.status]),
            Column("try", lambda step: str(step.retries + 1), is_right=True),
            Column("worker", lambda step: plain(step.worker_id or "")),
            Column("detail", _detail, may_shrink=True),
        ),
        as_json=transition_json,
        id_of=lambda step: step.task_id,
        csv=("task_id", "at", "status", "retries", "worker_id", "event", "detail", "error"),
        as_row=lambda step: {**transition_json(step), "error": error_line(step.error) or None},
    )


def transition_json(step: Transition) -> dict[str, Any]:
    """One step, for programs."""
    return {"v": 1, **step.model_dump(mode="json")}


def _what(step: Transition) -> str:
    return plain(step.event) if step.event else step.status.upper()


def _detail(step: Transition) -> str:
    if step.error is not None:
        return error_line(step.error)
    return plain(" ".join(f"{name}={value}" for name, value in step.detail.items()))
