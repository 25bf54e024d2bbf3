"""Watching tasks: their states as they change, for whoever looks on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from flowstore.core import Core
from flowstore.fields import check_text
from flowstore.models import TaskResult


class WatchMethods(Core):
    """How one looks on while tasks of ``BaseResultBackend`` go ahead. Nothing polls, as in ``wait_for``."""

    async def watch(self, task_id: str) -> AsyncGenerator[TaskResult[Any], None]:
        """Yield the state of the task, then each change of status or progress; ends with a finished one.

        May begin before the task is stored. States that are not finished come without values
        (NOT_LOADED). One that is followed by the next before it could be read is skipped, the last one
        never. Raises ResultDeleted or ResultExpired when the record goes away, BackendClosed, and
        CorruptRecord; a storage that cannot be reached is tried again for ever.
        """
        check_text("task_id", task_id)
        async with self._life:
            watcher = self._waiters.watch(task_id)
        try:
            while True:
                state = await watcher.next()
                yield state
                if state.is_finished:
                    return
        finally:
            self._waiters.unwatch(task_id, watcher)
