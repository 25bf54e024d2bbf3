"""Slots that move from node to node, and nodes that come and go, under those who store, count and wait."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from flowstore import RedisClusterBackend, TaskResult, TaskStatus
from flowstore.backends.cluster import pipes
from flowstore.backends.cluster.router import Router
from flowstore.backends.cluster.slots import slot_of
from flowstore.backends.cluster.urls import nodes_from
from flowstore.backends.redis.calls import Calls
from flowstore.testing.support import IS_STRESS, seen, waiting
from tests.cluster_load import BUCKETS, Load, check_all_whole, ids_in, slots_at
from tests.cluster_nodes import Node, slots_of
from tests.clusters import Cluster

WAITS = 5_000 if IS_STRESS else 150
SECONDS = 30.0 if IS_STRESS else 1.0
IN_SLOT = 2_000 if IS_STRESS else 100
NEVER = 600.0  # seconds until a re-check: only wake-ups count

Backends = Callable[..., Any]


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Callable[[Cluster], Any]]:
    async with AsyncExitStack() as stack:

        async def open_one(cluster: Cluster) -> RedisClusterBackend:
            made = RedisClusterBackend(cluster.url, buckets=BUCKETS, recheck_interval=NEVER)
            return await stack.enter_async_context(made)

        yield open_one


async def loaded(opened: Backends, cluster: Cluster, slot: int) -> Load:
    """Those who are at work, and results that are in the slot already."""
    worker, rival, waiter = [await opened(cluster) for _ in range(3)]
    load = Load(worker, rival, waiter, WAITS, SECONDS)
    await load.fill(ids_in({slot}, IN_SLOT))
    return load


async def check(load: Load, cluster: Cluster) -> None:
    """No error, no wrong count, one winner of each race, nothing missing, every wait answered."""
    assert not load.errors
    assert not load.wrong_counts, load.wrong_counts[:5]
    assert load.counts
    assert set(load.winners) == {1}
    assert not load.was_missing
    assert not load.lost_waits
    statuses = await check_all_whole(cluster, load.rival)
    assert statuses.keys() == load.acknowledged.keys()


def key_by_key(cluster: Cluster, slot: int, target: Node) -> None:
    cluster.move_slot_key_by_key(slot, target, count=100)


def at_once(cluster: Cluster, slot: int, target: Node) -> None:
    cluster.move_slots_atomically(range(slot, slot + 1), target)


async def there_and_back(move: Callable[..., None], cluster: Cluster, slot: int) -> None:
    """Until the load is over."""
    ends = time.monotonic() + SECONDS
    home, other = cluster.owner(slot), next(one for one in cluster.masters if one is not cluster.owner(slot))
    while time.monotonic() < ends:
        for target in (other, home):
            await asyncio.to_thread(move, cluster, slot, target)
            await asyncio.sleep(
                SECONDS / 20
            )  # or who tries again now and then may miss each moment in between


@pytest.mark.parametrize(
    ("kind", "move"), [("valkey", key_by_key), ("redis", key_by_key), ("valkey", at_once)]
)
async def test_moved_under_load(
    kind: str, move: Callable[..., None], empty_cluster: Callable[..., Cluster], opened: Backends
) -> None:
    """There and back, key by key and all at once as Valkey 9 can."""
    cluster = empty_cluster(kind)
    slot = max(slots_at(cluster.nodes[0]))
    load = await loaded(opened, cluster, slot)
    await load.run(lambda: there_and_back(move, cluster, slot))
    await check(load, cluster)


async def test_in_the_midst_of_a_move(
    cluster: Cluster, opened: Backends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads or writes the slot waits for the end; a script that declares one key would see half."""
    backend = await opened(cluster)
    slot = max(slots_at(cluster.nodes[0]))
    stored, new = ids_in({slot}, 30), ids_in({slot}, 31)[-1]
    await backend.store_many(TaskResult.success(one, one) for one in stored)
    move = cluster.move(slot, cluster.nodes[1])
    move.begin()
    for key in sorted(move.source.call("CLUSTER", "GETKEYSINSLOT", slot, 1_000)):
        if b":format" not in key and b":i:" not in key:
            move.send_key(key)
    calls = [
        asyncio.ensure_future(call)
        for call in (
            backend.count_by_status(),
            backend.get(stored[0]),
            backend.store(new, TaskResult.success(new, 1)),
            backend.page(limit=100),
        )
    ]
    done, _ = await asyncio.wait(calls, timeout=0.5)
    assert not done
    move.finish()
    counted, got, is_stored, page = await asyncio.gather(*calls)
    assert counted[TaskStatus.SUCCESS] in (30, 31)
    assert got.result == stored[0]
    assert is_stored
    assert {item.task_id for item in page.items} >= {*stored}

    async def with_one_key(self: Calls, script: str, *arguments: Any) -> Any:
        return await self._guarded(lambda line: self._run(line.call, script, (self._prefix,), arguments))

    monkeypatch.setattr(Calls, "read", with_one_key)
    back = cluster.move(slot, cluster.nodes[0])
    back.begin()
    assert (await backend.count_by_status())[TaskStatus.SUCCESS] != 31
    back.finish()


