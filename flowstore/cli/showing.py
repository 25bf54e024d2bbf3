"""``flowstore show``, ``get`` and ``set``: one task, and its data."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

from flowstore import Excerpt, TaskError, TaskResult, UnreadableRecord, to_jsonable
from flowstore._faces.attempts import Attempt, attempts_of
from flowstore._faces.moments import size as size_of
from flowstore._faces.records import as_json, run_time, wait_time
from flowstore._faces.showing import lasting, plain, sized
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._ids import Id, ids_of, resolved
from flowstore.cli._output import STYLES, Column, Kind, Out
from flowstore.cli._settings import Common

Part = Literal["all", "result", "error", "args", "tries", "data", "raw"]


async def show(*ids: Id, part: Part = "all", max_value: str = "64KiB", common: Common | None = None) -> int:
    """Show all that is known of a task.

    Parameters
    ----------
    ids
        Tasks, by their ids or the beginnings of these; - reads ids from stdin.
    part
        all, result, error, args, tries, data or raw.
    max_value
        Show so much of a result or an argument at most.
    """
    most = size_of("--max-value", max_value)
    code = Exit.OK
    async with at_desk(common) as desk:
        for number, task_id in enumerate(await ids_of(desk.backend, ids)):
            if number and desk.out.is_for_people:
                desk.out.text("")
            try:
                task = await desk.backend.get(task_id, max_value=max(1, most))
            except UnreadableRecord as error:
                desk.out.note(f"flowstore: {error}")
                code = Exit.NO
                continue
            if task is None:
                raise CommandError(Exit.UNKNOWN, f"there is no task {task_id!r}")
            await _show(desk, task, part)
    return code


async def _show(desk: Desk, task: TaskResult[Any], part: Part) -> None:
    out, backend = desk.out, desk.backend
    if out.format == "ids":
        out.text(plain(task.task_id))
    elif part in ("result", "args") or part == "error":
        _value(out, task, part)
    elif part == "raw" or (part == "all" and not out.is_for_people):
        out.document(as_json(task))
    elif part == "data":
        data = {key: to_jsonable(value) for key, value in (await backend.data.all(task.task_id)).items()}
        out.document(data) if not out.is_for_people else out.text(_json(data))
    elif part == "tries":
        out.items(_attempts(out), attempts_of(await backend.history.of(task.task_id)))
    else:
        await _whole(desk, task)


def _value(out: Out, task: TaskResult[Any], part: str) -> None:
    if part == "error":
        if not out.is_for_people:
            out.document({"error": task.error and task.error.model_dump(mode="json")})
        elif task.error is not None:
            out.text(plain(error_text(task.error), keep="\n\t"))
        return
    value = task.result if part == "result" else {"args": task.args, "kwargs": task.kwargs}
    out.text(plain(_json(to_jsonable(value)), keep="\n"))


async def _whole(desk: Desk, task: TaskResult[Any]) -> None:
    out, backend = desk.out, desk.backend
    history = await backend.history.of(task.task_id)
    data = await backend.data.all(task.task_id)
    out.text(f"{task.status.upper()}  {plain(task.task_name or '')}", style=STYLES[task.status])
    for name, value in _facts(out, task):
        if value:
            out.text(f"{name:12}{value}")
    attempts = attempts_of(history)
    if len(attempts) > 1:
        out.text("")
        out.table(_attempts(out).columns, attempts)
    for title, part in (("args", task.args), ("kwargs", task.kwargs)):
        if part:
            _section(out, title, part)
    if task.is_success:
        _section(out, "result", task.result)
    if task.error is not None:
        out.text("\nerror", style="bold")
        out.text(plain(error_text(task.error), keep="\n\t"))
    if data:
        _section(out, "data", data)


def _facts(out: Out, task: TaskResult[Any]) -> list[tuple[str, str]]:
    took = lasting(run_time(task, out.now))
    waited = lasting(wait_time(task, out.now))
    request = task.cancel_request
    progress = task.progress
    done = (
        ""
        if progress is None
        else f"{progress.done:g}" + (f" of {progress.total:g}" if progress.total else "")
    )
    return [
        ("id", plain(task.task_id)),
        ("try", str(task.retries + 1)),
        ("submitted", out.time(task.submitted_at)),
        ("started", out.time(task.started_at) + (f", after {waited}" if task.started_at and waited else "")),
        ("finished", out.time(task.finished_at) + (f", after {took}" if task.finished_at and took else "")),
        ("running for", took if task.status == "running" else ""),
        ("due", out.time(task.due_at)),
        ("worker", plain(task.worker_id or "")),
        ("parent", plain(task.parent_id or "")),
        ("root", plain(task.root_id or "") if task.root_id != task.task_id else ""),
        ("labels", plain(", ".join(sorted(task.labels)))),
        ("meta", plain(", ".join(f"{name}={value}" for name, value in task.meta.items()))),
        (
            "progress",
            plain(f"{done} {progress.note or ''}".strip()) if progress and not task.is_finished else "",
        ),
        ("cancel", f"asked for {out.time(request.at)}: {plain(request.reason or '')}" if request else ""),
        ("expires", out.time(task.expires_at)),
    ]


def _section(out: Out, title: str, value: object) -> None:
    cut = f"  (the first part of {sized(value.size)})" if isinstance(value, Excerpt) else ""
    out.text(f"\n{title}{cut}", style="bold")
    out.text(plain(_json(to_jsonable(value)), keep="\n"))


def _json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 100 else json.dumps(value, ensure_ascii=False, indent=2)


def error_text(error: TaskError) -> str:
    """Type, message, notes and traceback; then what it was raised from, and the errors of a group."""
    lines = [error.traceback.rstrip()] if error.traceback else [f"{error.type}: {error.message}"]
    lines += error.notes if not error.traceback else ()
    for number, inner in enumerate(error.exceptions, 1):
        lines.append(f"\n{number} of {len(error.exceptions) + error.exceptions_left_out}:")
        lines.append(error_text(inner))
    if error.cause is not None:
        lines.append("\nraised from")
        lines.append(error_text(error.cause))
    return "\n".join(lines)


def _attempts(out: Out) -> Kind[Attempt]:
    return Kind(
        columns=(
            Column("try", lambda attempt: str(attempt.number), is_right=True),
            Column(
                "status", lambda attempt: attempt.status.upper(), style=lambda attempt: STYLES[attempt.status]
            ),
            Column("started", lambda attempt: out.time(attempt.started_at)),
            Column("wait", lambda attempt: lasting(attempt.wait), is_right=True),
            Column("run", lambda attempt: lasting(attempt.run), is_right=True),
            Column("worker", lambda attempt: plain(attempt.worker_id or "")),
            Column("error", _error, may_shrink=True),
        ),
        as_json=attempt_json,
    )


def _error(attempt: Attempt) -> str:
    return plain(f"{attempt.error.type}: {attempt.error.message}") if attempt.error else ""


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """One attempt, for programs."""

    def iso(at: Any) -> str | None:
        return None if at is None else at.isoformat().replace("+00:00", "Z")

    return {
        "v": 1,
        "number": attempt.number,
        "status": attempt.status,
        "submitted_at": iso(attempt.submitted_at),
        "started_at": iso(attempt.started_at),
        "ended_at": iso(attempt.ended_at),
        "wait": attempt.wait,
        "run": attempt.run,
        "worker_id": attempt.worker_id,
        "error": attempt.error and attempt.error.model_dump(mode="json"),
    }


async def get(id: str, key: str | None = None, /, *, common: Common | None = None) -> None:
    """Print the data of a task.

    Parameters
    ----------
    id
        The task.
    key
        The entry; none: all of them.
    """
    async with at_desk(common) as desk:
        [task_id] = await resolved(desk.backend, [id])
        if key is None:
            found = await desk.backend.data.all(task_id)
            shown: Any = {name: to_jsonable(value) for name, value in found.items()}
        else:
            entry = await desk.backend.data.entry(task_id, key)
            if entry is None:
                raise CommandError(Exit.UNKNOWN, f"{task_id}: has no data {key!r}")
            shown = to_jsonable(entry.value)
        indent = None if desk.out.format in ("jsonl", "csv") else 2
        desk.out.text(plain(json.dumps(shown, ensure_ascii=False, indent=indent), keep="\n"))


async def set_(id: str, key: str, value: Id, /, *, text: bool = False, common: Common | None = None) -> None:
    """Store data of a task.

    Parameters
    ----------
    id
        The task.
    key
        The entry.
    value
        JSON, such as 3, "text" or {"page": 3}; - reads it from stdin.
    text
        The value is text and no JSON.
    """
    given = sys.stdin.read() if value == "-" else value
    try:
        stored = given if text else json.loads(given)
    except ValueError as error:
        raise usage(
            f"value: expected JSON, got {given[:60]!r}: {error}", "--text stores it as text"
        ) from None
    async with at_desk(common) as desk:
        [task_id] = await resolved(desk.backend, [id])
        version = await desk.backend.data.set(task_id, key, stored)
        desk.out.note(f"{plain(task_id)}: {plain(key)} is stored, version {version}")
