"""Clients of another kind are refused where they are given, by name, with what to pass instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio
import redis.asyncio.sentinel
import redis.sentinel
from redis.asyncio.cluster import RedisCluster

from flowstore import RedisBackend

SENTINEL: Any = redis.asyncio.sentinel.Sentinel
SYNCHRONOUS_SENTINEL: Any = redis.sentinel.Sentinel


def of_valkey(name: str, *bases: type) -> Any:
    """An object of a class as valkey-py has it."""
    return type(name, bases, {"__module__": "valkey.asyncio.client"})()


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "a URL": (lambda: "redis://:s3cret@h", "got str; .*url="),
    "bytes": (lambda: b"redis://:s3cret@h", "got bytes"),
    "synchronous": (redis.Redis, "got redis.client.Redis; .*redis.asyncio"),
    "a pool": (redis.asyncio.ConnectionPool, "ConnectionPool; .*connection_pool="),
    "a blocking pool": (redis.asyncio.BlockingConnectionPool, "ConnectionPool; .*connection_pool="),
    "a synchronous pool": (redis.ConnectionPool, "ConnectionPool; .*connection_pool="),
    "a cluster": (lambda: RedisCluster(host="h"), "RedisCluster; use RedisClusterBackend"),
    "a synchronous cluster": (
        lambda: object.__new__(redis.RedisCluster),
        "RedisCluster; use RedisClusterBackend",
    ),
    "sentinels": (lambda: SENTINEL([("h", 1)]), r"Sentinel; .*master_for\(\)"),
    "synchronous sentinels": (lambda: SYNCHRONOUS_SENTINEL([("h", 1)]), r"Sentinel; .*master_for\(\)"),
    "a pipeline": (lambda: redis.asyncio.Redis().pipeline(), "Pipeline; pass the client"),
    "a subscription": (lambda: redis.asyncio.Redis().pubsub(), "got redis.asyncio.client.PubSub"),
    "the class": (lambda: redis.asyncio.Redis, "got the class redis.asyncio.client.Redis"),
    "of valkey-py": (lambda: of_valkey("Valkey"), "got valkey.asyncio.client.Valkey; .*valkey://"),
    "made of one of valkey-py": (
        lambda: type("Mine", (type(of_valkey("Valkey")),), {})(),
        "Mine; .*valkey://",
    ),
    "an int": (lambda: 5, "got int"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_clients_of_another_kind(kind: str) -> None:
    """Before anything is sent."""
    make, told = WRONG[kind]
    with pytest.raises(TypeError, match=f"^client: expected redis.asyncio.Redis, .*{told}") as caught:
        RedisBackend(client=make())
    assert "s3cret" not in str(caught.value)


def test_pools_of_another_kind() -> None:
    """A client that can be awaited on connections that cannot."""
    pool: Any = redis.ConnectionPool()
    with pytest.raises(TypeError, match=r"^client: expected one with a pool of redis\.asyncio"):
        RedisBackend(client=redis.asyncio.Redis(connection_pool=pool))


def test_no_client_and_no_url() -> None:
    """One of them is needed, and no more than one."""
    for arguments in ({}, {"client": None}, {"client": redis.asyncio.Redis(), "url": "redis://h"}):
        with pytest.raises(TypeError, match=r"^url, client: expected exactly one of them"):
            RedisBackend(**arguments)


def test_what_is_taken() -> None:
    """redis-py's asynchronous client, of whatever pool and subclass."""

    class Mine(redis.asyncio.Redis):
        pass

    blocking = redis.asyncio.BlockingConnectionPool()
    clients: list[Any] = [
        Mine(),
        redis.asyncio.Redis(connection_pool=blocking),
        SENTINEL([("h", 1)]).master_for("m"),
    ]
    for client in clients:
        assert repr(RedisBackend(client=client)) == "RedisBackend(client=..., namespace='default')"
