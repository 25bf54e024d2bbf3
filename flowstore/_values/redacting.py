"""What is stored in place of a result, as ``redact`` says."""

from __future__ import annotations

from flowstore._values.arguments import Redact, check_result
from flowstore.models import TaskResult


def redacted_by(redact: Redact, result: TaskResult) -> TaskResult:
    redacted = redact(result)
    if not isinstance(redacted, TaskResult):
        raise TypeError(f"redact: expected it to return a TaskResult, got {type(redacted).__name__}")
    redacted = check_result(redacted)
    for name in ("task_id", "status", "retries"):
        before, after = getattr(result, name), getattr(redacted, name)
        if after != before:
            raise ValueError(f"redact: must not change {name}, here from {before!r} to {after!r}")
    return redacted
