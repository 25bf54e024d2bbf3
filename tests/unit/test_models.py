"""What the models refuse, where a value of another type would come back changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from flowstore import Progress, TaskError, TaskResult

FIELDS: list[tuple[str, Any]] = [
    *((name, text) for name in ("task_name", "worker_id", "parent_id") for text in (b"x", 7, "")),
    *(("labels", labels) for labels in ([b"x"], [7], "x", [""])),
    *(("submitted_at", time) for time in ("2020", "2026-01-01T00:00:00Z", 5, 5.0, datetime(2026, 1, 1))),
    *(("retries", number) for number in ("1", 1.0, True, -1)),
    *(("progress", {"done": number}) for number in ("5", True, -1, float("inf"), float("nan"), None)),
    ("progress", {"done": 1, "note": b"x"}),
]


@pytest.mark.parametrize(("field", "value"), FIELDS)
def test_nothing_is_turned_into_what_it_is_not(field: str, value: object) -> None:
    """Bytes are no text, numbers and text no times; the error names the field."""
    with pytest.raises(ValidationError, match=field):
        TaskResult.model_validate({"task_id": "t", "status": "pending", field: value})


def test_ids_and_errors_are_text() -> None:
    """Bytes are refused there too, and arguments of errors are what they were or refused."""
    with pytest.raises(ValidationError, match="task_id"):
        TaskResult[Any].pending(b"t")  # type: ignore[arg-type]  # on purpose
    for name, value in (("type", b"x"), ("message", b"x"), ("traceback", b"x"), ("args", (b"x",))):
        fields: dict[str, Any] = {"type": "x", "message": "m", name: value}
        with pytest.raises(ValidationError, match=name):
            TaskError(**fields)
    plain = (None, True, 1, 1.5, "x")
    kept = TaskError(type="x", message="m", args=plain).args
    assert [(type(arg), arg) for arg in kept] == [(type(arg), arg) for arg in plain]


def test_progress_is_shown_as_it_was_told() -> None:
    """Three of ten is not 3.0 of 10.0."""
    progress = Progress(done=3, total=10.5)
    assert f"{progress.done} of {progress.total}" == "3 of 10.5"


AT = datetime(2026, 1, 1, tzinfo=UTC)
STATES: dict[str, Callable[[Any], TaskResult]] = {
    "pending": lambda task: TaskResult.pending(task, at=AT, retries=1),
    "running": lambda task: TaskResult.running(task, at=AT, worker_id="other"),
    "retrying": lambda task: TaskResult.retrying(task, ValueError("no")),
    "success": lambda task: TaskResult.success(task, [1], at=AT),
    "failed": lambda task: TaskResult.failed(task, ValueError("no"), at=AT),
    "cancelled": lambda task: TaskResult.cancelled(task, at=AT, labels=["z"]),
    "with its id": lambda task: TaskResult.success(task, 1, at=AT, task_name="new", kwargs={"b": 2}),
}


@pytest.mark.parametrize("state", STATES)
def test_what_is_carried_over_is_as_if_validated(state: str) -> None:
    """It was when the earlier result was made: same fields, same order, same fields set, nothing shared."""
    earlier = TaskResult.running(
        "t",
        at=AT,
        task_name="n",
        args=[1, [2]],
        kwargs={"a": [1]},
        worker_id="w",
        parent_id="p",
        labels=["x"],
    )
    short = STATES[state](earlier)
    whole = STATES[state](Subclass(**dict(earlier)))  # of another class, so everything is validated again
    assert dict(short) == dict(whole)
    assert [*dict(short)] == [*dict(whole)]
    assert short.model_fields_set == whole.model_fields_set
    assert short.kwargs is not earlier.kwargs
    with pytest.raises(ValidationError):
        TaskResult.running(earlier, retries=-1)
    with pytest.raises(ValidationError):
        TaskResult.running(earlier, unknown=1)  # type: ignore[call-arg]  # what is to be refused


class Subclass(TaskResult[Any]):
    pass
