"""A block of code that is one attempt at a run: it ends the run, however it ends itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from flowstore._core.core import Core
from flowstore._trips.background import hand_over
from flowstore._trips.lifecycle import to_its_end
from flowstore._values.arguments import check_statuses
from flowstore.errors import NotSerializable
from flowstore.features.checkpoints import Checkpoint, Checkpoints
from flowstore.models import Statuses, StatusName, TaskResult, TaskStatus
from flowstore.runs.belongings import Belongings
from flowstore.runs.life import (
    Beginning,
    Ended,
    cancelled,
    check_current,
    complete_with,
    completed,
    end,
    failed,
    start,
)
from flowstore.runs.models import Run, run_of_result
from flowstore.runs.records import Keep, append, appending, checkpoint, missing, pairs
from flowstore.task_error import TaskError


class RunningRun:
    """An attempt at a run while its block runs: what it appends is refused once another attempt has begun.

    Assign its result to ``result``; the default is None. ``checkpoint``: the latest one of the attempts
    before, to resume from; None: there is none.
    """

    def __init__(
        self,
        belongings: Callable[[], Belongings],
        beginning: Beginning,
        resume: bool,
        every: int | None,
        keep: int | None,
        patience: float,
    ) -> None:
        self.result: Any = None
        self.checkpoint: Checkpoint[Any] | None = None
        self._belongings = belongings
        self._beginning = beginning
        self._resume = resume
        self._every = every
        self._keep = keep
        self._patience = patience
        self._state: Callable[[], Any] | None = None
        self._appended = 0
        self._running: TaskResult | None = None

    @property
    def run_id(self) -> str:
        return self._beginning.run_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 0; RuntimeError before the block has begun."""
        return self._begun.retries

    @property
    def run(self) -> Run:
        """The run as it has begun; RuntimeError before that."""
        return run_of_result(self._begun)

    @property
    def _begun(self) -> TaskResult:
        if self._running is None:
            raise RuntimeError(f"run {self.run_id!r}: the block has not begun")
        return self._running

    @property
    def _core(self) -> Core:
        return self._belongings().core

    def __repr__(self) -> str:
        return f"RunningRun({self.run_id!r})"

    def checkpoint_with(self, state: Callable[[], Any]) -> None:
        """Save what ``state`` returns as a checkpoint after every ``checkpoint_every`` records."""
        if self._every is None:
            raise ValueError(f"checkpoint_every: run {self.run_id!r} was begun without it")
        if not callable(state):
            raise TypeError(f"state: expected a function without arguments, got {type(state).__name__}")
        self._state = state

    async def save_checkpoint(self, value: Any) -> int:
        """``runs.checkpoint`` of this run, of which the ``keep`` latest stay; returns its seq.

        Raises RunNotOpen if another attempt has begun before.
        """
        await check_current(self._core, self.run_id, self.attempt)
        return await checkpoint(self._core, self.run_id, value, self._keep)

    async def append(
        self,
        value: Any,
        *,
        key: str | None = None,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        error: BaseException | TaskError | None = None,
        keep: Keep = "last",
    ) -> bool:
        """``runs.append`` to this run, in this attempt. Raises RunNotOpen if another one has begun."""
        how = appending(self.run_id, status, error, keep, self.attempt)
        [is_kept] = await append(self._belongings(), how, [(key, value)])
        await self._count(1)
        return is_kept

    async def append_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str | None, Any]],
        *,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        keep: Keep = "last",
    ) -> list[bool]:
        """``runs.append_many`` to this run, in this attempt."""
        how = appending(self.run_id, status, None, keep, self.attempt)
        kept = await append(self._belongings(), how, pairs(values))
        await self._count(len(kept))
        return kept

    async def missing(self, keys: Iterable[str], *, status: Statuses = None) -> list[str]:
        """``runs.missing`` of this run: what is still to be done."""
        return await missing(self._belongings(), self.run_id, keys, check_statuses(status))

    async def _count(self, appended: int) -> None:
        before, self._appended = self._appended, self._appended + appended
        every = self._every
        if every is not None and self._state is not None and before // every != self._appended // every:
            await self.save_checkpoint(self._state())

    async def __aenter__(self) -> Self:
        if self._running is not None:
            raise RuntimeError(f"run {self.run_id!r}: entered twice; call run() for each block")
        self._core.life.check()  # before there is a task, which needs a loop
        try:
            await to_its_end(self._begin())
        except BaseException as error:
            if self._running is not None:  # without a block nothing else would ever end it
                await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def _begin(self) -> None:
        self._running = await start(self._core, self._beginning, self._resume)
        if self.attempt:
            self.checkpoint = await Checkpoints(self._core).latest(self.run_id)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, GeneratorExit):
            hand_over(lambda: self._end(error))
            return
        try:
            await to_its_end(self._end(error))
        except Exception as trouble:
            # An exception of the block goes first: it is what the caller has to handle.
            if error is None:
                raise
            error.add_note(
                f"run {self.run_id!r}: its end was not stored: {type(trouble).__name__}: {trouble}"
            )

    async def _end(self, error: BaseException | None) -> None:
        core, attempt, patience = self._core, self.attempt, self._patience
        if error is not None or self.result is None:
            await end(core, self.run_id, _ended(error), attempt, patience)
            return
        try:
            await complete_with(core, self.run_id, self.result, attempt, patience)
        except NotSerializable as refused:
            # The run is over all the same, and must not stay running.
            await end(core, self.run_id, failed(refused), attempt, patience)
            raise


def _ended(error: BaseException | None) -> Ended:
    if error is None:
        return completed
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return cancelled(None)
    return failed(error)
