"""``flowstore wait`` and ``tail``: what becomes of tasks, as it happens."""

from __future__ import annotations

import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from flowstore import (
    ChangesMissed,
    ResultGone,
    TaskChange,
    TaskResult,
    WaitTimeout,
    to_jsonable,
)
from flowstore._faces.moments import duration, moment
from flowstore._faces.records import as_json
from flowstore._faces.showing import error_line, plain
from flowstore.cli._desk import at_desk
from flowstore.cli._exits import Exit, usage
from flowstore.cli._ids import Id, from_stdin
from flowstore.cli._output import STYLES, Column, Kind, Out
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common


async def wait(
    *ids: Id,
    timeout: str | None = None,
    any: bool = False,
    result: bool = False,
    common: Common | None = None,
) -> int:
    """Wait until tasks are finished; the exit code says how: 0 success, 1 failed or cancelled, 124 too late.

    Parameters
    ----------
    ids
        Whole ids, also of tasks that are not stored yet; - reads them from stdin.
    timeout
        How long at most: 30s, 5m; none: for ever.
    any
        Until the first of them is finished.
    result
        Print the results as JSON, and nothing else.
    """
    wanted = list(dict.fromkeys(_all(ids)))
    if not wanted:
        raise usage("which task? expected ids, or - to read them from stdin")
    seconds = None if timeout is None else duration("--timeout", timeout).total_seconds()
    code = Exit.OK
    async with at_desk(common) as desk:
        desk.out.live()
        printer = desk.out.printer(_ended())
        left = {*wanted}
        try:
            async with aclosing(desk.backend.as_completed(wanted, timeout=seconds)) as ended:
                async for outcome in ended:
                    left.discard(outcome.task_id)
                    if not isinstance(outcome, TaskResult):
                        desk.out.note(f"flowstore: {outcome}")
                        code = max(code, Exit.UNKNOWN if isinstance(outcome, ResultGone) else Exit.NO)
                        continue
                    code = max(code, Exit.OK if outcome.is_success else Exit.NO)
                    if result:
                        desk.out.text(plain(json.dumps(to_jsonable(outcome.result), ensure_ascii=False)))
                    elif desk.out.is_for_people:
                        name = plain(outcome.task_id) + ": " if len(wanted) > 1 else ""
                        desk.out.text(name + _sentence(outcome), style=STYLES[outcome.status])
                    else:
                        printer.add([outcome])
                    if any:
                        break
        except WaitTimeout:
            desk.out.note(
                f"flowstore: {len(left):,} not finished after {timeout}: {', '.join(sorted(left)[:10])}"
            )
            code = Exit.TIMEOUT
        if not desk.out.is_for_people and not result:
            printer.end()
    return code


def _all(ids: tuple[str, ...]) -> list[str]:
    found: list[str] = []
    for each in ids:
        if each == "-":
            for batch in from_stdin():
                found += batch
        else:
            found.append(each)
    return found


def _sentence(task: TaskResult[Any]) -> str:
    tries = task.retries + 1
    after = f" after {tries} tries" if tries > 1 else ""
    if task.is_success:
        return f"succeeded{after}"
    if task.status == "cancelled":
        reason = task.cancel_request.reason if task.cancel_request else None
        return f"cancelled{after}" + (f": {plain(reason)}" if reason else "")
    return f"failed{after}: {error_line(task.error)}"


def _ended() -> Kind[TaskResult[Any]]:
    return Kind(
        (), as_json=as_json, id_of=lambda task: task.task_id, csv=("task_id", "status", "finished_at")
    )


async def tail(
    *query: Words, since: str | None = None, limit: int | None = None, common: Common | None = None
) -> None:
    """Follow the changes of tasks as they happen, until Ctrl-C.

    Parameters
    ----------
    query
        Of which tasks, and to what: status:failed name:mail.send. None: all.
    since
        First what has changed since then, such as 10m: each task as it stands, at most 1,000.
    limit
        End after so many changes.
    """
    asked = query_in(query)
    shown = 0
    async with at_desk(common) as desk:
        out = desk.out
        out.live()
        printer = out.printer(_changes(out))
        watch = desk.backend.watch_changes(asked if asked.terms else None)
        async with aclosing(watch) as changes:
            if since is not None:
                start = moment("--since", since, datetime.now(UTC))
                found = desk.backend.search(f"{asked} updated:{start.isoformat()}..", limit=1_000, seconds=5)
                earlier = sorted((await found).items, key=lambda task: task.updated_at or start)
                for task in earlier if limit is None else earlier[:limit]:
                    printer.add([_as_change(task)])
                    shown += 1
            while limit is None or shown < limit:
                change = await anext(changes)
                if isinstance(change, ChangesMissed):
                    out.note("some changes were missed")
                    continue
                printer.add([change])
                shown += 1
        printer.end()


def _as_change(task: TaskResult[Any]) -> TaskChange:
    """What a task has become, as the change that made it so."""
    assert task.updated_at is not None  # it was read
    return TaskChange(
        task_id=task.task_id,
        status=task.status,
        name=task.task_name,
        at=task.updated_at,
        retries=task.retries,
        worker_id=task.worker_id,
        seq=task.version,
        task=task,
    )


def _changes(out: Out) -> Kind[TaskChange]:
    def clock(change: TaskChange) -> str:
        if out.settings.time != "relative":
            return out.time(change.at)
        return f"{change.at.astimezone():%H:%M:%S}"  # an age would be wrong as soon as it is printed

    return Kind(
        columns=(
            Column("time", clock),
            Column("status", lambda change: f"{change.status.upper():9}", style=_style),
            Column("name", lambda change: f"{plain(change.name or ''):20}"),
            Column("id", lambda change: plain(change.task_id)),
            Column("try", lambda change: str(change.retries + 1)),
            Column("error", _error, may_shrink=True),
        ),
        as_json=lambda change: {"v": 1, **change.model_dump(mode="json")},
        id_of=lambda change: change.task_id,
        csv=("task_id", "status", "name", "at", "retries", "worker_id"),
    )


def _style(change: TaskChange) -> str:
    return STYLES[change.status]


def _error(change: TaskChange) -> str:
    task = change.task
    return error_line(task.error) if task is not None and task.status == change.status else ""
