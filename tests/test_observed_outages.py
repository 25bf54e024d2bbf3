"""What observers are told of a server that goes and comes back, and what ping says meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from flowstore import RedisBackend, SQLiteBackend, StorageUnavailable, StoreReplaced, TaskResult
from flowstore.observing import CallEnded, CallGivenUp, RecheckFound, StorageBack, StorageLost
from flowstore.testing.contract.observing import Notes
from flowstore.testing.support import seen, waiting
from tests.conftest import EXTERNAL
from tests.servers import ONE_KIND, Server, start_server

needs_own_server = pytest.mark.skipif(EXTERNAL is not None, reason="needs a server of its own to break")


@pytest.fixture(params=ONE_KIND)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = start_server(request.param, "--appendonly", "yes", "--appendfsync", "always")
    yield started
    started.stop()


@needs_own_server
async def test_a_server_that_is_killed_and_restarted(server: Server) -> None:
    """Lost once and back once, by reads and by the connection that listens together; ping fails meanwhile."""
    notes = Notes()
    async with RedisBackend(server.url, op_timeout=2, recheck_interval=600, observers=[notes]) as backend:
        wait = await waiting(backend, "t")
        await seen(backend, wait, "t")
        assert await backend.ping() < 2
        server.kill()
        assert isinstance((await notes.next(StorageLost)).error, Exception)
        with pytest.raises(StorageUnavailable):
            await backend.ping()
        assert [type(call.error) for call in notes.of(CallEnded) if call.verb == "read" and call.error]
        assert len(notes.of(CallGivenUp)) == 1
        assert notes.of(StorageBack) == []
        await asyncio.to_thread(server.restart)
        assert (await notes.next(StorageBack)).seconds > 0
        await backend.store("t", TaskResult.success("t", 1))
        assert (await wait).unwrap() == 1
        assert await backend.ping() < 2
    assert (len(notes.of(StorageLost)), len(notes.of(StorageBack))) == (1, 1)
    assert notes.of(RecheckFound) == []


@needs_own_server
async def test_a_connection_that_is_made_anew(server: Server) -> None:
    """The driver does so without a word; each time is told all the same, as hints may have been lost."""
    notes = Notes()
    with redis.Redis.from_url(server.url) as admin:
        async with RedisBackend(server.url, recheck_interval=600, observers=[notes]) as backend:
            for n in range(3):
                wait = await waiting(backend, f"t{n}")
                await seen(backend, wait, f"t{n}")
                assert admin.client_kill_filter(_type="pubsub") == 1
                async with asyncio.timeout(30):
                    while len(notes.of(StorageBack)) <= n:
                        await backend.exists("t")
                await backend.store(f"t{n}", TaskResult.success(f"t{n}"))
                await wait
    assert len(notes.of(StorageLost)) == len(notes.of(StorageBack)) == 3


async def test_ping_of_a_file_that_is_gone(tmp_path: Path) -> None:
    """It looks at the file, as a read does."""
    async with SQLiteBackend(tmp_path / "x.db") as backend:
        assert await backend.ping() > 0
        (tmp_path / "x.db").unlink()
        with pytest.raises(StoreReplaced):
            await backend.ping()


@needs_own_server
async def test_ping_is_one_command(server: Server) -> None:
    """And a cheap one."""
    with redis.Redis.from_url(server.url) as admin:
        async with RedisBackend(server.url, purge_interval=None) as backend:
            await backend.ping()
            admin.config_resetstat()
            await backend.ping()
            stats = admin.info("commandstats")
    assert {name for name in stats if name not in ("cmdstat_config|resetstat", "cmdstat_info")} == {
        "cmdstat_mget"
    }
    assert stats["cmdstat_mget"]["calls"] == 1
