"""Tracking: a block of code that is a task, its outcome stored however the block ends.

The outcome is stored in ``to_its_end``. If a cancellation could cut that short, the task would stay running
for ever, and so would its waiters. ``op_timeout`` bounds it, or a dead storage would make the task
uncancellable.

The task around a block, which becomes the parent, is kept in a context variable. asyncio copies the context
into each task created in the block, so children find their parent across ``create_task`` and ``gather``, and
blocks that run side by side do not see each other.

Async generators break the nesting. A block inside one runs in the context of whoever iterates it; two of them
may end in another order than they began, or in another context, where a token cannot be reset. So scopes are
linked outwards, and one that cannot be taken off the top is marked as over and skipped.

A generator or coroutine that is being closed (GeneratorExit) cannot await anything. The event loop stores its
outcome soon after; where no loop runs, the task stays running, as after a crash.

Nothing is claimed. Two workers may run the same attempt, and the rules of ``store`` decide whose outcome
counts. A claim would need a lease that expires and is renewed: that is the business of the queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Final, Generic, NamedTuple, Self, cast

from flowstore._core.core import Core
from flowstore._core.progress import set_progress
from flowstore._core.storing import get, store
from flowstore._core.writing import store_beside_values
from flowstore._trips.background import in_background
from flowstore._trips.lifecycle import to_its_end
from flowstore._values.arguments import check_ids, check_int
from flowstore._values.codec import STANDS_FOR
from flowstore._values.typed import Typed
from flowstore.errors import NotSerializable, StorageTimeout, UnexpectedValue, UnresolvedValue
from flowstore.fields import FrozenMeta, Scalar, check_meta
from flowstore.models import MAX_RETRIES, Progress, T, TaskResult, TaskStatus
from flowstore.observing import OutcomeLost
from flowstore.text import check_text
from flowstore.times import from_micros


def track(
    core: Core,
    task_id: str,
    name: str | None,
    worker_id: str | None,
    retries: int | None,
    parent_id: str | None,
    labels: Iterable[str],
    meta: Mapping[str, Scalar],
    typed: Typed[T] | None,
) -> TrackedTask[T]:
    named = {"name": name, "worker_id": worker_id, "parent_id": parent_id}
    given = {argument: check_text(argument, text) for argument, text in named.items() if text is not None}
    attempt = _Attempt(
        core,
        check_text("task_id", task_id),
        given.get("name"),
        given.get("worker_id"),
        None if retries is None else check_int("retries", retries, 0, MAX_RETRIES),
        given.get("parent_id"),
        frozenset(check_ids(labels, "labels")),
        check_meta(meta),
    )
    return TrackedTask(attempt, typed)


class _Attempt(NamedTuple):
    """The arguments of ``track``."""

    core: Core
    task_id: str
    name: str | None
    worker_id: str | None
    retries: int | None
    parent_id: str | None
    labels: frozenset[str]
    meta: FrozenMeta

    def running(self, earlier: TaskResult | None, around: _Scope | None, at: datetime) -> TaskResult:
        """The record to store at the start. ``earlier``: what stands. ``around``: the enclosing task."""
        known = earlier or TaskResult.pending(self.task_id, at=at)
        parent, root = self.parent_id or known.parent_id, known.root_id
        if parent is None and around is not None:
            parent, root = around.task_id, around.root_id
        return TaskResult.running(
            known,
            at=at,
            task_name=self.name or known.task_name,
            worker_id=self.worker_id,
            retries=_next_attempt(known) if self.retries is None else self.retries,
            parent_id=parent,
            root_id=root,
            labels=known.labels | self.labels,
            meta={**known.meta, **self.meta} if self.meta else known.meta,
            progress=None,
        )


def _next_attempt(known: TaskResult) -> int:
    return known.retries + (known.status is TaskStatus.RETRYING)


@dataclass(eq=False)
class _Scope:
    """The task that a block of code belongs to, and the scope around it."""

    core: Core
    task_id: str
    root_id: str | None
    """The root of the task's family, or the task itself; None if the storage has still to be asked for it."""
    outer: _Scope | None
    is_over: bool = False
    """Ended while it was not the innermost scope, or in another context, as blocks in generators may."""


_SCOPE: Final[ContextVar[_Scope | None]] = ContextVar("flowstore_scope", default=None)
_HANDED_OVER: Final[set[asyncio.Task[None]]] = set()
"""Tasks that store the outcome of closed generators. The event loop itself keeps only weak references."""


