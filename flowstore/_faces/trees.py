"""The family of a task as a tree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from flowstore import FamilyMember, FamilyPicture, TaskResult, TaskStatus

MOST_CHILDREN: Final = 200
"""Of one parent; of others only is told how many there are."""
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


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


def critical_path(picture: FamilyPicture) -> list[str]:
    """The ids from the root on: the child whose last change was the latest, its latest child, and so on."""
    latest = {
        member.task.task_id: max((step.at for step in member.steps), default=_EARLIEST)
        for member in picture.members
    }
    children = _children(picture.members)
    path: list[str] = []
    level = children[None][:1]
    while level:
        last = max(level, key=lambda task: latest[task.task_id])
        path.append(last.task_id)
        level = children[last.task_id]
    return path
