"""Tracking: a block of code that is a task, its outcome stored however the block ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from flowstore._core.core import Core
from flowstore._core.progress import set_progress
from flowstore._core.storing import get, store
from flowstore._trips.lifecycle import to_its_end
from flowstore._values.arguments import check_ids, check_int
from flowstore.errors import NotSerializable, StorageTimeout
from flowstore.models import MAX_RETRIES, Progress, TaskResult, TaskStatus
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
) -> TrackedTask:
    named = {"name": name, "worker_id": worker_id, "parent_id": parent_id}
    given = {argument: check_text(argument, text) for argument, text in named.items() if text is not None}
    try_ = _Try(
        core,
        check_text("task_id", task_id),
        given.get("name"),
        given.get("worker_id"),
        None if retries is None else check_int("retries", retries, 0, MAX_RETRIES),
        given.get("parent_id"),
        frozenset(check_ids(labels, "labels")),
    )
    return TrackedTask(try_)


class _Try(NamedTuple):
    """What is said of a task where it is tracked."""

    core: Core
    task_id: str
    name: str | None
    worker_id: str | None
    retries: int | None
    parent_id: str | None
    labels: frozenset[str]

    def running(self, earlier: TaskResult[Any] | None, around: str | None, at: datetime) -> TaskResult[Any]:
        """``earlier``: what stands. ``around``: the task that this one runs inside of."""
        known = earlier or TaskResult.pending(self.task_id, at=at)
        return TaskResult.running(
            known,
            at=at,
            task_name=self.name or known.task_name,
            worker_id=self.worker_id,
            retries=_next_try(known) if self.retries is None else self.retries,
            parent_id=self.parent_id or known.parent_id or around,
            labels=known.labels | self.labels,
            progress=None,
        )


def _next_try(known: TaskResult[Any]) -> int:
    return known.retries + (known.status is TaskStatus.RETRYING)


@dataclass(eq=False)
class _Place:
    """Which task the code runs inside of, and which is around that."""

    core: Core
    task_id: str
    outer: _Place | None
    is_over: bool = False
    """It ended, as blocks of generators do, while another one was the innermost or in another context."""


_PLACE: Final[ContextVar[_Place | None]] = ContextVar("flowstore_place", default=None)
_LEFT: Final[set[asyncio.Task[None]]] = set()
"""What the event loop still stores for coroutines and generators that were closed."""


class TrackedTask:
    """One try of a task while it runs. Assign what comes out of it to ``result``; the default is None.

    ``is_stored``: whether what was stored last is the stored state. It is not when the task was finished
    by somebody else, or a later try has begun: then nothing was written.
    """

    def __init__(self, try_: _Try) -> None:
        self.result: Any = None
        self.is_stored = False
        self._try = try_
        self._core = try_.core
        self._is_entered = False
        self._running: TaskResult[Any]
        self._progress: Progress | None = None
        self._place: _Place | None = None
        self._entry: Token[_Place | None]

    @property
    def task_id(self) -> str:
        return self._try.task_id

    @property
    def retries(self) -> int:
        """The number of this try, from 0; AttributeError before the block has begun."""
        return self._running.retries

    async def progress(self, done: float, total: float | None = None, note: str | None = None) -> bool:
        """As ``set_progress`` of the backend, in this try. What was told last stays with the outcome."""
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
        self._running = self._try.running(earlier, _around(self._try), self._now())
        try:
            await self._store(self._running)
        except (asyncio.CancelledError, GeneratorExit) as error:  # it may have been written
            await self._leave(error)
            raise
        self._place = _Place(self._core, self.task_id, _innermost())
        self._entry = _PLACE.set(self._place)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._place is not None:
            self._step_out(self._place)
        await self._leave(error)

    def _step_out(self, place: _Place) -> None:
        try:
            place.is_over = place is not _innermost()
            if not place.is_over:
                _PLACE.reset(self._entry)
        except ValueError:  # a generator may be closed in another context than it was begun in
            place.is_over = True

    async def _leave(self, error: BaseException | None) -> None:
        if isinstance(error, GeneratorExit):
            self._hand_over(error)
            return
        try:
            await to_its_end(self._finish(error))
        except Exception as trouble:
            if error is None:
                raise
            error.add_note(f"task {self.task_id!r}: this was not stored: {type(trouble).__name__}: {trouble}")

    def _hand_over(self, error: GeneratorExit) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody is left to do it
        storing = loop.create_task(self._finish(error))
        _LEFT.add(storing)
        storing.add_done_callback(_LEFT.discard)

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
                await self._store(TaskResult.success(running, self.result, at=at))
            except NotSerializable as refused:
                await self._store(TaskResult.failed(running, refused, at=at))
                raise

    async def _store(self, result: TaskResult[Any]) -> None:
        self.is_stored = False
        self.is_stored = await store(self._core, self.task_id, result)

    def _now(self) -> datetime:
        return from_micros(self._core.clock())


def _innermost(of: Callable[[_Place], bool] = lambda place: True) -> _Place | None:
    place = _PLACE.get()
    while place is not None and (place.is_over or not of(place)):
        place = place.outer
    return place


def _around(try_: _Try) -> str | None:
    """The innermost other task of the same backend that the code runs inside of."""
    place = _innermost(lambda place: place.core is try_.core and place.task_id != try_.task_id)
    return None if place is None else place.task_id
