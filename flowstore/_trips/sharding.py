"""One namespace over several engines, the shards, each with the records whose ids have their place there.

All of a record is in one shard: its history, its items, its entries in indexes, those who wait for it. So a
write is decided by one engine as ever, and a shard that cannot be reached delays nobody else's calls. What
is asked of all records is asked of all shards: listings are merged, counts and statistics added up, each as
right as its shard is, though not all of one instant.

Listings have one order, the same in all shards, so a place in the merged one is a place in each of them, and
a cursor needs to know nothing of shards. A page takes two trips: each shard is asked for its share of the
entries and a few more, and then for the records of those that made it to the page.

A write whose owner is in another shard cannot be decided at once: the owner is looked at first, and may
change before the write arrives. Whoever needs both decided together gives them ids with one place.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final

from flowstore._trips.adding import added_cells, added_groups, added_totals
from flowstore._trips.families import in_order, with_families
from flowstore._trips.merging import Merged, Portion
from flowstore._trips.owners import write_step
from flowstore._trips.sharded_counts import ShardedCount
from flowstore._trips.shards import Shards
from flowstore._trips.turns import InTurn
from flowstore.engine import (
    ANY_ID,
    Asked,
    Audited,
    Cell,
    Counted,
    Engine,
    Entry,
    Expiry,
    Group,
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
    Tallied,
    TellBatch,
    Write,
)
from flowstore.observing import Place

_Found = tuple[int, Listed]
"""The number of a shard, and a place in it."""
_MOST_IN_VAIN: Final = 64
"""How many places may be looked at when fewer records are wanted, since those before had none."""


class ShardedEngine(Engine):
    """The engines as one. ``place``: from an id, or NAMESPACE, to the number of its shard.

    Each shard sees to its own deadlines and trips. They have the same namespace and nothing in common.
    ``readers``: the engines inside of them, for what is asked of all and shares no trips; it has no deadline
    then but that of the caller.
    """

    def __init__(
        self,
        shards: Sequence[Engine],
        place: Callable[[str], int],
        *,
        readers: Sequence[Engine] | None = None,
    ) -> None:
        self._shards = Shards(shards, place)
        self._readers = self._shards if readers is None else Shards(readers, place)
        self._counts = ShardedCount(self._readers, self._first_counted)
        self._turn = 0
        """The shard that a purge begins with."""
        self.counts_writes = all(shard.counts_writes for shard in shards)

    @property
    def shards(self) -> Sequence[Engine]:
        return self._shards.engines

    @property
    def place(self) -> Place:  # type: ignore[override]
        return self._shards.engines[0].place

    def tell_batches(self, tell: TellBatch) -> frozenset[str]:
        return frozenset[str]().union(*(shard.tell_batches(tell) for shard in self._shards.engines))

    async def open(self, hints: Hints) -> None:
        opened: list[Engine] = []

        async def open_one(shard: Engine) -> None:
            await shard.open(hints)
            opened.append(shard)

        try:
            await self._shards.everywhere(open_one)
        except (Exception, CancelledError):
            await self._shards.settled(shard.close() for shard in opened)
            raise

    async def close(self) -> None:
        await self._shards.everywhere(lambda shard: shard.close())

    def abandon(self) -> None:
        self._readers.let_go()
        self._shards.abandon()

    def part_of(self, task_id: str) -> int:
        return self._shards.place(task_id) if task_id != ANY_ID else len(self._shards.engines)

    async def room(self) -> None:
        """At once: a write waits for the room of its own shard."""

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if len(writes) == 1 and writes[0].owner is None:
            ids = [writes[0].entry.id]
            return await self._shards.written(writes, ids, lambda shard, some: shard.write(some, now))
        outcomes: list[Outcome] = []
        for step in in_order(writes):
            outcomes += await write_step(self._shards, step, now)
        return outcomes

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        if len(ids) == 1:
            return await self._shards.of(ids[0]).read(ids, with_body=with_body, max_body=max_body)
        return await self._shards.divided(
            ids, ids, lambda shard, some: shard.read(some, with_body=with_body, max_body=max_body)
        )

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        if ANY_ID in ids:
            await self._shards.everywhere(lambda shard: shard.watch([ANY_ID], until))
        ids_alone = [one for one in ids if one != ANY_ID]
        found = iter(
            await self._shards.divided(ids_alone, ids_alone, lambda shard, some: shard.watch(some, until))
        )
        return [None if one == ANY_ID else next(found) for one in ids]

    async def scan(self, query: Query, now: int) -> list[Entry]:
        merged = self._merged(query, now)
        found: dict[str, Entry] = {}
        wanted = query.limit
        while len(found) < query.limit and (listed := await merged.take(wanted)):
            before = len(found)
            for entry in await self._at_places(query, listed, now):
                if entry is not None:
                    found.setdefault(entry.id, entry)
            missing = query.limit - len(found)
            # Where nothing was left of a step, the next ones may be as old, and many.
            wanted = missing if len(found) > before else max(missing, min(2 * wanted, _MOST_IN_VAIN))
        return list(found.values())[: query.limit]

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await self._counts.of(queries)

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        found = await self._readers.everywhere(lambda shard: shard.facets(prefix, limit, after))
        listed = sorted({facet for of_shard in found for facet in of_shard})
        return listed if limit is None else listed[:limit]

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        if standing is None:
            return await self._shards.written(ids, ids, lambda shard, some: shard.remove(some, now))
        pairs = list(zip(ids, standing, strict=True))
        return await self._shards.written(
            pairs,
            ids,
            lambda shard, some: shard.remove([one for one, _ in some], now, [each for _, each in some]),
        )

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        live = expired = 0
        engines = self._shards.engines
        left = [*engines[self._turn :], *engines[: self._turn]]
        while left and live + expired < limit:
            some = left[: limit - live - expired]
            share = (limit - live - expired) // len(some)
            steps = await self._shards.together(
                shard.purge(share, now, everything=everything) for shard in some
            )
            live += sum(step.live for step in steps)
            expired += sum(step.expired for step in steps)
            done = {shard for shard, step in zip(some, steps, strict=True) if step.is_done}
            left = [shard for shard in left if shard not in done]
            if not done and not any(step.live + step.expired for step in steps):
                break  # what is left to do takes calls of its own
        self._turn = (self._turn + 1) % len(engines)
        return Purged(live, expired, not left)

    async def vacuum(self, *, full: bool = False) -> int:
        return sum(await self._shards.everywhere(lambda shard: shard.vacuum(full=full)))

    async def confirm(self) -> None:
        await self._shards.everywhere(lambda shard: shard.confirm())

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        ids = [report.id for report in reports]
        return await self._shards.written(reports, ids, lambda shard, some: shard.report(some, now))

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        ids = [expiry.id for expiry in expiries]
        return await self._shards.written(expiries, ids, lambda shard, some: shard.expire(some, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        owners = [put.owner for put in puts]
        return await self._shards.written(puts, owners, lambda shard, some: shard.put(some, now))

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        owners = [one.owner for one in asked]
        return await self._shards.divided(asked, owners, lambda shard, some: shard.items(some, now))

    async def timeline(self, span: Span, now: int) -> list[Item]:
        async def fetch(asked: Sequence[Portion[Item]]) -> list[list[Item]]:
            return await self._readers.together(
                self._readers.engines[one.number].timeline(
                    replace(span, limit=one.most, after=one.last or span.after), now
                )
                for one in asked
            )

        merged = Merged(len(self._shards.engines), fetch, _moment, is_descending=span.newest_first)
        return await merged.take(span.limit)

    async def series(self, prefix: str) -> list[str]:
        found = await self._readers.everywhere(lambda shard: shard.series(prefix))
        return list(dict.fromkeys(one for of_shard in found for one in of_shard))

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        found = await self._readers.everywhere(lambda shard: shard.tallies(asked))
        return [added_cells(of_one) for of_one in zip(*found, strict=True)]

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        found = await self._readers.everywhere(lambda shard: shard.totals(series, now))
        return [added_totals(of_one) for of_one in zip(*found, strict=True)]

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return added_groups(await self._readers.everywhere(lambda shard: shard.groups(ids)))

    async def namespaces(self) -> list[str]:
        found = await self._shards.everywhere(lambda shard: shard.namespaces())
        return list(dict.fromkeys(name for of_shard in found for name in of_shard))

    async def drop_namespace(self, limit: int, now: int) -> bool:
        for shard in self._shards.engines:
            if not await shard.drop_namespace(limit, now):
                return False
        return True

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        number, place = after if isinstance(after, tuple) else (0, None)
        engines = self._shards.engines
        step = await engines[number].audit(prefix, place, limit, repair=repair)
        if step.next is not None:
            return replace(step, next=(number, step.next))
        return replace(step, next=(number + 1, None) if number + 1 < len(engines) else None)

    async def facts(self) -> StorageFacts:
        found = await self._shards.everywhere(lambda shard: shard.facts())
        sizes = [facts.size for facts in found]
        size = None if None in sizes else sum(filter(None, sizes))
        writable = {facts.is_writable for facts in found}
        is_writable = None if None in writable else writable == {True}
        return replace(found[0], size=size, is_writable=is_writable)

    async def places_in(self, asked: Sequence[tuple[int, Query]], now: int) -> list[list[Listed]]:
        """``places`` of some shards, by their numbers. Override it where all can be asked at once."""
        engines = self._readers.engines
        return await self._readers.together(engines[number].places(query, now) for number, query in asked)

    async def at_places_in(
        self, query: Query, asked: Sequence[tuple[int, Sequence[Listed]]], now: int
    ) -> list[list[Entry | None]]:
        """``at_places`` of some shards, by their numbers. As ``places_in``."""
        engines = self._readers.engines
        return await self._readers.together(
            engines[number].at_places(query, places, now) for number, places in asked
        )

    def _merged(self, query: Query, now: int) -> Merged[_Found]:
        """The places of all shards."""

        async def fetch(asked: Sequence[Portion[_Found]]) -> list[list[_Found]]:
            start = replace(query, limit=asked[0].most)  # they are all of the same size
            queries = [
                (one.number, replace(start, after=one.last[1].position) if one.last else start)
                for one in asked
            ]
            found = await self.places_in(queries, now)
            return [[(one.number, each) for each in some] for one, some in zip(asked, found, strict=True)]

        return Merged(
            len(self._shards.engines),
            fetch,
            key=lambda one: one[1].position,
            is_descending=not query.newest_first,
        )

    async def _first_counted(self, query: Query) -> Counted:
        """Of the first so many: by their places alone, unless something is tested on the way."""
        if query.is_filtered or not query.limit:
            return await self.counted(query)
        walked = replace(query, with_body=False, max_body=None, newest_first=True)
        listed = [one for _, one in await self._merged(walked, 0).take(query.limit + 1)]
        counts = Counter(one.status for one in listed[: query.limit])
        is_more = len(listed) > query.limit
        return Counted(dict(counts), listed[query.limit - 1].position if is_more else None)

    async def _at_places(self, query: Query, listed: Sequence[_Found], now: int) -> list[Entry | None]:
        of_shards: dict[int, list[Listed]] = {}
        for number, place in listed:
            of_shards.setdefault(number, []).append(place)
        found = await self.at_places_in(query, list(of_shards.items()), now)
        entries = {number: iter(some) for number, some in zip(of_shards, found, strict=True)}
        return [next(entries[number]) for number, _ in listed]


def as_one(shards: Sequence[Engine], place: Callable[[str], int]) -> Engine:
    """What a backend over these shards is made of: families across them, and calls of one id in order."""
    return above_shards(ShardedEngine(shards, place))


def above_shards(engine: Engine) -> Engine:
    """The engine, whose calls reach several shards, with what they need above them: see ``as_one``."""
    return InTurn(with_families(engine))


def _moment(item: Item) -> tuple[int, str, str]:
    return item.at, item.key, item.owner
