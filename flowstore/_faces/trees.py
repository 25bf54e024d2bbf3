"""The family of a task as a tree, and as bars along the time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final, NamedTuple

from flowstore import FamilyMember, FamilyPicture, TaskResult, TaskStatus

MOST_CHILDREN: Final = 200
"""Of one parent; of others only is told how many there are."""
_IDLE: Final = timedelta(seconds=30)
"""A time in which nothing ran is shown as that, if it is longer than this and a tenth of what ran."""


class Row(NamedTuple):
    """A line of the tree. ``task`` None: children of the one above that are folded, with their ``counts``.

    ``is_last``: it is the last of its siblings. ``lasts``: the same of those above it, from the top.
    """

    task: TaskResult[Any] | None
    depth: int
    is_last: bool
    lasts: tuple[bool, ...] = ()
    counts: dict[TaskStatus, int] | None = None


def rows_of(picture: FamilyPicture, most_children: int = MOST_CHILDREN) -> list[Row]:
    """Depth first; children in the order of their submission. Those whose parent is not there are at the top.

    Of more than ``most_children`` those that succeeded are folded first.
    """
    children = _children(picture.members)
    rows: list[Row] = []
    stack = [_level(children[None], 0, (), most_children)]
    while stack:
        row = next(stack[-1], None)
        if row is None:
            stack.pop()
            continue
        rows.append(row)
        if row.task is not None:
            lasts = (*row.lasts, row.is_last)
            stack.append(_level(children[row.task.task_id], row.depth + 1, lasts, most_children))
    return rows


def _children(members: Sequence[FamilyMember]) -> defaultdict[str | None, list[TaskResult[Any]]]:
    """By the parent; None: those who have none here, or are their own ancestors."""
    tasks = {member.task.task_id: member.task for member in members}
    children: defaultdict[str | None, list[TaskResult[Any]]] = defaultdict(list)
    for task in tasks.values():
        parent = task.parent_id if task.parent_id in tasks and not _is_in_circle(task, tasks) else None
        children[parent].append(task)
    return children


def _is_in_circle(task: TaskResult[Any], tasks: dict[str, TaskResult[Any]]) -> bool:
    seen = {task.task_id}
    above = tasks.get(task.parent_id or "")
    while above is not None:
        if above.task_id in seen:
            return above.task_id == task.task_id
        seen.add(above.task_id)
        above = tasks.get(above.parent_id or "")
    return False


def _level(children: list[TaskResult[Any]], depth: int, lasts: tuple[bool, ...], most: int) -> Iterator[Row]:
    shown, folded = children, Counter[TaskStatus]()
    if len(children) > most:
        ranked = sorted(range(len(children)), key=lambda n: (children[n].is_success, n))
        chosen = set(ranked[:most])
        shown = [task for n, task in enumerate(children) if n in chosen]
        folded = Counter(task.status for n, task in enumerate(children) if n not in chosen)
    for n, task in enumerate(shown):
        yield Row(task, depth, n == len(shown) - 1 and not folded, lasts)
    if folded:
        yield Row(None, depth, is_last=True, lasts=lasts, counts=dict(folded))


def branch(row: Row) -> str:
    """What a terminal draws before a row: ``│  ├─ ``."""
    if row.depth == 0:
        return ""
    above = "".join("   " if last else "│  " for last in row.lasts[1:])
    return above + ("└─ " if row.is_last else "├─ ")


@dataclass(frozen=True)
class Bar:
    """A stretch of time in one state. ``start`` and ``end``: shares from 0 to 1 of the whole chart."""

    status: TaskStatus
    start: float
    end: float
    seconds: float


@dataclass(frozen=True)
class Chart:
    """``bars``: of each task by its id, in order. ``gaps``: where idle times were hidden, and their seconds.

    ``begin``, ``end``: of the time that is shown. ``path``: the ids on the critical path, from the root: the
    child that ended last, its child that ended last, and so on.
    """

    bars: dict[str, list[Bar]]
    gaps: list[tuple[float, float]]
    begin: datetime
    end: datetime
    path: list[str]


def chart_of(picture: FamilyPicture, now: datetime) -> Chart | None:
    """When each member was in which state; None: the histories say nothing."""
    spans = {member.task.task_id: [*_spans(member, now)] for member in picture.members}
    moments = [moment for each in spans.values() for _, start, end in each for moment in (start, end)]
    if not moments:
        return None
    begin, end = min(moments), max(moments)
    scale = _Scale([(start, stop) for each in spans.values() for _, start, stop in each], begin, end)
    bars = {
        task_id: [
            Bar(status, scale.place(start), scale.place(stop), (stop - start).total_seconds())
            for status, start, stop in each
        ]
        for task_id, each in spans.items()
    }
    return Chart(bars, scale.gaps, begin, end, _path(picture.members, spans))


_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_Span = tuple[TaskStatus, datetime, datetime]


def _spans(member: FamilyMember, now: datetime) -> Iterator[_Span]:
    steps = [step for step in member.steps if step.event is None]
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        if following is not None:
            yield step.status, step.at, max(step.at, following.at)
        elif step.status in (TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.RETRYING):
            yield step.status, step.at, max(step.at, now)
        else:
            yield step.status, step.at, step.at


class _Scale:
    """Times to shares of the width; long times in which nothing ran take a fiftieth each."""

    def __init__(self, spans: list[tuple[datetime, datetime]], begin: datetime, end: datetime) -> None:
        busy: list[list[datetime]] = []
        for start, stop in sorted(spans):
            if busy and start <= busy[-1][1]:
                busy[-1][1] = max(busy[-1][1], stop)
            else:
                busy.append([start, stop])
        worked = sum(((stop - start) for start, stop in busy), timedelta())
        least = max(_IDLE, worked / 10)
        idle = [(before[1], after[0]) for before, after in pairwise(busy) if after[0] - before[1] > least]
        shown = (end - begin) - sum(((stop - start) for start, stop in idle), timedelta())
        self._begin = begin
        self._idle = idle
        self._gap = (shown / 50).total_seconds() if shown else 1.0
        self._width = shown.total_seconds() + self._gap * len(idle) or 1.0
        self.gaps = [(self.place(start), (stop - start).total_seconds()) for start, stop in idle]

    def place(self, at: datetime) -> float:
        seconds = (at - self._begin).total_seconds()
        for start, stop in self._idle:
            if at >= stop:
                seconds -= (stop - start).total_seconds() - self._gap
            elif at > start:
                seconds -= (at - start).total_seconds()
        return min(1.0, max(0.0, seconds / self._width))


def _path(members: Sequence[FamilyMember], spans: dict[str, list[_Span]]) -> list[str]:
    children = _children(members)
    path: list[str] = []
    level = children[None][:1]
    while level:
        last = max(level, key=lambda task: max((end for _, _, end in spans[task.task_id]), default=_EARLIEST))
        path.append(last.task_id)
        level = children[last.task_id]
    return path
