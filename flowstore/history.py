"""The history of tasks: each stored change of status, when it was stored and by which worker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from typing import Final

from flowstore import arguments
from flowstore.belongings import Span, TransitionRow
from flowstore.core import STEP, Core
from flowstore.fields import check_text
from flowstore.models import Transition
from flowstore.records import transition

END_OF_TIME: Final = 2**62
_EVER: Final = (-END_OF_TIME, END_OF_TIME)


class HistoryMethods(Core):
    """What ``BaseResultBackend`` tells of the past. Nothing is kept with the option ``history=False``."""

    async def history(self, task_id: str) -> list[Transition]:
        """What was stored of the task: ascending by time, by order of writing where times are equal.

        Every applied store is in it. Empty for an unknown id.
        """
        first, last = _EVER
        span = Span(STEP, first, last, check_text("task_id", task_id))
        return [transition(row) async for rows in self._stretch(span) for row in rows]

    async def iter_history(
        self, start: datetime | None = None, end: datetime | None = None, batch_size: int = 100
    ) -> AsyncIterator[list[Transition]]:
        """The history of all tasks from ``start`` to ``end``, both included, in the order of time.

        In batches of at most ``batch_size``. None: no bound. Each transition that is there from the
        beginning to the end of the walk comes exactly once, whatever is stored meanwhile.
        """
        span = _span(start, end, batch_size)
        async for rows in self._stretch(span):
            yield [transition(row) for row in rows]

    async def iter_task_ids(
        self, start: datetime | None = None, end: datetime | None = None, batch_size: int = 100
    ) -> AsyncIterator[list[str]]:
        """The ids of the tasks with history from ``start`` to ``end``, both included, in batches.

        Each once, in the order of its first transition in that time. Only one whose oldest transitions
        are dropped meanwhile, because of ``history_limit``, may come again.
        """
        span = replace(_span(start, end, batch_size), first_only=True)
        async for rows in self._stretch(span):
            yield [row.id for row in rows]

    async def _stretch(self, span: Span) -> AsyncIterator[list[TransitionRow]]:
        """In steps of the limit, none of them empty."""
        while True:
            async with self._life:
                rows = await self._engine.history(span, self._clock())
            if rows:
                yield rows
            if len(rows) < span.limit:
                return
            span = replace(span, after=rows[-1])


def _span(start: datetime | None, end: datetime | None, batch_size: int) -> Span:
    first, last = _EVER
    return Span(
        arguments.check_int("batch_size", batch_size, 1, arguments.MAX_PAGE),
        first if start is None else arguments.check_instant("start", start),
        last if end is None else arguments.check_instant("end", end),
    )
