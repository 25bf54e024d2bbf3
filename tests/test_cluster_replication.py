"""Stores in a cluster that wait for the replica of their node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from flowstore import RedisClusterBackend, TaskResult, Unconfirmed
from flowstore.backends.cluster.slots import placing, prefixes, slot_of
from tests.clusters import Cluster
from tests.servers import CLUSTER_KINDS

BUCKETS = 16
TIMEOUT = 2.4


@pytest.fixture(params=[kind for kind in CLUSTER_KINDS if kind != "redis62"])
def replicated(request: pytest.FixtureRequest, empty_cluster: Callable[..., Cluster]) -> Cluster:
    """Three masters with a replica each."""
    return empty_cluster(request.param, 1)


@pytest_asyncio.fixture
async def backend(replicated: Cluster) -> AsyncIterator[RedisClusterBackend]:
    how = {"buckets": BUCKETS, "wait_replicas": 1, "op_timeout": TIMEOUT}
    async with RedisClusterBackend(replicated.url, **how) as opened:  # type: ignore[arg-type]  # of several types
        yield opened


def ids_by_port(cluster: Cluster, count: int) -> dict[int, list[str]]:
    """Of so many ids those that are on each node, by its port."""
    place, prefix_of = placing(BUCKETS), prefixes("default", BUCKETS)
    found: dict[int, list[str]] = {}
    for number in range(count):
        owner = cluster.owner(slot_of(prefix_of[place(f"t{number}")]))
        found.setdefault(owner.port, []).append(f"t{number}")
    return found


async def test_the_replica_has_what_was_stored(replicated: Cluster, backend: RedisClusterBackend) -> None:
    """Each of many stores at once, as soon as its call returns: a killed master could not take it along."""
    await asyncio.gather(*(backend.store(f"t{n}", TaskResult.success(f"t{n}", n)) for n in range(300)))
    keys = [node.call("DBSIZE") for node in replicated.masters]
    copies = [replicated.replicas_of(node)[0].call("DBSIZE") for node in replicated.masters]
    assert all(copy >= 300 / 3 / 2 for copy in copies), (keys, copies)
    assert len(await backend.get_many(f"t{n}" for n in range(300))) == 300


async def test_a_replica_that_hangs(replicated: Cluster, backend: RedisClusterBackend) -> None:
    """The stores on its node are carried out, and say that they are not confirmed; the others are as ever."""
    places = ids_by_port(replicated, 60)
    port, others = next(iter(places)), list(places.values())[1:]
    [hung] = replicated.replicas_of(next(node for node in replicated.masters if node.port == port))
    hung.pause()
    try:
        for task_id in (some[0] for some in others):
            await backend.store(task_id, TaskResult.pending(task_id))
        with pytest.raises(Unconfirmed, match="1"):
            await backend.store(places[port][0], TaskResult.pending(places[port][0]))
        assert await backend.exists(places[port][0])  # reads have connections of their own
    finally:
        hung.resume()
    await backend.store(places[port][1], TaskResult.pending(places[port][1]))
