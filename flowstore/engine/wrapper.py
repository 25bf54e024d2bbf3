"""An engine around another one: the base of everything that adds something to any storage."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from flowstore.engine.audits import Audited
from flowstore.engine.facts import StorageFacts
from flowstore.engine.hints import Hints
from flowstore.engine.items import Asked, Expiry, Item, Put, Report, Span
from flowstore.engine.rows import Counted, Entry, Listed, Outcome, Purged, Query, Standing, Write
from flowstore.engine.tallies import Cell, Group, Tallied
from flowstore.engine.verbs import Engine, TellBatch
from flowstore.observing import Place


class EngineWrapper(Engine):
    """Forwards every verb to ``inner``. Override those that should do something else."""

    def __init__(self, inner: Engine) -> None:
        self.inner = inner

    @property
    def counts_writes(self) -> bool:  # type: ignore[override]
        return self.inner.counts_writes

    @property
    def place(self) -> Place:  # type: ignore[override]
        return self.inner.place

    def tell_batches(self, tell: TellBatch) -> frozenset[str]:
        return self.inner.tell_batches(tell)

    async def open(self, hints: Hints) -> None:
        await self.inner.open(hints)

    async def close(self) -> None:
        await self.inner.close()

    def abandon(self) -> None:
        self.inner.abandon()

    def part_of(self, task_id: str) -> int:
        return self.inner.part_of(task_id)

    async def room(self) -> None:
        await self.inner.room()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self.inner.write(writes, now)

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        return await self.inner.read(ids, with_body=with_body, max_body=max_body)

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self.inner.watch(ids, until)

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self.inner.scan(query, now)

    async def places(self, query: Query, now: int) -> list[Listed]:
        return await self.inner.places(query, now)

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await self.inner.at_places(query, places, now)

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await self.inner.count(queries)

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await self.inner.facets(prefix, limit, after)

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await self.inner.remove(ids, now, standing)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self.inner.purge(limit, now, everything=everything)

    async def confirm(self) -> None:
        await self.inner.confirm()

    async def vacuum(self, *, full: bool = False) -> int:
        return await self.inner.vacuum(full=full)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self.inner.report(reports, now)

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        return await self.inner.expire(expiries, now)

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return await self.inner.put(puts, now)

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return await self.inner.items(asked, now)

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return await self.inner.timeline(span, now)

    async def series(self, prefix: str) -> list[str]:
        return await self.inner.series(prefix)

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await self.inner.tallies(asked)

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await self.inner.totals(series, now)

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await self.inner.groups(ids)

    async def namespaces(self) -> list[str]:
        return await self.inner.namespaces()

    async def drop_namespace(self, limit: int, now: int) -> bool:
        return await self.inner.drop_namespace(limit, now)

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        return await self.inner.audit(prefix, after, limit, repair=repair)

    async def facts(self) -> StorageFacts:
        return await self.inner.facts()
