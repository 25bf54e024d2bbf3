"""Listings: the records of some statuses, in order of submission, page after page (keyset pagination).

A record that cannot be read never hides the others: a page names it beside its items, and a walk goes on and
raises UnreadableRecords once it has yielded the rest.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import Generic, TypedDict, TypeVar, cast

from flowstore._core.core import STEP, Core
from flowstore._values import cursors
from flowstore._values.arguments import MAX_PAGE, check_bool, check_int, check_status, check_statuses
from flowstore.engine import Position, Query, Row, Where
from flowstore.errors import CorruptRecord, UnreadableRecord, UnreadableRecords
from flowstore.models import Page, Statuses, StatusName, TaskResult, TaskStatus, Unreadable
from flowstore.text import check_text

From = TypeVar("From")
To = TypeVar("To")


class Filters(TypedDict, total=False):
    """Conditions on the records of a listing. All that are given, and not None, must hold.

    ``name``: the task name. ``root_id``: the task with that id and all whose ``root_id`` it is, so the whole
    family of a root, but only itself for any other task. ``label``: one of the task's labels.
    """

    name: str | None
    parent_id: str | None
    root_id: str | None
    worker_id: str | None
    label: str | None


def where_of(filters: Filters) -> Where:
    if unknown := filters.keys() - Filters.__annotations__:
        known = ", ".join(Filters.__annotations__)
        raise TypeError(f"{min(unknown)}: unknown filter; expected one of {known}")
    for name, value in filters.items():
        if value is not None:
            check_text(name, cast(str, value))
    return Where(
        filters.get("name"),
        filters.get("parent_id"),
        filters.get("root_id"),
        filters.get("worker_id"),
        filters.get("label"),
    )


def query_of(statuses: Statuses, where: Where, limit: int, newest_first: bool, load_result: bool) -> Query:
    return Query(
        statuses=check_statuses(statuses),
        limit=limit,
        where=where,
        newest_first=check_bool("newest_first", newest_first),
        with_body=check_bool("load_result", load_result),
    )


async def walk(
    core: Core, query: Query, most: int | None = None, *, is_inside: bool = False
) -> AsyncGenerator[list[Row], None]:
    """The rows of ``query``, at most ``most`` (None: all), in steps of its limit, none of them empty.

    Each step is a call of its own, since ``close`` waits for calls in flight and must not wait for a caller
    who never asks for the next step. With ``is_inside`` all steps belong to a call that is already in flight.
    """
    while most is None or most > 0:
        step = query.limit if most is None else min(query.limit, most)
        async with nullcontext() if is_inside else core.life:
            rows = await core.engine.scan(replace(query, limit=step), core.clock()) if query.statuses else []
        if rows:
            yield rows
            query = replace(query, after=behind(rows[-1], query))
        if len(rows) < step:
            return
        most = None if most is None else most - len(rows)


def behind(row: Row, query: Query) -> Position:
    """Where the listing goes on. Raises CorruptRecord if it did not move: it would go round in circles."""
    if row.position == query.after:
        raise CorruptRecord(row.id, f"submitted at {row.submitted_at}, it has no place in a listing")
    return row.position


class Reading(Generic[From, To]):
    """Reads the rows of one page or walk with ``read``, and remembers those that cannot be read."""

    def __init__(self, read: Callable[[From], To], most_errors: int = UnreadableRecords.MOST_ERRORS) -> None:
        self._read = read
        self._most_errors = most_errors
        self._errors: list[UnreadableRecord] = []
        self._count = 0

    def decoded(self, rows: Iterable[From]) -> list[To]:
        """What those that can be read hold, in order."""
        found = []
        for row in rows:
            try:
                found.append(self._read(row))
            except UnreadableRecord as error:
                self._count += 1
                if self._count <= self._most_errors:
                    self._errors.append(error.with_traceback(None))
        return found

    @property
    def unreadable(self) -> list[Unreadable]:
        return [Unreadable(task_id=error.task_id, reason=error.reason) for error in self._errors]

    def end(self) -> None:
        """Raise UnreadableRecords if any could not be read."""
        if self._errors:
            raise UnreadableRecords(self._errors, self._count)


async def readable(steps: AsyncIterator[list[From]], read: Callable[[From], To]) -> AsyncGenerator[To, None]:
    """What the rows of a walk hold, one by one. Raises UnreadableRecords at the end."""
    reading = Reading(read)
    async for rows in steps:
        for found in reading.decoded(rows):
            yield found
    reading.end()


def results(core: Core, steps: AsyncIterator[list[Row]]) -> AsyncGenerator[TaskResult, None]:
    """The records of a walk, as ``readable`` yields them."""
    return readable(steps, core.records.decode)


async def page(core: Core, query: Query, limit: int, cursor: str | None) -> Page:
    """``limit`` records of ``query``. One more is read, only to know whether the listing goes on."""
    check_int("limit", limit, 1, MAX_PAGE)
    query = replace(query, limit=limit + 1)
    bound_to = (core.namespace, query.statuses, query.where, query.newest_first)
    if cursor is not None:
        query = replace(query, after=cursors.decode(cursor, *bound_to))
    async with core.life:
        rows = await core.engine.scan(query, core.clock()) if query.statuses else []
    reading = Reading(core.records.decode, most_errors=limit)
    return Page(
        items=reading.decoded(rows[:limit]),
        next_cursor=cursors.encode(behind(rows[limit - 1], query), *bound_to) if len(rows) > limit else None,
        unreadable=reading.unreadable,
    )


async def list_by_status(
    core: Core, status: TaskStatus | StatusName, limit: int | None, offset: int
) -> list[TaskResult]:
    wanted = Query(statuses=(check_status("status", status),), limit=STEP)
    check_int("offset", offset, 0)
    most = None if limit is None else check_int("limit", limit, 0)
    async with core.life:
        if most == 0:
            return []
        last: Row | None = None
        # No engine can skip by number; the rows before the offset are read without their bodies.
        async for rows in walk(core, replace(wanted, with_body=False), offset, is_inside=True):
            last, offset = rows[-1], offset - len(rows)
        if offset:
            return []
        found = replace(wanted, after=last.position if last else None)
        return [result async for result in results(core, walk(core, found, most, is_inside=True))]


async def count(core: Core, filters: Filters) -> dict[TaskStatus, int]:
    where = where_of(filters)
    async with core.life:
        counts = await core.engine.count(where)
    return {status: counts.get(status, 0) for status in TaskStatus}
