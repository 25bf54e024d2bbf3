"""What the models refuse, where a value of another type would come back changed."""

from __future__ import annotations

from datetime import datetime
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
