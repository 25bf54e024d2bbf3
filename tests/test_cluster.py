"""One namespace over a cluster of three masters: the contracts, and what only a cluster shows."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from flowstore import RedisClusterBackend
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


class TestCluster(
    OnCluster, BackendContract, StatisticsContract, CountedNamesContract, ErrorGroupsContract, Limits
):
    """The contract, on clusters of both kinds of servers."""


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


class TestReaders(ReadOnlyContract):
    @pytest.fixture
    def make_neighbour(self, cluster: Cluster) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> RedisClusterBackend:
            return RedisClusterBackend(cluster.url, namespace=namespace, **options)

        return make

    @pytest.fixture
    def stored_bytes(self, cluster: Cluster) -> StoredBytes:
        return lambda: [dumped(f"redis://127.0.0.1:{node.port}") for node in cluster.masters]
