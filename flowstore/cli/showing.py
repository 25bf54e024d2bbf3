"""``flowstore show``, ``get`` and ``set``: one task, and its data."""

from __future__ import annotations

import json
import sys
from contextlib import aclosing
from typing import Any, Final, Literal

from flowstore import TaskResult, UnreadableRecord, to_jsonable
from flowstore._faces.attempts import attempts_of
from flowstore._faces.moments import size as size_of
from flowstore._faces.records import as_json
from flowstore._faces.showing import plain
from flowstore.cli import _histories
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._family import show_family
from flowstore.cli._ids import Id, ids_of, resolved
from flowstore.cli._output import Kind
from flowstore.cli._settings import Common
from flowstore.cli._watching import Watch, shown_again, told_of
from flowstore.cli._whole import error_text, show_unreadable, show_whole, value_text

Part = Literal["all", "result", "error", "args", "tries", "tree", "history", "data", "raw"]

_MOST_SHOWN: Final = "64KiB"
_RECORDS: Final = Kind[TaskResult[Any]]((), as_json=as_json, id_of=lambda task: task.task_id)


async def show(
    *ids: Id,
    part: Part = "all",
    max_value: str | None = None,
    watch: Watch = False,
    common: Common | None = None,
) -> int:
    """Show all that is known of a task.

    Parameters
    ----------
    ids
        Tasks, by their ids or the beginnings of these; - reads ids from stdin.
    part
        all, result, error, args, tries, tree, history, data or raw.
    max_value
        Show so much of values at most; none: 64KiB for people, else all.
    watch
        Keep it up to date until the task is finished; on a pipe, print each state of it as a line.
    """
    async with at_desk(common, read_only=not watch) as desk:
        is_cut = desk.out.is_terminal or (part == "all" and desk.out.is_for_people)
        size = max_value or (_MOST_SHOWN if is_cut and part != "raw" else None)
        most = None if size is None else max(1, size_of("--max-value", size))
        wanted = await ids_of(desk.backend, ids)
        if watch:
            if len(wanted) != 1:
                raise usage(f"--watch: expected one task, got {len(wanted)}")
            return await _watch(desk, wanted[0], part, most)
        if not desk.out.is_for_people and part in ("all", "raw") and len(wanted) > 1:
            return await _records(desk, wanted, most)
        code = Exit.OK
        for number, task_id in enumerate(wanted):
            if number and desk.out.is_for_people:
                desk.out.text("")
            code = max(code, await _show(desk, task_id, part, most))
    return code


async def _records(desk: Desk, wanted: list[str], most: int | None) -> Exit:
    """Of several tasks, for programs: in JSON one array."""
    code = Exit.OK
    printer = desk.out.printer(_RECORDS)
    for task_id in wanted:
        try:
            printer.add([await _found(desk, task_id, most)])
        except UnreadableRecord as error:
            desk.out.note(f"flowstore: {plain(str(error))}")
            code = Exit.NO
    printer.end()
    return code


async def _found(desk: Desk, task_id: str, most: int | None) -> TaskResult[Any]:
    task: TaskResult[Any] | None = await desk.backend.get(task_id, max_value=most)
    if task is None:
        raise CommandError(Exit.UNKNOWN, f"there is no task {task_id!r}")
    return task


async def _show(desk: Desk, task_id: str, part: Part, most: int | None) -> Exit:
    try:
        task = await _found(desk, task_id, most)
    except UnreadableRecord as error:
        desk.out.note(f"flowstore: {plain(str(error))}")
        await show_unreadable(desk, error)
        return Exit.NO
    await _part(desk, task, part, most)
    return Exit.OK


async def _part(desk: Desk, task: TaskResult[Any], part: Part, most: int | None) -> None:
    out, backend = desk.out, desk.backend
    if part == "tree":
        await show_family(desk, task)
    elif part == "history":
        out.items(_histories.transitions(out), await backend.history.of(task.task_id))
    elif out.format == "ids":
        out.text(plain(task.task_id))
    elif part == "tries":
        out.items(_histories.attempts(out), attempts_of(await backend.history.of(task.task_id)))
    elif part in ("result", "args"):
        _value(desk, task.result if part == "result" else {"args": task.args, "kwargs": task.kwargs}, most)
    elif part == "data":
        _value(desk, await backend.data.all(task.task_id), most)
    elif part == "error":
        _error(desk, task)
    elif part == "all" and out.is_for_people:
        await show_whole(desk, task, most or sys.maxsize)
    elif out.format == "csv":
        out.items(_RECORDS, [task])
    else:
        out.document(as_json(task)) if not out.is_for_people else out.text(_indented(as_json(task)))


def _value(desk: Desk, value: object, most: int | None) -> None:
    """As JSON in every format; how much of it is not there stands on stderr."""
    text, left_out = value_text(value, most if desk.out.is_for_people else None)
    if desk.out.format == "jsonl" and text:
        text = json.dumps(json.loads(text), ensure_ascii=False)
    desk.out.text(plain(text, keep="\n"))
    if left_out:
        desk.out.note(left_out)


def _error(desk: Desk, task: TaskResult[Any]) -> None:
    out, error = desk.out, task.error
    if not out.is_for_people:
        out.document({"error": error and error.model_dump(mode="json")})
    elif error is not None:
        out.text(plain(error_text(error), keep="\n\t"))
    else:
        out.note(f"{plain(task.task_id)} has no error: it is {task.status}")


def _indented(document: dict[str, Any]) -> str:
    return plain(json.dumps(document, indent=2, ensure_ascii=False), keep="\n")


async def _watch(desk: Desk, task_id: str, part: Part, most: int | None) -> Exit:
    out = desk.out
    if not (out.is_terminal and out.is_for_people):
        if out.is_for_people:
            out.format = "jsonl"
        out.live()
        printer = out.printer(_RECORDS)
        async with aclosing(desk.backend.watch(task_id)) as states:
            async for state in states:
                printer.add([state])
        printer.end()
        return Exit.OK
    code, is_finished = Exit.OK, False

    async def show() -> None:
        nonlocal code, is_finished
        task = await desk.backend.get(task_id, load_result=False)
        is_finished = task is None or task.is_finished
        code = await _show(desk, task_id, part, most)

    async with told_of(desk.backend, task_id) as changed:
        await shown_again(out, show, watch=True, every=0.25, changed=changed, ended=lambda: is_finished)
    return code


async def get(id: Id, key: Id | None = None, /, *, text: bool = False, common: Common | None = None) -> None:
    """Print the data of a task.

    Parameters
    ----------
    id
        The task.
    key
        The entry; none: all of them.
    text
        Print a text as it is, and not as JSON.
    """
    async with at_desk(common, read_only=True) as desk:
        [task_id] = await resolved(desk.backend, [id])
        if key is None:
            found = await desk.backend.data.all(task_id)
            shown: Any = {name: to_jsonable(value) for name, value in found.items()}
        else:
            entry = await desk.backend.data.entry(task_id, key)
            if entry is None:
                known = ", ".join(await desk.backend.data.all(task_id)) or "none"
                raise CommandError(Exit.UNKNOWN, f"{task_id}: has no data {key!r}; there is: {known}")
            shown = to_jsonable(entry.value)
            if text and isinstance(shown, str):
                desk.out.text(plain(shown, keep="\n\t"))
                return
        indent = None if desk.out.format in ("jsonl", "csv") else 2
        desk.out.text(plain(json.dumps(shown, ensure_ascii=False, indent=indent), keep="\n"))


async def set_(id: Id, key: Id, value: Id, /, *, text: bool = False, common: Common | None = None) -> None:
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
