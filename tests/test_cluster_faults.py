"""Nodes of clusters that die, hang, hand over and are cut off, under those who store, count and wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from flowstore import BackendClosed, RedisClusterBackend, StorageUnavailable, TaskResult, TaskStatus
from flowstore.testing.faults import History, Recorder, crowd
from flowstore.testing.faults.history import Began, Ended
from flowstore.testing.support import IS_STRESS, seen, waiting
from tests.cluster_load import BUCKETS, Load, check_all_whole, ids_in, slot_of_id, slots_at
from tests.cluster_nodes import Node, slots_of
from tests.clusters import Cluster, How
from tests.servers import CLUSTER_KINDS, ONE_KIND

WAITS = 3_000 if IS_STRESS else 300
SECONDS = 15.0 if IS_STRESS else 2.0
NODE_TIMEOUT = 2_000 if IS_STRESS else 500  # ms
NEVER = 600.0  # seconds until a re-check: only wake-ups count
SLOTS = {slot_of_id(one) for one in ids_in(set(range(16_384)), 200)}


def of(cluster: Cluster, **options: Any) -> RedisClusterBackend:
    return RedisClusterBackend(cluster.url, buckets=BUCKETS, **{"recheck_interval": NEVER, **options})


@pytest_asyncio.fixture
async def opened() -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def open_one(cluster: Cluster, **options: Any) -> RedisClusterBackend:
            return await stack.enter_async_context(of(cluster, **options))

        yield open_one


@dataclass(frozen=True)
class Fault:
    """How a replica comes to lead.

    ``lost``: the seconds before it and after it in which stores may be lost; None: none is.
    """

    name: str
    lost: tuple[float, float] | None
    how: How | None = None
    cut: dict[str, bool] | None = None
    rests: float = 0.0
    """The seconds for which it does not come back once the replica leads."""

    def __str__(self) -> str:
        return self.name

    def __call__(self, cluster: Cluster, victim: Node) -> float:
        """Returns once all is well again; when it happened, on the monotonic clock, or a little later."""
        [replica] = cluster.replicas_of(victim)
        if self.how is not None:
            cluster.failover(replica, self.how)
            return time.monotonic()
        if self.cut is not None:
            cluster.cut_off(victim, **self.cut)
        else:
            victim.kill() if self.name == "killed" else victim.pause()
        happened = time.monotonic()
        cluster.wait_for_master(replica)
        time.sleep(self.rests)
        self._end(cluster, victim)
        cluster.wait_until_ok()
        return happened

    def may_lose(self, began: float, happened: float, at: float) -> bool:
        """Whether what was acknowledged at that time may be lost."""
        return self.lost is not None and began - self.lost[0] <= at <= happened + self.lost[1]

    def _end(self, cluster: Cluster, victim: Node) -> None:
        if self.cut is not None:
            cluster.heal(victim)
        else:
            victim.restart() if self.name == "killed" else victim.resume()


_FAILS = NODE_TIMEOUT / 1_000 + 1  # a primary that is alone takes writes until then
FAULTS = [
    Fault("killed", (1, 0)),
    # It takes what was sent to it before it learns that another one leads: nobody calls it any more by then
    Fault("hangs", (1, 0), rests=2),
    Fault("hands over", None, how=""),
    Fault("is deposed", (1, 1), how="FORCE"),
    Fault("is taken over", (1, 1), how="TAKEOVER"),
    Fault("cut off", (1, 0), cut={}),
    Fault("cut off in silence", (1, 0), cut={"is_silent": True}),
    Fault("cut off with its clients", (1, _FAILS), cut={"keeps_clients": True}),
    Fault("cut off in silence with its clients", (1, _FAILS), cut={"is_silent": True, "keeps_clients": True}),
]


@pytest.fixture(params=CLUSTER_KINDS if IS_STRESS else ONE_KIND, scope="function" if IS_STRESS else "module")
def formed(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries, each with a replica. Those that are left serve on."""
    made = Cluster(
        request.param, replicas=1, node_timeout=NODE_TIMEOUT, needs_all_slots=False, can_be_cut=IS_STRESS
    )
    yield made
    made.stop()


@pytest.fixture
def replicated(formed: Cluster) -> Cluster:
    """Empty. Whichever node leads after a test does so in the next one."""
    for master in formed.masters:
        master.call("FLUSHALL")
    return formed


