"""Counts over shards: added up, and where only so many records may be looked at, cut where these end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from flowstore._trips.shards import Shards
from flowstore.engine import NO_LIMIT, Counted, Position, Query

_WALKED: Final = 1_000
"""How many entries may be left to count when they are looked at one by one."""
_NEWEST: Final = -(2**63) + 1
_OLDEST: Final = 2**63 - 1


class ShardedCount:
    """Counts of the first ``limit`` entries of all shards together. ``walk``: the same, whatever it costs."""

    def __init__(self, shards: Shards, walk: Callable[[Query], Awaitable[Counted]]) -> None:
        self._shards = shards
        self._walk = walk

    async def of(self, queries: Sequence[Query]) -> list[Counted]:
        found = await self._shards.everywhere(lambda shard: shard.count(queries))
        of_queries = zip(queries, zip(*found, strict=True), strict=True)
        return [await self._joined(query, of_shards) for query, of_shards in of_queries]

    async def _joined(self, query: Query, of_shards: Sequence[Counted]) -> Counted:
        """``of_shards``: of the first so many of each."""
        if query.limit == NO_LIMIT:
            return Counted(_added(of_shards))
        if not any(found.next for found in of_shards):
            looked_at = sum(found.total for found in of_shards)
            if query.is_filtered:
                looked_at = await self._size(query)
            if looked_at <= query.limit:
                return Counted(_added(of_shards))
        return await self._cut(query)

    async def _cut(self, query: Query) -> Counted:
        counts: Counter[str] = Counter()
        while query.limit > _WALKED:
            step = await self._first_of(query)
            if step is None:
                break
            part, query = step
            counts.update(part)
        rest = await self._walk(query)
        counts.update(rest.counts)
        return Counted(dict(counts), rest.next)

    async def _first_of(self, query: Query) -> tuple[dict[str, int], Query] | None:
        """The counts of entries that are surely among the first ones, and what is left of the query.

        That are those of earlier times than the first of the places to which the shards get with an equal
        share. None where these are of one time, so that nothing can be told without a look at them.
        """
        share = replace(_unfiltered(query), limit=query.limit // len(self._shards.engines))
        found = await self._shards.everywhere(lambda shard: shard.count([share]))
        ends = [of_shard.next for [of_shard] in found if of_shard.next is not None]
        if not ends:
            return None
        end = min(ends).sort
        first, last = query.within or (_NEWEST, _OLDEST)
        before = replace(query, within=(first, min(last, end - 1)))
        looked_at = await self._size(before)
        if not looked_at:
            return None
        left = replace(query, after=Position(end, ""), limit=query.limit - looked_at)
        return await self._all(before), left

    async def _size(self, query: Query) -> int:
        """How many entries it goes through."""
        return Counted(await self._all(_unfiltered(query))).total

    async def _all(self, query: Query) -> dict[str, int]:
        unlimited = replace(query, limit=NO_LIMIT)
        found = await self._shards.everywhere(lambda shard: shard.count([unlimited]))
        return _added([counted for [counted] in found])


def _unfiltered(query: Query) -> Query:
    return replace(query, groups=query.groups[:1], has_fixed=None)


def _added(counted: Sequence[Counted]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for found in counted:
        counts.update(found.counts)
    return dict(counts)
