"""Checks of what callers pass in. Each raises TypeError or ValueError naming the argument."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from flowstore.models import TaskResult, TaskStatus, check_text

MAX_PAGE: Final = 10_000
MAX_DURATION_SECONDS: Final = 7 * 86_400
MAX_TTL_SECONDS: Final = 100 * 366 * 86_400


def check_number(name: str, value: object) -> float:
    """A finite or infinite number; an int too large for a float is infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number of seconds, got {type(value).__name__}")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name}: expected a number of seconds, got nan")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_timeout(value: object) -> float | None:
    """Seconds from now; None for ever."""
    if value is None:
        return None
    seconds = check_number("timeout", value)
    return None if seconds == math.inf else seconds


def check_duration(name: str, value: object) -> float:
    """Seconds that the timers of every driver can count."""
    seconds = check_number(name, value)
    if not 0 < seconds <= MAX_DURATION_SECONDS:
        raise ValueError(
            f"{name}: expected seconds above 0 and at most {MAX_DURATION_SECONDS}; got {_short(value)}"
        )
    return seconds


def check_ttl(name: str, value: object) -> int | None:
    """Microseconds, at least 1; None for never."""
    if value is None:
        return None
    seconds = value.total_seconds() if isinstance(value, timedelta) else check_number(name, value)
    if not 0 < seconds <= MAX_TTL_SECONDS:
        wanted = f"seconds above 0 and at most {MAX_TTL_SECONDS}, or None for never"
        raise ValueError(f"{name}: expected {wanted}; got {_short(value)}")
    return max(1, round(seconds * 1_000_000))


def check_int(name: str, value: object, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected int, got {type(value).__name__}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}: expected {bounds}, got {_short(value)}")
    return value


def check_bool(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected bool, got {type(value).__name__}")
    return value


def check_status(name: str, value: object) -> TaskStatus:
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected TaskStatus, got {type(value).__name__}")
    try:
        return TaskStatus(value)
    except ValueError:
        known = ", ".join(TaskStatus)
        raise ValueError(f"{name}: {value[:80]!r} is no status; expected one of {known}") from None


def check_statuses(value: TaskStatus | Iterable[TaskStatus] | None) -> tuple[TaskStatus, ...]:
    """Distinct, in the order of TaskStatus. None means all of them; an empty iterable means none."""
    if value is None:
        return tuple(TaskStatus)
    if isinstance(value, str):
        return (check_status("statuses", value),)
    if not isinstance(value, Iterable):
        wanted_type = "TaskStatus, an iterable of them, or None"
        raise TypeError(f"statuses: expected {wanted_type}; got {type(value).__name__}")
    wanted = {check_status("statuses", item) for item in value}
    return tuple(status for status in TaskStatus if status in wanted)


def check_result(result: object) -> TaskResult[Any]:
    if not isinstance(result, TaskResult):
        raise TypeError(f"result: expected TaskResult, got {type(result).__name__}")
    return result


def check_ids(task_ids: Iterable[str]) -> list[str]:
    """Distinct, in order."""
    if isinstance(task_ids, str) or not isinstance(task_ids, Iterable):
        raise TypeError(f"task_ids: expected an iterable of str, got {type(task_ids).__name__}")
    return list(dict.fromkeys(check_text("task_ids", task_id) for task_id in task_ids))


def _short(value: object) -> str:
    """Python refuses to write out an int of more than 4,300 digits."""
    if isinstance(value, int) and value.bit_length() >= 256:
        return f"an int of {value.bit_length()} bits"
    return repr(value)
