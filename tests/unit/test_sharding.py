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
from flowstore.testing.contract.changes import WatchChangesContract
from flowstore.testing.contract.counting import CountsContract, FacetValuesContract
from flowstore.testing.contract.expiring import PurgingContract
from flowstore.testing.contract.families import FamilyContract
from flowstore.testing.contract.family_removal import FamilyRemovalContract
from flowstore.testing.contract.histories import HistoryContract
from flowstore.testing.contract.listing import ListingContract
from flowstore.testing.contract.paging import PagingContract
from flowstore.testing.contract.storing import StoringContract
from flowstore.testing.contract.waits import WaitingContract
from flowstore.testing.engine_contract import (
    EngineContract,
    MakeEngine,
    ResentContract,
    ResentTallyingContract,
    TallyingContract,
)
from flowstore.testing.support import IS_STRESS
from tests.support.limits import Limits
from tests.support.sharded import ShardedBackend, sharded


class ShardedContract(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    is_shared = False

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        def make(namespace: str = "default") -> Engine:
            return sharded(*(MemoryEngine(namespace) for _ in range(self.shards)))

        return make


class OnShards:
    """Over three shards, each with trips of its own."""

    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return ShardedBackend


class TestThreeShards(ShardedContract):
    """How many there are makes no other difference, as the comparisons with one engine show."""

    shards = 3


if IS_STRESS:

    class TestOneShard(ShardedContract):
        pass

    class TestSixteenShards(ShardedContract):
        shards = 16

    class TestShardedBackend(
        OnShards, BackendContract, StatisticsContract, CountedNamesContract, ErrorGroupsContract, Limits
    ):
        """All of it."""

else:

    class TestPartsOfShardedBackend(
        OnShards,
        StoringContract,
        WaitingContract,
        ListingContract,
        PurgingContract,
        HistoryContract,
        FamilyContract,
        FamilyRemovalContract,
        PagingContract,
        CountsContract,
        FacetValuesContract,
        WatchChangesContract,
        StatisticsContract,
        ErrorGroupsContract,
    ):
        """What is divided among shards, or put together from them. What values are is no matter of theirs."""
