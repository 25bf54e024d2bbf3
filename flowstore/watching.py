"""Watching tasks: their states as they change, and which of them enter a status, for whoever looks on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from flowstore import arguments
from flowstore.belongings import Span
from flowstore.core import STEP
from flowstore.errors import StorageUnavailable
from flowstore.fields import check_text
from flowstore.history import END_OF_TIME, HistoryMethods
from flowstore.listing import Statuses
from flowstore.models import TaskResult
from flowstore.onlookers import Tail


class WatchMethods(HistoryMethods):
    """How one looks on while tasks of ``BaseResultBackend`` go ahead. Nothing polls, as in ``wait_for``."""

    def watch(self, task_id: str) -> AsyncGenerator[TaskResult[Any], None]:
        """Yield the state of the task, then each change of status or progress; ends with a finished one.

        May begin before the task is stored. States that are not finished come without values
        (NOT_LOADED). One that is followed by the next before it could be read is skipped, the last one
        never. Raises ResultDeleted or ResultExpired when the record goes away, BackendClosed, and
        CorruptRecord; a storage that cannot be reached is tried again for ever. There is no other end: an
        id that is never stored is watched for ever, but for an ``asyncio.timeout`` around it.
        """
        return self._watch(check_text("task_id", task_id))

    async def _watch(self, task_id: str) -> AsyncGenerator[TaskResult[Any], None]:
        async with self._life:
            watcher = self._waiters.watch(task_id)
        try:
            while True:
                await watcher.news()
                state = watcher.state
                yield state
                if state.is_finished:
                    return
        finally:
            self._waiters.unwatch(task_id, watcher)

    def watch_status(self, statuses: Statuses = None) -> AsyncGenerator[str, None]:
        """Yield the id of each task that is stored in one of ``statuses`` (None: any) from this call on.

        As they are stored, as ``tail -f`` of the history: a task comes as often as it is stored there.
        What was missed, before the first step of the iteration or as a connection was lost, is looked up
        in the history, at the latest after ``recheck_interval``; where that is not kept
        (``history=False``) it stays missed. Without end, but for no ``statuses``; raises BackendClosed. A
        storage that cannot be reached is tried again for ever.
        """
        wanted = arguments.check_statuses(statuses)
        return self._entering(Tail(wanted, self._clock, round(self._op_timeout * 1_000_000)))

    async def _entering(self, tail: Tail) -> AsyncGenerator[str, None]:
        async with self._life:
            if not tail.statuses:
                return
            self._waiters.follow(tail)
        try:
            while True:
                await tail.news()
                if tail.has_gap:
                    await self._fill_gap(tail)
                for task_id in tail.take():
                    yield task_id
        finally:
            self._waiters.unfollow(tail)

    async def _fill_gap(self, tail: Tail) -> None:
        try:
            async for rows in self._stretch(Span(STEP, tail.compare(), END_OF_TIME)):
                for row in rows:
                    tail.found((row.id, row.status), row.at)
        except StorageUnavailable:
            tail.has_gap = True  # filled at the next news, at the latest when all is looked at again
        else:
            tail.compared()
