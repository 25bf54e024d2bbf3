"""An engine whose calls are timed, around that of a backend with observers. Others have none of it."""

from __future__ import annotations

from collections.abc import Awaitable, Collection, Sequence
from time import perf_counter
from typing import TypeVar

from flowstore._observing.observers import IN_BACKGROUND, Observers
from flowstore.engine import (
    Asked,
    Audited,
    Cell,
    Counted,
    Engine,
    EngineWrapper,
    Entry,
    Expiry,
    Group,
    Item,
    Outcome,
    Purged,
    Put,
    Query,
    Report,
    Span,
    Standing,
    StorageFacts,
    Tallied,
    Write,
)
from flowstore.observing import CallEnded

T = TypeVar("T")


class ObservedCalls(EngineWrapper):
    """Tells the observers of each call, in the context of its caller, so that a trace can join it.

    ``shared``: the verbs whose round trips are told as BatchEnded.
    """

    def __init__(self, inner: Engine, observers: Observers, shared: frozenset[str]) -> None:
        super().__init__(inner)
        self._observers = observers
        self._shared = shared
        self._place = inner.place

    async def _timed(self, verb: str, items: int, call: Awaitable[T]) -> T:
        began = perf_counter()
        failure: BaseException | None = None
        try:
            return await call
        except BaseException as error:
            failure = error
            raise
        finally:
            seconds = perf_counter() - began
            how = verb, items, seconds, failure, self._place, IN_BACKGROUND.get(), verb in self._shared
            self._observers.tell(CallEnded(self._observers.namespace, *how))
            del failure  # breaks the cycle: the error's traceback holds this frame

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self._timed("write", len(writes), self.inner.write(writes, now))

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        read = self.inner.read(ids, with_body=with_body, max_body=max_body)
        return await self._timed("read", len(ids), read)

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self._timed("watch", len(ids), self.inner.watch(ids, until))

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self._timed("scan", query.limit, self.inner.scan(query, now))

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await self._timed("count", len(queries), self.inner.count(queries))

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await self._timed("facets", 1, self.inner.facets(prefix, limit, after))

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await self._timed("remove", len(ids), self.inner.remove(ids, now, standing))

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self._timed("purge", limit, self.inner.purge(limit, now, everything=everything))

    async def vacuum(self, *, full: bool = False) -> int:
        return await self._timed("vacuum", 1, self.inner.vacuum(full=full))

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self._timed("report", len(reports), self.inner.report(reports, now))

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        return await self._timed("expire", len(expiries), self.inner.expire(expiries, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return await self._timed("put", len(puts), self.inner.put(puts, now))

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return await self._timed("items", len(asked), self.inner.items(asked, now))

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return await self._timed("timeline", span.limit, self.inner.timeline(span, now))

    async def series(self, prefix: str) -> list[str]:
        return await self._timed("series", 1, self.inner.series(prefix))

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await self._timed("tallies", len(asked), self.inner.tallies(asked))

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await self._timed("totals", len(series), self.inner.totals(series, now))

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await self._timed("groups", 1 if ids is None else len(ids), self.inner.groups(ids))

    async def namespaces(self) -> list[str]:
        return await self._timed("namespaces", 1, self.inner.namespaces())

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        audit = self.inner.audit(prefix, after, limit, repair=repair)
        return await self._timed("audit", limit, audit)

    async def facts(self) -> StorageFacts:
        return await self._timed("facts", 1, self.inner.facts())
