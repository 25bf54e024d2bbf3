"""One task: all that is known of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from starlette.responses import Response

from flowstore import (
    Excerpt,
    FamilyPicture,
    TaskResult,
    UnreadableRecord,
    to_jsonable,
)
from flowstore._faces.attempts import Attempt, attempts_of, differences
from flowstore._faces.records import as_json, run_time, wait_time
from flowstore._faces.trees import rows_of
from flowstore._faces.values import Node, tree_of
from flowstore.web.asked import BadRequest
from flowstore.web.gantt import Row, gantt, spans_of
from flowstore.web.view import NotThere, View

MOST_VALUE: Final = 65_536
_MOST_FAMILY: Final = 60
_MOST_STEPS: Final = 200
PARTS: Final = ("result", "args", "kwargs", "error", "record")


async def task(view: View) -> Response:
    """``a``, ``b``: the attempts that are compared, by their numbers; the last two if there are two."""
    task_id = view.part("task")
    head = await view.task(task_id)
    may_see = view.may("values")
    try:
        found, history, data, picture = await asyncio.gather(
            view.backend.get(task_id, load_result=may_see, max_value=MOST_VALUE if may_see else None),
            view.backend.history.of(task_id),
            _data(view, task_id) if may_see else _nothing(),
            _family(view, head),
        )
    except UnreadableRecord as error:
        return view.render("unreadable.html", error=error, task_id=task_id)
    if found is None:  # it has gone in between
        raise NotThere
    attempts = attempts_of(history)
    spans = spans_of(history, view.now, is_finished=found.is_finished)[-_MOST_STEPS:]
    return view.render(
        "task.html",
        task=found,
        values=_values(found) if may_see else [],
        data=[tree_of(to_jsonable(value))._replace(key=key) for key, value in data.items()],
        attempts=attempts,
        compared=_compared(view, attempts),
        history=history[-_MOST_STEPS:],
        hidden_steps=max(0, len(history) - _MOST_STEPS),
        bars=gantt("Timeline", [Row("", "", spans)]) if spans else None,
        family=rows_of(picture) if picture is not None and len(picture.members) > 1 else [],
        left_out=sum(picture.left_out.values()) if picture is not None else 0,
        run_time=run_time,
        wait_time=wait_time,
        said=_said(view),
    )


async def _nothing() -> dict[str, Any]:
    return {}


async def _data(view: View, task_id: str) -> dict[str, Any]:
    return await view.backend.data.all(task_id)


async def _family(view: View, head: TaskResult[Any]) -> FamilyPicture | None:
    """None for a reader who may see a part of it only: the others of it may not be in that part."""
    if view.is_narrowed:
        return None
    return await view.backend.families.picture(head.root_id or head.task_id, limit=_MOST_FAMILY, steps=1)


def _values(found: TaskResult[Any]) -> list[tuple[str, Node, int | None]]:
    """Those that there are: the name, the tree, and the whole size of one that is cut."""
    shown: list[tuple[str, Any]] = [("args", found.args), ("kwargs", found.kwargs)]
    if found.is_success or found.result is not None:
        shown.append(("result", found.result))
    trees = []
    for name, value in shown:
        size = value.size if isinstance(value, Excerpt) else None
        inner = value.data if isinstance(value, Excerpt) else value
        if size is not None or name == "result" or inner:
            trees.append((name, tree_of(to_jsonable(inner)), size))
    return trees


def _compared(view: View, attempts: list[Attempt]) -> Any:
    if len(attempts) < 2:
        return None
    numbers = [str(attempt.number) for attempt in attempts]
    first = view.asked.one_of("a", tuple(numbers), numbers[-2])
    second = view.asked.one_of("b", tuple(numbers), numbers[-1])
    by_number = {str(attempt.number): attempt for attempt in attempts}
    return differences(by_number[first], by_number[second])


_SAID: Final = {
    "requeue": "It is pending again.",
    "cancel": "It was cancelled, or asked to end.",
    "label": "Its labels were changed.",
    "nothing": "Nothing was changed: the task is not in a state for that.",
}


def _said(view: View) -> str:
    """What was done before this page was shown."""
    return _SAID.get(view.asked.text("said", 20), "")


async def value(view: View) -> Response:
    """A part of a task as a file: whole, whatever its size is."""
    task_id = view.part("task")
    await view.task(task_id)
    part = view.request.path_params["part"]
    if part not in PARTS:
        raise BadRequest("part", part, f"one of {', '.join(PARTS)}")
    try:
        found = await view.backend.get(task_id)
    except UnreadableRecord:
        raise NotThere from None
    if found is None:
        raise NotThere
    text = await asyncio.to_thread(_written, found, part)  # it may be large
    return Response(
        text,
        media_type="application/json",
        headers={"content-disposition": f'attachment; filename="{part}.json"', "cache-control": "no-store"},
    )


def _written(found: TaskResult[Any], part: str) -> str:
    return json.dumps(_part_of(found, part), ensure_ascii=False, indent=2)


def _part_of(found: TaskResult[Any], part: str) -> Any:
    if part == "record":
        return as_json(found)
    if part == "error":
        return found.error and found.error.model_dump(mode="json")
    return to_jsonable({"result": found.result, "args": found.args, "kwargs": found.kwargs}[part])
