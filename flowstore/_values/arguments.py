"""Checks of arguments. Each returns what it checked, or raises TypeError or ValueError naming it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeVar, cast

from pydantic import TypeAdapter

from flowstore.fields import check_meta
from flowstore.models import MAX_RETRIES, CancelRequest, Progress, Statuses, TaskResult, TaskStatus
from flowstore.task_error import TaskError
from flowstore.text import MAX_NOTE_BYTES, check_text
from flowstore.times import to_micros

Redact = Callable[[TaskResult], TaskResult]
Seconds = float | timedelta
"""A duration, as seconds or as a timedelta."""

Function = TypeVar("Function", bound=Callable[..., Any])

_ERROR: Final = TypeAdapter(TaskError).validator.validate_python

MAX_PAGE: Final = 10_000
MAX_DURATION_SECONDS: Final = 7 * 86_400
MAX_TTL_SECONDS: Final = 100 * 366 * 86_400


def check_number(name: str, value: object) -> float:
    """A finite or infinite float. An int too large for a float becomes infinite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number of seconds, got {type(value).__name__}")
    if isinstance(value, float) and math.isnan(value):
        raise ValueError(f"{name}: expected a number of seconds, got nan")
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def check_amount(name: str, value: object) -> int | float:
    """The number, unchanged: finite and not negative, an int below 2**63."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}")
    if not 0 <= value < math.inf:
        raise ValueError(f"{name}: expected a finite number of at least 0, got {value!r:.80}")
    if isinstance(value, int) and value >= 2**63:
        raise ValueError(f"{name}: expected an int below 2**63, got one of {value.bit_length()} bits")
    return value


def check_timeout(value: object) -> float | None:
    """Seconds from now, given as such or as a timedelta; None: for ever."""
    if value is None:
        return None
    seconds = _seconds("timeout", value)
    return None if seconds == math.inf else seconds


def check_duration(name: str, value: object) -> float:
    """Seconds, given as such or as a timedelta, few enough for the timers of every driver."""
    seconds = _seconds(name, value)
    if not 0 < seconds <= MAX_DURATION_SECONDS:
        raise ValueError(
            f"{name}: expected seconds above 0 and at most {MAX_DURATION_SECONDS}; got {shown(value)}"
        )
    return seconds


def check_patience(value: object, default: float) -> float:
    """Seconds, at least 0 and few enough for the timers of every driver."""
    if value is None:
        return default
    seconds = _seconds("patience", value)
    if not 0 <= seconds <= MAX_DURATION_SECONDS:
        wanted = f"seconds from 0 to {MAX_DURATION_SECONDS}, or None for op_timeout"
        raise ValueError(f"patience: expected {wanted}; got {shown(value)}")
    return seconds


def check_ttl(name: str, value: object) -> int | None:
    """Microseconds, at least 1; None: never."""
    if value is None:
        return None
    seconds = _seconds(name, value)
    if not 0 < seconds <= MAX_TTL_SECONDS:
        wanted = f"seconds above 0 and at most {MAX_TTL_SECONDS}, or None for never"
        raise ValueError(f"{name}: expected {wanted}; got {shown(value)}")
    return max(1, round(seconds * 1_000_000))


def check_age(name: str, value: object) -> int:
    """Microseconds, at least 0."""
    seconds = _seconds(name, value)
    if not 0 <= seconds <= MAX_TTL_SECONDS:
        raise ValueError(f"{name}: expected 0 to {MAX_TTL_SECONDS} seconds, got {value!r}")
    return round(seconds * 1_000_000)


def check_instant(name: str, value: object) -> int:
    """Microseconds since the epoch."""
    if not isinstance(value, datetime):
        raise TypeError(f"{name}: expected datetime, got {type(value).__name__}")
    if value.utcoffset() is None:
        raise ValueError(f"{name}: expected an aware datetime, got the naive {value}")
    return to_micros(value)


def check_int(name: str, value: object, least: int, most: int | None = None) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}: expected int, got {type(value).__name__}")
    if value < least or (most is not None and value > most):
        bounds = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name}: expected {bounds}, got {shown(value)}")
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
        raise ValueError(f"{name}: expected one of {known}; got {value[:80]!r}") from None


def check_statuses(value: Statuses) -> tuple[TaskStatus, ...]:
    """The distinct statuses, in the order of TaskStatus. None: all of them; an empty iterable: none."""
    if value is None:
        return tuple(TaskStatus)
    if isinstance(value, str):
        return (check_status("statuses", value),)
    if not isinstance(value, Iterable):
        wanted_type = "TaskStatus, an iterable of them, or None"
        raise TypeError(f"statuses: expected {wanted_type}; got {type(value).__name__}")
    wanted = {check_status("statuses", item) for item in value}
    return tuple(status for status in TaskStatus if status in wanted)


_ADVICE: Final = "would be lost; put it into the result, the meta or the data of the task"
_FIELDS: Final = TaskResult.model_fields.keys()
_CHECKED: Final = _FIELDS - {"result", "args", "kwargs"}
"""The fields whose values do not belong to the caller."""
_NAMES: Final = ("task_name", "worker_id", "parent_id")


def check_result(result: object) -> TaskResult:
    """Check the fields that a storage keeps in columns, because ``model_construct`` does not: one bad field
    would fail the writes of others in the same trip.

    Returns the result to store. That of a subclass which adds methods only is the TaskResult with its fields.
    """
    if type(result) is not TaskResult:
        result = _plain_result(result)
    retries = result.retries
    if type(retries) is not int or not 0 <= retries <= MAX_RETRIES:
        raise ValueError(f"retries: expected an int from 0 to {MAX_RETRIES}, got {shown(retries)}")
    if type(result.status) is not TaskStatus:
        raise TypeError(f"status: expected TaskStatus, got {type(result.status).__name__}")
    for name in _NAMES:
        if (text := getattr(result, name)) is not None:
            check_text(name, text)
    for label in result.labels:
        check_text("labels", label)
    if result.meta:
        check_meta(result.meta)
    if result.error is not None:
        check_error(result.error)
    if result.progress is not None:
        _check_progress(result.progress)
    if result.cancel_request is not None:
        _check_class("cancel_request", result.cancel_request, CancelRequest)
    if result.is_loaded:
        if not isinstance(result.kwargs, dict):
            raise TypeError(f"kwargs: expected dict, got {type(result.kwargs).__name__}")
        for name in result.kwargs:
            if type(name) is not str:
                raise TypeError(f"kwargs: expected names of type str, got {shown(name)}")
    return result


def _plain_result(result: object) -> TaskResult:
    """The TaskResult with the fields of one of a subclass, or of ``TaskResult[int]``."""
    if not isinstance(result, TaskResult):
        raise TypeError(f"result: expected TaskResult, got {type(result).__name__}")
    kind = type(result)
    if kind.__pydantic_generic_metadata__["origin"] is TaskResult:
        return result
    if own := _own_state(result):
        raise TypeError(f"result: {own[0]!r} of {kind.__name__} is no field of TaskResult, so it {_ADVICE}")
    plain: TaskResult = TaskResult(**{name: getattr(result, name) for name in _FIELDS})
    for name, value in plain:
        given = getattr(result, name)
        if type(value) is not type(given) or (name in _CHECKED and value != given):
            change = f"{given!r:.80} of {kind.__name__} would come back as {value!r:.80}"
            raise TypeError(f"{name}: {change}; give it what TaskResult has there")
    return plain


def _own_state(result: TaskResult) -> list[str]:
    """Names of what a subclass keeps besides the fields of TaskResult."""
    kind = type(result)
    slots = [vars(base).get("__slots__", ()) for base in kind.__mro__ if base not in TaskResult.__mro__]
    fields = [name for name in kind.model_fields if name not in _FIELDS]
    return [*fields, *(result.__pydantic_extra__ or ()), *kind.__private_attributes__, *chain(*slots)]


def check_error(error: object) -> None:
    """Raise TypeError or ValueError unless it is a TaskError, and so are those below it, and all validate."""
    _check_class("error", error, TaskError)
    error = cast(TaskError, error)
    try:
        _ERROR(error.model_dump(warnings=False))
    except ValueError as refused:
        raise ValueError(f"error: {refused}") from refused
    below = [error]
    while below:
        link = below.pop()
        if link.cause is not None:
            _check_class("error.cause", link.cause, TaskError)
            below.append(link.cause)
        for member in link.exceptions:
            _check_class("error.exceptions", member, TaskError)
            below.append(member)


def _check_class(name: str, value: object, wanted: type) -> None:
    if type(value) is not wanted:
        expected = f"{name}: expected {wanted.__name__}, got {type(value).__name__}"
        raise TypeError(f"{expected}; what that has of its own {_ADVICE}")


def _check_progress(progress: object) -> None:
    _check_class("progress", progress, Progress)
    progress = cast(Progress, progress)
    check_amount("progress.done", progress.done)
    if progress.total is not None:
        check_amount("progress.total", progress.total)
    if progress.note is not None and progress.note != "":
        check_text("progress.note", progress.note, MAX_NOTE_BYTES)


def check_results(results: object) -> list[TaskResult]:
    if isinstance(results, TaskResult) or not isinstance(results, Iterable):
        raise TypeError(f"results: expected an iterable of TaskResult, got {type(results).__name__}")
    return [check_result(result) for result in results]


def check_callable(name: str, value: Function) -> Function:
    if not callable(value):
        raise TypeError(f"{name}: expected a callable, got {type(value).__name__}")
    return value


def check_ids(task_ids: Iterable[str], name: str = "task_ids") -> list[str]:
    """The distinct ids, in order."""
    return list(dict.fromkeys(check_texts(name, task_ids)))


def check_texts(name: str, values: Iterable[str]) -> list[str]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected an iterable of str, got {type(values).__name__}")
    return [check_text(name, value) for value in values]


def _seconds(name: str, value: object) -> float:
    """The seconds of a timedelta, too."""
    return value.total_seconds() if isinstance(value, timedelta) else check_number(name, value)


def shown(value: object) -> str:
    """The value in an error message. Python refuses to print an int of more than 4,300 digits."""
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an int of {value.bit_length()} bits"
    return repr(value)
