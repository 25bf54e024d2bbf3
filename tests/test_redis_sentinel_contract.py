"""The contract of backends where Sentinel names the server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from flowstore import AccessDenied, RedisBackend, StorageError, StorageUnavailable, TaskResult
from flowstore.testing.contract import BackendContract
from flowstore.testing.contract.base import MakeBackend
from flowstore.testing.contract.making import MakingContract
from flowstore.testing.support import IS_STRESS
from tests.sentinels import SentinelGroup
from tests.servers import ONE_KIND
from tests.unit.test_redis_urls import assert_hidden, texts


@pytest.fixture(scope="module", params=ONE_KIND)
def group(request: pytest.FixtureRequest) -> Iterator[SentinelGroup]:
    started = SentinelGroup(request.param, replicas=1)
    yield started
    started.stop()


class OnSentinel:
    @pytest.fixture
    def make_backend(self, group: SentinelGroup) -> MakeBackend:
        group.master.call("FLUSHALL")
        numbers = itertools.count()

        def make(**options: Any) -> RedisBackend:
            return RedisBackend(group.url, namespace=f"test {next(numbers)}", wait_replicas=1, **options)

        return make


async def test_a_service_that_is_not_known(group: SentinelGroup) -> None:
    """It is told at once, with what each sentinel says."""
    backend = RedisBackend(group.url.replace("mymaster", "other"))
    with pytest.raises(StorageError, match=r"no primary of 'other' \(127.*no such service; 127") as caught:
        await backend.get("t")
    assert not isinstance(caught.value, StorageUnavailable)


async def test_credentials_of_the_sentinels(group: SentinelGroup) -> None:
    """They are told to them and to nobody else; wrong ones are AccessDenied, in which they do not appear."""
    for sentinel in group.sentinels:
        sentinel.call("ACL", "SETUSER", "asker", "on", ">s3cret", "+@all")
    url = f"{group.url}?sentinel_username=asker&sentinel_password="
    async with RedisBackend(f"{url}s3cret") as backend:
        await backend.store("t", TaskResult.success("t"))
    with pytest.raises(AccessDenied, match=r"WRONGPASS|invalid username") as caught:
        await RedisBackend(f"{url}t0ken").get("t")
    for text in texts(caught.value):
        assert_hidden(text)


async def test_nobody_listens_to_a_primary_of_the_past(group: SentinelGroup) -> None:
    """After a failover by command, which kills nobody: the old one has no connection left."""
    async with RedisBackend(group.url) as waiter, RedisBackend(group.url) as worker:
        waits = [asyncio.ensure_future(waiter.wait_for(f"t{n}", 30)) for n in range(2)]
        await worker.store("t0", TaskResult.success("t0"))
        await waits[0]
        old = group.master
        await asyncio.to_thread(group.failover)
        await asyncio.to_thread(group.wait_until_ok)
        assert old.call("CLIENT", "LIST", "TYPE", "pubsub").count(b"flowstore:") == 0
        await worker.store("t1", TaskResult.success("t1"))
        await waits[1]


class TestMakingOnSentinel(OnSentinel, MakingContract): ...


if IS_STRESS:

    class TestSentinel(OnSentinel, BackendContract):
        """It is the engine of any Redis, with other connections, and each write waits for a replica."""
