"""One namespace over a cluster of three masters: the contracts, and what only a cluster shows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flowstore import RedisBackend, RedisClusterBackend, StorageError, TaskResult
from flowstore.backends.cluster.engine import ClusterEngine
from flowstore.backends.cluster.urls import nodes_from
from flowstore.engine import Engine
from flowstore.testing.contract import (
    BackendContract,
    CountedNamesContract,
    ErrorGroupsContract,
    MakeBackend,
    MakeNeighbour,
    ReadOnlyContract,
    StatisticsContract,
    StoredBytes,
)
from flowstore.testing.engine_contract import (
    EngineContract,
    MakeEngine,
    ResentContract,
    ResentTallyingContract,
    TallyingContract,
)
from flowstore.testing.insides import meanwhile
from flowstore.testing.support import IS_STRESS
from tests.clusters import Cluster
from tests.support.limits import Limits
from tests.test_read_only import dumped

BUCKETS = 16
TIMEOUT = 10.0
RECHECK_INTERVAL = 15.0


class OnCluster:
    shards = BUCKETS
    instead_of = "tests/test_redis.py::TestRedis"
    """In the default run the contract is divided between a single server and a cluster: see conftest.py."""

    @pytest.fixture
    def make_backend(self, cluster: Cluster) -> MakeBackend:
        numbers = itertools.count()

        def make(**options: Any) -> RedisClusterBackend:
            namespace = f"test {next(numbers)}"
            return RedisClusterBackend(cluster.url, buckets=BUCKETS, **{"namespace": namespace, **options})

        return make


class TestCluster(OnCluster, BackendContract, StatisticsContract, CountedNamesContract, ErrorGroupsContract):
    """The contract, on clusters of both kinds of servers."""


if IS_STRESS:  # what waits cost in memory and turns of the loop is above the engine, and the same on a server

    class TestLimits(OnCluster, Limits):
        pass


class TestClusterEngine(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    shards = BUCKETS
    separator = "\x1f"

    @pytest.fixture
    def make_engine(self, cluster: Cluster) -> MakeEngine:
        def make(namespace: str = "default") -> Engine:
            nodes = nodes_from(cluster.url, TIMEOUT, "engine", None)
            where = nodes.seeds, nodes.connect, namespace
            return ClusterEngine(*where, TIMEOUT, RECHECK_INTERVAL, BUCKETS)

        return make


async def test_a_client_of_one_node_is_told_of_the_cluster(cluster: Cluster) -> None:
    """Where the slot of a namespace is on another node, and where it is in buckets."""
    async with RedisClusterBackend(cluster.url, namespace="shop", buckets=BUCKETS):
        for node in cluster.masters:
            with pytest.raises(StorageError, match=r"redis\+cluster://"):
                await RedisBackend(f"redis://127.0.0.1:{node.port}", namespace="shop").open()


async def test_a_dropped_namespace_keeps_its_buckets(cluster: Cluster) -> None:
    """It is in no list. Whoever founds it again has the tasks of those who have it open all the time."""
    async with (
        RedisClusterBackend(cluster.url, namespace="shop", buckets=BUCKETS) as first,
        RedisClusterBackend(cluster.url, namespace="shop") as second,
    ):
        await second.store("t", TaskResult.pending("t"))
        await first.drop_namespace()
        async with RedisClusterBackend(cluster.url, namespace="other", buckets=BUCKETS) as other:
            assert await other.app.namespaces() == ["other"]
        await second.store("u", TaskResult.pending("u"))
        with pytest.raises(
            ValueError, match=f"buckets: the namespace 'shop' is in {BUCKETS} buckets, got 64"
        ):
            await RedisClusterBackend(cluster.url, namespace="shop", buckets=64).open()
        async with RedisClusterBackend(cluster.url, namespace="shop") as third:
            assert [task.task_id for task in (await third.page()).items] == ["u"]
            assert set(await third.app.namespaces()) == {"other", "shop"}


async def test_a_drop_leaves_what_others_store_meanwhile(cluster: Cluster) -> None:
    """In whichever bucket, also one that who drops it has never written to."""
    async with (
        RedisClusterBackend(cluster.url, namespace="shop", buckets=BUCKETS) as first,
        RedisClusterBackend(cluster.url, namespace="shop") as second,
    ):
        meanwhile(first, "purge", lambda: second.store("t", TaskResult.pending("t")))
        await first.drop_namespace()
        assert await second.exists("t")
        assert "shop" in await second.app.namespaces()


class TestReaders(ReadOnlyContract):
    @pytest.fixture
    def make_neighbour(self, cluster: Cluster) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> RedisClusterBackend:
            return RedisClusterBackend(cluster.url, namespace=namespace, **options)

        return make

    @pytest.fixture
    def stored_bytes(self, cluster: Cluster) -> StoredBytes:
        return lambda: [dumped(f"redis://127.0.0.1:{node.port}") for node in cluster.masters]
