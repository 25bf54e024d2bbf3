"""One namespace over all nodes of a cluster: an engine for each bucket, which knows of no other."""

from __future__ import annotations

from asyncio import CancelledError, Lock
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Final

from redis.exceptions import RedisError

from flowstore._trips.batches import TIMED
from flowstore._trips.deadlines import in_time
from flowstore._trips.sharding import ShardedEngine
from flowstore._trips.shared import SharedTrips
from flowstore._trips.timed import TimedListings
from flowstore.backends.cluster.buckets import Buckets
from flowstore.backends.cluster.ears import Ears
from flowstore.backends.cluster.link import Slot
from flowstore.backends.cluster.looking import Looking
from flowstore.backends.cluster.namespaces import DEFAULT_BUCKETS, Bucket, DividedNamespace
from flowstore.backends.cluster.router import Address, Router
from flowstore.backends.cluster.slots import placing, prefixes
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.driver import NodeConnection
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.namespaces import prefix_of
from flowstore.backends.redis.orphans import with_the_loop
from flowstore.backends.redis.replication import Replicas
from flowstore.engine import (
    Counted,
    Engine,
    Hints,
    Query,
    StorageFacts,
    TellBatch,
)
from flowstore.observing import Place

_SUMMED: Final = ("server", "server_limit")
"""The sizes that are of a node, not of a bucket."""


class ClusterEngine(TimedListings):
    """The buckets as one engine. How many there are is known once it is open.

    ``connect``: makes an unopened connection to a node. ``buckets``: see DividedNamespace.
    """

    inner: Engine

    def __init__(
        self,
        seeds: Sequence[Address],
        connect: Callable[..., NodeConnection],
        namespace: str,
        timeout: float,
        recheck_interval: float,
        buckets: int | None,
        *,
        read_only: bool = False,
        replicas: Replicas | None = None,
    ) -> None:
        super().__init__(ShardedEngine([], placing(1)), timeout)
        self._is_read_only = read_only
        self._replicas = replicas
        self._recheck_interval = recheck_interval
        self._place = Place("redis", *seeds[0])
        # A little earlier than the caller gives up, so that it is told why
        self._router = Router(seeds, connect, 0.9 * timeout)
        self._ears = Ears(self._router)
        self._namespace = DividedNamespace(self._router, namespace, buckets, read_only=read_only)
        self._sharded = ShardedEngine([], placing(1))
        self._hints: Hints
        self._dividing = Lock()
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
            await self._sharded.close()
        finally:
            await self._ending.aclose()

    def abandon(self) -> None:
        self._sharded.abandon()
        self._dividing = Lock()
        self._ears.abandon()
        self._router.abandon()

    def part_of(self, task_id: str) -> int:
        return self._sharded.part_of(task_id)

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await in_time(self.inner.count(queries), self._timeout)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        if not await self.inner.drop_namespace(limit, now):
            return False
        if all(bucket.is_left for bucket in self._buckets):
            await self._namespace.leave()
        return True

    async def namespaces(self) -> list[str]:
        return await in_time(self._namespace.all_of_them(), self._timeout)

    async def facts(self) -> StorageFacts:
        facts = await self.inner.facts()
        owners = {self._router.owner(slot): number for number, slot in enumerate(self._slots)}
        nodes = [await self._sharded.shards[number].facts() for number in owners.values()]
        sizes = {
            name: sum(node.sizes[name] for node in nodes)
            for name in _SUMMED
            if all(name in node.sizes for node in nodes)
        }
        policies = {**facts.policies, "nodes": len(nodes), "buckets": len(self._buckets)}
        sizes = {**facts.sizes, **sizes}
        return replace(facts, format=self._namespace.format, sizes=sizes, policies=policies)

    async def _open(self, hints: Hints) -> None:
        self._hints = hints
        try:
            await self._router.open()
        except (RedisError, OSError) as error:
            raise storage_error(error, prefix_of(self._namespace.name)) from error
        if not self._is_read_only:
            await self._divide(await self._namespace.open())
            self.inner = self._sharded
        elif (buckets := await self._namespace.look()) is not None:
            await self._divide(buckets)
            self.inner = self._sharded
        else:
            await self._divide(DEFAULT_BUCKETS)
            self.inner = Looking(self._look)

    async def _look(self) -> Engine:
        """What a reader has of a namespace that was not there when it was opened."""
        if self.inner is not self._sharded and (buckets := await self._namespace.look()) is not None:
            async with self._dividing:
                if self.inner is not self._sharded:
                    await self._divide(buckets)
                    self.inner = self._sharded
        return self._sharded

    async def _divide(self, buckets: int) -> None:
        if len(self._buckets) != buckets:
            if self._buckets:
                await self._sharded.close()
            self._sharded = self._divided(buckets)
        await self._sharded.open(self._hints)

    async def _end(self) -> None:
        await self._ears.close()
        await self._router.close()

    def _divided(self, buckets: int) -> ShardedEngine:
        name = self._namespace.name
        self._buckets = [Bucket(name, prefix, self._namespace.found) for prefix in prefixes(name, buckets)]
        links = [Slot(self._router, self._ears, bucket.prefix, self._place) for bucket in self._buckets]
        self._slots = [link.slot for link in links]
        how = self._timeout, self._recheck_interval
        engines = [
            RedisEngine(link, bucket, *how, read_only=self._is_read_only, replicas=self._replicas)
            for link, bucket in zip(links, self._buckets, strict=True)
        ]
        shards = list(map(self._trips, engines))
        return Buckets(shards, engines, self._slots, placing(buckets), self._router)

    def _trips(self, engine: Engine) -> Engine:
        trips = SharedTrips(engine, self._timeout, write_lanes=2, has_families=False)
        if self._tell is not None:
            trips.tell_batches(self._tell)
        return trips
