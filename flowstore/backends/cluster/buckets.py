"""The shards of a cluster. What is asked of many of them leaves in one write to each node.

An engine of its own for each bucket asks one call after another, in tasks of their own: for the entries of a
page that is some dozens of them. Here all commands are written at once, and only what fails goes its usual
way, with everything that is tried again there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flowstore._trips.sharding import ShardedEngine
from flowstore.backends.cluster.router import Router
from flowstore.backends.redis.driver import packed, packed_parts
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.format import PER_CALL
from flowstore.backends.redis.listing import Listing
from flowstore.engine import Engine, Entry, Listed, Query


class Buckets(ShardedEngine):
    """``engines``: those inside of ``shards``, and ``slots``: where each of them is."""

    def __init__(
        self,
        shards: Sequence[Engine],
        engines: Sequence[RedisEngine],
        slots: Sequence[int],
        place: Callable[[str], int],
        router: Router,
    ) -> None:
        super().__init__(shards, place, readers=engines)
        self._engines = engines
        self._slots = slots
        self._router = router
        self._ranges: list[tuple[int, bytes]] = []
        """For each bucket the parts of the command before those of its listing: how many, and these."""

    async def places_in(self, asked: Sequence[tuple[int, Query]], now: int) -> list[list[Listed]]:
        if any(query.is_filtered or not 0 < query.limit <= PER_CALL for _, query in asked):
            return await super().places_in(asked, now)
        listings = {id(query): Listing(self._engines[0].calls, query, now) for _, query in asked}
        replies = await self._answers(self._commands(asked, listings))
        found = [
            None if reply is None else listings[id(query)].places_in(reply)
            for (_, query), reply in zip(asked, replies, strict=True)
        ]
        rest = [one for one, places in zip(asked, found, strict=True) if places is None]
        again = iter(await super().places_in(rest, now))
        return [next(again) if places is None else places for places in found]

    async def at_places_in(
        self, query: Query, asked: Sequence[tuple[int, Sequence[Listed]]], now: int
    ) -> list[list[Entry | None]]:
        is_whole = query.with_body and query.max_body is None and not query.is_filtered
        if not is_whole or any(len(places) > PER_CALL for _, places in asked):
            return await super().at_places_in(query, asked, now)
        commands = [
            (number, self._engines[number].calls.read_of([place.position.id for place in places]))
            for number, places in asked
        ]
        replies = await self._answers((number, packed(command)) for number, command in commands)
        found: list[list[Entry | None]] = []
        for (number, places), reply in zip(asked, replies, strict=True):
            listing = Listing(self._engines[number].calls, query, now)
            if reply is None:
                found.append(await listing.at_places(places))
            else:
                found.append(await listing.at_places_in(places, reply[:-1]))
        return found

    def _commands(
        self, asked: Sequence[tuple[int, Query]], listings: dict[int, Listing]
    ) -> Iterable[tuple[int, bytes]]:
        if not self._ranges:
            starts = [engine.calls.run_of("ranges") for engine in self._engines]
            self._ranges = [(len(start), packed_parts(start)) for start in starts]
        ends: dict[int, tuple[int, bytes]] = {}
        for number, query in asked:
            if id(query) not in ends:
                arguments = listings[id(query)].asked(query.limit)
                ends[id(query)] = len(arguments), packed_parts(arguments)
            before, start = self._ranges[number]
            behind, end = ends[id(query)]
            yield number, b"*%d\r\n%b%b" % (before + behind, start, end)

    async def _answers(self, asked: Iterable[tuple[int, bytes]]) -> list[Any]:
        """The answer to each packed command, None for those that have to be asked again."""
        sent = [self._router.send(self._slots[number], command) for number, command in asked]
        await asyncio.gather(*(answer for answer in sent if answer is not None), return_exceptions=True)
        return [None if one is None or one.exception() is not None else one.result() for one in sent]