@pytest.mark.parametrize("fault", FAULTS if IS_STRESS else FAULTS[:1], ids=str)
async def test_a_primary_falls_under_load(
    fault: Fault, replicated: Cluster, opened: Callable[..., Any]
) -> None:
    """It costs those who call no error, and what was stored a moment before at most; no wait hangs.

    Calls to the others do not notice. Counts, listings and records agree when it is over.
    """
    worker, rival, waiter = [await opened(replicated) for _ in range(3)]
    load = Load(worker, rival, waiter, WAITS, SECONDS)
    print(await _falls(replicated, load, fault))


async def _falls(cluster: Cluster, load: Load, fault: Fault) -> str:
    victim = cluster.owner(slot_of_id("w0"))
    there, elsewhere = slots_at(victim), SLOTS - slots_at(victim)
    began = happened = 0.0

    async def disturb() -> None:
        nonlocal began, happened
        await asyncio.sleep(SECONDS / 5)
        began = time.monotonic()
        happened = await asyncio.to_thread(fault, cluster, victim)

    await load.run(disturb)
    may_be_lost = {
        one
        for one, at in load.acknowledged.items()
        if slot_of_id(one) in there and fault.may_lose(began, happened, at)
    }
    assert not load.errors, load.errors[:3]
    assert {*load.was_missing} <= may_be_lost
    assert {*load.lost_waits} <= may_be_lost | {*load.resent(began)}
    assert load.slowest(elsewhere) < 2
    if not load.was_missing:
        assert not load.wrong_counts
    assert set(load.winners) <= ({1, 2} if may_be_lost else {1})
    await check_all_whole(cluster, load.rival)
    figures = {
        "back after": load.back_after(happened, there),
        "slowest there": load.slowest(there),
        "slowest elsewhere": load.slowest(elsewhere),
        "slowest wake-up elsewhere": load.slowest_wake(elsewhere),
        "missing": len(load.was_missing),
        "deleted waits": len(load.lost_waits),
    }
    shown = ", ".join(f"{name} {value:.2f}" for name, value in figures.items())
    return f"{cluster.kind}, {fault.name}: {shown}"


async def test_scripts_are_forgotten_and_a_replica_leads(
    replicated: Cluster, opened: Callable[..., Any]
) -> None:
    """A replica that takes over knows no script, and those that know some forget them meanwhile."""
    backend = await opened(replicated)
    is_over = asyncio.Event()

    async def store(writer: int) -> int:
        n = 0
        while not is_over.is_set():
            assert await backend.store(f"{writer} {n}", TaskResult.success(f"{writer} {n}"))
            n += 1
        return n

    def disturb() -> None:
        for _ in range(10 if IS_STRESS else 3):
            for node in replicated.nodes:
                node.call("SCRIPT", "FLUSH")
            replicated.failover(replicated.replicas[0])

    writing = [asyncio.ensure_future(store(writer)) for writer in range(8)]
    await asyncio.to_thread(disturb)
    is_over.set()
    stored = sum(await asyncio.gather(*writing))
    assert stored > 100
    assert (await backend.count_by_status())[TaskStatus.SUCCESS] == stored
    await check_all_whole(replicated, backend)


class Unhurried(Recorder):
    """So that few calls fall into the moment of a fault."""

    async def _made(self, call: Coroutine[Any, Any, Any], *recorded: Any) -> Any:  # type: ignore[override]
        try:
            await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            call.close()
            raise
        return await super()._made(call, *recorded)


@pytest.mark.parametrize("fault", FAULTS[2:3] + FAULTS[:2] if IS_STRESS else FAULTS[2:3], ids=str)
async def test_an_order_of_all_calls_explains_them(
    fault: Fault, replicated: Cluster, opened: Callable[..., Any]
) -> None:
    """Primaries hand over again and again: no call is lost, and none is told what was not so.

    Where they are killed or hang, what was told within a tenth of a second before may be lost: that is left
    out. It is so short since the search for an order takes too long where too much is left out.
    """
    events: list[Began | Ended] = []
    fell: list[tuple[float, float]] = []
    lock = asyncio.Lock()

    def fall() -> None:
        began = time.monotonic()
        fell.append((began, fault(replicated, replicated.masters[len(fell) % 3])))

    async def disturb() -> None:
        async with lock:
            await asyncio.to_thread(fall)

    def may_lose(began: float, happened: float, at: float) -> bool:
        return fault.lost is not None and began - 0.1 <= at <= happened

    clients = [Unhurried(await opened(replicated), events.append) for _ in range(5)]
    await crowd(clients, 1, 300 if IS_STRESS else 120, disturb=disturb, disturb_every=200)
    history = History()
    for event in events:
        if isinstance(event, Began) or not any(may_lose(*each, event.at / 1e9) for each in fell):
            history.note(event)
    history.check()
    assert len(history) > 300
    assert len(fell) > 2


