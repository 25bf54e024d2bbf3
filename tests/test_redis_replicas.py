"""Readers on a replica of a real server: they see what its master is told, and write nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis

from flowstore import AccessDenied, RedisBackend, StorageUnavailable, TaskResult, TaskStatus
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS
from flowstore.testing.contract.reading_only import READS, WRITES
from flowstore.testing.support import ids
from tests.servers import PATIENCE, SERVER_KINDS, Server, start_server

_PULLING = ("--repl-diskless-sync-delay", "0")


@pytest.fixture(scope="module", params=SERVER_KINDS)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """A master, and a replica that keeps up with it."""
    master = start_server(request.param, *_PULLING)
    try:
        replica = start_server(request.param, "--replicaof", "127.0.0.1", str(master.port))
        try:
            with closing(redis.Redis(port=replica.port)) as client:
                _wait_for(client, "master_link_status", "up")
            yield master, replica
        finally:
            replica.stop()
    finally:
        master.stop()


def _wait_for(client: Any, field: str, value: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while client.info("replication")[field] != value:
        assert time.monotonic() < deadline, f"{field} did not become {value}"
        time.sleep(0.01)


def _caught_up(master: Server, replica: Server) -> None:
    """Return once the replica has all that the master was told."""
    with closing(redis.Redis(port=master.port)) as first, closing(redis.Redis(port=replica.port)) as second:
        told = first.info("replication")["master_repl_offset"]
        deadline = time.monotonic() + PATIENCE
        while second.info("replication")["slave_repl_offset"] < told:
            assert time.monotonic() < deadline, "the replica did not catch up"
            time.sleep(0.01)


async def test_a_reader_on_a_replica(pair: tuple[Server, Server]) -> None:
    """Every call that reads works there, every other is refused here; a backend that writes cannot open."""
    master, replica = pair
    async with RedisBackend(master.url, namespace="shop") as writer:
        await writer.store_many(TaskResult.success(f"t{n}", n) for n in range(10))
        await writer.runs.start("r")
    await asyncio.to_thread(_caught_up, master, replica)
    with pytest.raises(StorageUnavailable, match="READONLY"):
        await RedisBackend(replica.url, namespace="shop").open()
    calls = {**CALLS, **CALLS_OF_RUNS}
    async with RedisBackend(replica.url, namespace="shop", read_only=True, recheck_interval=0.05) as reader:
        for name in READS:
            await calls[name](reader)
        for name in WRITES:
            with pytest.raises(AccessDenied, match="read_only=True"):
                await calls[name](reader)
        facts = await reader.facts()
        assert (facts.is_writable, facts.policies["role"]) == (False, "slave")
        assert "redis-replica" not in {warning.code for warning in facts.warnings}


async def test_a_replica_is_read_while_its_master_is_written_to(pair: tuple[Server, Server]) -> None:
    """Waits on the replica end with what the master was told; pages and counts follow."""
    master, replica = pair
    async with (
        RedisBackend(master.url, namespace="live") as writer,
        RedisBackend(replica.url, namespace="live", read_only=True, recheck_interval=0.05) as reader,
    ):
        wait = asyncio.ensure_future(reader.wait_for_many([f"t{n}" for n in range(50)], 30))
        for n in range(50):
            await writer.store(f"t{n}", TaskResult.running(f"t{n}"))
            await writer.store(f"t{n}", TaskResult.success(f"t{n}", n))
        assert len(await wait) == 50
        await asyncio.to_thread(_caught_up, master, replica)
        assert (await reader.count_by_status())[TaskStatus.SUCCESS] == 50
        page = await reader.page(TaskStatus.SUCCESS, limit=20)
        assert ids(page.items) == ids((await writer.page(TaskStatus.SUCCESS, limit=20)).items)
        assert await reader.get("t7") == await writer.get("t7")
        assert [move.status for move in await reader.history.of("t7")] == ["running", "success"]


async def test_a_replica_that_has_lost_its_master(pair: tuple[Server, Server]) -> None:
    """Where it serves no stale data it is as if it were not there, and the reader goes on afterwards."""
    master, replica = pair
    async with RedisBackend(master.url, namespace="lost") as writer:
        await writer.store("t", TaskResult.success("t", 1))
    await asyncio.to_thread(_caught_up, master, replica)
    with closing(redis.Redis(port=replica.port)) as client:
        async with RedisBackend(replica.url, namespace="lost", read_only=True) as reader:
            assert await reader.exists("t")
            client.config_set("replica-serve-stale-data", "no")
            client.replicaof("127.0.0.1", "1")  # where nobody listens
            await asyncio.to_thread(_wait_for, client, "master_link_status", "down")
            for name in ("get", "page", "count_by_status", "stats.total", "facts", "history.of"):
                with pytest.raises(StorageUnavailable, match="MASTERDOWN"):
                    await CALLS[name](reader)
            client.replicaof("127.0.0.1", str(master.port))
            await asyncio.to_thread(_wait_for, client, "master_link_status", "up")
            assert await reader.exists("t")
