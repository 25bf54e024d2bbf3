"""What an operator does to one task: requeue it, or cancel it."""

from __future__ import annotations

from datetime import datetime

from flowstore._core.attempts import requeued
from flowstore._core.core import Core
from flowstore._core.stepping import step_one
from flowstore.models import MAX_RETRIES, CancelRequest, TaskResult, TaskStatus
from flowstore.text import MAX_NOTE_BYTES, check_text


async def requeue(core: Core, task_id: str) -> int | None:
    attempt: int | None = None

    def step(task: TaskResult, at: datetime) -> TaskResult:
        nonlocal attempt
        if task.retries == MAX_RETRIES:
            raise ValueError(f"task_id: {task_id!r} has had {MAX_RETRIES} retries, and cannot have another")
        attempt = task.retries + 1
        return requeued(task)

    return attempt if await step_one(core, task_id, step, with_body=True) else None


async def cancel(core: Core, task_id: str, reason: str | None) -> bool:
    if reason is not None:
        check_text("reason", reason, MAX_NOTE_BYTES)
    is_asked = False

    def step(task: TaskResult, at: datetime) -> TaskResult | None:
        nonlocal is_asked
        is_asked = not task.is_finished
        if task.is_finished or task.cancel_request is not None:
            return None
        return cancelled(task, CancelRequest(at=at, reason=reason))

    return await step_one(core, task_id, step) is not None and is_asked


def cancelled(task: TaskResult, request: CancelRequest) -> TaskResult:
    """A task that is not finished: asked to end while it runs, and otherwise over."""
    if task.status is TaskStatus.RUNNING:
        return task.model_copy(update={"cancel_request": request})
    return TaskResult.cancelled(task, at=request.at, cancel_request=request)