class TrackedTask(Generic[T]):
    """One attempt at a task while it runs. Assign its outcome to ``result``; the default is None.

    ``is_stored``: whether the last store was applied. It was not if someone else has finished the task, or a
    later attempt has begun: then nothing was written.
    """

    def __init__(self, attempt: _Attempt, typed: Typed[T] | None) -> None:
        self.result = cast(T, None)
        self._typed = typed
        self.is_stored = False
        self._attempt = attempt
        self._core = attempt.core
        self._is_entered = False
        self._running: TaskResult
        self._progress: Progress | None = None
        self._scope: _Scope | None = None
        self._entry: Token[_Scope | None]

    @property
    def task_id(self) -> str:
        return self._attempt.task_id

    @property
    def retries(self) -> int:
        """The number of this attempt, from 0; AttributeError before the block has begun."""
        return self._running.retries

    async def progress(self, done: float, total: float | None = None, note: str | None = None) -> bool:
        """``set_progress`` of the backend, for this attempt. The last report is stored with the outcome."""
        is_applied = await set_progress(self._core, self.task_id, done, total, note, self.retries)
        self._progress = Progress(done=done, total=total, note=note)
        return is_applied

    def __repr__(self) -> str:
        return f"TrackedTask({self.task_id!r})"

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError(f"task {self.task_id!r}: entered twice; call track for each block")
        self._is_entered = True
        earlier = await get(self._core, self.task_id)
        self._running = self._attempt.running(earlier, _enclosing(self._attempt), self._now())
        try:
            await self._begin()
        except (asyncio.CancelledError, GeneratorExit) as error:
            # It may have been written, and without a block nothing else would ever end it.
            await self._end(error)
            raise
        self._scope = _Scope(self._core, self.task_id, _root_of(self._running), _innermost())
        self._entry = _SCOPE.set(self._scope)
        return self

    async def _begin(self) -> None:
        try:
            await self._store(self._running)
        except NotSerializable as refused:
            # The only values are the arguments of the stored record, and perhaps what ``redact`` makes of
            # them. Where these cannot be handed on, the task cannot begin.
            error: NotSerializable | UnresolvedValue = refused
            if refused.reason.startswith(STANDS_FOR):
                error = UnresolvedValue(self.task_id, f"{refused.path}: {refused.reason}")
            await to_its_end(self._fail_unbegun(error))
            raise error from None

    async def _fail_unbegun(self, error: NotSerializable | UnresolvedValue) -> None:
        """Fail the task that cannot begin: nobody else might end it, and its waiters would hang."""
        failed = TaskResult.failed(self._running, error, at=self._now())
        self.is_stored = await store_beside_values(self._core, failed)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._exit_scope(self._scope)
        await self._end(error)

    def _exit_scope(self, scope: _Scope) -> None:
        try:
            scope.is_over = scope is not _innermost()
            if not scope.is_over:
                _SCOPE.reset(self._entry)
        except ValueError:  # the block ends in another context than it began in
            scope.is_over = True

    async def _end(self, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit):
            self._hand_over(error)
            return
        try:
            await to_its_end(self._finish(error))
        except Exception as trouble:
            if not self.is_stored:  # else it was stored as failed, with this as the reason
                self._core.observers.tell(OutcomeLost(self._core.namespace, self.task_id, trouble))
            # An exception of the block goes first: it is what the caller has to handle.
            if error is None:
                raise
            error.add_note(f"task {self.task_id!r}: this was not stored: {type(trouble).__name__}: {trouble}")

    def _hand_over(self, error: GeneratorExit) -> None:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return  # no loop is left to store it
        storing = in_background(self._finish(error))
        _HANDED_OVER.add(storing)
        storing.add_done_callback(_HANDED_OVER.discard)

    async def _finish(self, error: BaseException | None) -> None:
        seconds = self._core.op_timeout
        try:
            async with asyncio.timeout(seconds) as deadline:
                await self._store_outcome(error)
        except TimeoutError as late:
            if not deadline.expired():
                raise
            raise StorageTimeout(f"task {self.task_id!r} was not stored within {seconds:g} s") from late

    async def _store_outcome(self, error: BaseException | None) -> None:
        running, at = self._running, self._now()
        if self._progress is not None:
            running = running.model_copy(update={"progress": self._progress})
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            await self._store(TaskResult.cancelled(running, at=at))
        elif error is not None:
            await self._store(TaskResult.failed(running, error, at=at))
        else:
            try:
                result = self.result
                if self._typed is not None:
                    result = self._typed.checked(result, self.task_id, "result", "task")
                await self._store(TaskResult.success(running, result, at=at))
            except (NotSerializable, UnexpectedValue) as refused:
                # The task is over all the same, and must not stay running.
                await self._store(TaskResult.failed(running, refused, at=at))
                raise

    async def _store(self, result: TaskResult) -> None:
        self.is_stored = False  # a store that raises may or may not have been applied
        self.is_stored = await store(self._core, self.task_id, result)

    def _now(self) -> datetime:
        return from_micros(self._core.clock())


def _innermost(of: Callable[[_Scope], bool] = lambda scope: True) -> _Scope | None:
    scope = _SCOPE.get()
    while scope is not None and (scope.is_over or not of(scope)):
        scope = scope.outer
    return scope


def _enclosing(attempt: _Attempt) -> _Scope | None:
    """The innermost enclosing task of the same backend, other than the task itself."""
    return _innermost(lambda scope: scope.core is attempt.core and scope.task_id != attempt.task_id)


def _root_of(running: TaskResult) -> str | None:
    return running.task_id if running.parent_id is None else running.root_id
