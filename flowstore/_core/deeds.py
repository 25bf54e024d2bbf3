"""What an action does to a record: judged on what was read, and written over exactly that, or not at all.

Values are neither decoded nor transported, where that can be: a task that is requeued must lose its result,
but the first bytes of the stored values tell whether it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from flowstore._core.attempts import requeued
from flowstore._core.core import Core
from flowstore._core.operations import Action, Effect
from flowstore._core.rows import without_values
from flowstore._core.steering import cancelled
from flowstore._core.stepping import next_write
from flowstore._core.writing import applied
from flowstore.engine import Entry, Outcome, Standing, Write
from flowstore.errors import FamilyConflict, UnreadableRecord
from flowstore.models import MAX_RETRIES, CancelRequest, TaskResult, TaskStatus
from flowstore.text import cut
from flowstore.times import from_micros

BEGINNING: Final = 16
"""Bytes of the values: enough to see that there is no result among them."""
_NO_RESULT: Final = (b'{"args":', b'{"kwargs":', b"{}")
_REFUSED: Final = (UnreadableRecord, FamilyConflict, ValueError)
_MAX_REASON_CHARS: Final = 300
_MICROSECOND: Final = timedelta(microseconds=1)


class Chosen(NamedTuple):
    """A record to be changed: as it was read, with at least the beginning of its values to requeue it."""

    entry: Entry
    task: TaskResult
    effect: Effect


class Fate(NamedTuple):
    """What became of it. Neither: there is another record by now. ``reason``: why it cannot be changed."""

    is_done: bool
    reason: str | None = None


class Deed:
    """An action, and the operation that it is of: that stands in the history where nothing else does."""

    def __init__(self, core: Core, action: Action, operation_id: str = "") -> None:
        self._core = core
        self._action = action
        self._operation_id = operation_id
        self.needs_beginning = action.name == "requeue"
        self.leaves_versions = action.name not in ("delete", "expire")
        """Whether each change is a version of its record."""

    def effect_on(self, task: TaskResult) -> Effect:
        """What it would do to the task."""
        name, status = self._action.name, task.status
        is_running = status is TaskStatus.RUNNING
        if is_running and name in ("requeue", "fail", "delete") and not self._action.include_running:
            return Effect.LEFT_RUNNING
        if name in ("cancel", "fail") and task.is_finished:
            return Effect.LEFT_FINISHED
        match name:
            case "requeue":
                if status is TaskStatus.PENDING:
                    return Effect.LEFT_PENDING
                return Effect.LEFT_WORN_OUT if task.retries == MAX_RETRIES else Effect.REQUEUED
            case "cancel":
                if task.cancel_request is not None:
                    return Effect.LEFT_ASKED
                return Effect.ASKED_TO_END if is_running else Effect.CANCELLED
            case "label":
                return Effect.LEFT_AS_IT_IS if self._labels(task) == task.labels else Effect.LABELLED
        return {"fail": Effect.FAILED, "delete": Effect.DELETED, "expire": Effect.EXPIRES}[name]

    async def carry_out(self, chosen: Sequence[Chosen], at: int) -> list[Fate]:
        """Change each, in one call. At most as many as a call may carry."""
        await self._core.engine.room()
        entries = [each.entry for each in chosen]
        match self._action.name:
            case "delete":
                ids, standing = (
                    [entry.id for entry in entries],
                    [Standing(*_mark(entry)) for entry in entries],
                )
                return [Fate(is_done) for is_done in await self._core.engine.remove(ids, at, standing)]
            case "expire":
                expiries = [self._core.records.expiry(entry, self._expires_at(at)) for entry in entries]
                return [Fate(is_done) for is_done in await self._core.engine.expire(expiries, at)]
        return await self._write(chosen, at)

    def is_done(self, entry: Entry | None, version: int, started: int, times: Sequence[int]) -> bool:
        """Whether the record, read as that version before, is what this has made of it at one of ``times``.

        False also where somebody else has written since.
        """
        match self._action.name:
            case "delete":  # by whomever; one that is there again begins with version 1, and is new
                is_new = entry is not None and entry.version == version and entry.updated_at > started
                return entry is None or entry.version < version or is_new
            case "expire":
                return entry is not None and entry.expires_at in [self._expires_at(at) for at in times]
        return entry is not None and entry.version == version + 1 and entry.updated_at in times

    def is_to_be_told(self, task: TaskResult) -> bool:
        """Whether the host has to learn of the task, as it stands: nobody has gone on with it since."""
        if self._action.name == "requeue":
            return task.status is TaskStatus.PENDING
        return task.cancel_request is not None and task.status in (TaskStatus.RUNNING, TaskStatus.CANCELLED)

    async def _write(self, chosen: Sequence[Chosen], at: int) -> list[Fate]:
        writes: dict[int, Write] = {}
        fates = [Fate(False)] * len(chosen)
        for place, (each, entry) in enumerate(zip(chosen, await self._with_values(chosen), strict=True)):
            if entry is not None and not entry.is_expired(at):
                try:
                    writes[place] = self._write_of(entry, each.task, at)
                except _REFUSED as error:
                    fates[place] = Fate(False, cut(str(error), _MAX_REASON_CHARS))
        outcomes = await self._core.engine.write([*writes.values()], at) if writes else []
        for (place, write), outcome in zip(writes.items(), outcomes, strict=True):
            is_news = write.entry.stage != chosen[place].entry.stage
            fates[place] = _fate(self._core, write, outcome, is_news)
        return fates

    def _write_of(self, entry: Entry, task: TaskResult, at: int) -> Write:
        if entry.body is not None:
            self._core.records.check_whole(entry)
        event = None
        if self._action.name == "label":
            event = {"name": "labelled", "detail": {"operation": self._operation_id}}
        return next_write(self._core, entry, task, self._next(task, from_micros(at)), at, event)

    def _next(self, task: TaskResult, at: datetime) -> TaskResult:
        match self._action.name:
            case "requeue":
                return requeued(task)
            case "cancel":
                return cancelled(task, CancelRequest(at=at, reason=self._action.reason))
            case "fail":
                assert self._action.error is not None, "checked when the operation was started"
                return TaskResult.failed(task, self._action.error, at=at)
        return task.model_copy(update={"labels": self._labels(task)})

    def _labels(self, task: TaskResult) -> frozenset[str]:
        return (task.labels - self._action.remove) | self._action.add

    def _expires_at(self, at: int) -> int | None:
        ttl = self._action.ttl
        return None if ttl is None else at + ttl // _MICROSECOND

    async def _with_values(self, chosen: Sequence[Chosen]) -> list[Entry | None]:
        """The entries to write over: with their values if those are to be changed. None: it was replaced."""
        if not self.needs_beginning:
            return [without_values(each.entry) for each in chosen]
        found = [self._without_values(each.entry) for each in chosen]
        wanted = [each.entry.id for each, entry in zip(chosen, found, strict=True) if entry is None]
        whole = await self._core.engine.read(wanted) if wanted else []
        read = {entry.id: entry for entry in whole if entry is not None}
        return [
            entry or _same(each.entry, read.get(each.entry.id))
            for each, entry in zip(chosen, found, strict=True)
        ]

    def _without_values(self, entry: Entry) -> Entry | None:
        """None if there may be a result among them."""
        begins = self._core.records.cut(entry, BEGINNING).body
        has_none = begins is not None and begins.startswith(_NO_RESULT)
        return without_values(entry) if has_none else None


def _same(entry: Entry, whole: Entry | None) -> Entry | None:
    return whole if whole is not None and _mark(whole) == _mark(entry) else None


def _mark(entry: Entry) -> tuple[int, int]:
    return entry.version, entry.check


def _fate(core: Core, write: Write, outcome: Outcome, is_news: bool) -> Fate:
    try:
        return Fate(applied(core, write, outcome, is_news=is_news))
    except _REFUSED as error:
        return Fate(False, cut(str(error), _MAX_REASON_CHARS))
