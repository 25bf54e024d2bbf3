"""The Redis backend on real servers: the contract, and what only a server shows."""

from __future__ import annotations

import asyncio
import itertools
import re
import struct
from typing import Any

import pytest
import redis
import redis.asyncio

from flowstore import (
    AccessDenied,
    CorruptStore,
    Progress,
    RedisBackend,
    SchemaTooNew,
    StorageUnavailable,
    TaskResult,
    TaskStatus,
    WaitTimeout,
)
from flowstore.backends.redis import listener as redis_listener
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.testing import ManualClock
from flowstore.testing.contract import (
    BackendContract,
    CountedNamesContract,
    ErrorGroupsContract,
    MakeBackend,
    SharedTripsContract,
    StatisticsContract,
)
from flowstore.testing.insides import core_of, engine_of
from flowstore.testing.support import EFFORT, START, failed, seen, waiting
from flowstore.times import to_micros
from tests.redis_whole import raw
from tests.support.following import cancel_elsewhere, follow
from tests.support.limits import Limits


class OnRedis:
    @pytest.fixture
    def make_backend(self, redis_url: str) -> MakeBackend:
        numbers = itertools.count()

        def make(**options: Any) -> RedisBackend:
            return RedisBackend(redis_url, namespace=f"test {next(numbers)}", **options)

        return make


class TestRedis(
    OnRedis,
    BackendContract,
    StatisticsContract,
    CountedNamesContract,
    ErrorGroupsContract,
    SharedTripsContract,
):
    """The contract, on servers of both kinds."""


class TestLimits(OnRedis, Limits):
    pass


def commands(client: Any) -> dict[str, int]:
    """Calls so far by command, those inside of scripts included."""
    return {
        name.removeprefix("cmdstat_"): stat["calls"] for name, stat in client.info("commandstats").items()
    }


async def test_namespaces_share_a_database(redis_url: str) -> None:
    """clear of one leaves the other, whatever characters their names have."""
    names = ["a", "a*", "a}:r:x{", "{a}", "%7Ba%7D"]
    backends = [RedisBackend(redis_url, namespace=name) for name in names]
    for n, backend in enumerate(backends):
        await backend.store("t", TaskResult.success("t", n))
        await backend.store("}:r:t", TaskResult.success("}:r:t", n))
    assert await backends[0].clear() == 2
    for n, backend in enumerate(backends[1:], 1):
        assert (await backend.wait_for("t", 5)).unwrap() == n
        assert await backend.clear() == 2
    for backend in backends:
        await backend.close()


