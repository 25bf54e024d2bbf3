"""An engine whose calls share round trips: each verb takes its lane, and every call has a deadline.

Writes go by a hash of their id, so that those of one id stay in order; reads have lanes of their own, so that
they never queue behind writes. ``watch`` shares no trip, as its caller, the one reader of all waits, sends a
batch already. Listings share none because no two of them are alike.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from flowstore._trips.batches import TIMED, TimedBatches
from flowstore._trips.deadlines import in_time
from flowstore._trips.families import in_order, with_families
from flowstore._trips.lanes import Lane, Verb, portions
from flowstore._trips.timed import TimedListings
from flowstore._values.arguments import Seconds, check_duration
from flowstore.engine import (
    Asked,
    Audited,
    Counted,
    Engine,
    Entry,
    Expiry,
    Hints,
    Item,
    Outcome,
    Purged,
    Put,
    Query,
    Report,
    Standing,
    StorageFacts,
    TellBatch,
    Write,
)

_FACET_BYTES: Final = 128  # what an entry of an index costs beyond its text: a tenth of a record


class SharedTrips(TimedListings):
    """Lets writes share trips with writes, and reads with reads. Each call ends within ``timeout``.

    ``timeout``: seconds, or a timedelta. ``write_lanes``: how many trips of writes may be in flight at once,
    for a storage that can work on one while the next is packed. An id always takes the same lane.
    ``has_families``: whether the writes of a trip join their families in it; False where parents may be in
    another engine.

    A trip carries one call, or several of up to 500 items and about 4 MiB. One that fails, other than for
    an unreachable storage, is bisected: a bad item fails its own call only, while a full disk is not asked
    again for every item. A cancelled caller does not cancel a trip that carries the calls of several, but one
    that is its own may be cancelled with it: the engine sees to it that what was given up never overtakes a
    later write. ``room`` holds writes back while 32 MiB are queued in a lane.
    """

    def __init__(
        self, engine: Engine, timeout: Seconds, *, write_lanes: int = 1, has_families: bool = True
    ) -> None:
        super().__init__(
            with_families(engine) if has_families else engine, check_duration("timeout", timeout)
        )
        self._write_lanes = write_lanes
        self._begin()

    def _begin(self) -> None:
        self._writes = [Lane(self._timeout) for _ in range(self._write_lanes)]
        self._reads = Lane(self._timeout)
        self._heads = Lane(self._timeout)
        self._parts = Lane(self._timeout)
        self._items = Lane(self._timeout)
        self._counts = Lane(self._timeout)

    @property
    def _lanes(self) -> list[Lane]:
        return [*self._writes, self._reads, self._heads, self._parts, self._items, self._counts]

    def tell_batches(self, tell: TellBatch) -> frozenset[str]:
        self.inner = TimedBatches(self.inner, tell, lambda: sum(lane.queued for lane in self._writes))
        return TIMED

    async def open(self, hints: Hints) -> None:
        await in_time(self.inner.open(hints), self._timeout)

    async def close(self) -> None:
        try:
            for lane in self._lanes:
                await lane.drained()
        finally:
            await self.inner.close()

    def abandon(self) -> None:
        for lane in self._lanes:
            lane.abandon()
        self._begin()
        super().abandon()

    async def room(self) -> None:
        for lane in self._writes:
            if not lane.has_room:
                await lane.room()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if len(writes) == 1:
            lane, size = self._lane(writes[0].entry.id), _size(writes[0])
            return cast("list[Outcome]", await lane.call(self.inner.write, writes, size, now))
        outcomes: list[Outcome] = []
        for step in in_order(writes):  # a parent or owner may have another lane
            sizes, ids = list(map(_size, step)), [write.entry.id for write in step]
            for some in portions(sizes):
                outcomes += await self._divided(self.inner.write, step[some], ids[some], sizes[some], now)
        return outcomes

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        verb: Verb = self.inner.remove
        items: Sequence[Any] = ids
        if standing is not None:
            verb, items = self._remove_standing, list(zip(ids, standing, strict=True))
        return cast("list[bool]", await self._divided(verb, items, ids, [0] * len(ids), now))

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        ids, sizes = [report.id for report in reports], [len(report.progress) for report in reports]
        return cast("list[bool]", await self._divided(self.inner.report, reports, ids, sizes, now))

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        ids, sizes = [expiry.id for expiry in expiries], [0] * len(expiries)
        return cast("list[bool]", await self._divided(self.inner.expire, expiries, ids, sizes, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        owners, sizes = [put.owner for put in puts], [len(put.value or b"") for put in puts]
        return cast("list[Outcome]", await self._divided(self.inner.put, puts, owners, sizes, now))

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        if not with_body:
            return cast("list[Entry | None]", await self._heads.call(self._read_heads, ids))
        if max_body is not None:
            verb = _PartialRead(self.inner, self._parts, max_body)
            return cast("list[Entry | None]", await self._parts.call(verb, ids))
        return cast("list[Entry | None]", await self._reads.call(self._read, ids))

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return cast("list[list[Item]]", await self._items.call(self._read_items, asked, 0, now))

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return cast("list[Counted]", await self._counts.call(self._count, queries))

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await in_time(self.inner.watch(ids, until), self._timeout)

    async def namespaces(self) -> list[str]:
        return await in_time(self.inner.namespaces(), self._timeout)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        return await in_time(self.inner.drop_namespace(limit, now), self._timeout)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await in_time(self.inner.purge(limit, now, everything=everything), self._timeout)

    async def confirm(self) -> None:
        await in_time(self.inner.confirm(), self._timeout)

    async def vacuum(self, *, full: bool = False) -> int:
        step = self.inner.vacuum(full=full)
        return await (step if full else in_time(step, self._timeout))

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        step = self.inner.audit(prefix, after, limit, repair=repair)
        return await (step if repair else in_time(step, self._timeout))  # indexes may be made anew

    async def facts(self) -> StorageFacts:
        return await in_time(self.inner.facts(), self._timeout)

    def _lane(self, task_id: str) -> Lane:
        return self._writes[hash(task_id) % len(self._writes)]

    async def _divided(
        self, verb: Verb, items: Sequence[Any], ids: Sequence[str], sizes: Sequence[int], now: int
    ) -> list[Any]:
        """The answers to ``items``, each by the lane of its id. Raises only once all lanes have answered."""
        if len(items) == 1:
            return list(await self._lane(ids[0]).call(verb, items, sizes[0], now))
        places: dict[Lane, list[int]] = {}
        for place, task_id in enumerate(ids):
            places.setdefault(self._lane(task_id), []).append(place)
        parts = [
            lane.submit(verb, [items[place] for place in of_lane], sum(sizes[at] for at in of_lane), now)
            for lane, of_lane in places.items()
        ]
        answers: list[Any] = [None] * len(items)
        # Not the first error at once: a caller who then tries again would race with its own writes.
        outcomes = await asyncio.gather(*parts, return_exceptions=True)
        for of_lane, outcome in zip(places.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            for place, answer in zip(of_lane, outcome, strict=True):
                answers[place] = answer
        return answers

    async def _read(self, ids: Sequence[str], _: int) -> list[Entry | None]:
        entries = await self.inner.read(ids)
        self._reads.bytes_per_answer = _body_bytes(entries) // len(ids)
        return entries

    async def _read_heads(self, ids: Sequence[str], _: int) -> list[Entry | None]:
        return await self.inner.read(ids, with_body=False)

    async def _read_items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        found = await self.inner.items(asked, now)
        size = sum(len(item.value) for items in found for item in items)
        self._items.bytes_per_answer = size // len(asked)
        return found

    async def _remove_standing(self, pairs: Sequence[tuple[str, Standing]], now: int) -> list[bool]:
        ids, standing = zip(*pairs, strict=True)
        return await self.inner.remove(ids, now, standing)

    async def _count(self, queries: Sequence[Query], _: int) -> list[Counted]:
        return await self.inner.count(queries)


@dataclass(frozen=True)
class _PartialRead:
    """A verb of the lane: those that ask for as much of each body are equal, and share a trip."""

    engine: Engine
    lane: Lane
    max_body: int

    async def __call__(self, ids: Sequence[str], _: int) -> list[Entry | None]:
        entries = await self.engine.read(ids, max_body=self.max_body)
        self.lane.bytes_per_answer = _body_bytes(entries) // max(1, len(ids))
        return entries


def _body_bytes(entries: Sequence[Entry | None]) -> int:
    return sum(len(entry.body or b"") for entry in entries if entry)


def _size(write: Write) -> int:
    """Of what travels, roughly. Labels may be 256 of 512 bytes each, and each is an entry of an index."""
    entry = write.entry
    size = len(entry.head) + len(entry.body or b"")
    return size + sum(map(len, entry.facets)) + _FACET_BYTES * len(entry.facets) if entry.facets else size
