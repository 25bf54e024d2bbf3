"""What a reader has of a namespace that nobody has founded: nothing, until somebody does.

Only then is it known in how many buckets it is. So each call looks once more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence

from flowstore.engine import (
    Asked,
    Audited,
    Cell,
    Counted,
    Engine,
    EngineWrapper,
    Entry,
    Group,
    Item,
    Query,
    Span,
    StorageFacts,
    Tallied,
)


class Looking(EngineWrapper):
    """The reading verbs on what ``look`` returns, which is open: one that has nothing until it is founded."""

    def __init__(self, look: Callable[[], Awaitable[Engine]]) -> None:
        self._look = look

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        return await (await self._look()).read(ids, with_body=with_body, max_body=max_body)

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await (await self._look()).scan(query, now)

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await (await self._look()).count(queries)

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await (await self._look()).facets(prefix, limit, after)

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return await (await self._look()).items(asked, now)

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return await (await self._look()).timeline(span, now)

    async def series(self, prefix: str) -> list[str]:
        return await (await self._look()).series(prefix)

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await (await self._look()).tallies(asked)

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await (await self._look()).totals(series, now)

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await (await self._look()).groups(ids)

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        return await (await self._look()).audit(prefix, after, limit, repair=repair)

    async def facts(self) -> StorageFacts:
        return await (await self._look()).facts()