async def test_pages_and_counts_touch_what_they_return(redis_url: str, client: Any) -> None:
    """With 20,000 records (200,000 in ``stress``) every page, however deep, and the counts: no more."""
    failures = 2_000 * EFFORT
    async with RedisBackend(redis_url) as backend:
        await backend.store_many(
            failed(f"t{n:06}", n) if n % 10 == 0 else TaskResult.success(f"t{n:06}", n)
            for n in range(10 * failures)
        )
        await backend.page(limit=1, load_result=False)  # loads the scripts
        await backend.count_by_status()
        cursor = None
        one_before = {"evalsha": 3, "zrevrangebylex": 1, "getrange": 1}  # whether there is a page before
        for _ in range(failures // 50):
            before = commands(client)
            page = await backend.page(TaskStatus.FAILED, limit=50, cursor=cursor)
            after = commands(client)
            spent = {name: calls - before.get(name, 0) for name, calls in after.items() if name != "info"}
            spent = {name: calls for name, calls in spent.items() if calls}
            assert spent == {"evalsha": 1, "zrangebylex": 1, "mget": 1} | (one_before if cursor else {})
            assert len(page.items) == 50
            cursor = page.next_cursor
        before = commands(client)
        assert (await backend.count_by_status())[TaskStatus.FAILED] == failures
        after = commands(client)
        assert after["zcard"] - before.get("zcard", 0) == 6
        assert sum(after.values()) - sum(before.values()) <= 8


async def test_one_trip_for_each_call(redis_url: str, client: Any) -> None:
    """store, get, wait and count are one command each on the wire, the first page is two."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("warm", TaskResult.success("warm"))
        await backend.wait_for("warm", 5)
        await backend.page()
        calls: list[tuple[Any, str]] = [
            (backend.store("t", TaskResult.success("t", 1)), "evalsha"),
            (backend.get("t"), "mget"),
            (backend.wait_for("t", 5), "evalsha"),
            (backend.page(), "evalsha mget"),
            (backend.count_by_status(), "evalsha"),
        ]
        for call, trips in calls:
            before = commands(client)
            await call
            after = commands(client)
            sent = ("evalsha", "mget", "scan")
            spent = {name: after.get(name, 0) - before.get(name, 0) for name in sent}
            assert spent == dict.fromkeys(sent, 0) | dict.fromkeys(trips.split(), 1)


async def test_purge_and_clear_leave_nothing(redis_url: str, client: Any) -> None:
    """Behind the backend's back: only the number of the format is left."""
    clock = ManualClock()
    left = ["flowstore:{default}:format"]
    async with RedisBackend(redis_url, clock=clock, stats=None) as backend:
        await backend.store_many((failed(f"t{n}", task_name="n", labels={"x"}) for n in range(100)), ttl=5)
        await backend.store("c", failed("c", parent_id="t1", worker_id="w"), ttl=5)
        await backend.data.set("c", "k", 1)
        await backend.checkpoints.save("c", 1)
        clock.advance(6)
        assert await backend.purge_expired() == 101
        assert client.keys("flowstore:{default}:[^c]*") == left
        await backend.store_many(failed(f"t{n}", task_name="n") for n in range(1_500))
        assert await backend.clear() == 1_500
        assert client.keys("flowstore:{default}:[^c]*") == left


async def test_stored_bytes_are_pinned(redis_url: str, client: Any) -> None:
    """Format 3, to the letter but for the random token: what is written today is read tomorrow."""
    async with RedisBackend(redis_url, clock=ManualClock(), stats=None) as backend:
        record = failed("t", args=(1,), retries=2, task_name="ad d", labels={"b"}, worker_id="wé")
        record = record.model_copy(update={"progress": Progress(done=1), "parent_id": "p"})
        await backend.store("t", record, ttl=10**9)
    with raw(client) as plain:
        value: bytes = plain.get("flowstore:{default}:r:t")
        now, offset = 1767225600000000, 2**63
        sort, finish = (
            struct.pack(">Q", offset - now),
            struct.pack(">Q", offset - to_micros(START)),
        )
        time, expires = struct.pack(">Q", offset + now), struct.pack(">Q", offset + now + 10**15)
        item = time + b"\0" * 7 + b"\1"
        said = '["failed",10,"wé",{"type":"ValueError","message":"t"}]'.encode()
        assert value[:16] == b"3" + b"\0" * 7 + b"\1" + b"\0\1" + struct.pack(">I", 28 + len(said)) + b"\0"
        assert value[16:26] == b"\4" + bytes([1 + 4 + 16]) + struct.pack(">Q", 10)
        assert value[26:50] == sort + finish + expires
        facets = b"\0\x09step:ad d\0\x0aworker:w\xc3\xa9\0\x07label:b\0\x01~"
        facets += b"\0\x16error:c55ab58557a38484\0\x17~error:c55ab58557a38484"
        lengths = struct.unpack(">HIIII", value[50:68])
        assert lengths[1:3] == (9, len(facets))
        assert value[68:76] == time
        assert re.fullmatch(rb"[0-9a-f]{16}\.[0-9a-f]+", value[100 : 100 + lengths[0]])
        rest = value[100 + lengths[0] :]
        assert rest[: 9 + len(facets)] == b"\0\x07child:p" + facets
        rest = rest[9 + len(facets) :]
        assert rest[:16] == item
        assert rest[24 : 28 + len(said)] == struct.pack(">I", len(said)) + said
        rest = rest[28 + len(said) :]
        assert rest.startswith(b'{"done":1,"crc":')
        head = rest[lengths[3] :][: lengths[4]]
        assert head == b'{"error":{"type":"ValueError","message":"t","args":["t"],"module":"builtins"}}'
        assert rest.endswith(head + b'{"args":[1]}')
        for facet in ("", "step:ad d", "worker:wé", "label:b", "child:p"):
            assert plain.zrange(f"flowstore:{{default}}:i:failed:{facet}", 0, -1) == [sort + b"t"]
        assert plain.zrange("flowstore:{default}:i:failed:error:c55ab58557a38484", 0, -1) == [sort + b"t"]
        for facet in ("~", "~error:c55ab58557a38484"):
            assert plain.zrange(f"flowstore:{{default}}:i:failed:{facet}", 0, -1) == [finish + b"t"]
        assert plain.zrange("flowstore:{default}:x", 0, -1, withscores=True) == [(expires + b"t", 0.0)]
        assert plain.zrange("flowstore:{default}:t", 0, -1) == [item + b"t"]
        assert plain.zrange("flowstore:{default}:f", 0, -1) == sorted(
            [
                *(b"step:ad d", "worker:wé".encode(), b"label:b"),
                *(b"~", b"error:c55ab58557a38484", b"~error:c55ab58557a38484"),
            ]
        )


async def test_waits_survive_a_lost_connection(redis_url: str, client: Any) -> None:
    """The subscription is rebuilt, and what was stored in the gap is found."""
    async with RedisBackend(redis_url) as waiter, RedisBackend(redis_url) as worker:
        for n in range(20):
            task = await waiting(waiter, f"t{n}")
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            await worker.store(f"t{n}", TaskResult.success(f"t{n}", n))
            assert (await task).result == n
        assert waiter.waiting == 0


async def test_health_checks_of_the_driver_are_no_lost_connections(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their answers come as nothing at all; the listener stays subscribed."""
    monkeypatch.setattr(redis_listener, "_QUIET", 0.2)
    client.config_resetstat()
    async with redis.asyncio.Redis.from_url(redis_url, health_check_interval=0.05, **OWN_NAME) as mine:
        pool: Any = mine.connection_pool
        async with RedisBackend(client=mine) as backend:
            with pytest.raises(WaitTimeout):
                await backend.wait_for("never", 1)
            assert client.info("commandstats")["cmdstat_subscribe"]["calls"] == 1
        assert {lent.health_check_interval for lent in pool._available_connections} == {0.05}


async def test_ids_are_no_namespaces(redis_url: str) -> None:
    """Though the key of a record ends as the one that marks a namespace."""
    async with RedisBackend(redis_url, namespace="a}b") as backend:
        await backend.store("x}:format", TaskResult.success("x}:format"))
        await backend.store("{y}:format", TaskResult.success("{y}:format"))
        assert await backend.app.namespaces() == ["a}b"]


async def test_script_flush_is_invisible(redis_url: str, client: Any) -> None:
    """Scripts are loaded again when the server forgot them."""
    async with RedisBackend(redis_url) as backend:
        for n in range(3):
            client.script_flush()
            assert await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
            assert (await backend.wait_for(f"t{n}", 5)).result == n


async def test_repeated_write_is_recognised(redis_url: str) -> None:
    """A commit that the driver sends again after a lost reply is told that it won."""
    async with RedisBackend(redis_url) as backend:
        engine, write = engine_of(backend), core_of(backend).records.write(TaskResult.success("t", 1), 0)
        await backend.open()
        first = await engine.write([write], 0)
        assert await engine.write([write], 0) == first
        assert await engine.write([write, write], 0) == first * 2


async def test_format_is_checked(redis_url: str, client: Any) -> None:
    """A newer one, and one that is no number, are refused at open."""
    client.set("flowstore:{default}:format", 99)
    with pytest.raises(SchemaTooNew, match="format 99"):
        await RedisBackend(redis_url).open()
    client.set("flowstore:{default}:format", "x")
    with pytest.raises(CorruptStore):
        await RedisBackend(redis_url).open()


async def test_given_client_is_not_closed(redis_url: str) -> None:
    """Only what the backend made is closed by it; one that decodes responses is refused."""
    async with redis.asyncio.Redis.from_url(redis_url) as mine:
        async with RedisBackend(client=mine) as backend:
            await backend.store("t", TaskResult.success("t", 1))
        assert await mine.ping()
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as decoding:
        with pytest.raises(ValueError, match="decode_responses"):
            RedisBackend(client=decoding)
    with pytest.raises(TypeError, match="exactly one"):
        RedisBackend()
    with pytest.raises(TypeError, match="exactly one"):
        RedisBackend(redis_url, client=mine)


async def test_wrong_password_and_unreachable_server(redis_url: str) -> None:
    """One clear error each; the password is in none of them, nor in the repr."""
    refused = RedisBackend(redis_url.replace("redis://", "redis://nobody:s3cret@"), op_timeout=5)
    with pytest.raises(AccessDenied) as caught:
        await refused.open()
    assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__!r} {refused!r}"
    with pytest.raises(StorageUnavailable):
        await RedisBackend("redis://:s3cret@127.0.0.1:1/0", op_timeout=1).get("t")


async def test_few_connections_are_enough(redis_url: str) -> None:
    """Two: one for all calls, one that listens. Fewer are refused, and so is another encoding."""
    async with RedisBackend(f"{redis_url}?max_connections=2") as backend:
        wait = await waiting(backend, "t0")
        stores = (backend.store(f"t{n}", TaskResult.success(f"t{n}", n)) for n in range(30))
        pages = (backend.count_by_status() for _ in range(30))
        await asyncio.gather(*stores, *pages)
        assert (await wait).unwrap() == 0
    for option in ("max_connections=1", "encoding=latin-1"):
        with pytest.raises(ValueError, match=option.split("=")[0]):
            RedisBackend(f"{redis_url}?{option}")


async def test_listens_again_after_all_tasks_were_cancelled(redis_url: str) -> None:
    """Somebody's clean-up took the listener along: the next wait hears of its store, not of the re-check."""
    async with RedisBackend(redis_url, recheck_interval=1_000) as backend, RedisBackend(redis_url) as worker:
        await worker.open()
        first = await waiting(backend, "t1")
        await seen(backend, first, "t1")
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.wait(others)
        second = await waiting(backend, "t2")
        await seen(backend, second, "t2")
        await worker.store("t2", TaskResult.success("t2", 2))
        assert (await second).unwrap() == 2


async def test_a_watch_follows_another_process(redis_url: str) -> None:
    """Status and progress stored through one backend are seen through another at once, one by one."""
    async with RedisBackend(redis_url) as watcher, RedisBackend(redis_url) as worker:
        await follow(watcher, worker)


async def test_a_block_hears_of_another_process(redis_url: str) -> None:
    """That cancels its task: at once, with no look of its own in sight."""
    async with RedisBackend(redis_url) as backend, RedisBackend(redis_url, recheck_interval=600) as worker:
        await cancel_elsewhere(backend, worker)


async def test_a_deletion_ends_no_wait_that_begins_behind_it(redis_url: str) -> None:
    """Its message is on its way to a process that gave up an earlier wait, and has begun another one."""
    async with RedisBackend(redis_url) as backend:
        for n in range(100):
            await backend.store(f"t{n}", TaskResult.running(f"t{n}"))
            with pytest.raises(WaitTimeout):
                await backend.wait_for(f"t{n}", 0.001)
            assert await backend.delete(f"t{n}")
            wait = await waiting(backend, f"t{n}")
            await seen(backend, wait, f"t{n}")
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
            assert (await wait).unwrap() == n