@pytest.mark.parametrize("connections", [1, 2, 3, 8])
async def test_asked_on_many_connections(
    connections: int, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the keys are at the target, which has to be asked for each on the connection of the call."""
    monkeypatch.setattr(pipes, "_PIPES", connections)
    source, target, _ = cluster.nodes
    slot = max(slots_of(source.slots))
    tag = next(f"{{{n}}}" for n in itertools.count() if slot_of(f"{{{n}}}") == slot)
    keys = [f"{tag}{n}" for n in range(40)]
    for key in keys:
        source.call("SET", key, key)
    move = cluster.move(slot, target)
    move.begin()
    move.send(20)
    nodes = nodes_from(cluster.url, 5.0, "asking", None)
    router = Router(nodes.seeds, nodes.connect, 5.0)
    await router.open()
    calls = []
    for key in keys * 5:
        calls.append(asyncio.ensure_future(router.call(slot, "GET", key)))
        await asyncio.sleep(0)  # so that they do not leave together
    assert [answer.decode() for answer in await asyncio.gather(*calls)] == keys * 5
    await router.close()
    move.abandon()


@pytest.mark.parametrize("move", [key_by_key, at_once])
async def test_who_waits_is_woken(
    move: Callable[..., None], empty_cluster: Callable[..., Cluster], opened: Backends
) -> None:
    """The server ends the subscription as the slot goes; nothing is missed, whenever it is stored."""
    cluster = empty_cluster("valkey")
    slot = max(slots_at(cluster.nodes[0]))
    waiter, worker = await opened(cluster), await opened(cluster)
    for target, task_id in zip([*cluster.nodes[1:], cluster.nodes[0]], ids_in({slot}, 3), strict=True):
        wait = await waiting(waiter, task_id)
        await seen(waiter, wait, task_id)
        await asyncio.to_thread(move, cluster, slot, target)
        await worker.store(task_id, TaskResult.success(task_id, 1))
        async with asyncio.timeout(5):
            assert (await wait).result == 1


async def test_a_node_comes_and_goes(cluster: Cluster, opened: Backends) -> None:
    """It takes half of the buckets of another one and gives them back, and those who wait go with them."""
    slots = slots_at(cluster.nodes[0])
    load = await loaded(opened, cluster, max(slots))

    async def disturb() -> None:
        added = await asyncio.to_thread(cluster.add_node)
        for target in (added, cluster.nodes[0]):
            for slot in sorted(slots)[::2]:
                await asyncio.to_thread(key_by_key, cluster, slot, target)
        await asyncio.to_thread(cluster.forget, added)

    await load.run(disturb)
    await check(load, cluster)
