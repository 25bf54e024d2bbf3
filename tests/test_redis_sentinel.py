"""Failovers by Sentinel: what is lost, that no wait hangs, and that indexes and records agree afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
import redis

from flowstore import (
    RedisBackend,
    ResultDeleted,
    StorageError,
    TaskResult,
    TaskStatus,
    Unconfirmed,
)
from flowstore.testing.faults import History, Recorder, crowd
from flowstore.testing.faults.history import Began, Ended
from flowstore.testing.support import IS_STRESS
from tests.redis_whole import check_whole
from tests.sentinels import SentinelGroup
from tests.servers import ONE_KIND

WAITS = 2_000 if IS_STRESS else 300
STORERS = 8
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(params=ONE_KIND)
def make_group(request: pytest.FixtureRequest) -> Iterator[Callable[..., SentinelGroup]]:
    """Starts groups of one kind of server, with the arguments of SentinelGroup."""
    with contextlib.ExitStack() as stack:

        def make(**options: Any) -> SentinelGroup:
            group = SentinelGroup(request.param, **options)
            stack.callback(group.stop)
            return group

        yield make


def kill(group: SentinelGroup) -> None:
    """The primary dies, and comes back as a replica."""
    old = group.kill_master()
    group.wait_for_new_master(old)
    old.restart()
    group.wait_until_ok()


def command(group: SentinelGroup) -> None:
    """Another one is made the primary, although nothing is wrong."""
    group.failover()
    group.wait_until_ok()


def pause(group: SentinelGroup) -> None:
    """The primary hangs, with its connections open, and comes back in the belief that it is the primary."""
    old = group.master
    old.pause()
    group.wait_for_new_master(old)
    old.resume()
    group.wait_until_ok()


FAILURES = [kill, command, pause] if IS_STRESS else [kill]
REPLICAS = [1, 2] if IS_STRESS else [1]


class Load:
    """Stores without end, of tasks that somebody waits for and of others, and what became of them."""

    def __init__(self, backend: RedisBackend, awaited: list[str]) -> None:
        self._backend = backend
        self._awaited = iter(awaited)
        self._numbers = count()
        self.acknowledged: dict[str, float] = {}
        """When each was, on the clock of ``time.monotonic``."""
        self.failed: dict[str, StorageError] = {}
        self.is_under_way = asyncio.Event()
        self.ended = False

    async def run(self) -> None:
        await asyncio.gather(*(self._store_all() for _ in range(STORERS)))

    async def _store_all(self) -> None:
        while not self.ended:
            await self._store(f"x{next(self._numbers)}")
            if next(self._numbers) % 20 == 0 and (task_id := next(self._awaited, None)) is not None:
                await self._store(task_id)
        while (task_id := next(self._awaited, None)) is not None:
            await self._store(task_id)

    async def _store(self, task_id: str) -> None:
        try:
            await self._backend.store(task_id, TaskResult.success(task_id, task_id))
        except StorageError as error:
            self.failed[task_id] = error
        else:
            self.acknowledged[task_id] = time.monotonic()
            if len(self.acknowledged) > WAITS:
                self.is_under_way.set()


async def missing(backend: RedisBackend, ids: list[str]) -> list[str]:
    found: dict[str, TaskResult] = {}
    for start in range(0, len(ids), 500):
        found |= await backend.get_many(ids[start : start + 500])
    return [task_id for task_id in ids if task_id not in found]


async def endured(
    group: SentinelGroup, fail: Callable[[SentinelGroup], None], **options: Any
) -> tuple[Load, list[str], float]:
    """The load of a failover, the acknowledged stores that are lost, and when the failover began.

    Each wait has ended, with its result unless that was lost. Counts are right, and indexes and records say
    the same.
    """
    waited = [f"t{n}" for n in range(WAITS)]
    async with AsyncExitStack() as stack:
        watching = RedisBackend(group.url, recheck_interval=1)
        waiter, worker = [
            await stack.enter_async_context(each)
            for each in (watching, RedisBackend(group.url, op_timeout=4, **options))
        ]
        waits = [asyncio.ensure_future(waiter.wait_for(task_id, 60)) for task_id in waited]
        await asyncio.sleep(0)
        await waiter.store("first", TaskResult.success("first"))
        await waiter.wait_for("first", 30)  # those before it are registered
        load = Load(worker, waited)
        storing = asyncio.ensure_future(load.run())
        await load.is_under_way.wait()
        began = time.monotonic()
        await asyncio.to_thread(fail, group)
        load.ended = True
        await storing
        lost = await missing(worker, [*load.acknowledged])
        for task_id in await missing(worker, waited):
            await worker.store(task_id, TaskResult.success(task_id, task_id))
        async with asyncio.timeout(30):
            ends = await asyncio.gather(*waits, return_exceptions=True)
        for task_id, end in zip(waited, ends, strict=True):
            if isinstance(end, BaseException):  # it was told of the store, and then there was no such record
                assert isinstance(end, ResultDeleted), end
                assert task_id in lost
            else:
                assert end.result == task_id
        verification = await worker.integrity.verify()
        assert verification.findings == ()
        with redis.Redis.from_url(group.master.url) as view:
            statuses = check_whole(view)
        counts = await worker.count_by_status()
        assert counts[TaskStatus.SUCCESS] == len(statuses) == verification.records
    return load, lost, began


class Failovers:
    """One after the other, of a kind drawn with a seed."""

    def __init__(self, group: SentinelGroup, seed: int) -> None:
        self._group = group
        self._random = random.Random(seed)
        self._lock = asyncio.Lock()
        self.count = 0

    async def __call__(self) -> None:
        async with self._lock:
            self.count += 1
            await asyncio.to_thread(self._random.choice([kill, command, pause]), self._group)


class Seen:
    """What the clients saw: of all calls, and of the writes alone with a last look at what became of them."""

    def __init__(self) -> None:
        self.all, self.writes = History(), History()
        self._of_writes: set[tuple[str, int]] = set()

    def note(self, event: Began | Ended) -> None:
        self.all.note(event)
        if isinstance(event, Began) and event.verb in ("store", "delete"):
            self._of_writes.add((event.client, event.number))
        if (event.client, event.number) in self._of_writes:
            self.writes.note(event)


async def seen_through_failovers(
    group: SentinelGroup, seed: int, calls: int, every: int, **options: Any
) -> Seen:
    """By six clients, with a failover after each ``every`` calls. In the end records and indexes agree."""
    seen, failovers = Seen(), Failovers(group, seed)
    async with AsyncExitStack() as stack:
        backends = [RedisBackend(group.url, op_timeout=2, **options) for _ in range(6)]
        for each in backends:
            await stack.enter_async_context(each)
        clients = [Recorder(each, seen.note) for each in backends]
        await crowd(clients, seed, calls, disturb=failovers, disturb_every=every)
        last = Recorder(backends[0], seen.writes.note)
        for task_id in seen.all.ids:
            await last.get(task_id)
    with redis.Redis.from_url(group.master.url) as view:
        check_whole(view)
    assert failovers.count
    return seen


@pytest.mark.parametrize("fail", FAILURES)
@pytest.mark.parametrize("replicas", REPLICAS)
async def test_no_confirmed_store_is_lost_by_a_failover(
    make_group: Callable[..., SentinelGroup], fail: Callable[[SentinelGroup], None], replicas: int
) -> None:
    """Under load: whichever replica takes over has all that was acknowledged.

    Each keeps what it has on disk: one that comes back empty may be elected next.
    """
    group = make_group(replicas=replicas, options=DURABLE)
    load, lost, _ = await endured(group, fail, wait_replicas=replicas)
    assert lost == []
    unconfirmed = [error for error in load.failed.values() if isinstance(error, Unconfirmed)]
    assert all(error.confirmed < error.wanted == replicas for error in unconfirmed)


if IS_STRESS:

    @pytest.mark.parametrize("fail", [kill, command, pause])
    async def test_what_a_failover_may_lose(
        make_group: Callable[..., SentinelGroup], fail: Callable[[SentinelGroup], None]
    ) -> None:
        """Without confirmation: stores of the time of the failover, and none from before it."""
        load, lost, began = await endured(make_group(), fail)
        assert all(load.acknowledged[task_id] > began - 1 for task_id in lost)

    @pytest.mark.parametrize("seed", range(10))
    async def test_writes_that_all_replicas_have_are_linearizable(
        make_group: Callable[..., SentinelGroup], seed: int
    ) -> None:
        """Through failovers of every kind. What was read need not be: it may have been lost unconfirmed."""
        group = make_group(options=DURABLE)
        seen = await seen_through_failovers(group, seed, 200, 400, wait_replicas=2)
        seen.writes.check()
        assert len(seen.all) > 500
