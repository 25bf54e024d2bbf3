"""Redis and Valkey that die, hang, forget and refuse, while results are stored and awaited."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import pytest
import pytest_asyncio
import redis
from redis.asyncio.client import PubSub

from flowstore import (
    BackendClosed,
    RedisBackend,
    ResultDeleted,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    WaitTimeout,
)
from flowstore.backends.redis import listener as redis_listener
from flowstore.testing.faults import Proxy
from flowstore.testing.faults.proxy import Direction
from flowstore.testing.insides import storage_of
from flowstore.testing.support import seen, waiting
from tests import forgetful
from tests.conftest import EXTERNAL
from tests.redis_whole import check_whole
from tests.servers import ONE_KIND, SERVER_KINDS, Server, start_server

pytestmark = pytest.mark.skipif(EXTERNAL is not None, reason="needs a server of its own to break")


@pytest.fixture(params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One to break, which keeps each write in its AOF."""
    started = start_server(request.param, "--appendonly", "yes", "--appendfsync", "always")
    yield started
    started.stop()


@pytest.fixture(params=SERVER_KINDS)
def server_without_aof(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One to break, which keeps nothing."""
    started = start_server(request.param)
    yield started
    started.stop()


@pytest_asyncio.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy("127.0.0.1", server.port) as opened:
        yield opened


def through(proxy: Proxy) -> str:
    return f"redis://127.0.0.1:{proxy.port}/0"


async def test_killed_and_restarted_under_1000_waiters(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 stored before, 700 before the listener is back: all return within 5 s of the restart."""
    subscribe = PubSub.subscribe
    may_come_back = asyncio.Event()

    async def held_up(pubsub: PubSub, *channels: str) -> None:
        await may_come_back.wait()
        await subscribe(pubsub, *channels)

    async with RedisBackend(server.url) as waiter, RedisBackend(server.url) as worker:
        waits = [asyncio.ensure_future(waiter.wait_for(f"t{n}", 60)) for n in range(1_000)]
        await worker.store_many(TaskResult.success(f"t{n}", n) for n in range(300))
        await waiter.wait_for("t0")
        monkeypatch.setattr(PubSub, "subscribe", held_up)
        server.kill()
        await asyncio.to_thread(server.restart)
        restarted = time.monotonic()
        await _until_stored(worker, [TaskResult.success(f"t{n}", n) for n in range(300, 1_000)])
        may_come_back.set()
        results = await asyncio.gather(*waits)
        assert time.monotonic() - restarted < 5
        assert [result.result for result in results] == list(range(1_000))
        assert waiter.waiting == 0


async def _until_stored(worker: RedisBackend, results: list[TaskResult]) -> None:
    """As a worker does: what could not be stored is stored again."""
    while True:
        try:
            await worker.store_many(results)
            return
        except StorageUnavailable:
            pass


async def test_what_was_acknowledged_survives_a_kill(server: Server) -> None:
    """With an AOF that is synced for each write, as durable as its server says."""
    acknowledged: list[str] = []

    async def write(backend: RedisBackend, worker: int) -> None:
        for n in range(10_000):
            task_id = f"{worker}-{n}"
            try:
                await backend.store(task_id, TaskResult.success(task_id, n))
            except StorageUnavailable:
                return
            acknowledged.append(task_id)
            if len(acknowledged) == 1_000:
                server.kill()

    async with RedisBackend(server.url, op_timeout=2) as backend:
        writers = [asyncio.ensure_future(write(backend, worker)) for worker in range(20)]
        await asyncio.gather(*writers)
        await asyncio.to_thread(server.restart)
    assert len(acknowledged) >= 1_000
    async with RedisBackend(server.url) as backend:  # a server that syncs each write may be slow to answer
        assert len(await backend.get_many(acknowledged)) == len(acknowledged)
        listed = [item.task_id async for item in backend.iter_by_status(TaskStatus.SUCCESS, batch_size=500)]
        assert len(listed) == len(set(listed)) == (await backend.count_by_status())[TaskStatus.SUCCESS]
        assert set(acknowledged) <= set(listed)


@pytest.mark.parametrize("server", ONE_KIND, indirect=True)
async def test_subscription_killed_every_50_stores(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 results are awaited meanwhile, and none is lost."""
    monkeypatch.setattr(redis_listener, "_LONGEST_PAUSE", 0.05)
    with redis.Redis.from_url(server.url) as admin:
        waiter = RedisBackend(server.url, recheck_interval=600)
        async with waiter, RedisBackend(server.url) as worker:
            waits = [asyncio.ensure_future(waiter.wait_for(f"t{n}", 60)) for n in range(2_000)]
            for n in range(2_000):
                while n % 50 == 0 and not admin.client_kill_filter(_type="pubsub"):
                    await worker.exists("t")  # until it is back, to be killed
                await worker.store(f"t{n}", TaskResult.success(f"t{n}", n))
            results = await asyncio.gather(*waits)
        assert [result.result for result in results] == list(range(2_000))


@pytest.mark.parametrize("server", ONE_KIND, indirect=True)
@pytest.mark.parametrize("directions", [(), *((each,) for each in get_args(Direction))])
async def test_stalled_connections_are_declared_dead(
    server: Server, proxy: Proxy, directions: tuple[Direction, ...]
) -> None:
    """Nothing comes, or goes, and nothing is closed: the listener is given up within 5 s, and rebuilt."""
    waiter = RedisBackend(through(proxy), op_timeout=2, recheck_interval=600)
    async with waiter, RedisBackend(server.url) as worker:
        wait = await waiting(waiter, "t")
        await seen(waiter, wait, "t")
        proxy.stall(*directions)
        await worker.store("t", TaskResult.success("t", 1))
        async with asyncio.timeout(20):
            assert (await wait).unwrap() == 1


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_keepalive_timeout_is_a_dead_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
) -> None:
    """ETIMEDOUT, which the driver takes for "no message", at once and for ever: the listener is rebuilt.

    It does not spin, so the loop goes on and memory does not grow; and no wait misses its result.
    """
    looks: list[object] = []
    get_message = PubSub.get_message

    async def counted(pubsub: PubSub, **options: Any) -> Any:
        looks.append(pubsub)
        assert len(looks) < 1_000, "the listener spins"
        return await get_message(pubsub, **options)

    async with RedisBackend(server.url, recheck_interval=600) as waiter, RedisBackend(server.url) as worker:
        await worker.store("first", TaskResult.success("first"))
        await waiter.wait_for("first", 30)  # it listens now
        monkeypatch.setattr(PubSub, "get_message", counted)
        with redis.Redis.from_url(server.url) as admin, memory_growth() as grown:
            for n in range(3):
                waits = [await waiting(waiter, f"t{n}")] if is_awaited else []
                for wait in waits:
                    await seen(waiter, wait, f"t{n}")
                [before] = admin.client_list(_type="pubsub")
                _time_out(waiter, before["addr"])
                await worker.store(f"t{n}", TaskResult.success(f"t{n}", n))
                waits = waits or [await waiting(waiter, f"t{n}")]
                assert (await waits[0]).unwrap() == n
                while [found["id"] for found in admin.client_list(_type="pubsub")] in ([], [before["id"]]):
                    await worker.exists("t")
        assert len(looks) < 50
        assert grown() < 2**20


@contextmanager
def memory_growth() -> Iterator[Callable[[], int]]:
    """How many bytes more are in use, as far as Python knows."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield lambda: tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def _time_out(backend: RedisBackend, address: str) -> None:
    """What the kernel says of the connection from ``address`` after a black hole, when keepalive gives up."""
    pool: Any = storage_of(backend)._link._client.connection_pool
    for connection in pool._in_use_connections:
        transport = connection._writer.transport
        if "{}:{}".format(*transport.get_extra_info("sockname")) == address:
            connection._reader.set_exception(OSError(errno.ETIMEDOUT, "Connection timed out"))
            transport.abort()
            return
    raise AssertionError(f"no connection from {address}")


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_calls_end_in_time_and_waits_go_on(server: Server, fault: str) -> None:
    """A server that is down or hangs: the error of a bad connection within the time-out, not a multiple.

    A wait goes on until the server is back, or its own deadline comes.
    """
    seconds = 2.0
    async with RedisBackend(server.url, op_timeout=seconds) as backend:
        await backend.store("t", TaskResult.failed("t", ValueError()))
        wait = await waiting(backend, "later")
        await backend.wait_for("t")
        getattr(server, fault)()
        calls = {
            "store": backend.store("u", TaskResult.success("u")),
            "get": backend.get("t"),
            "page": backend.page(TaskStatus.FAILED),
            "delete": backend.delete("t"),
        }
        late = await waiting(backend, "late", 0.5)
        began = time.monotonic()
        outcomes = await asyncio.gather(*calls.values(), return_exceptions=True)
        assert time.monotonic() - began < 2 * seconds
        for name, outcome in zip(calls, outcomes, strict=True):
            assert isinstance(outcome, (ConnectionError, TimeoutError)), (name, outcome)
            assert isinstance(outcome, StorageUnavailable), (name, outcome)
        with pytest.raises(WaitTimeout, match="late"):
            await late
        assert time.monotonic() - began < 2 * seconds
        await asyncio.to_thread(server.restart if fault == "kill" else server.resume)
        await _until_stored(backend, [TaskResult.success("later", 1)])
        assert (await wait).unwrap() == 1


async def test_calls_end_in_time_where_nothing_was_opened() -> None:
    """A server that has never answered: many calls at once do not wait for each other's attempts to open."""
    seconds = 0.5
    with socket.create_server(("127.0.0.1", 0)) as silent:
        backend = RedisBackend(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", op_timeout=seconds)
        began = time.monotonic()
        outcomes = await asyncio.gather(*(backend.get(f"t{n}") for n in range(8)), return_exceptions=True)
        assert time.monotonic() - began < 3 * seconds
        assert {type(outcome) for outcome in outcomes} == {type(outcomes[0])}
        assert all(isinstance(outcome, StorageUnavailable) for outcome in outcomes)
        assert all(isinstance(outcome, BaseException) and outcome.__cause__ for outcome in outcomes)
        with pytest.raises(StorageUnavailable):  # and each new one tries for itself
            await backend.get("t")
        await backend.close()


async def test_scripts_forgotten_in_a_loop(server: Server) -> None:
    """SCRIPT FLUSH, as fast as it can, under stores, gets, waits, pages and deletions: nobody notices."""
    is_done = threading.Event()

    def forget() -> int:
        flushes = 0
        with redis.Redis.from_url(server.url) as admin:
            while not is_done.is_set():
                flushes += bool(admin.script_flush())
        return flushes

    async def live(backend: RedisBackend, n: int) -> None:
        name = f"t{n}"
        assert await backend.store(name, TaskResult.running(name)) is True
        wait = await waiting(backend, name)
        assert await backend.store(name, TaskResult.success(name, n)) is True
        assert (await wait).unwrap() == n
        assert len((await backend.page(TaskStatus.SUCCESS, limit=1)).items) == 1
        assert await backend.delete(name) is True

    forgetting = asyncio.ensure_future(asyncio.to_thread(forget))
    try:
        async with RedisBackend(server.url) as backend:
            await backend.store("kept", TaskResult.success("kept"))
            for start in range(0, 200, 10):
                await asyncio.gather(*(live(backend, n) for n in range(start, start + 10)))
            assert await backend.clear() == 1
    finally:
        is_done.set()
        assert await forgetting > 100


@pytest.mark.parametrize("server", ONE_KIND, indirect=True)
async def test_10000_calls_at_once_use_few_connections(server: Server) -> None:
    """Gets, stores and waits together: no error of a pool, and at most 20 connections."""
    async with RedisBackend(server.url, op_timeout=300) as backend:  # the last to be served may wait long
        names = [f"t{n}" for n in range(10_000)]
        with redis.Redis.from_url(server.url) as admin:
            results = await asyncio.gather(
                *(backend.wait_for(name, 300) for name in names),
                *(backend.get(name) for name in names),
                *(backend.store(name, TaskResult.success(name, name)) for name in names),
            )
            assert admin.info("clients")["connected_clients"] <= 21
        assert [result.unwrap() for result in results[:10_000]] == names
        assert all(results[20_000:])


async def test_without_aof_a_kill_loses_all_and_breaks_nothing(server_without_aof: Server) -> None:
    """No ghost of what was acknowledged: the backend goes on, and waits end when results are stored anew.

    A wait for a record that was lost ends as if somebody had deleted it.
    """
    server = server_without_aof
    async with RedisBackend(server.url, recheck_interval=600) as waiter, RedisBackend(server.url) as worker:
        await worker.store_many(TaskResult.running(f"t{n}", task_name="n") for n in range(100))
        await worker.store("done", TaskResult.success("done", 1))
        await waiter.wait_for("done")
        unseen = [await waiting(waiter, f"new{n}") for n in range(100)]
        lost = await waiting(waiter, "t0")
        await seen(waiter, lost, "t0")
        server.kill()
        await asyncio.to_thread(server.restart)
        assert await worker.count_by_status() == dict.fromkeys(TaskStatus, 0)
        assert (await worker.page()).items == (await worker.page(name="n")).items == []
        assert await worker.get_many(["done", *(f"t{n}" for n in range(100))]) == {}
        with pytest.raises(ResultDeleted):
            await lost
        assert await worker.store("done", TaskResult.pending("done")) is True
        await worker.store_many(TaskResult.success(f"new{n}", n) for n in range(100))
        assert [(await wait).unwrap() for wait in unseen] == list(range(100))
        with redis.Redis.from_url(server.url, decode_responses=True) as view:
            assert set(check_whole(view)) == {"done", *(f"new{n}" for n in range(100))}


@pytest.mark.parametrize("fault", ["kill", "pause"])
async def test_close_ends_though_the_server_does_not_answer(server: Server, fault: str) -> None:
    """With a store on the way and somebody waiting: both end, and so does the close."""
    backend = RedisBackend(server.url, op_timeout=1)
    await backend.store("t", TaskResult.success("t"))
    await backend.wait_for("t")
    wait = await waiting(backend, "later")
    getattr(server, fault)()
    store = asyncio.ensure_future(backend.store("u", TaskResult.success("u")))
    await asyncio.sleep(0)
    began = time.monotonic()
    await backend.close()
    assert time.monotonic() - began < 10
    for call, error in ((store, StorageUnavailable), (wait, BackendClosed)):
        with pytest.raises(error):
            await call


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
async def test_evicted_under_waiters(server: Server, policy: str) -> None:
    """The server throws out what it likes: no call fails, no ghost is listed or counted, the waits go on."""
    large = ValueError("x" * 2_000)
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        async with RedisBackend(server.url, recheck_interval=0.3) as backend:
            waits = [await waiting(backend, f"w{n}") for n in range(50)]
            admin.config_set("maxmemory-policy", policy)
            admin.config_set("maxmemory", admin.info("memory")["used_memory"] + 2**21)
            for step in range(20):
                await backend.store_many(TaskResult.failed(f"t{step}-{n}", large) for n in range(100))
            assert admin.info("stats")["evicted_keys"] > 1_000
            admin.config_set("maxmemory", 0)
            listed = [result.task_id async for result in backend.iter_by_status(TaskStatus.FAILED)]
            assert len(await backend.get_many(listed)) == len(listed)
            assert (await backend.count_by_status())[TaskStatus.FAILED] == len(listed)
            await backend.store_many(TaskResult.success(f"w{n}", n) for n in range(50))
            assert [(await wait).result for wait in waits] == list(range(50))


async def test_flushed_under_waiters(server: Server) -> None:
    """FLUSHALL, and keys deleted or evicted behind the backend: no crash, no ghost, and the waits go on.

    What walks over an index entry without its record removes it, so counts and indexes are right again.
    """
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        async with RedisBackend(server.url, recheck_interval=0.3, error_groups=False) as backend:
            waits = [await waiting(backend, f"t{n}") for n in range(100)]
            await backend.store_many(TaskResult.failed(f"f{n}", ValueError()) for n in range(200))
            for n in range(0, 200, 2):
                admin.delete(f"flowstore:{{default}}:r:f{n}")
            for order in ("submitted", "finished"):
                page = await backend.page(TaskStatus.FAILED, limit=200, order=order)
                assert {item.task_id for item in page.items} == {f"f{n}" for n in range(1, 200, 2)}
            assert (await backend.count_by_status())[TaskStatus.FAILED] == 100
            assert len([step async for step in backend.history.iter()]) == 100
            assert len(check_whole(admin)) == 100
            admin.flushall()
            assert (await backend.page(TaskStatus.FAILED)).items == []
            await backend.store_many(TaskResult.success(f"t{n}", n) for n in range(100))
            assert [(await wait).result for wait in waits] == list(range(100))


def test_a_program_that_forgets_to_close(server: Server) -> None:
    """It ends, with a ResourceWarning; what it was told is stored is on the server."""
    ended = forgetful.run(server.url)
    assert "ResourceWarning: RedisBackend" in ended.stderr
    with redis.Redis.from_url(server.url, decode_responses=True) as admin:
        assert check_whole(admin).keys() >= forgetful.STORED
