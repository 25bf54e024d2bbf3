"""An engine that fails on demand: before or after the call was carried out, late, or without a hint."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, TypeVar

from flowstore.engine import (
    Asked,
    Audited,
    Counted,
    Engine,
    Entry,
    Expiry,
    Hints,
    Item,
    Listed,
    Outcome,
    Purged,
    Put,
    Query,
    Report,
    Span,
    Standing,
    StorageFacts,
    Write,
)
from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
    Unconfirmed,
)
from flowstore.testing.faults.hints import UnreliableHints

T = TypeVar("T")

FAILURES: Final[tuple[StorageError, ...]] = (
    StorageUnavailable("injected: the storage cannot be reached"),
    StorageTimeout("injected: no answer in time"),
    StorageFull("injected: no room"),
    AccessDenied("injected: no permission"),
    CorruptStore("injected: the storage cannot be understood"),
    SchemaTooNew("injected", 99, 1),
    Unconfirmed(1, 0, 1.0),
    StoreReplaced("injected: it is another store"),
    StorageError("injected: something else"),
)
"""One of each error that a storage may raise, as in the table of ``flowstore.engine.verbs``."""


@dataclass
class _Fault:
    error: Exception | None
    delay: float
    skip: int
    times: int | None
    is_carried_out: bool


class ProcessDied(BaseException):
    """What every call of an engine raises after ``EngineFaults.die``: nobody can clean up any more."""


class EngineFaults(UnreliableHints):
    """``inner``, which fails when told to by ``fail`` or ``slow``. Without that it does nothing.

    ``calls`` counts the calls of each verb. Hints are reliable unless the arguments of ``UnreliableHints``
    say otherwise.
    """

    def __init__(
        self, inner: Engine, seed: int = 0, *, lost: float = 0, doubled: float = 0, delay: float = 0
    ) -> None:
        super().__init__(inner, seed, lost=lost, doubled=doubled, delay=delay)
        self.calls: Counter[str] = Counter()
        self._faults: dict[str, _Fault] = {}
        self._calls_left: int | None = None

    def die(self, after: int) -> None:
        """Let each call raise ProcessDied once ``after`` were made, until ``heal``."""
        self._calls_left = after

    def fail(
        self,
        *verbs: str,
        error: Exception,
        times: int | None = 1,
        skip: int = 0,
        is_carried_out: bool = False,
    ) -> None:
        """Let each of ``verbs`` raise ``error`` at its next ``times`` calls, None: until ``heal``.

        ``skip``: so many calls succeed before. ``is_carried_out``: the call is carried out first, and only
        its answer is lost.
        """
        for verb in verbs:
            self._faults[verb] = _Fault(error, 0.0, skip, times, is_carried_out)

    def slow(self, *verbs: str, delay: float, times: int | None = 1, is_carried_out: bool = False) -> None:
        """Let each of ``verbs`` take ``delay`` seconds longer, before or after it is carried out."""
        for verb in verbs:
            self._faults[verb] = _Fault(None, delay, 0, times, is_carried_out)

    @property
    def pending(self) -> set[str]:
        """The verbs that still have a fault before them."""
        return {*self._faults}

    def heal(self, *verbs: str) -> None:
        """End the faults of ``verbs``; of all, if none is given."""
        if not verbs:
            self._calls_left = None
        for verb in verbs or [*self._faults]:
            self._faults.pop(verb, None)

    async def _call(self, verb: str, call: Callable[[], Awaitable[T]]) -> T:
        if self._calls_left is not None:
            if not self._calls_left:
                raise ProcessDied
            self._calls_left -= 1
        self.calls[verb] += 1
        fault = self._due(verb)
        if fault is None:
            return await call()
        if fault.is_carried_out:
            answer = await call()
        await asyncio.sleep(fault.delay)
        if fault.error is not None:
            raise copy(fault.error)
        return answer if fault.is_carried_out else await call()

    def _due(self, verb: str) -> _Fault | None:
        fault = self._faults.get(verb)
        if fault is None:
            return None
        if fault.skip:
            fault.skip -= 1
            return None
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                del self._faults[verb]
        return fault

    async def open(self, hints: Hints) -> None:
        await self._call("open", lambda: super(EngineFaults, self).open(hints))

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self._call("write", lambda: self.inner.write(writes, now))

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        return await self._call("read", lambda: self.inner.read(ids, with_body=with_body, max_body=max_body))

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self._call("watch", lambda: self.inner.watch(ids, until))

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self._call("scan", lambda: self.inner.scan(query, now))

    async def places(self, query: Query, now: int) -> list[Listed]:
        return await self._call("places", lambda: self.inner.places(query, now))

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await self._call("at_places", lambda: self.inner.at_places(query, places, now))

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await self._call("count", lambda: self.inner.count(queries))

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await self._call("facets", lambda: self.inner.facets(prefix, limit, after))

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await self._call("remove", lambda: self.inner.remove(ids, now, standing))

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self._call("purge", lambda: self.inner.purge(limit, now, everything=everything))

    async def confirm(self) -> None:
        await self._call("confirm", self.inner.confirm)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self._call("report", lambda: self.inner.report(reports, now))

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        return await self._call("expire", lambda: self.inner.expire(expiries, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return await self._call("put", lambda: self.inner.put(puts, now))

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return await self._call("items", lambda: self.inner.items(asked, now))

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return await self._call("timeline", lambda: self.inner.timeline(span, now))

    async def namespaces(self) -> list[str]:
        return await self._call("namespaces", lambda: self.inner.namespaces())

    async def drop_namespace(self, limit: int, now: int) -> bool:
        return await self._call("drop_namespace", lambda: self.inner.drop_namespace(limit, now))

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        return await self._call("audit", lambda: self.inner.audit(prefix, after, limit, repair=repair))

    async def facts(self) -> StorageFacts:
        return await self._call("facts", self.inner.facts)
