"""What servers say of themselves: sizes, policies, and what is wrong; and those that may not be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from flowstore import Facts, RedisBackend, TaskResult, TaskStatus
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.backends.redis.format import FORMAT
from flowstore.testing import ManualClock
from tests.servers import ONE_KIND, SERVER_KINDS, Server, start_server
from tests.test_redis import commands
from tests.test_redis_refusals import NEEDED

Start = Callable[..., Server]


@pytest.fixture(params=SERVER_KINDS)
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Starts a server with these arguments."""
    with ExitStack() as started:

        def start(*arguments: str) -> Server:
            server = start_server(request.param, *arguments)
            started.callback(server.stop)
            return server

        yield start


def codes(facts: Facts) -> set[str]:
    return {warning.code for warning in facts.warnings}


def admin(server: Server) -> Any:
    return redis.Redis.from_url(server.url, decode_responses=True)


async def test_a_server_that_is_set_up_well(start: Start) -> None:
    """Nothing to warn of; and what the server is."""
    server = start("--appendonly", "yes", "--maxmemory", "1gb")
    async with RedisBackend(server.url) as backend:
        await backend.store("t", TaskResult.success("t"))
        facts = await backend.facts()
    with admin(server) as client:
        info = client.info()
    assert codes(facts) == set()
    assert (facts.backend, facts.driver, facts.driver_version) == ("redis", "redis-py", redis.__version__)
    version = info.get("valkey_version", info["redis_version"])
    assert (facts.server, facts.server_version) == (
        "Valkey" if "valkey_version" in info else "Redis",
        version,
    )
    assert (facts.format, facts.program_format, facts.is_writable) == (FORMAT, FORMAT, True)
    assert facts.sizes["server"] > 100_000
    assert facts.sizes["server_limit"] == 2**30
    assert facts.clock_skew == 0
    assert facts.policies == {
        "maxmemory": 2**30,
        "maxmemory_policy": "noeviction",
        "appendonly": True,
        "appendfsync": "everysec",
        "last_append": "ok",
        "role": "master",
    }


async def test_policies_that_lose_results(start: Start) -> None:
    """Records may be evicted, and there is no log; or one that nobody syncs."""
    server = start("--maxmemory-policy", "allkeys-lru")
    async with RedisBackend(server.url) as backend:
        facts = await backend.facts()
        assert codes(facts) == {"redis-eviction", "redis-no-log"}
        assert "allkeys-lru" in facts.warnings[0].problem
        with admin(server) as client:
            client.config_set("appendonly", "yes")
            client.config_set("appendfsync", "no")
            client.config_set("maxmemory-policy", "noeviction")
        assert codes(await backend.facts()) == {"redis-unsynced"}


async def test_memory_that_is_nearly_full(start: Start) -> None:
    server = start("--appendonly", "yes")
    async with RedisBackend(server.url) as backend:
        assert codes(await backend.facts()) == set()
        with admin(server) as client:
            client.config_set("maxmemory", client.info()["used_memory"])
        assert codes(await backend.facts()) == {"redis-memory"}


async def test_a_primary_that_became_a_replica(start: Start) -> None:
    """As after a failover: all that can be read is told."""
    server, other = start("--appendonly", "yes"), start()
    async with RedisBackend(server.url) as backend:
        await backend.store("t", TaskResult.success("t"))
        with admin(server) as client:
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", str(other.port))
            facts = await backend.facts()
            client.replicaof("no", "one")
    assert facts.is_writable is False
    assert codes(facts) == {"redis-replica"}


@pytest.mark.parametrize("seconds", [-3_600, 3_600, 5])
async def test_clocks_that_differ(start: Start, seconds: float) -> None:
    """By the clock of the backend, which may be the wrong one."""
    server = start("--appendonly", "yes")
    clock = ManualClock(datetime.now(UTC) + timedelta(seconds=seconds))
    async with RedisBackend(server.url, clock=clock) as backend:
        facts = await backend.facts()
    assert facts.clock_skew == pytest.approx(-seconds, abs=3)
    assert codes(facts) == {"clock-skew"}
    assert ("behind" if seconds > 0 else "ahead of") in facts.warnings[0].problem


