"""The history of tasks: every stored change of status, with its time and worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from flowstore._core import histories
from flowstore._core.core import Core
from flowstore._core.histories import HistoryPage
from flowstore._core.listing import readable
from flowstore._core.stepping import step_one
from flowstore._core.transitions import END_OF_TIME, walk_transitions
from flowstore._values.arguments import (
    MAX_PAGE,
    check_bool,
    check_ids,
    check_instant,
    check_int,
    check_statuses,
    check_texts,
)
from flowstore._values.reading import transition
from flowstore.engine import Asked, Section, Span
from flowstore.fields import NO_META, Scalar, check_meta
from flowstore.models import Statuses, Transition
from flowstore.text import check_text

Events = str | Iterable[str] | None

_EVER: Final = (-END_OF_TIME, END_OF_TIME)


class History:
    """What happened to tasks, and when: ``backend.history``. Empty with the option ``history=False``.

    Beside the changes it has events of your own. ``statuses``, in each call: only what happened to a task in
    one of these; None: any. ``events``: only events of these names, one or several; (): only changes; None:
    both.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def record(
        self,
        task_id: str,
        event: str,
        detail: Mapping[str, Scalar] = NO_META,
        *,
        at: datetime | None = None,
    ) -> bool:
        """Note an event of your own in the history of a task, in any state.

        False if there is no such task, or the backend keeps no history. ``detail`` is a mapping like
        ``TaskResult.meta``. ``at``: when it happened, if that is not now. It counts as a write: the version
        of the record goes up, ``history_limit`` counts it, and ``watch_status`` yields the task once more; do
        not note something for each task that it yields. Nothing else of the record changes, and its values
        stay in the storage. Raises UnreadableRecord.
        """
        fields: dict[str, Any] = {"name": check_text("event", event)}
        if detail := check_meta(detail, "detail"):
            fields["detail"] = dict(detail)
        if at is not None:
            fields["at"] = check_instant("at", at)
        if self._core.kept_transitions == 0:
            return False
        return await step_one(self._core, task_id, lambda task, _: task, fields) is True

    async def of(self, task_id: str, *, statuses: Statuses = None, events: Events = None) -> list[Transition]:
        """The transitions of the task, in the order of writing.

        Every store that was applied is among them, as far as ``history_limit`` allows. Empty for an unknown
        id.
        """
        asked, is_wanted = Asked(Section.HISTORY, check_text("task_id", task_id)), _wanted(statuses, events)
        async with self._core.life:
            [items] = await self._core.engine.items([asked], self._core.clock())
        return list(filter(is_wanted, map(transition, items)))

    async def of_many(
        self, task_ids: Iterable[str], *, statuses: Statuses = None, events: Events = None
    ) -> dict[str, list[Transition]]:
        """``of`` each of the tasks, by id, in the order of ``task_ids``; 500 of them in a round trip."""
        ids, is_wanted = check_ids(task_ids), _wanted(statuses, events)
        async with self._core.life:
            found = await histories.of_many(self._core, ids)
        return {task_id: list(filter(is_wanted, map(transition, items))) for task_id, items in found.items()}

    def of_family(
        self, root_id: str, *, statuses: Statuses = None, events: Events = None
    ) -> AsyncGenerator[Transition, None]:
        """The transitions of a task and all whose ``root_id`` it is: task by task, each as in ``of``.

        The oldest submission comes first. Read are 500 tasks at a time, without their values. For a picture
        of a family see ``families.picture``.
        """
        is_wanted = _wanted(statuses, events)
        steps = histories.of_family(self._core, check_text("root_id", root_id))
        return _only(readable(steps, transition), is_wanted)

    async def page(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        statuses: Statuses = None,
        events: Events = None,
    ) -> HistoryPage:
        """What happened last: one page of the history of all tasks, from ``start`` to ``end``, both included.

        ``limit`` is 1 to 10,000. ``cursor`` is the ``next_cursor`` of the page before, None for the first
        page; it is bound to all other arguments but ``limit``, and raises InvalidCursor elsewhere. What stays
        stored during the walk is on exactly one page. With ``statuses`` or ``events`` a page looks at 5,000
        transitions at most, so it may have fewer than ``limit``, or none, although it goes on.
        """
        span = replace(
            _span(start, end, check_int("limit", limit, 1, MAX_PAGE)),
            newest_first=check_bool("newest_first", newest_first),
        )
        kept, names = check_statuses(statuses), None if events is None else sorted(_names(events))
        bound_to = (self._core.namespace, "history", span.start, span.end, newest_first, kept, names)
        is_wanted = None if statuses is events is None else _wanted(kept, names)
        return await histories.page(self._core, span, cursor, is_wanted, bound_to)

    def iter(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        batch_size: int = 100,
        newest_first: bool = False,
        statuses: Statuses = None,
        events: Events = None,
    ) -> AsyncGenerator[Transition, None]:
        """The history of all tasks from ``start`` to ``end``, both included, in order of time.

        None: no bound. ``newest_first``: exactly the reverse order. It is read ``batch_size`` at a time. A
        transition that exists throughout the walk comes exactly once, whatever is stored in the meantime.
        Filters are applied to what is read.
        """
        steps = walk_transitions(self._core, _span(start, end, batch_size, newest_first))
        return _only(readable(steps, transition), _wanted(statuses, events))

    def iter_ids(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        batch_size: int = 100,
        newest_first: bool = False,
        statuses: Statuses = None,
        events: Events = None,
    ) -> AsyncGenerator[str, None]:
        """The ids of the tasks with a transition from ``start`` to ``end``, both included.

        Each comes once, in the order of the first transition in that time, or with ``newest_first`` from the
        last one backwards. The walk remembers the ids that it has shown.
        """
        span, is_wanted = _span(start, end, batch_size, newest_first), _wanted(statuses, events)
        steps = walk_transitions(self._core, span)
        if statuses is None and events is None:
            return _distinct(item.owner async for items in steps for item in items)
        kept = _only(readable(steps, transition), is_wanted)
        return _distinct(step.task_id async for step in kept)


async def _only(
    steps: AsyncGenerator[Transition, None], is_wanted: Callable[[Transition], bool]
) -> AsyncGenerator[Transition, None]:
    async for step in steps:
        if is_wanted(step):
            yield step


async def _distinct(ids: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    shown: set[str] = set()
    async for task_id in ids:
        if task_id not in shown:
            shown.add(task_id)
            yield task_id


def _wanted(statuses: Statuses, events: Events) -> Callable[[Transition], bool]:
    kept = frozenset(check_statuses(statuses))
    if events is None:
        return lambda step: step.status in kept
    names = _names(events)
    if not names:
        return lambda step: step.status in kept and step.event is None
    return lambda step: step.status in kept and step.event in names


def _names(events: str | Iterable[str]) -> frozenset[str]:
    return frozenset(check_texts("events", (events,) if isinstance(events, str) else events))


def _span(start: datetime | None, end: datetime | None, batch_size: int, newest_first: bool = False) -> Span:
    first, last = _EVER
    return Span(
        check_int("batch_size", batch_size, 1, MAX_PAGE),
        first if start is None else check_instant("start", start),
        last if end is None else check_instant("end", end),
        newest_first=check_bool("newest_first", newest_first),
    )
