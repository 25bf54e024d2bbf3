"""The engines of all storages keep what the interface promises, before a backend is built on them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flowstore.backends.memory.engine import MemoryEngine
from flowstore.backends.redis.client import client_from
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.link import ClientLink
from flowstore.backends.redis.namespaces import Namespace
from flowstore.backends.sqlite.engine import SQLiteEngine
from flowstore.engine import Engine, Polling
from flowstore.testing.engine_contract import (
    EngineContract,
    MakeEngine,
    ResentContract,
    ResentTallyingContract,
    TallyingContract,
)
from flowstore.testing.faults import Mute
from flowstore.testing.samples import NOW
from tests.support.toy import ToyEngine

TIMEOUT = 10.0
RECHECK_INTERVAL = 15.0


class TestMemoryEngine(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    is_shared = False

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        return MemoryEngine


class TestToyEngine(EngineContract, ResentContract):
    """The engine of docs/writing-a-backend.md, which counts and finds facets by default."""

    is_shared = False

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        return ToyEngine  # type: ignore[no-any-return]  # out of a page


class TestPolledEngine(EngineContract, ResentContract):
    """A storage that tells nothing, looked at again and again."""

    is_shared = False

    @pytest.fixture
    def make_engine(self) -> MakeEngine:
        return lambda namespace="default": Polling(Mute(ToyEngine(namespace)), 0.001, lambda: NOW + 1)


class TestSQLiteEngine(EngineContract, TallyingContract):
    """The driver sends a write once, so no token is looked at."""

    @pytest.fixture
    def make_engine(self, tmp_path: Path) -> MakeEngine:
        def make(namespace: str = "default") -> Engine:
            return SQLiteEngine(tmp_path / "x.db", "normal", namespace, TIMEOUT)

        return make


class TestRedisEngine(EngineContract, ResentContract, TallyingContract, ResentTallyingContract):
    @pytest.fixture
    def make_engine(self, redis_url: str) -> MakeEngine:
        def make(namespace: str = "default") -> Engine:
            client, _ = client_from(redis_url, TIMEOUT, "engine")
            link = ClientLink(client, is_owned=True)
            return RedisEngine(link, Namespace(namespace), TIMEOUT, RECHECK_INTERVAL)

        return make


def test_no_part_hides_a_test_of_another() -> None:
    """Two tests of one name would be one, and nobody would notice."""
    parts = {*TestMemoryEngine.__mro__}
    names = Counter(name for part in parts for name in vars(part) if name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 60