@pytest.fixture(params=ONE_KIND, scope="module")
def alone(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three primaries without replicas, of which those that are left serve on."""
    made = Cluster(request.param, node_timeout=500, needs_all_slots=False, options=("--appendonly", "yes"))
    yield made
    made.stop()


async def test_one_of_three_is_gone(alone: Cluster, opened: Callable[..., Any]) -> None:
    """What is of the others goes on at its pace; what is of all, and of the dead one, says so in time.

    Waits for it go on, and end when it is back and somebody stores.
    """
    victim = alone.nodes[1]
    dead, alive = slots_at(victim), SLOTS - slots_at(victim)
    backend, worker = await opened(alone, op_timeout=2), await opened(alone)
    lost, *others = ids_in(dead, 1) + ids_in(alive, 51)
    waits = {one: await waiting(backend, one, 60) for one in (lost, *others)}
    await seen(backend, waits[lost], lost)
    victim.kill()
    await asyncio.to_thread(alone.wait_until_failed, victim)
    gone = [
        asyncio.ensure_future(timed(call))
        for call in (
            backend.page(limit=10),
            backend.count_by_status(),
            backend.get(lost),
            backend.store(lost, TaskResult.success(lost)),
        )
    ]
    async with asyncio.timeout(1.5):
        for one in others:
            assert await backend.store(one, TaskResult.success(one, one))
            assert (await backend.get(one)) is not None
            assert (await waits[one]).result == one
    for took, error in await asyncio.gather(*gone):
        assert isinstance(error, StorageUnavailable)
        assert took < 2.5
    assert not waits[lost].done()
    await asyncio.to_thread(victim.restart)
    await asyncio.to_thread(alone.wait_until_ok)
    await worker.store(lost, TaskResult.success(lost, 1))
    async with asyncio.timeout(10):
        assert (await waits[lost]).result == 1
    assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 53
    await check_all_whole(alone, backend)


async def timed(call: Awaitable[Any]) -> tuple[float, Exception | None]:
    """How long it took, and what it raised."""
    began = time.monotonic()
    try:
        await call
    except Exception as error:
        return time.monotonic() - began, error
    return time.monotonic() - began, None


async def test_a_slot_is_nobodys(cluster: Cluster, opened: Callable[..., Any]) -> None:
    """The whole cluster is down. Calls say so in time, also those that open; waits go on until it is up."""
    backend, worker = await opened(cluster, op_timeout=2), await opened(cluster)
    wait = await waiting(backend, "t", 60)
    await seen(backend, wait, "t")
    slot = next(slot for slot in slots_of(cluster.nodes[0].slots) if slot not in SLOTS)
    await asyncio.to_thread(cluster.delete_slots, slot)
    late = of(cluster, op_timeout=2)
    calls = map(timed, (backend.get("t"), backend.count_by_status(), late.get("t")))
    for took, error in await asyncio.gather(*calls):
        assert isinstance(error, StorageUnavailable)
        assert "CLUSTERDOWN The cluster is down" in str(error)
        assert took < 2.5
    await late.close()
    assert not wait.done()
    cluster.nodes[0].call("CLUSTER", "ADDSLOTS", slot)
    await asyncio.to_thread(cluster.wait_until_ok)
    await worker.store("t", TaskResult.success("t", 1))
    async with asyncio.timeout(10):
        assert (await wait).result == 1


async def test_closed_while_a_node_hangs(alone: Cluster) -> None:
    """Within the time of a call, and so are those who call."""
    backend = RedisClusterBackend(alone.url, buckets=BUCKETS, op_timeout=2)
    await backend.count_by_status()
    wait = await waiting(backend, "t", 60)
    await seen(backend, wait, "t")
    alone.nodes[0].pause()
    calls = [asyncio.ensure_future(timed(backend.get(one))) for one in ids_in(SLOTS, 50)]
    await asyncio.sleep(0)
    async with asyncio.timeout(3):
        await backend.close()
    with pytest.raises(BackendClosed):
        await wait
    for took, _ in await asyncio.gather(*calls):
        assert took < 3
    alone.nodes[0].resume()
