"""One namespace over all nodes of a cluster: an engine for each bucket, which knows of no other."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from flowstore._trips.batches import TIMED
from flowstore._trips.deadlines import in_time
from flowstore._trips.sharding import ShardedEngine
from flowstore._trips.shared import SharedTrips
from flowstore.backends.cluster.ears import Ears
from flowstore.backends.cluster.link import Slot
from flowstore.backends.cluster.namespaces import Bucket, DividedNamespace
from flowstore.backends.cluster.router import Address, Router
from flowstore.backends.cluster.slots import placing, prefixes
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.driver import NodeConnection
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.namespaces import prefix_of
from flowstore.backends.redis.orphans import with_the_loop
from flowstore.engine import Engine, EngineWrapper, Hints, StorageFacts, TellBatch
from flowstore.observing import Place

_SUMMED: Final = ("server", "server_limit")
"""The sizes that are of a node, not of a bucket."""


class ClusterEngine(EngineWrapper):
    """The buckets as one engine. How many there are is known once it is open.

    ``connect``: makes an unopened connection to a node. ``buckets``: see DividedNamespace.
    """

    inner: ShardedEngine

    def __init__(
        self,
        seeds: Sequence[Address],
        connect: Callable[..., NodeConnection],
        namespace: str,
        timeout: float,
        recheck_interval: float,
        buckets: int | None,
    ) -> None:
        super().__init__(ShardedEngine([], placing(1)))
        self._timeout = timeout
        self._recheck_interval = recheck_interval
        self._place = Place("redis", *seeds[0])
        # A little earlier than the caller gives up, so that it is told why
        self._router = Router(seeds, connect, 0.9 * timeout)
        self._ears = Ears(self._router)
        self._namespace = DividedNamespace(self._router, namespace, buckets)
        self._buckets: list[Bucket] = []
        self._slots: list[int] = []
        self._tell: TellBatch | None = None
        self._ending: AsyncGenerator[None, None]

    @property
    def counts_writes(self) -> bool:  # type: ignore[override]
        return True

    @property
    def place(self) -> Place:  # type: ignore[override]
        return self._place

    def tell_batches(self, tell: TellBatch) -> frozenset[str]:
        self._tell = tell
        return TIMED

    async def open(self, hints: Hints) -> None:
        self._ending = with_the_loop(self._end)
        await anext(self._ending)
        try:
            await in_time(self._open(hints), self._timeout)
        except (Exception, CancelledError):
            await self._ending.aclose()
            raise

    async def close(self) -> None:
        try:
            await self.inner.close()
        finally:
            await self._ending.aclose()

    def abandon(self) -> None:
        self.inner.abandon()
        self._ears.abandon()
        self._router.abandon()

    async def drop_namespace(self, limit: int, now: int) -> bool:
        if not await self.inner.drop_namespace(limit, now):
            return False
        if not any(bucket.is_founded for bucket in self._buckets):
            await self._namespace.leave()
        return True

    async def namespaces(self) -> list[str]:
        return await in_time(self._namespace.all_of_them(), self._timeout)

    async def facts(self) -> StorageFacts:
        facts = await self.inner.facts()
        nodes = await self._facts_of_nodes()
        sizes = {
            name: sum(node.sizes[name] for node in nodes)
            for name in _SUMMED
            if all(name in node.sizes for node in nodes)
        }
        policies = {**facts.policies, "nodes": len(nodes), "buckets": len(self._buckets)}
        return replace(facts, sizes={**facts.sizes, **sizes}, policies=policies)

    async def _facts_of_nodes(self) -> list[StorageFacts]:
        """As one bucket of each node tells them."""
        owners = {self._router.owner(slot): number for number, slot in enumerate(self._slots)}
        return [await self.inner.shards[number].facts() for number in owners.values()]

    async def _open(self, hints: Hints) -> None:
        try:
            await self._router.open()
        except (RedisError, OSError) as error:
            raise storage_error(error, prefix_of(self._namespace.name)) from error
        buckets = await self._namespace.open()
        if len(self._buckets) != buckets:
            self.inner = self._divided(buckets)
        await self.inner.open(hints)

    async def _end(self) -> None:
        await self._ears.close()
        await self._router.close()

    def _divided(self, buckets: int) -> ShardedEngine:
        name = self._namespace.name
        self._buckets = [Bucket(name, prefix, self._namespace.found) for prefix in prefixes(name, buckets)]
        links = [Slot(self._router, self._ears, bucket.prefix, self._place) for bucket in self._buckets]
        self._slots = [link.slot for link in links]
        shards = [
            self._trips(RedisEngine(link, bucket, self._timeout, self._recheck_interval))
            for link, bucket in zip(links, self._buckets, strict=True)
        ]
        return ShardedEngine(shards, placing(buckets))

    def _trips(self, engine: Engine) -> Engine:
        trips = SharedTrips(engine, self._timeout, write_lanes=2, has_families=False)
        if self._tell is not None:
            trips.tell_batches(self._tell)
        return trips
