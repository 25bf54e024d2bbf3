"""``flowstore tree`` and ``runs``: tasks and their children."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from flowstore import TaskResult, TaskStatus
from flowstore._faces.records import as_json, run_time
from flowstore._faces.showing import lasting, plain
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit
from flowstore.cli._family import MOST_MEMBERS, show_family
from flowstore.cli._ids import Id, resolved
from flowstore.cli._output import STYLES, Column, Kind, Out
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common
from flowstore.cli._tasks import as_row, id_shown, tell_unreadable


async def tree(
    id: Id, /, *, mermaid: bool = False, limit: int = MOST_MEMBERS, common: Common | None = None
) -> None:
    """Show the family of a task as a tree.

    Parameters
    ----------
    id
        Any task of the family.
    mermaid
        As a flowchart of Mermaid, for a document.
    limit
        How many members at most, the newest of them.
    """
    async with at_desk(common, read_only=True) as desk:
        [task_id] = await resolved(desk.backend, [id])
        task = await desk.backend.get(task_id, load_result=False)
        if task is None:
            raise CommandError(Exit.UNKNOWN, f"there is no task {task_id!r}")
        await show_family(desk, task, limit=limit, is_mermaid=mermaid)


class _Run(NamedTuple):
    root: TaskResult[Any]
    counts: dict[TaskStatus, int]


async def runs(
    *query: Words, limit: int = 20, cursor: str | None = None, common: Common | None = None
) -> None:
    """List workflows by their root tasks, the newest first.

    Parameters
    ----------
    query
        Which roots: name:nightly since:1d. None: all.
    limit
        How many at most.
    cursor
        Go on where an earlier page has ended.
    """
    asked = f"{query_in(query)} {term_of_roots(query)}".strip()
    async with at_desk(common, read_only=True) as desk:
        found = await desk.backend.search(asked, limit=limit, cursor=cursor, seconds=2)
        counts = await asyncio.gather(*(_counted(desk, root) for root in found.items))
        desk.out.items(_kind(desk.out), [_Run(*each) for each in zip(found.items, counts, strict=True)])
        tell_unreadable(desk.out, found.unreadable)
        if found.next_cursor is not None:
            desk.out.note(f"{len(found.items)} shown · next: --cursor {found.next_cursor}")


def term_of_roots(query: tuple[str, ...]) -> str:
    """What a query of roots says besides."""
    return "" if any(word.startswith(("is:", "-is:")) for word in query) else "is:root"


async def _counted(desk: Desk, root: TaskResult[Any]) -> dict[TaskStatus, int]:
    return await desk.backend.count_by_status(root_id=root.task_id, at_most=10_000)


def _kind(out: Out) -> Kind[_Run]:
    def counts(run: _Run) -> str:
        return "  ".join(f"{count:,} {status}" for status, count in run.counts.items() if count)

    return Kind(
        columns=(
            Column("status", lambda run: run.root.status.upper(), style=lambda run: STYLES[run.root.status]),
            Column("time", lambda run: out.time(run.root.started_at or run.root.submitted_at)),
            Column("name", lambda run: plain(run.root.task_name or "")),
            Column("id", lambda run: id_shown(out, run.root)),
            Column("run", lambda run: lasting(run_time(run.root, out.now)), is_right=True),
            Column("tasks", counts, may_shrink=True),
        ),
        as_json=lambda run: {**as_json(run.root), "counts": {**run.counts}},
        id_of=lambda run: run.root.task_id,
        csv=("task_id", "status", "task_name", "submitted_at", "started_at", "finished_at", "counts"),
        as_row=lambda run: {**as_row(run.root), "counts": counts(run)},
    )
