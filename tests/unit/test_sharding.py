"""Engines side by side are one: the contracts of engines and backends, over shards in memory."""

from __future__ import annotations

import pytest

from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import Engine
from flowstore.testing.contract import (
    BackendContract,
    CountedNamesContract,
    ErrorGroupsContract,
    MakeBackend,
    StatisticsContract,
)
from flowstore.testing.engine_contract import (
    EngineContract,
    MakeEngine,
    ResentContract,
    ResentTallyingContract,
    TallyingContract,
)
from tests.support.limits import Limits
from tests.support.sharded import ShardedBackend, sharded


class ShardedContract(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    is_shared = False

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        def make(namespace: str = "default") -> Engine:
            return sharded(*(MemoryEngine(namespace) for _ in range(self.shards)))

        return make


class TestOneShard(ShardedContract):
    pass


class TestThreeShards(ShardedContract):
    shards = 3


class TestSixteenShards(ShardedContract):
    shards = 16


class TestShardedBackend(
    BackendContract, StatisticsContract, CountedNamesContract, ErrorGroupsContract, Limits
):
    """Over three shards, each with trips of its own."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return ShardedBackend
