"""Tracking: a block of code that is one attempt at a task, its outcome stored however the block ends.

The outcome is stored in ``to_its_end``. If a cancellation could cut that short, the task would stay running
for ever, and so would its waiters. ``patience`` bounds it, or a dead storage would make the task
uncancellable.

A generator or coroutine that is being closed (GeneratorExit) cannot await anything. The event loop stores its
outcome soon after; where no loop runs, the task stays running, as after a crash.

Nothing is claimed. Two workers may run the same attempt, and the rules of ``store`` decide whose outcome
counts. A claim would need a lease that expires and is renewed: that is the business of the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from itertools import count
from types import TracebackType
from typing import Final, Generic, Self, cast

from flowstore._core.attempts import Attempt, Retry, TrackOptions, Values, attempt_of
from flowstore._core.core import Core
from flowstore._core.crews import Crew
from flowstore._core.interrupts import Interrupts
from flowstore._core.leaving import leave
from flowstore._core.progress import set_progress
from flowstore._core.scopes import Scope, enclosing
from flowstore._core.storing import get, store
from flowstore._core.viewing import View
from flowstore._core.writing import store_beside_values
from flowstore._trips.background import hand_over
from flowstore._trips.lifecycle import running_loop, to_its_end
from flowstore._trips.threads import from_thread
from flowstore._values.arguments import Seconds, check_age, check_callable
from flowstore._values.codec import STANDS_FOR
from flowstore._values.typed import Typed
from flowstore.errors import FamilyConflict, LateWrite, NotSerializable, StorageError, UnresolvedValue
from flowstore.models import CancelRequest, Progress, T, TaskResult
from flowstore.observing import BlockBegun, BlockEnded, OutcomeLate, OutcomeLost
from flowstore.times import from_micros

_BLOCKS: Final = count(1)


def track(core: Core, task_id: str, typed: Typed[T] | None, options: TrackOptions) -> TrackedTask[T]:
    return TrackedTask(attempt_of(core, task_id, options), typed)


class TrackedTask(Generic[T]):
    """One attempt at a task while it runs. Assign its outcome to ``result``; the default is None.

    ``is_stored``: whether the last store was applied. It was not if someone else has finished the task, or a
    later attempt has begun: then nothing was written. ``outcome``: the state in which the block has ended,
    whether it could be stored or not; None before.
    """

    def __init__(self, attempt: Attempt, typed: Typed[T] | None) -> None:
        self.result = cast(T, None)
        self.outcome: TaskResult[T] | None = None
        self.is_stored = False
        self._is_unanswered = False
        self._typed = typed
        self._attempt = attempt
        self._core = attempt.core
        self._is_entered = False
        self._running: TaskResult | None = None
        self._progress: Progress | None = None
        self._retry: Retry | None = None
        self._make: Callable[[TaskResult], TaskResult] | None = None
        self._scope: Scope | None = None
        self._told_as = 0
        self._interrupts = Interrupts(attempt.core, attempt.task_id, attempt.interrupt)
        self._crew: Crew | None = None

    @property
    def task_id(self) -> str:
        return self._attempt.task_id

    @property
    def retries(self) -> int:
        """The number of this attempt, from 0; RuntimeError before the block has begun."""
        if self._running is None:
            raise RuntimeError(f"task {self.task_id!r}: the block has not begun")
        return self._running.retries

    @property
    def cancel_request(self) -> CancelRequest | None:
        """That the block should end: its task is to be cancelled, or its outcome would come too late.

        By ``backend.cancel``, or since somebody else has finished the task or begun another attempt, as when
        its worker was declared dead. None: there is no such request.
        """
        return self._interrupts.request

    @property
    def cancel_requested(self) -> bool:
        return self.cancel_request is not None

    def raise_if_cancelled(self) -> None:
        """End the block with asyncio.CancelledError if ``cancel_requested``. Outside it, the code goes on."""
        self._interrupts.check()

    def retry(self, error: BaseException, *, delay: Seconds | None = None) -> bool:
        """End the block as retrying, with ``error``; however it ends from here on. Waiters go on waiting.

        False if there is to be no other attempt (``max_retries``): the block ends as failed. ``delay``: the
        next one is due so many seconds, or such a timedelta, after the end of the block; by default as
        ``retry_delay`` says. The code goes on: return, or let ``error`` propagate.
        """
        if not isinstance(error, BaseException):
            raise TypeError(f"error: expected an exception, got {type(error).__name__}")
        if self._scope is None:
            raise RuntimeError(f"task {self.task_id!r}: the block has not begun")
        if delay is not None:
            check_age("delay", delay)
        self._retry = Retry(error, delay)
        return self._attempt.has_another(self.retries)

    def end_with(self, make: Callable[[TaskResult], TaskResult]) -> None:
        """Let ``make`` say how the block ends, whatever happens in it: for hosts with outcomes of their own.

        It is called at the end with the state of the running task, and returns a finished one that is made of
        it, such as ``TaskResult.failed(running, error, result=rest)``. It goes before ``result`` and
        ``retry``. If it raises, or returns what cannot be stored, the task is stored as failed with that
        error, which is raised.
        """
        self._make = check_callable("make", make)

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> Awaitable[bool]:
        """``set_progress`` of the backend, for this attempt. The last report is stored with the outcome.

        False as well, and never an error, if the storage fails: a report is not worth a task. In a thread
        inside the block, as of ``asyncio.to_thread``, call it without ``await``: it returns when the report
        is written.
        """
        report = self._report(done, total, note)
        return report if running_loop() is not None else from_thread(report, self._core.life.loop, False)

    async def _report(self, done: float, total: float | None, note: str | None) -> bool:
        try:
            is_applied = await set_progress(self._core, self.task_id, done, total, note, self.retries)
        except StorageError:
            is_applied = False
        self._progress = Progress(done=done, total=total, note=note)
        return is_applied

    def __repr__(self) -> str:
        return f"TrackedTask({self.task_id!r})"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError(f"task {self.task_id!r}: entered twice; call track for each block")
        self._is_entered = True
        self._join()
        try:
            await self._enter()
        except BaseException:
            self._part()
            raise
        return self

    def _join(self) -> None:
        worker_id = self._attempt.worker_id
        self._crew = None if worker_id is None else self._core.crews.get(worker_id)
        if self._crew is not None:
            self._crew.joined(self._interrupts)

    def _part(self) -> None:
        if self._crew is not None:
            self._crew.left(self._interrupts, is_settled=not self._is_unanswered)

    async def _enter(self) -> None:
        # Where both are given, those that are stored are not needed, and may be of types unknown here.
        is_given = self._attempt.values.keys() == Values.__annotations__.keys()
        earlier = await get(self._core, self.task_id, View(with_body=not is_given))
        around = enclosing(self._core, self.task_id)
        running = self._running = self._attempt.running(earlier, around, self._now())
        try:
            await self._begin()
        except (asyncio.CancelledError, GeneratorExit) as error:
            # It may have been written, and without a block nothing else would ever end it.
            await self._end(error)
            raise
        if self._attempt.strict and not self.is_stored:
            raise LateWrite(self.task_id, self.retries)
        self._tell_begun(running)
        root = running.task_id if running.parent_id is None else running.root_id
        self._scope = Scope(self._core, self.task_id, root)
        self._scope.enter()
        self._interrupts.begin(running)

    async def _begin(self) -> None:
        assert self._running is not None
        try:
            await self._store(self._running)
        except NotSerializable as refused:
            if self._attempt.values:  # a bad argument, and nothing was written
                raise
            # The only values are the arguments of the stored record, and perhaps what ``redact`` makes of
            # them. Where these cannot be handed on, the task cannot begin.
            error: NotSerializable | UnresolvedValue = refused
            if refused.reason.startswith(STANDS_FOR):
                error = UnresolvedValue(self.task_id, f"{refused.path}: {refused.reason}")
            await to_its_end(self._fail_unbegun(error))
            raise error from None

    async def _fail_unbegun(self, error: NotSerializable | UnresolvedValue) -> None:
        """Fail the task that cannot begin: nobody else might end it, and its waiters would hang."""
        assert self._running is not None
        failed = TaskResult.failed(self._running, error, at=self._now())
        self.is_stored = await store_beside_values(self._core, failed)
        self._is_unanswered = False

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:  # not bool, or type checkers would think that every block may swallow its exceptions
        if self._scope is not None:
            self._scope.exit()
        is_interrupt = self._interrupts.end(error)
        if isinstance(error, GeneratorExit):
            hand_over(lambda: self._finish(error), self._part)  # observers are told of what goes wrong
            self._tell_ended(error, is_known=False)
            return False
        try:
            await self._end(error, is_interrupt)
        finally:
            self._part()
            self._tell_ended(error)
        return is_interrupt

    async def _end(self, error: BaseException | None, is_interrupt: bool = False) -> None:
        try:
            await to_its_end(self._finish(error))
        except Exception as trouble:
            # An exception of the block goes first: it is what the caller has to handle.
            if error is None or is_interrupt:
                raise
            error.add_note(f"task {self.task_id!r}: this was not stored: {type(trouble).__name__}: {trouble}")

    async def _finish(self, error: BaseException | None) -> None:
        try:
            await self._store_outcome(error)
        except Exception as trouble:
            if self._is_unanswered:
                lost = OutcomeLost(self._core.namespace, self.task_id, trouble, self.outcome)
                self._core.observers.tell(lost)
            else:  # it was stored as failed, with this as the reason; or came too late for that
                self._tell_if_late()
            raise
        self._tell_if_late()
        if self._attempt.strict and not self.is_stored:
            raise LateWrite(self.task_id, self.retries)

    def _tell_begun(self, running: TaskResult) -> None:
        core = self._core
        if core.observers.is_active:
            self._told_as = next(_BLOCKS)
            facts = running.task_name, running.retries, running.worker_id, running.parent_id, running.meta
            core.observers.tell(BlockBegun(core.namespace, self.task_id, self._told_as, *facts))

    def _tell_ended(self, error: BaseException | None, *, is_known: bool = True) -> None:
        if self._told_as:
            status = self.outcome.status if is_known and self.outcome is not None else None
            is_stored = is_known and self.is_stored
            ended = BlockEnded(self._core.namespace, self.task_id, self._told_as, status, is_stored, error)
            self._core.observers.tell(ended)

    def _tell_if_late(self) -> None:
        if not self.is_stored and self.outcome is not None:
            late = OutcomeLate(self._core.namespace, self.task_id, self.retries, self.outcome)
            self._core.observers.tell(late)

    async def _store_outcome(self, error: BaseException | None) -> None:
        assert self._running is not None
        running, at = self._running, self._now()
        if self._progress is not None:
            running = running.model_copy(update={"progress": self._progress})
        try:
            ended = self._ended(running, error, at)
        except Exception as broken:  # raised by ``retry_delay``, ``end_with`` or ``result_type``
            # The task is over all the same, and must not stay running.
            await self._store(TaskResult.failed(running, broken, at=at))
            raise
        try:
            await self._store(ended)
        except (NotSerializable, FamilyConflict) as refused:
            await self._store(TaskResult.failed(running, refused, at=at))
            raise

    def _ended(self, running: TaskResult, error: BaseException | None, at: datetime) -> TaskResult:
        if self._make is not None:
            return _end_of(running, self._make(running))
        ended = self._attempt.ended(running, error, self._retry, self._interrupts.cancel_request, at)
        return ended or TaskResult.success(running, self._checked_result(), at=at)

    def _checked_result(self) -> T:
        if self._typed is None:
            return self.result
        return self._typed.checked(self.result, self.task_id, "result", "task")

    async def _store(self, result: TaskResult) -> None:
        self.is_stored, self._is_unanswered = False, True  # one that raises may have been applied
        core, patience = self._core, self._attempt.patience
        if result is self._running:
            self.is_stored = await store(core, self.task_id, result)
        elif result.is_finished:
            self.outcome = result
            self.is_stored = await store(core, self.task_id, result, self._attempt.ttl, patience=patience)
        else:
            assert self._running is not None
            self.outcome = result
            left = await leave(core, self._running, result, patience)
            self.is_stored, self.outcome = left is not None, left or result
        self._is_unanswered = False

    def _now(self) -> datetime:
        return from_micros(self._core.clock())


def _end_of(running: TaskResult, made: object) -> TaskResult:
    """What ``end_with`` has made. Only the end of this attempt can take effect."""
    if not isinstance(made, TaskResult):
        raise TypeError(f"make: expected a TaskResult, got {type(made).__name__}")
    if not made.is_finished:
        raise ValueError(f"make: expected a finished task, got one that is {made.status}")
    if (made.task_id, made.retries) != (running.task_id, running.retries):
        raise ValueError(
            f"make: expected attempt {running.retries} of {running.task_id!r}, "
            f"got attempt {made.retries} of {made.task_id!r}"
        )
    return made
