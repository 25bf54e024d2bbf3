"""Listings: the records of some statuses, in the order of submission, page after page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import Any, TypedDict, Unpack, cast

from flowstore import arguments, cursors
from flowstore.core import STEP, Core
from flowstore.engine import Engine, Query, Row, Where
from flowstore.fields import check_text
from flowstore.models import Page, TaskResult, TaskStatus

Statuses = TaskStatus | Iterable[TaskStatus] | None


class Filters(TypedDict, total=False):
    """What the records of a listing have in common; all that is given, and not None, must hold.

    ``name``: the task name. ``root_id``: the task of that id and all that have it as their ``root_id``, so
    of a root the whole family, of any other task itself alone. ``label``: one of the task's labels.
    """

    name: str | None
    parent_id: str | None
    root_id: str | None
    worker_id: str | None
    label: str | None


class ListingMethods(Core):
    """What ``BaseResultBackend`` lists and counts."""

    async def list_by_status(
        self, status: TaskStatus, limit: int | None = None, offset: int = 0
    ) -> list[TaskResult[Any]]:
        """The records in ``status``: newest ``submitted_at`` first, those without one last, ties by task_id.

        ``limit`` None: all, 0: none. Skipping ``offset`` records costs time in proportion; to go
        through many, use ``page`` or ``iter_by_status``, which never repeat or skip.
        """
        wanted = Query(statuses=(arguments.check_status("status", status),), limit=STEP)
        arguments.check_int("offset", offset, 0)
        left = None if limit is None else arguments.check_int("limit", limit, 0)
        async with self._life:
            if left == 0:
                return []
            skipping = walk(self._engine, replace(wanted, with_body=False), self._clock, offset)
            last: Row | None = None
            async for rows in skipping:
                last, offset = rows[-1], offset - len(rows)
            if offset:
                return []
            start = replace(wanted, after=last.position if last else None)
            return [
                self._records.decode(row)
                async for rows in walk(self._engine, start, self._clock, left)
                for row in rows
            ]

    async def page(
        self,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
        **filters: Unpack[Filters],
    ) -> Page[Any]:
        """One page of the records in ``statuses`` (None: any) that pass all ``filters`` (see Filters).

        In the order of ``list_by_status``, or its exact reverse. ``limit`` is 1 to 10,000. ``cursor``
        is the ``next_cursor`` of the page before, None for the first page; it belongs to its statuses,
        filters and order, and anything else is refused with InvalidCursor. A record that keeps its
        status and submission time during the walk is on exactly one page. With ``load_result`` False
        the items' result, args and kwargs are NOT_LOADED. One filter costs what none costs, the range
        that is shown; of several the first of parent_id, worker_id, root_id, label and name is walked
        along, for what passes the others.
        """
        arguments.check_int("limit", limit, 1, arguments.MAX_PAGE)
        return await self._page(
            query_of(statuses, where_of(filters), limit + 1, newest_first, load_result), cursor
        )

    async def _page(self, query: Query, cursor: str | None) -> Page[Any]:
        """``query`` asks for one more row than the page holds, to know whether another follows."""
        limit = query.limit - 1
        bound_to = (self.namespace, query.statuses, query.where, query.newest_first)
        if cursor is not None:
            query = replace(query, after=cursors.decode(cursor, *bound_to))
        async with self._life:
            rows = await self._engine.scan(query, self._clock()) if query.statuses else []
        items = [self._records.decode(row) for row in rows[:limit]]
        next_cursor = cursors.encode(rows[limit - 1].position, *bound_to) if len(rows) > limit else None
        return Page(items=items, next_cursor=next_cursor)

    async def iter_by_status(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 100,
        newest_first: bool = True,
        load_result: bool = True,
        **filters: Unpack[Filters],
    ) -> AsyncIterator[TaskResult[Any]]:
        """All records that ``page`` would show, one by one, read ``batch_size`` at a time."""
        arguments.check_int("batch_size", batch_size, 1, arguments.MAX_PAGE)
        query = query_of(statuses, where_of(filters), batch_size, newest_first, load_result)
        async for rows in self._rows(query):
            for row in rows:
                yield self._records.decode(row)

    async def count_by_status(self, **filters: Unpack[Filters]) -> dict[TaskStatus, int]:
        """How many records there are in each status, of those that pass all ``filters`` (see Filters).

        Without filters at a cost that does not grow with them. Expired records may count until the
        next purge step removes them.
        """
        where = where_of(filters)
        async with self._life:
            counts = await self._engine.count(where)
        return {status: counts.get(status, 0) for status in TaskStatus}


def where_of(filters: Filters) -> Where:
    if unknown := filters.keys() - Filters.__annotations__:
        known = ", ".join(Filters.__annotations__)
        raise TypeError(f"{min(unknown)}: is no filter; expected one of {known}")
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
        statuses=arguments.check_statuses(statuses),
        limit=limit,
        where=where,
        newest_first=arguments.check_bool("newest_first", newest_first),
        with_body=arguments.check_bool("load_result", load_result),
    )


async def walk(
    engine: Engine, query: Query, clock: Callable[[], int], most: int | None
) -> AsyncIterator[list[Row]]:
    """The rows of ``query``, at most ``most`` (None: all), step by step; never an empty step."""
    while most is None or most > 0:
        step = query.limit if most is None else min(query.limit, most)
        rows = await engine.scan(replace(query, limit=step), clock())
        if rows:
            yield rows
            query = replace(query, after=rows[-1].position)
        if len(rows) < step:
            return
        most = None if most is None else most - len(rows)
