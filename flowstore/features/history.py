"""The history of tasks: every stored change of status, with its time and worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

from flowstore._core.core import Core
from flowstore._core.listing import readable
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._values.arguments import MAX_PAGE, check_instant, check_int
from flowstore._values.reading import transition
from flowstore.engine import Asked, Section, Span
from flowstore.models import Transition
from flowstore.text import check_text

_EVER: Final = (-END_OF_TIME, END_OF_TIME)


class History:
    """What happened to tasks, and when: ``backend.history``. Empty with the option ``history=False``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def of(self, task_id: str) -> list[Transition]:
        """The transitions of the task, in the order of writing.

        Every store that was applied is among them, as far as ``history_limit`` allows. Empty for an unknown
        id.
        """
        asked = Asked(Section.HISTORY, check_text("task_id", task_id))
        async with self._core.life:
            [items] = await self._core.engine.items([asked], self._core.clock())
        return list(map(transition, items))

    def iter(
        self, start: datetime | None = None, end: datetime | None = None, *, batch_size: int = 100
    ) -> AsyncGenerator[Transition, None]:
        """The history of all tasks from ``start`` to ``end``, both included, in order of time.

        None: no bound. It is read ``batch_size`` at a time. A transition that exists throughout the walk
        comes exactly once, whatever is stored in the meantime.
        """
        return readable(walk_transitions(self._core, _span(start, end, batch_size)), transition)

    def iter_ids(
        self, start: datetime | None = None, end: datetime | None = None, *, batch_size: int = 100
    ) -> AsyncGenerator[str, None]:
        """The ids of the tasks with a transition from ``start`` to ``end``, both included.

        Each comes once, in the order of the first transition in that time. The walk remembers the ids that it
        has shown.
        """
        return self._ids(_span(start, end, batch_size))

    async def _ids(self, span: Span) -> AsyncGenerator[str, None]:
        shown: set[str] = set()
        async for items in walk_transitions(self._core, span):
            for item in items:
                if item.owner not in shown:
                    shown.add(item.owner)
                    yield item.owner


def _span(start: datetime | None, end: datetime | None, batch_size: int) -> Span:
    first, last = _EVER
    return Span(
        check_int("batch_size", batch_size, 1, MAX_PAGE),
        first if start is None else check_instant("start", start),
        last if end is None else check_instant("end", end),
    )
