"""All that is known of a task, as people read it."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any, Final

from flowstore import NOT_LOADED, Excerpt, TaskError, TaskResult, UnreadableRecord, to_jsonable
from flowstore._faces.attempts import attempts_of
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.showing import lasting, plain, sized
from flowstore.cli import _histories
from flowstore.cli._desk import Desk
from flowstore.cli._output import STYLES, Out

_MOST_CHILDREN: Final = 10_000
_WIDTH: Final = 12
_ONE_LINE: Final = 100


async def show_whole(desk: Desk, task: TaskResult[Any], most: int) -> None:
    """``most``: bytes of each entry of its data that are shown."""
    out, backend = desk.out, desk.backend
    history = await backend.history.of(task.task_id)
    data = await backend.data.all(task.task_id)
    children = await backend.count_by_status(parent_id=task.task_id, at_most=_MOST_CHILDREN)
    out.text(f"{task.status.upper()}  {plain(task.task_name or '')}".rstrip(), style=STYLES[task.status])
    counts = ", ".join(f"{count:,} {status}" for status, count in children.items() if count)
    for name, value in (*_facts(out, task), ("children", counts)):
        if value:
            out.text(f"{name:{_WIDTH}}{value}")
    tries = attempts_of(history)
    if len(tries) > 1:
        out.text("")
        out.table(_histories.attempts(out).columns, tries)
    parts: tuple[tuple[str, object], ...] = (("args", task.args), ("kwargs", task.kwargs))
    for title, part in parts:
        if part is NOT_LOADED or part:
            section(out, title, part)
    if task.is_success:
        section(out, "result", task.result)
    if task.error is not None:
        out.text("\nerror", style="bold")
        out.text(plain(error_text(task.error), keep="\n\t"))
    for key, value in data.items():
        section(out, f"data: {plain(key)}", value, most)


async def show_unreadable(desk: Desk, error: UnreadableRecord) -> None:
    """What is known of a task beside its record: its history and the names of its data."""
    out, backend, task_id = desk.out, desk.backend, error.task_id
    history = await backend.history.of(task_id)
    keys = [*await backend.data.all(task_id)]
    if not out.is_for_people:
        steps = [_histories.transition_json(step) for step in history]
        known = {"v": 1, "task_id": task_id, "unreadable": error.reason, "history": steps, "data": keys}
        out.document(known)
        return
    out.text("UNREADABLE", style="bold red")
    for name, value in (("id", task_id), ("reason", error.reason), ("data", ", ".join(keys))):
        if value:
            out.text(f"{name:{_WIDTH}}{plain(value)}")
    if history:
        out.text("")
        out.table(_histories.transitions(out).columns, history)


def _facts(out: Out, task: TaskResult[Any]) -> list[tuple[str, str]]:
    took = lasting(run_time(task, out.now))
    waited = lasting(wait_time(task, out.now))
    request = task.cancel_request
    return [
        ("id", plain(task.task_id)),
        ("try", str(task.retries + 1) if task.started_at or task.retries else ""),
        ("submitted", out.time(task.submitted_at)),
        ("waiting for", "" if task.started_at or task.is_finished else waited),
        ("started", out.time(task.started_at) + (f", after {waited}" if task.started_at and waited else "")),
        ("finished", out.time(task.finished_at) + (f", after {took}" if task.finished_at and took else "")),
        ("running for", took if task.status == "running" else ""),
        ("due", out.time(task.due_at)),
        ("worker", plain(task.worker_id or "")),
        ("progress", "" if task.is_finished else plain(_progress(task))),
        ("labels", plain(", ".join(sorted(task.labels)))),
        ("meta", plain(", ".join(f"{name}={value}" for name, value in task.meta.items()))),
        ("parent", plain(task.parent_id or "")),
        ("root", plain(task.root_id or "") if task.root_id not in (task.task_id, task.parent_id) else ""),
        ("cancel", f"asked for {out.time(request.at)}: {plain(request.reason or '')}" if request else ""),
        ("expires", out.time(task.expires_at)),
    ]


def _progress(task: TaskResult[Any]) -> str:
    progress = task.progress
    if progress is None:
        return ""
    done = f"{progress.done:,g}"
    if progress.total:
        done += f" of {progress.total:,g}, {progress.done / progress.total:.0%}"
    return f"{done}  {progress.note or ''}".rstrip()


def section(out: Out, title: str, value: object, most: int | None = None) -> None:
    """A value under its title, and how much of it is left out; ``most``: bytes of it, None: as it is."""
    text, left_out = value_text(value, most)
    out.text(f"\n{title}" + (f"  ({left_out})" if left_out else ""), style="bold")
    if text:
        out.text(plain(text, keep="\n"))


def value_text(value: object, most: int | None = None) -> tuple[str, str | None]:
    """A value as JSON, indented if it is long, and what is to say of what is not there."""
    if value is NOT_LOADED:
        return "", "left out: --max-value shows more"
    if isinstance(value, Excerpt):
        return json_text(value.data), f"the beginning of {sized(value.size)}: --max-value shows more"
    text = json_text(to_jsonable(value))
    size = len(text.encode("utf-8", "surrogatepass"))
    if most is None or size <= most:
        return text, None
    cut = text.encode("utf-8", "surrogatepass")[:most].decode("utf-8", "ignore")
    return cut, f"the beginning of {sized(size)}: --max-value shows more"


def json_text(value: object) -> str:
    """On one line if there is room for it."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _ONE_LINE else json.dumps(value, ensure_ascii=False, indent=2)


def error_text(error: TaskError) -> str:
    """Type, message, notes and frames; then the errors of a group, and what it was raised from."""
    lines = [f"{error.type}: {error.message}" if error.message else error.type, *error.notes]
    lines += _frames(error)
    count = len(error.exceptions) + error.exceptions_left_out
    for number, inner in enumerate(error.exceptions, 1):
        lines += (f"\n{number} of {count:,}:", error_text(inner))
    if error.exceptions_left_out:
        lines.append(f"\n{error.exceptions_left_out:,} others are not kept")
    if error.cause is not None:
        lines += ("\nraised from", error_text(error.cause))
    return "\n".join(lines)


def _frames(error: TaskError) -> list[str]:
    """Of a group its own: behind them its traceback has its exceptions in short, which follow in full."""
    lines = (error.traceback or "").splitlines()
    if not error.exceptions:
        return lines
    return [*takewhile(lambda line: line.startswith(" "), lines)]
