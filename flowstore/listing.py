"""Listings: from what a caller asks for to a query, and the walk along it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace

from flowstore import arguments
from flowstore.engine import Engine, Query, Row
from flowstore.fields import check_text
from flowstore.models import TaskStatus

Statuses = TaskStatus | Iterable[TaskStatus] | None


def query_of(
    statuses: Statuses, name: str | None, limit: int, newest_first: bool, load_result: bool
) -> Query:
    return Query(
        statuses=arguments.check_statuses(statuses),
        limit=limit,
        name=None if name is None else check_text("name", name),
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
