"""Namespaces that share a file or a database, and the apps that are found there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import flowstore
from flowstore import AppInfo, RedisBackend, SQLiteBackend, TaskResult, discover_apps
from flowstore.testing import ManualClock
from flowstore.testing.contract import MakeNeighbour, NamespacesContract
from flowstore.testing.support import START


class TestSQLite(NamespacesContract):
    @pytest.fixture
    def make_neighbour(self, tmp_path: Path) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> SQLiteBackend:
            return SQLiteBackend(tmp_path / "shared.db", namespace=namespace, **options)

        return make


class TestRedis(NamespacesContract):
    @pytest.fixture
    def make_neighbour(self, redis_url: str) -> MakeNeighbour:
        def make(namespace: str, **options: Any) -> RedisBackend:
            return RedisBackend(redis_url, namespace=namespace, **options)

        return make


async def _discovers(url: str) -> None:
    """What two apps and a namespace without one look like to somebody who knows only the URL."""
    clock = ManualClock()
    for namespace in ("shop", "a}b*"):
        async with flowstore.connect(url, namespace=namespace, clock=clock) as backend:
            await backend.app.register({"name": namespace, "since": START})
    async with flowstore.connect(url, namespace="mute") as backend:
        await backend.store("t", TaskResult.pending("t"))
    assert await discover_apps(url, namespace="mute") == [
        AppInfo(namespace="a}b*", info={"name": "a}b*", "since": START}, registered_at=START),
        AppInfo(namespace="mute", info={}, registered_at=None),
        AppInfo(namespace="shop", info={"name": "shop", "since": START}, registered_at=START),
    ]
    found = [app.namespace for app in await discover_apps(url)]
    assert found == ["a}b*", "default", "mute", "shop"]


async def test_discover_apps_in_a_file(tmp_path: Path) -> None:
    """Every namespace of it, with what its app said; the one connected to is among them."""
    await _discovers(f"sqlite:///{tmp_path}/apps.db")


async def test_discover_apps_in_a_database(redis_url: str) -> None:
    """The same on a server."""
    await _discovers(redis_url)


async def test_discover_apps_in_memory() -> None:
    """A memory backend shares its storage with nobody, so there is but the one just made."""
    alone = AppInfo(namespace="default", info={}, registered_at=None)
    assert await discover_apps("memory://") == [alone]
    with pytest.raises(ValueError, match="url"):
        await discover_apps("nowhere://")
