"""Counts over shards: added up, and where only so many records may be looked at, cut where these end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from flowstore._trips.shards import Shards
from flowstore.engine import NO_LIMIT, Counted, Position, Query

WALKED: Final = 1_000
"""How many entries may be left to count when they are looked at one by one."""
_NEWEST: Final = -(2**63) + 1
_OLDEST: Final = 2**63 - 1


class ShardedCount:
    """Counts of the first ``limit`` entries of all shards together. ``walk``: the same, whatever it costs."""

    def __init__(self, shards: Shards, walk: Callable[[Query], Awaitable[Counted]]) -> None:
        self._shards = shards
        self._walk = walk

    async def of(self, queries: Sequence[Query]) -> list[Counted]:
        """In one trip, as long as nothing has to be cut."""
        sizes = [_unfiltered(query) for query in queries if _is_cut_by_size(query)]
        found = await self._shards.everywhere(lambda shard: shard.count([*queries, *sizes]))
        of_queries = list(zip(*found, strict=True))
        of_sizes = iter(of_queries[len(queries) :])
        return [
            await self._joined(query, counted, next(of_sizes) if _is_cut_by_size(query) else counted)
            for query, counted in zip(queries, of_queries, strict=False)
        ]

    async def _joined(
        self, query: Query, counted: Sequence[Counted], looked_at: Sequence[Counted]
    ) -> Counted:
        """``counted``: of the first so many of each shard, and ``looked_at`` how many that are."""
        is_cut = (
            any(found.next for found in looked_at) or sum(found.total for found in looked_at) > query.limit
        )
        return await self._cut(query) if is_cut else Counted(_added(counted))

    async def _cut(self, query: Query) -> Counted:
        counts: Counter[str] = Counter()
        while query.limit > WALKED:
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
        ends = await self._ends(query)
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

    async def _ends(self, query: Query) -> list[Position]:
        """The places to which shards that have more get with a share, and what the others leave of theirs."""
        ends: list[Position] = []
        share, wider = 0, query.limit // len(self._shards.engines)
        while wider and wider >= 2 * share:
            share = wider
            part = replace(_unfiltered(query), limit=share)
            found = await self._shards.everywhere(lambda shard: shard.count([part]))  # noqa: B023
            ends = [end for [counted] in found if (end := counted.next) is not None]
            whole = sum(counted.total for [counted] in found if counted.next is None)
            wider = (query.limit - whole) // len(ends) if ends else 0
        return ends

    async def _size(self, query: Query) -> int:
        """How many entries it goes through."""
        return Counted(await self._all(_unfiltered(query))).total

    async def _all(self, query: Query) -> dict[str, int]:
        unlimited = replace(query, limit=NO_LIMIT)
        found = await self._shards.everywhere(lambda shard: shard.count([unlimited]))
        return _added([counted for [counted] in found])


def _is_cut_by_size(query: Query) -> bool:
    """Whether its counts do not tell how many entries it looked at."""
    return query.is_filtered and query.limit != NO_LIMIT


def _unfiltered(query: Query) -> Query:
    return replace(query, groups=query.groups[:1], has_fixed=None)


def _added(counted: Sequence[Counted]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for found in counted:
        counts.update(found.counts)
    return dict(counts)
