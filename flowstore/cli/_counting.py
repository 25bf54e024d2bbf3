"""How many tasks a query finds."""

from __future__ import annotations

from contextlib import aclosing
from typing import NamedTuple

from flowstore import BaseResultBackend, TaskQuery
from flowstore._faces.selecting import selection_of


class Count(NamedTuple):
    """``is_exact`` False: at least so many."""

    number: int
    is_exact: bool = True


async def counted(backend: BaseResultBackend, query: TaskQuery, at_most: int | None = None) -> Count:
    """Without ``at_most`` all of them, however many records must be looked at for that.

    With it more are counted where that costs nothing.

    Raises UnreadableRecords if the query may want records that cannot be read, and all are looked at.
    """
    known = await known_count(backend, query, at_most)
    if known is not None:
        return known
    number = 0
    async with aclosing(backend.iter_search(query)) as found:
        async for _ in found:
            if number == at_most:
                return Count(number, is_exact=False)
            number += 1
    return Count(number)


async def known_count(
    backend: BaseResultBackend, query: TaskQuery, at_most: int | None = None
) -> Count | None:
    """What an index counts: of all tasks, or of those with one name, label, worker, parent or error.

    None: only a search would know.
    """
    selection = None if query.is_by_finish else selection_of(query)
    if selection is None:
        return None
    found = await backend.count_by_status(query.statuses, at_most=at_most, **selection)
    return Count(sum(found.values()), found.is_exact)
