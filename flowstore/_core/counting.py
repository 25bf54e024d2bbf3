"""Counts of what listings show, in bounded steps of the storage, and without reading a record."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from flowstore._core.core import Core
from flowstore._core.filters import Selection
from flowstore._core.listing import Listing, belongs, selected
from flowstore._values.arguments import check_int
from flowstore.engine import NO_LIMIT, Query
from flowstore.models import Statuses, TaskStatus

_LOOKED_AT_PER_STEP: Final = 10_000
"""How many records one call of the storage tests, where it has to test them one by one."""


class Counts(dict[TaskStatus, int]):
    """How many tasks there are in each status that was asked for.

    ``is_exact`` False: the limit of the call was reached, and there may be more in each status than that.
    """

    def __init__(self, counts: Mapping[TaskStatus, int] | None = None, *, is_exact: bool = True) -> None:
        super().__init__(counts or {})
        self.is_exact = is_exact

    @property
    def total(self) -> int:
        return sum(self.values())

    def __repr__(self) -> str:
        return super().__repr__() if self.is_exact else f"Counts({super().__repr__()}, is_exact=False)"


async def count(core: Core, statuses: Statuses, selection: Selection, at_most: int | None = None) -> Counts:
    listing = selected(core, statuses, selection, NO_LIMIT, load_result=False)
    most = None if at_most is None else check_int("at_most", at_most, 1)
    async with core.life:
        return await count_of(core, listing, most)


async def count_of(core: Core, listing: Listing, most: int | None) -> Counts:
    """What the listing has, its newest first, whatever its own order. It has to be within ``core.life``.

    ``most``: how many to look at; see ``count_by_status`` of the backend. None: all.
    """
    counts, is_exact = Counter[str](), True
    if not (listing.is_empty or listing.where.is_nobody):
        counts, is_exact = await _counted(core, listing.query, most)
    if listing.where.root is not None:  # it is not among its own family: see ``step``
        for root in core.live(await core.engine.read([listing.where.root], with_body=False)):
            counts[root.status] += belongs(root, listing)
    return Counts({TaskStatus(status): counts[status] for status in listing.statuses}, is_exact=is_exact)


async def _counted(core: Core, query: Query, most: int | None) -> tuple[Counter[str], bool]:
    """The counts, and whether they are exact. What costs nothing is counted to the end."""
    left = NO_LIMIT if most is None or query.is_everything else most
    counts: Counter[str] = Counter()
    while True:
        limit = min(left, _LOOKED_AT_PER_STEP) if query.is_filtered else left
        [counted] = await core.engine.count([replace(query, limit=limit)])
        counts.update(counted.counts)
        left -= limit
        if counted.next is None or left == 0:
            return counts, counted.next is None
        query = replace(query, after=counted.next)
        await asyncio.sleep(0)  # others may run between two steps, also where the storage never waits
