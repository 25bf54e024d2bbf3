"""Who lists the clients of a server sees which namespace each connection is for."""

from __future__ import annotations

import re
from typing import Any

import pytest
import redis
import redis.asyncio

from flowstore import RedisBackend, TaskResult
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.backends.redis.namespaces import client_name_of
from flowstore.testing.support import seen, waiting


def names(client: Any) -> list[str]:
    """Of all connections but that of ``client`` itself."""
    own = client.client_id()
    return [found["name"] for found in client.client_list() if int(found["id"]) != own]


async def use(backend: RedisBackend) -> None:
    """So that it writes, reads and listens."""
    waiter = await waiting(backend, "t")
    await seen(backend, waiter, "t")
    await backend.store("t", TaskResult.success("t", 1))
    assert (await waiter).unwrap() == 1


async def test_each_connection_has_the_name_of_its_namespace(redis_url: str, client: Any) -> None:
    """Those for calls and the one that listens, also after they were lost."""
    async with RedisBackend(redis_url, namespace="shop") as backend:
        await use(backend)
        assert len(names(client)) >= 2
        assert set(names(client)) == {"flowstore:shop"}
        client.client_kill_filter(skipme=True)
        await backend.delete("t")
        await use(backend)
        assert set(names(client)) == {"flowstore:shop"}


@pytest.mark.parametrize("namespace", ["a b\nc", "\N{SNAKE}", "100%", "{a}*", "x" * 512, "\0"])
async def test_any_namespace_makes_a_name(redis_url: str, client: Any, namespace: str) -> None:
    """Of printable ASCII without spaces, as servers want it."""
    name = client_name_of(namespace)
    assert re.fullmatch("[!-~]+", name)
    async with RedisBackend(redis_url, namespace=namespace) as backend:
        await backend.open()
        assert set(names(client)) == {name}


def test_names_differ() -> None:
    """What is escaped cannot be taken for another namespace."""
    namespaces = ["a b", "a%20b", "a%2520b", "ab", "A b"]
    assert len(set(map(client_name_of, namespaces))) == len(namespaces)


async def test_the_name_in_the_url_wins(redis_url: str, client: Any) -> None:
    """As an option of redis-py."""
    async with RedisBackend(f"{redis_url}?client_name=mine") as backend:
        await use(backend)
        assert set(names(client)) == {"mine"}


async def test_a_given_client_keeps_its_name(redis_url: str, client: Any) -> None:
    """Or keeps none: it is the caller's."""
    for name in (None, "mine"):
        given = redis.asyncio.Redis.from_url(redis_url, client_name=name, **OWN_NAME)
        async with given, RedisBackend(client=given) as backend:
            await use(backend)
            assert set(names(client)) == {name or ""}
            await backend.clear()


async def test_a_user_who_may_not_name_a_connection_needs_no_name(redis_url: str, client: Any) -> None:
    """All calls work, and so does the wait."""
    rules = ["reset", "on", ">p", "~*", "&*", "+@all", "-client"]
    client.execute_command("ACL", "SETUSER", "nameless", *rules)
    try:
        async with RedisBackend(redis_url.replace("//", "//nameless:p@")) as backend:
            await use(backend)
            assert set(names(client)) == {""}
    finally:
        client.execute_command("ACL", "DELUSER", "nameless")
