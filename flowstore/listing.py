"""Listings: from what a caller asks for to a query, and the walk along it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from typing import TypedDict, cast

from flowstore import arguments
from flowstore.engine import Engine, Query, Row, Where
from flowstore.models import TaskStatus, check_text

Statuses = TaskStatus | Iterable[TaskStatus] | None


class Filters(TypedDict, total=False):
    """What the records of a listing have in common; all that is given, and not None, must hold.

    ``name``: the task name. ``root_id``: the task of that id and all its descendants. ``label``: one of
    the task's labels.
    """

    name: str | None
    parent_id: str | None
    root_id: str | None
    worker_id: str | None
    label: str | None


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
