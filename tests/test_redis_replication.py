"""Stores that wait for replicas: what they promise, and what they say where that cannot be had."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis.asyncio

from flowstore import RedisBackend, StorageUnavailable, TaskResult, Unconfirmed, connect
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.testing.faults import Proxy
from flowstore.testing.insides import faulty
from flowstore.testing.support import stored
from tests.servers import ONE_KIND, Server, start_server, until

TIMEOUT = 2.4


@pytest.fixture(scope="module", params=ONE_KIND)
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Server]]:
    """A primary and its replica."""
    options = ("--repl-diskless-sync-delay", "0")
    primary = start_server(request.param, *options)
    try:
        replica = start_server(request.param, "--replicaof", f"127.0.0.1 {primary.port}")
        until(lambda: replica.is_synced_with(primary.port), "the replica is in step")
        yield primary, replica
        replica.stop()
    finally:
        primary.stop()


@pytest.fixture
def primary(servers: tuple[Server, Server]) -> Server:
    servers[0].call("FLUSHALL")
    return servers[0]


@pytest.fixture
def replica(servers: tuple[Server, Server]) -> Iterator[Server]:
    """It may be paused."""
    yield servers[1]
    servers[1].resume()


@pytest_asyncio.fixture(params=["url", "client"])
async def backend(request: pytest.FixtureRequest, primary: Server) -> AsyncIterator[RedisBackend]:
    """One that waits for the replica, with connections of its own or of a client that it was given."""
    if request.param == "url":
        async with RedisBackend(primary.url, wait_replicas=1, op_timeout=TIMEOUT) as opened:
            yield opened
        return
    async with (
        redis.asyncio.Redis.from_url(primary.url, **OWN_NAME) as client,
        RedisBackend(client=client, wait_replicas=1, op_timeout=TIMEOUT) as opened,
    ):
        yield opened


async def test_a_store_that_returns_is_on_the_replica(backend: RedisBackend, replica: Server) -> None:
    """At once, each time; so are data, progress and what is deleted."""
    for n in range(50):
        await backend.store(f"t{n}", TaskResult.success(f"t{n}"))
        assert replica.call("EXISTS", f"flowstore:{{default}}:r:t{n}")
    await backend.data.set("t0", "key", 1)
    assert replica.call("EXISTS", "flowstore:{default}:k:data:t0", "flowstore:{default}:e:data:t0")
    await backend.delete("t1")
    assert not replica.call("EXISTS", "flowstore:{default}:r:t1")


async def test_what_is_not_confirmed_is_said(backend: RedisBackend, replica: Server) -> None:
    """After a third of ``op_timeout``; the store stands, on the primary."""
    await backend.store("t", TaskResult.success("t"))
    replica.pause()
    with pytest.raises(
        Unconfirmed, match=r"^carried out.*0 of 1 replicas.*0.8 s: a failover may lose"
    ) as caught:
        await backend.store("u", TaskResult.success("u", 2))
    assert (caught.value.wanted, caught.value.confirmed, caught.value.seconds) == (1, 0, 0.8)
    assert (await stored(backend, "u")).result == 2
    replica.resume()
    assert await backend.store("v", TaskResult.success("v"))
    assert replica.call("EXISTS", "flowstore:{default}:r:u")


async def test_a_trip_waits_once(backend: RedisBackend, replica: Server) -> None:
    """However many calls share it: each is told, none is sent again, and all of them stand."""
    await backend.store("first", TaskResult.success("first"))
    replica.pause()
    began = time.monotonic()
    stores = [backend.store(f"t{n}", TaskResult.success(f"t{n}")) for n in range(200)]
    ends = await asyncio.gather(*stores, return_exceptions=True)
    assert {type(end) for end in ends} == {Unconfirmed}
    assert time.monotonic() - began < TIMEOUT
    assert len(await backend.get_many([f"t{n}" for n in range(200)])) == 200
    assert [task.version for task in (await backend.page("success")).items] == [1] * 50


async def test_a_store_whose_reply_was_lost(primary: Server, replica: Server) -> None:
    """It is sent again, on another connection, is carried out once, and confirmed there."""
    async with Proxy("127.0.0.1", primary.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0?wait_replicas=1&op_timeout={TIMEOUT}"
        async with connect(url) as backend:
            await backend.store("t", TaskResult.success("t"))
            proxy.lose_reply()
            assert await backend.store("u", TaskResult.success("u"))
            assert (await stored(backend, "u")).version == 1
            proxy.lose_reply()
            replica.pause()
            with pytest.raises(Unconfirmed):
                await backend.store("v", TaskResult.success("v"))


async def test_patience_takes_nothing_for_confirmed(
    primary: Server, replica: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block whose answer was lost finds its outcome stored, and asks the replica before it is content."""
    backend = RedisBackend(primary.url, wait_replicas=1, op_timeout=TIMEOUT)
    faults = faulty(backend)
    lost = StorageUnavailable("injected: the answer was lost")
    async with backend:
        async with backend.track("t"):
            faults.fail("write", error=lost, is_carried_out=True)
        assert faults.calls["confirm"] == 1
        confirm = faults.confirm

        async def confirm_too_late() -> None:
            replica.pause()
            await confirm()

        monkeypatch.setattr(faults, "confirm", confirm_too_late)
        with pytest.raises(Unconfirmed):
            async with backend.track("u"):
                faults.fail("write", error=lost, is_carried_out=True)
        assert (await stored(backend, "u")).is_finished


@pytest.mark.parametrize("wrong", [-1, True, 1.5, "1", None])
def test_numbers_of_replicas(wrong: object) -> None:
    """A bad one is refused by name."""
    with pytest.raises((ValueError, TypeError), match=r"^wait_replicas: "):
        RedisBackend("redis://h", wait_replicas=wrong)  # type: ignore[arg-type]
