"""One execution of a message in a worker of taskiq, recorded as an attempt.

taskiq tells of it in hooks, which are all called in the asyncio task that executes it: so a context variable
carries it from one to the next, and tells what is sent meanwhile whose child it is.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Final, NoReturn

from flowstore import (
    BaseResultBackend,
    FamilyConflict,
    FlowstoreError,
    LateWrite,
    TaskResult,
    TaskStatus,
    TrackedTask,
    TrackOptions,
)
from flowstore._packages import needed
from flowstore.integrations._attempts import logger, not_recorded
from flowstore.integrations._taskiq_records import finished, without_result

with needed("flowstore.integrations.taskiq", "taskiq"):
    from taskiq import TaskiqResult
    from taskiq.exceptions import NoResultError

TROUBLE: Final = (FlowstoreError, ValueError, TypeError)
"""What recording may raise: an id of taskiq may be longer than flowstore allows."""


class Unwanted(dict[str, Any]):
    """The arguments of a task that is not to be run: taskiq meets NoResultError when it unpacks them."""

    def keys(self) -> NoReturn:
        raise NoResultError

    def __iter__(self) -> NoReturn:  # without it, ``update`` would not ask for the keys
        raise NoResultError


class Run:
    """``sent_at``: when the message was sent, None if that is not known. ``error``: with which it fails.

    ``requeued``: how often its message was sent again by ``Context.requeue`` before.
    """

    def __init__(
        self, backend: BaseResultBackend, task_id: str, sent_at: datetime | None, options: TrackOptions
    ) -> None:
        self.backend = backend
        self.task_id = task_id
        self.error: BaseException | None = None
        self.block: TrackedTask[Any] | None = None
        self.requeued: Any = None
        self.is_unwanted = False
        self.is_over = False
        self.outer = UNDER_WAY.get()
        self._sent_at = sent_at
        self._options: TrackOptions = {**options, "strict": True}
        self._owner: asyncio.Task[Any] | None = None

    async def begin(self) -> None:
        """Store the task as running; logged if that fails, and then the end tries again.

        Over a finished record only if that is of an earlier message with the same id. Otherwise this one is
        delivered twice, and runs without a record; or the task was cancelled, and ``is_unwanted``.
        """
        try:
            while self.block is None and not self.is_over:
                await self._try_to_begin()
        except TROUBLE as trouble:
            not_recorded(self.task_id, "its beginning", trouble)

    async def _try_to_begin(self) -> None:
        block = self.backend.track(self.task_id, **self._options)
        try:
            self.block = await block.__aenter__()
            self._owner = asyncio.current_task()
            if self._owner is not None:
                self._owner.add_done_callback(self._given_up)
        except LateWrite as late:
            standing = await self.backend.get(self.task_id, load_result=False)
            if standing is not None:
                self._judge(standing, late)
        except FamilyConflict:  # somebody else's child has had this id before: its parent stays
            if self._options.pop("parent_id", None) is None:
                raise

    def _judge(self, standing: TaskResult, late: LateWrite) -> None:
        if ended_before(standing, self._sent_at):
            self._options["retries"] = standing.retries + 1
            return
        if not standing.is_finished and standing.status is not TaskStatus.RUNNING:
            self._options.pop("retries", None)  # given to whoever comes: requeued, or sent anew meanwhile
            return
        self.is_over = True
        self.is_unwanted = standing.status is TaskStatus.CANCELLED
        if not self.is_unwanted:
            logger.warning("task %r: it runs without a record: %s", self.task_id, late)

    async def finish(self, result: TaskiqResult[Any]) -> None:
        """Store the outcome; nothing if there is to be another attempt."""
        if self.block is None:
            await self.begin()
        if self.is_over or self.block is None:
            return
        if not isinstance(result.error, asyncio.CancelledError | GeneratorExit):
            self.block.end_with(lambda running: finished(self.backend, running, result))
        await self._end(result.error)

    async def finish_without_result(self, is_requeued: bool) -> None:
        """After NoResultError: because of an attempt that is to come, or since the task wants it so."""
        if self.block is None or self.is_over:
            return
        if self.error is not None and not isinstance(self.error, NoResultError):
            self.block.retry(self.error)
        elif is_requeued:
            self.block.retry(NoResultError(), delay=0)
        else:
            self.block.end_with(without_result)
        await self._end(None)

    async def retry(self, delay: float) -> None:
        """Store it as retrying, before the message of the next attempt is sent."""
        if self.block is None or self.is_over:
            return
        self.block.retry(self.error or _Unknown("add the middleware of flowstore last"), delay=delay)
        await self._end(None)

    async def _end(self, error: BaseException | None) -> None:
        assert self.block is not None
        self.is_over = True
        if self._owner is not None:
            self._owner.remove_done_callback(self._given_up)
        try:
            await self.block.__aexit__(type(error) if error else None, error, None)
        except LateWrite:  # the log has it
            pass
        except TROUBLE as trouble:
            not_recorded(self.task_id, "its end", trouble)

    def _given_up(self, owner: asyncio.Task[Any]) -> None:
        """A middleware has raised, or the worker ends: taskiq tells no more of this task."""
        if self.is_over or self.block is None:
            return
        error = asyncio.CancelledError() if owner.cancelled() else self.error or _Unknown("taskiq gave it up")
        ending = owner.get_loop().create_task(self._end(error))
        ENDING.add(ending)
        ending.add_done_callback(ENDING.discard)


def ended_before(standing: TaskResult, sent_at: datetime | None) -> bool:
    """Whether this is what became of an earlier message with the same id.

    The clock of the sender may be ahead of the others; but the time of a submission tells which it was.
    """
    if standing.finished_at is None or sent_at is None or standing.submitted_at == sent_at:
        return False
    return standing.finished_at < sent_at


class _Unknown(RuntimeError):
    """The error of an attempt of which taskiq has not told."""


UNDER_WAY: Final[ContextVar[Run | None]] = ContextVar("flowstore_taskiq_run", default=None)
ENDING: Final[set[asyncio.Task[None]]] = set()
