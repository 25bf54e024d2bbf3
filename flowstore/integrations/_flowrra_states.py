"""States of flowrra's tasks as records of flowstore, and the other way round."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import flowstore
from flowstore import FlowstoreError, TaskError, TaskStatus, WaitTimeout
from flowstore._packages import needed

with needed("flowstore.integrations.flowrra", "flowrra"):
    from flowrra.exceptions import BackendError, FlowrraError
    from flowrra.task import Task, TaskResult
    from flowrra.task import TaskStatus as HostStatus

_KEPT: Final = (
    *("task_name", "args", "kwargs", "submitted_at", "started_at", "worker_id"),
    *("parent_id", "root_id", "labels", "meta"),
)
"""What a state need not say again: flowrra tells the arguments of a task only when it is submitted."""


class TaskRaised(FlowrraError):  # type: ignore[misc]  # flowrra has no types
    """An error of which flowrra has told only the message."""


def record_of(task_id: str, state: TaskResult, known: flowstore.TaskResult | None) -> flowstore.TaskResult:
    """What to store of a state that is told. ``known``: what is stored."""
    is_retrying = state.status is HostStatus.RETRYING
    given = {
        "task_name": state.task_name,
        "args": tuple(state.args),
        "kwargs": dict(state.kwargs),
        "submitted_at": _aware(state.submitted_at),
        "started_at": _aware(state.started_at),
    }
    kept = {} if known is None else {name: getattr(known, name) for name in _KEPT}
    raised = raised_by(state)
    return flowstore.TaskResult(
        **{**kept, **{name: value for name, value in given.items() if value}},
        task_id=task_id,
        status=TaskStatus(state.status.value),
        result=state.result,
        error=None if raised is None else TaskError.from_exception(raised),
        finished_at=_aware(state.finished_at),
        # flowrra counts the attempt that follows, flowstore the one that has failed
        retries=max(state.retries - is_retrying, 0 if known is None else known.retries),
    )


def raised_by(state: TaskResult) -> BaseException | None:
    """The exception behind a state: the one that the executor handles as it tells of it, or its message."""
    handled = sys.exception()
    if state.status not in (HostStatus.FAILED, HostStatus.RETRYING):
        return None
    if handled is not None and state.error in (None, str(handled)):
        return handled
    return TaskRaised(state.error or "it was not told why")


def state_of(record: flowstore.TaskResult) -> TaskResult:
    """Raises UnresolvedValue for a result of a type that is not registered."""
    return TaskResult(
        task_id=record.task_id,
        status=_status(record.status),
        task_name=record.task_name,
        result=record.unwrap() if record.is_success else record.result,
        error=_message(record),
        submitted_at=_naive(record.submitted_at),
        started_at=_naive(record.started_at),
        finished_at=_naive(record.finished_at),
        retries=record.retries + (record.status is TaskStatus.RETRYING),
        args=record.args,
        kwargs=dict(record.kwargs),
    )


@contextmanager
def told() -> Iterator[None]:
    """Errors of flowstore as flowrra's BackendError, with the cause; a wait that was too long is no such."""
    try:
        yield
    except WaitTimeout:
        raise
    except FlowstoreError as error:
        raise BackendError(f"{type(error).__name__}: {error}") from error


def _status(status: TaskStatus) -> HostStatus:
    return HostStatus.FAILED if status is TaskStatus.CANCELLED else HostStatus(status.value)


def _message(record: flowstore.TaskResult) -> str | None:
    if record.status is TaskStatus.CANCELLED:
        reason = record.cancel_request and record.cancel_request.reason
        return f"cancelled: {reason}" if reason else "cancelled"
    is_told = record.status is TaskStatus.FAILED  # an attempt that is tried again has no error in flowrra
    return record.error.message if is_told and record.error is not None else None


def _aware(at: datetime | None) -> datetime | None:
    """flowrra's times are local and naive."""
    return None if at is None else at.astimezone()


def _naive(at: datetime | None) -> datetime | None:
    return None if at is None else at.astimezone().replace(tzinfo=None)


def task_of(record: flowstore.TaskResult, func: Any) -> Task:
    """What flowrra puts into its queue for a task that ``func`` runs. Attempts that were lost count."""
    return Task(
        id=record.task_id,
        name=record.task_name,
        args=record.args,
        kwargs=dict(record.kwargs),
        max_retries=func.max_retries,
        retry_delay=func.retry_delay,
        current_retry=min(record.retries, func.max_retries),
        cpu_bound=func.cpu_bound,
    )
