"""Sentry: the task of a tracked block as tags, and what became of it and of its storage as breadcrumbs.

Each block has an isolation scope of its own, so that what is noted in one task is not in the events of others
that run at the same time. See docs/telemetry.md.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from flowstore import TaskStatus
from flowstore._packages import needed
from flowstore.integrations._blocks import Around
from flowstore.observing import (
    BlockBegun,
    BlockEnded,
    CallGivenUp,
    Event,
    OutcomeLate,
    OutcomeLost,
    WaitEnded,
)

with needed("flowstore.integrations.sentry", "sentry", "sentry-sdk"):
    import sentry_sdk
    from sentry_sdk import add_breadcrumb, capture_exception, isolation_scope


class Sentry:
    """Give it to a backend, or to several, as ``observers=[Sentry()]``.

    ``capture_failures``: send the exception with which a task fails for good, from inside of its block, where
    it has the tags. Without it, it has them only where the code of the block captures it. When the queue
    around captures it once more, the SDK's own deduplication drops that.
    """

    def __init__(self, *, capture_failures: bool = False) -> None:
        self._capture_failures = capture_failures
        self._blocks: Around[AbstractContextManager[Any]] = Around("flowstore_sentry")

    def on_event(self, event: Event, /) -> None:
        match event:
            case BlockBegun():
                self._begun(event)
            case BlockEnded():
                self._ended(event)
            case CallGivenUp(error=error):
                _note("a call of the storage was given up", "error", error=type(error).__name__)
            case OutcomeLost(task_id=task_id, error=error):
                _note("an outcome was not stored", "error", task_id=task_id, error=type(error).__name__)
            case OutcomeLate(task_id=task_id, retries=retries):
                _note("an outcome came too late", "warning", task_id=task_id, retries=retries)
            case WaitEnded(task_id=task_id, outcome=outcome, seconds=seconds):
                _note("a wait has ended", "info", task_id=task_id, outcome=outcome, seconds=seconds)

    def _begun(self, event: BlockBegun) -> None:
        about = {"task_id": event.task_id, "task_name": event.name, "retries": event.retries}
        _note("a task begins", "info", **about)
        entered = isolation_scope()
        scope = entered.__enter__()
        scope.set_tag("flowstore.task_id", event.task_id)
        if event.name is not None:
            scope.set_tag("flowstore.task_name", event.name)
        scope.set_context("flowstore", {"namespace": event.namespace, "worker_id": event.worker_id, **about})
        self._blocks.enter(event.block, entered)

    def _ended(self, event: BlockEnded) -> None:
        if self._capture_failures and event.status is TaskStatus.FAILED and event.error is not None:
            capture_exception(event.error)
        left = self._blocks.leave(event.block)
        for entered in () if left is None else left.over:
            entered.__exit__(None, None, None)
        status = "unknown" if event.status is None else event.status.value
        level = "error" if event.status is TaskStatus.FAILED else "info"
        _note("a task has ended", level, task_id=event.task_id, status=status, is_stored=event.is_stored)


def _note(message: str, level: str, **data: Any) -> None:
    """Nothing, where the program has not initialised Sentry."""
    if sentry_sdk.is_initialized():
        add_breadcrumb(category="flowstore", message=message, level=level, data=data)
