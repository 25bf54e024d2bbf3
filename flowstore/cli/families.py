"""``flowstore tree`` and ``runs``: tasks and their children."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from flowstore import TaskResult, TaskStatus
from flowstore._faces.records import as_json, run_time
from flowstore._faces.showing import lasting, plain, short_id
from flowstore._faces.trees import Row, branch, rows_of
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit
from flowstore.cli._ids import resolved
from flowstore.cli._output import STYLES, Column, Kind, Out
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common

_MOST_MEMBERS = 2_000


async def tree(
    id: str, /, *, mermaid: bool = False, limit: int = _MOST_MEMBERS, common: Common | None = None
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
    async with at_desk(common) as desk:
        [task_id] = await resolved(desk.backend, [id])
        task = await desk.backend.get(task_id, load_result=False)
        if task is None:
            raise CommandError(Exit.UNKNOWN, f"there is no task {task_id!r}")
        picture = await desk.backend.families.picture(task.root_id or task_id, limit=limit, steps=1)
        rows = rows_of(picture)
        if mermaid:
            _mermaid(desk.out, rows)
        elif desk.out.is_for_people:
            desk.out.table(_lines(desk.out), rows)
        else:
            desk.out.items(_members(), [row.task for row in rows if row.task is not None])
        for status, count in picture.left_out.items():
            desk.out.note(f"{count:,} others are {status}")


def _lines(out: Out) -> list[Column[Row]]:
    def name(row: Row) -> str:
        if row.task is None:
            folded = ", ".join(f"{count:,} {status}" for status, count in (row.counts or {}).items())
            return branch(row) + f"+ {folded}"
        return branch(row) + plain(row.task.task_name or row.task.task_id)

    def style(row: Row) -> str | None:
        return None if row.task is None else STYLES[row.task.status]

    return [
        Column("task", name, may_shrink=True),
        Column("status", lambda row: row.task.status.upper() if row.task else "", style=style),
        Column("id", lambda row: _id(out, row.task)),
        Column(
            "time", lambda row: out.time(row.task.started_at or row.task.submitted_at) if row.task else ""
        ),
        Column("run", lambda row: lasting(run_time(row.task, out.now)) if row.task else "", is_right=True),
    ]


def _id(out: Out, task: TaskResult[Any] | None) -> str:
    if task is None:
        return ""
    return short_id(task.task_id) if out.is_terminal else plain(task.task_id)


def _members() -> Kind[TaskResult[Any]]:
    fields = ("task_id", "parent_id", "status", "task_name", "started_at", "finished_at")
    return Kind((), as_json=as_json, id_of=lambda task: task.task_id, csv=fields)


def _mermaid(out: Out, rows: list[Row]) -> None:
    """Names in quotes, in which only a quote has a meaning."""
    out.text("flowchart TD")
    numbers = {row.task.task_id: number for number, row in enumerate(rows) if row.task is not None}
    for number, row in enumerate(rows):
        if row.task is None:
            continue
        name = plain(row.task.task_name or row.task.task_id).replace('"', "#quot;")
        took = lasting(run_time(row.task, out.now))
        out.text(f'  t{number}["{name}<br>{row.task.status} {took}"]:::{row.task.status}')
        if row.task.parent_id in numbers and row.depth:
            out.text(f"  t{numbers[row.task.parent_id]} --> t{number}")


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
    async with at_desk(common) as desk:
        found = await desk.backend.search(asked, limit=limit, cursor=cursor, seconds=2)
        counts = await asyncio.gather(*(_counted(desk, root) for root in found.items))
        desk.out.items(_kind(desk.out), [_Run(*each) for each in zip(found.items, counts, strict=True)])
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
            Column("id", lambda run: _id(out, run.root)),
            Column("run", lambda run: lasting(run_time(run.root, out.now)), is_right=True),
            Column("tasks", counts, may_shrink=True),
        ),
        as_json=lambda run: {**as_json(run.root), "counts": {**run.counts}},
        id_of=lambda run: run.root.task_id,
        csv=("task_id", "status", "task_name", "submitted_at", "started_at", "finished_at", "counts"),
    )
