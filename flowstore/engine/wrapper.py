"""An engine around another one: the base of everything that adds something to any storage."""

from __future__ import annotations

from collections.abc import Sequence

from flowstore.engine.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.engine.rows import ANYWHERE, Commit, Outcome, Purged, Query, Row, Where
from flowstore.engine.verbs import Engine, Hints


class EngineWrapper(Engine):
    """Forwards every verb to ``inner``. Override those that should do something else."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner

    async def open(self, hints: Hints) -> None:
        await self.inner.open(hints)

    async def close(self) -> None:
        await self.inner.close()

    async def room(self) -> None:
        await self.inner.room()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        return await self.inner.commit(commits, now)

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        return await self.inner.fetch(ids, with_body=with_body)

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await self.inner.watch(ids)

    async def scan(self, query: Query, now: int) -> list[Row]:
        return await self.inner.scan(query, now)

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        return await self.inner.count(where)

    async def names(self) -> list[str]:
        return await self.inner.names()

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        return await self.inner.remove(ids, now)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self.inner.purge(limit, now, everything=everything)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self.inner.report(reports, now)

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        return await self.inner.history(span, now)

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        return await self.inner.put(puts, now)

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        return await self.inner.kept(asked, now)

    async def namespaces(self) -> list[str]:
        return await self.inner.namespaces()
