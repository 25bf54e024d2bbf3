"""``flowstore wait`` and ``tail``: what becomes of tasks, as it happens."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from flowstore import (
    ChangesMissed,
    ResultGone,
    Settled,
    TaskChange,
    TaskQuery,
    TaskResult,
    Transition,
    WaitTimeout,
    to_jsonable,
)
from flowstore._faces.moments import duration, moment
from flowstore._faces.records import as_json
from flowstore._faces.showing import error_line, plain
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._ids import Id, from_stdin, resolved
from flowstore.cli._output import STYLES, Kind, Out
from flowstore.cli._queries import Words, query_in
from flowstore.cli._settings import Common
from flowstore.cli._tasks import as_row, tell_unreadable
from flowstore.cli._tasks import changes as changes_of

_SHORT: Final = re.compile("[0-9a-f-]{8,31}")
_MOST_NAMED: Final = 10
_MOST_REPLAYED: Final = 1_000
_SECONDS: Final = 5.0


async def wait(
    *ids: Id,
    timeout: str | None = None,
    any: bool = False,
    all: bool = False,
    result: bool = False,
    common: Common | None = None,
) -> int:
    """Wait until tasks are finished; the exit code says how: 0 success, 1 failed or cancelled, 124 too late.

    Parameters
    ----------
    ids
        Ids, also of tasks that are not stored yet; - reads them from stdin.
    timeout
        How long at most: 30s, 5m; none: for ever.
    any
        Until the first of them is finished.
    all
        Until all of them are, which is also so without it.
    result
        Print the results as JSON, and nothing else.
    """
    if any and all:
        raise usage("--any and --all do not go together")
    if not ids:
        raise usage("which task? expected ids, or - to read them from stdin")
    seconds = None if timeout is None else duration("--timeout", timeout).total_seconds()
    code = Exit.OK
    async with at_desk(common) as desk:
        wanted = await _wanted(desk, ids)
        left = dict.fromkeys(wanted)
        desk.out.live()
        ends = _Ends(desk.out, is_named=len(wanted) > 1, is_result=result)
        try:
            async with aclosing(desk.backend.as_completed(wanted, timeout=seconds)) as ended:
                async for outcome in ended:
                    del left[outcome.task_id]
                    code = max(code, ends.tell(outcome))
                    if any and isinstance(outcome, TaskResult):
                        break
        except WaitTimeout:
            named = ", ".join(map(plain, islice(left, _MOST_NAMED))) + (
                ", ..." if len(left) > _MOST_NAMED else ""
            )
            desk.out.note(f"flowstore: {len(left):,} not finished after {timeout}: {named}")
            code = Exit.TIMEOUT
        ends.end()
    return code


async def _wanted(desk: Desk, words: Sequence[str]) -> list[str]:
    """Each once. Of an id that ``ls`` has shown in short the whole; any other may not be stored yet."""
    found: dict[str, None] = {}
    for word in words:
        if word == "-":
            for batch in from_stdin():
                found.update(dict.fromkeys(batch))
        elif _SHORT.fullmatch(word):
            found[await _whole(desk, word)] = None
        else:
            found[word] = None
    return [*found]


async def _whole(desk: Desk, word: str) -> str:
    try:
        [task_id] = await resolved(desk.backend, [word])
    except CommandError as error:
        if error.code != Exit.UNKNOWN:
            raise
        return word
    return task_id


class _Ends:
    """How the ends of tasks are told: ``is_named`` with their ids, ``is_result`` by their results alone."""

    def __init__(self, out: Out, *, is_named: bool, is_result: bool) -> None:
        self._out = out
        self._is_named = is_named
        self._is_result = is_result
        fields = ("task_id", "status", "finished_at", "error")
        self._printer = out.printer(
            Kind[TaskResult[Any]](
                (), as_json=as_json, id_of=lambda task: task.task_id, csv=fields, as_row=as_row
            )
        )

    def tell(self, outcome: Settled[Any]) -> Exit:
        """The exit code that it makes."""
        out = self._out
        if not isinstance(outcome, TaskResult):
            out.note(f"flowstore: {plain(str(outcome))}")
            return Exit.UNKNOWN if isinstance(outcome, ResultGone) else Exit.NO
        sentence = (f"{plain(outcome.task_id)}: " if self._is_named else "") + _sentence(outcome)
        if self._is_result and outcome.is_success:
            out.text(plain(json.dumps(to_jsonable(outcome.result), ensure_ascii=False)))
        elif self._is_result:
            out.note(f"flowstore: {sentence}")
        elif out.is_for_people:
            out.text(sentence, style=STYLES[outcome.status])
        else:
            self._printer.add([outcome])
        return Exit.OK if outcome.is_success else Exit.NO

    def end(self) -> None:
        if not self._out.is_for_people and not self._is_result:
            self._printer.end()


def _sentence(task: TaskResult[Any]) -> str:
    tries = task.retries + 1
    after = f" after {tries} tries" if tries > 1 else ""
    if task.is_success:
        return f"succeeded{after}"
    if task.status == "cancelled":
        reason = task.cancel_request.reason if task.cancel_request else None
        return f"cancelled{after}" + (f": {plain(reason)}" if reason else "")
    return f"failed{after}: {error_line(task.error)}"


async def tail(
    *query: Words, since: str | None = None, limit: int | None = None, common: Common | None = None
) -> None:
    """Follow the changes of tasks as they happen, until Ctrl-C.

    Parameters
    ----------
    query
        Of which tasks, and to what: status:failed name:mail.send. None: all.
    since
        First the changes since then, such as 10m, of 1,000 tasks at most.
    limit
        End after so many changes.
    """
    asked = query_in(query)
    if limit is not None and limit < 0:
        raise usage(f"--limit: expected a number from 0 on, got {limit}")
    start = None if since is None else moment("--since", since, datetime.now(UTC))
    async with at_desk(common) as desk:
        desk.out.live()
        printer = desk.out.printer(changes_of(desk.out))
        try:
            async with aclosing(_changes(desk, asked, start)) as changes:
                shown = 0
                while limit is None or shown < limit:
                    printer.add([await anext(changes)])
                    shown += 1
        finally:
            printer.end()  # so that JSON is whole, also after Ctrl-C


async def _changes(desk: Desk, asked: TaskQuery, start: datetime | None) -> AsyncGenerator[TaskChange, None]:
    """Those since ``start``, and then each as it comes; none comes twice."""
    told: set[tuple[str, int]] = set()
    async with aclosing(desk.backend.watch_changes(asked if asked.terms else None)) as changes:
        if start is not None:
            for earlier in await _since(desk, asked, start):
                told.add((earlier.task_id, earlier.seq))
                yield earlier
        async for change in changes:
            if isinstance(change, ChangesMissed):
                at = change.since.isoformat(timespec="seconds").replace("+00:00", "Z")
                desk.out.note(f"changes were missed: flowstore ls updated:{at}.. shows where tasks stand")
            elif (change.task_id, change.seq) not in told:
                yield change


async def _since(desk: Desk, asked: TaskQuery, start: datetime) -> list[TaskChange]:
    """The transitions of tasks that changed since then, in the order of time, as the history has them.

    A task that has none there, as it keeps no history, has the one that made it what it is.
    """
    others = TaskQuery(tuple(term for term in asked.terms if term.name != "status"))
    found = await desk.backend.search(
        f"{others} updated:{start.isoformat()}..", limit=_MOST_REPLAYED, seconds=_SECONDS
    )
    tell_unreadable(desk.out, found.unreadable)
    if found.next_cursor is not None:
        desk.out.note(f"of earlier changes only those of {len(found.items):,} tasks are shown")
    histories = await desk.backend.history.of_many(task.task_id for task in found.items)
    earlier: list[TaskChange] = []
    for task in found.items:
        steps = [step for step in histories.get(task.task_id, ()) if step.event is None]
        changes = [_as_change(task, step) for step in steps] or [_as_change(task)]
        earlier += (each for each in changes if each.at >= start and each.status in asked.statuses)
    return sorted(earlier, key=lambda change: (change.at, change.task_id, change.seq))


def _as_change(task: TaskResult[Any], step: Transition | None = None) -> TaskChange:
    """What a task became by a transition; None: by its last."""
    assert task.updated_at is not None  # it was read
    return TaskChange(
        task_id=task.task_id,
        status=step.status if step else task.status,
        name=task.task_name,
        at=step.at if step else task.updated_at,
        retries=step.retries if step else task.retries,
        worker_id=step.worker_id if step else task.worker_id,
        seq=step.seq if step else task.version,
        task=task,
    )
