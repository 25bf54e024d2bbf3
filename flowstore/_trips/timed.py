"""Listings and statistics under a deadline each. They share no trips, as no two of them are alike."""

from __future__ import annotations

from collections.abc import Sequence

from flowstore._trips.deadlines import in_time
from flowstore.engine import Cell, Engine, EngineWrapper, Entry, Group, Item, Listed, Query, Span, Tallied


class TimedListings(EngineWrapper):
    """Each of them ends within ``timeout`` seconds."""

    def __init__(self, inner: Engine, timeout: float) -> None:
        super().__init__(inner)
        self._timeout = timeout

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await in_time(self.inner.scan(query, now), self._timeout)

    async def places(self, query: Query, now: int) -> list[Listed]:
        return await in_time(self.inner.places(query, now), self._timeout)

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await in_time(self.inner.at_places(query, places, now), self._timeout)

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await in_time(self.inner.facets(prefix, limit, after), self._timeout)

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return await in_time(self.inner.timeline(span, now), self._timeout)

    async def series(self, prefix: str) -> list[str]:
        return await in_time(self.inner.series(prefix), self._timeout)

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await in_time(self.inner.tallies(asked), self._timeout)

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await in_time(self.inner.totals(series, now), self._timeout)

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await in_time(self.inner.groups(ids), self._timeout)
