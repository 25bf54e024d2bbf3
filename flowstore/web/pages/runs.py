"""Workflows, by their root tasks."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from flowstore import FamilyMember, TaskQuery, TaskResult, TaskStatus, format_query, parse_query
from flowstore._faces.records import run_time
from flowstore._faces.showing import short_id
from flowstore._faces.terms import term
from flowstore._faces.trees import critical_path, rows_of
from flowstore.web.addresses import segment
from flowstore.web.gantt import Row, gantt, spans_of
from flowstore.web.view import View

_AT_ONCE: Final = 50
_MOST_COUNTED: Final = 1_000
_MOST_MEMBERS: Final = 500
_MOST_BARS: Final = 60
_SECONDS: Final = 0.3


async def runs(view: View) -> Response:
    """``q``: which roots. ``single``: also those without children, which are most tasks of most stores."""
    asked = view.asked.query
    query = view.narrowed(TaskQuery((*asked.terms, *_roots(asked))))
    with_single = view.asked.flag("single") or view.is_narrowed
    found = await view.backend.search(query, limit=_AT_ONCE, cursor=view.asked.cursor, seconds=_SECONDS)
    counts = await asyncio.gather(*(_counted(view, root) for root in found.items))
    runs = list(zip(found.items, counts, strict=True))
    families = [(root, count) for root, count in runs if with_single or sum(count.values()) > 1]
    return view.render(
        "runs.html",
        q=view.asked.query_text,
        found=found,
        runs=families,
        single=len(runs) - len(families),
        run_time=run_time,
    )


def _roots(query: TaskQuery) -> tuple[Any, ...]:
    """What is asked besides, unless the query says it itself."""
    return () if any(each.name == "is" for each in query.terms) else parse_query("is:root").terms


async def _counted(view: View, root: TaskResult[Any]) -> dict[TaskStatus, int]:
    if view.is_narrowed:
        return {}
    return await view.backend.count_by_status(root_id=root.task_id, at_most=_MOST_COUNTED)


async def run(view: View) -> Response:
    """The family of a root as a tree, and as bars along the time."""
    root_id = view.part("root")
    root = await view.task(root_id)
    if view.is_narrowed:
        return view.see(f"tasks/{segment(root_id)}")
    picture, counts = await asyncio.gather(
        view.backend.families.picture(root_id, limit=_MOST_MEMBERS, steps=20),
        view.backend.count_by_status(root_id=root_id, at_most=10_000),
    )
    path = critical_path(picture)
    rows = rows_of(picture, most_children=100)
    members = {member.task.task_id: member for member in picture.members}
    shown = [row.task.task_id for row in rows if row.task is not None]
    if len(shown) > _MOST_BARS:  # what decides how long it takes comes first
        chosen = {*path, *shown[:_MOST_BARS]}
        shown = [task_id for task_id in shown if task_id in chosen]
    parents = {member.task.parent_id for member in picture.members}
    return view.render(
        "run.html",
        root=root,
        counts=counts,
        rows=rows,
        path={*path},
        left_out=picture.left_out,
        unreadable=picture.unreadable,
        chart=gantt(
            "When they ran", [_bars(view, members[task_id], parents) for task_id in shown], hides_idle=True
        ),
        bars_left_out=len(members) - len(shown),
        run_time=run_time,
        same=format_query(parse_query(term("root", root_id))),
    )


def _bars(view: View, member: FamilyMember, parents: set[str | None]) -> Row:
    task = member.task
    spans = spans_of(member.steps, view.now, is_finished=task.is_finished)
    name = f"{task.task_name} {short_id(task.task_id)}" if task.task_name else task.task_id
    address = view.href(f"tasks/{segment(task.task_id)}")
    return Row(name, address, spans, is_waiting=task.task_id in parents)