async def test_a_server_that_may_not_be_asked(start: Start) -> None:
    """With the rights that flowstore needs and no others: what is unknown is None, and no reason to warn."""
    server = start("--maxmemory-policy", "allkeys-lru")
    with admin(server) as client:
        client.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">s3cret", *NEEDED.split())
    async with RedisBackend(server.url.replace("//", "//limited:s3cret@")) as backend:
        await backend.store("t", TaskResult.pending("t"))
        facts = await backend.facts()
    assert codes(facts) == set()
    assert (facts.server, facts.server_version, facts.clock_skew) == (None, None, None)
    assert set(facts.policies.values()) == {None}
    assert (facts.format, facts.is_writable, facts.counts[TaskStatus.PENDING]) == (FORMAT, True, 1)
    assert facts.oldest_pending is not None
    assert facts.oldest_pending.task_id == "t"
    assert "s3cret" not in facts.model_dump_json()
    assert "s3cret" not in repr(facts)


async def test_a_managed_server(start: Start) -> None:
    """It lets nobody see its configuration: the rest is known."""
    server = start()
    with admin(server) as client:
        client.execute_command("ACL", "SETUSER", "default", "-config", "-memory")
    async with RedisBackend(server.url) as backend:
        facts = await backend.facts()
    assert codes(facts) == {"redis-no-log"}
    assert (facts.policies["appendfsync"], facts.policies["role"], facts.size) == (None, "master", None)
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "+@all")  # the server is stopped by its pid


async def test_a_namespace_of_a_newer_program(redis_url: str, client: Any) -> None:
    """Which this one may read."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.success("t"))
    client.set("flowstore:{default}:format", f"{FORMAT + 1} {FORMAT + 1} {FORMAT}")
    async with RedisBackend(redis_url) as backend:
        facts = await backend.facts()
    assert (facts.format, facts.is_writable) == (FORMAT + 1, False)
    assert "format-newer" in codes(facts)
    assert facts.counts[TaskStatus.SUCCESS] == 1


@pytest.mark.parametrize("value", [10, 3_000])
async def test_size_of_a_namespace(start: Start, value: int) -> None:
    """Estimated from a few records, within a third of what the server needs for it."""
    server = start()
    async with RedisBackend(server.url) as backend, RedisBackend(server.url, namespace="other") as other:
        await other.store("t", TaskResult.success("t", "x" * 100_000))
        await backend.get("t")
        with admin(server) as client:
            before = client.info()["used_memory"]
            await backend.store_many(
                TaskResult.success(f"t{n}", "x" * value, task_name=f"n{n % 3}", labels={"a"})
                for n in range(5_000)
            )
            taken = client.info()["used_memory"] - before
        size = (await backend.facts()).size
        assert size is not None
        assert 2 / 3 * taken < size < 4 / 3 * taken


@pytest.mark.parametrize("kind", ONE_KIND)
async def test_costs_the_same_for_any_size(kind: str, empty_database: Callable[[str], str]) -> None:
    """In commands, those inside of the script included, and in calls."""
    url = empty_database(kind)
    with redis.Redis.from_url(url, decode_responses=True) as client:

        async def measured(backend: RedisBackend) -> tuple[int, int]:
            before = commands(client)
            await backend.facts()
            made = {name: count - before.get(name, 0) for name, count in commands(client).items()}
            calls = sum(made.get(name, 0) for name in ("evalsha", "mget", "config|get"))
            return sum(made.values()), calls

        async with RedisBackend(url) as backend:
            await backend.store_many(TaskResult.pending(f"p{n}") for n in range(100))
            await backend.store("r", TaskResult.running("r"))
            await backend.facts()
            few, calls = await measured(backend)
            await backend.store_many(TaskResult.pending(f"q{n}") for n in range(3_000))
            assert await measured(backend) == (few, calls)
            assert calls <= 9


async def test_a_client_that_was_given(redis_url: str) -> None:
    """It answers as a connection of the backend's own does, in either protocol."""
    for protocol in (2, 3):
        given = redis.asyncio.Redis.from_url(redis_url, protocol=protocol, **OWN_NAME)
        async with RedisBackend(client=given) as backend:
            facts = await backend.facts()
        await given.aclose()
        assert facts.policies["appendfsync"] == "everysec"
        assert facts.server in ("Redis", "Valkey")
