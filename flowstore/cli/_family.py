"""How the family of a task is printed: as a tree, as a flowchart, or as its members."""

from __future__ import annotations

from typing import Any, Final

from flowstore import FamilyPicture, TaskResult
from flowstore._faces.records import as_json, run_time
from flowstore._faces.showing import lasting, plain
from flowstore._faces.trees import Row, branch, rows_of
from flowstore.cli._desk import Desk
from flowstore.cli._output import STYLES, Column, Kind, Out
from flowstore.cli._tasks import as_row, id_shown, tell_unreadable

MOST_MEMBERS: Final = 2_000


async def show_family(
    desk: Desk, task: TaskResult[Any], *, limit: int = MOST_MEMBERS, is_mermaid: bool = False
) -> None:
    """All members, or the newest ``limit`` of them and how many others there are."""
    picture = await desk.backend.families.picture(task.root_id or task.task_id, limit=limit, steps=1)
    if is_mermaid:
        _flowchart(desk.out, rows_of(picture))
    elif desk.out.is_for_people:
        desk.out.table(_lines(desk.out, task.task_id), rows_of(picture))
    else:
        desk.out.items(_members(), [member.task for member in picture.members])
    _tell(desk.out, picture)


def _tell(out: Out, picture: FamilyPicture) -> None:
    tell_unreadable(out, picture.unreadable)
    if picture.left_out:
        others = ", ".join(f"{count:,} {status}" for status, count in picture.left_out.items() if count)
        out.note(f"{len(picture.members):,} shown, and {others} left out: --limit shows more")


def _lines(out: Out, task_id: str) -> list[Column[Row]]:
    """The task that was asked for is marked where it is not the first."""

    def name(row: Row) -> str:
        if row.task is None:
            folded = ", ".join(f"{count:,} {status}" for status, count in (row.counts or {}).items())
            return branch(row) + f"+ {folded}"
        mark = " <" if row.task.task_id == task_id and row.depth else ""
        return branch(row) + plain(row.task.task_name or row.task.task_id) + mark

    def style(row: Row) -> str | None:
        return None if row.task is None else STYLES[row.task.status]

    def time(row: Row) -> str:
        return out.time(row.task.started_at or row.task.submitted_at) if row.task else ""

    return [
        Column("task", name, may_shrink=True),
        Column("status", lambda row: row.task.status.upper() if row.task else "", style=style),
        Column("id", lambda row: id_shown(out, row.task) if row.task else ""),
        Column("time", time),
        Column("run", lambda row: lasting(run_time(row.task, out.now)) if row.task else "", is_right=True),
    ]


def _members() -> Kind[TaskResult[Any]]:
    fields = ("task_id", "parent_id", "status", "task_name", "started_at", "finished_at", "error")
    return Kind((), as_json=as_json, id_of=lambda task: task.task_id, csv=fields, as_row=as_row)


def _flowchart(out: Out, rows: list[Row]) -> None:
    """Of Mermaid: names stand in quotes, where only a quote, a hash and an angle bracket have a meaning."""
    out.text("flowchart TD")
    numbers = {row.task.task_id: number for number, row in enumerate(rows) if row.task is not None}
    above: list[int] = []
    for number, row in enumerate(rows):
        parent = above[row.depth - 1] if row.depth else None
        if row.task is None:
            folded = ", ".join(f"{count:,} {status}" for status, count in (row.counts or {}).items())
            out.text(f'  t{number}["+ {folded}"]')
        else:
            above[row.depth :] = [numbers[row.task.task_id]]
            took = lasting(run_time(row.task, out.now))
            about = f"{row.task.status} {took}".rstrip()
            name = _in_mermaid(plain(row.task.task_name or row.task.task_id))
            out.text(f'  t{number}["{name}<br>{about}"]:::{row.task.status}')
        if parent is not None:
            out.text(f"  t{parent} --> t{number}")
    for status in sorted({row.task.status for row in rows if row.task is not None}):
        out.text(f"  classDef {status} {_FILLS[status]}")


_FILLS: Final = {
    "pending": "fill:#fff7d6,stroke:#8a6d00,color:#222",
    "running": "fill:#dbeafe,stroke:#1d4ed8,color:#222",
    "retrying": "fill:#f3e8ff,stroke:#7e22ce,color:#222",
    "success": "fill:#dcfce7,stroke:#15803d,color:#222",
    "failed": "fill:#fee2e2,stroke:#b91c1c,color:#222",
    "cancelled": "fill:#eeeeee,stroke:#666666,color:#222",
}


def _in_mermaid(text: str) -> str:
    for character, entity in (("#", "#35;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;")):
        text = text.replace(character, entity)
    return text
