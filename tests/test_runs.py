"""Runs on every storage: one contract."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flowstore import InMemoryBackend, RedisBackend, SQLiteBackend
from flowstore.testing.contract import MakeBackend
from flowstore.testing.runs_contract import RunsContract
from tests.conftest import KINDS


class TestOnMemory(RunsContract):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return InMemoryBackend


class TestOnSQLite(RunsContract):
    @pytest.fixture
    def make_backend(self, tmp_path: Path) -> MakeBackend:
        numbers = itertools.count()

        def make(**options: Any) -> SQLiteBackend:
            return SQLiteBackend(tmp_path / f"{next(numbers)}.db", **options)

        return make

    @pytest.fixture
    def shared_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/shared.db"


class TestOnRedis(RunsContract):
    @pytest.fixture(params=KINDS)
    def redis_url(self, request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
        return empty_database(request.param)

    @pytest.fixture
    def make_backend(self, redis_url: str) -> MakeBackend:
        numbers = itertools.count()

        def make(**options: Any) -> RedisBackend:
            return RedisBackend(redis_url, namespace=f"test {next(numbers)}", **options)

        return make

    @pytest.fixture
    def shared_url(self, redis_url: str) -> str:
        return redis_url
