"""Writes that the driver sends again, because their reply got lost, are carried out once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from flowstore import RedisBackend, StorageError, TaskResult, TaskStatus
from flowstore.backends.redis.calls import Calls
from flowstore.testing import ManualClock
from flowstore.testing.faults import Proxy
from flowstore.testing.insides import storage_of
from flowstore.testing.support import failed
from tests.redis_whole import PREFIX, check_whole

Between = Callable[[], Awaitable[object]]


async def test_lost_replies(redis_url: str, client: Any) -> None:
    """Each call ends as if nothing had happened, and counts are exact."""
    where: dict[str, Any] = Redis.from_url(redis_url).connection_pool.connection_kwargs
    clock = ManualClock()
    async with Proxy(where["host"], where["port"]) as proxy:
        url = redis_url.replace(f":{where['port']}", f":{proxy.port}")
        async with RedisBackend(url, clock=clock) as backend:
            await backend.store("t", TaskResult.success("t"))
            await backend.delete("t")
            await backend.purge_expired()
            await backend.clear()  # so that the server knows all scripts

            async def lost(call: Awaitable[object]) -> object:
                await asyncio.gather(*(backend.exists("t") for _ in range(3)))  # it is connected
                proxy.lose_reply()
                return await call

            for n in range(5):
                assert await lost(backend.store(f"t{n}", TaskResult.success(f"t{n}", n))) is True
                record = await backend.get(f"t{n}")
                assert record is not None
                assert record.version == 1
            assert await lost(backend.delete("t0")) is True
            assert await lost(backend.delete("t0")) is False
            assert await lost(backend.delete_many(["t0", "t1", "t2"])) == 2
            await backend.store_many([failed(f"f{n}") for n in range(3)], ttl=5)
            clock.advance(6)
            assert await lost(backend.purge_expired()) == 3
            await backend.store_many(TaskResult.pending(f"p{n}") for n in range(2_500))
            assert await lost(backend.clear()) == 2_502
    assert check_whole(client) == {}


@pytest.fixture
def send_twice(monkeypatch: pytest.MonkeyPatch) -> Callable[[RedisBackend, Between], None]:
    """Let the backend send each write again, after ``between``; the two answers must be equal."""

    def arrange(backend: RedisBackend, between: Between) -> None:
        calls = storage_of(backend).calls
        run = Calls._run

        async def run_twice(*call: Any) -> Any:
            first = await run(calls, *call)
            await between()
            assert await run(calls, *call) == first
            return first

        monkeypatch.setattr(calls, "_run", run_twice)

    return arrange


async def test_overtaken_by_others(
    redis_url: str, client: Any, send_twice: Callable[[RedisBackend, Between], None]
) -> None:
    """What another client did meanwhile stands: nothing comes back, and nothing of the other's is lost."""
    async with RedisBackend(redis_url) as other, RedisBackend(redis_url) as backend:
        await backend.open()
        send_twice(backend, lambda: other.delete("t"))
        assert await backend.store("t", TaskResult.success("t", 1)) is True
        assert await other.get("t") is None

        send_twice(backend, lambda: other.store("t", TaskResult.success("t", 2), overwrite=True))
        assert await backend.store("t", TaskResult.success("t", 1), overwrite=True) is True
        assert (await other.wait_for("t", 5)).unwrap() == 2
        assert await backend.delete("t") is True
        assert (await other.wait_for("t", 5)).unwrap() == 2
    assert check_whole(client) == {"t": "success"}


async def test_refused_writes_are_refused_again(
    redis_url: str, client: Any, send_twice: Callable[[RedisBackend, Between], None]
) -> None:
    """Though nothing stands in their way any more when they are sent again."""
    async with RedisBackend(redis_url) as other, RedisBackend(redis_url) as backend:
        await other.store("t", TaskResult.success("t", 1))
        send_twice(backend, lambda: other.delete("t"))
        assert await backend.store("t", TaskResult.success("t", 2)) is False
        await other.store("u", TaskResult.success("u", 1))
        send_twice(backend, lambda: other.delete("u"))
        assert await backend.store_many(TaskResult.success(name, 2) for name in ("u", "v")) == [False, True]
    assert check_whole(client) == {"v": "success"}


async def test_what_failed_midway_is_carried_out_when_sent_again(redis_url: str, client: Any) -> None:
    """An answer that was an error is not remembered as success."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.success("t"))
        calls = storage_of(backend).calls
        line = calls._idle[-1]
        arguments = (1_000, 60_000, 0, b"\x80" + b"\0" * 7, 2, "no kind", b"no write", b"no record")
        for _ in range(2):
            with pytest.raises(ResponseError):
                await calls._run(line.call, "commit", (storage_of(backend)._prefix, line.key), arguments)
        assert client.exists(line.key) == 0


async def test_come_too_late(redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that reaches the server when its client has gone on to others is refused."""
    sent: list[Any] = []
    run = Calls._run

    async def noted(calls: Calls, *call: Any) -> Any:
        sent.append(call)
        return await run(calls, *call)

    monkeypatch.setattr(Calls, "_run", noted)
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        await backend.delete("t")
        with pytest.raises(StorageError, match="too late"):
            await storage_of(backend).calls._guarded(lambda _: run(storage_of(backend).calls, *sent[0]))
        assert await backend.get("t") is None
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 0


async def test_answers_are_forgotten(redis_url: str, client: Any) -> None:
    """A key for each of the few calls that were under way at once, gone a minute after the last of them."""
    async with RedisBackend(redis_url, op_timeout=20) as backend:
        for _ in range(10):
            await asyncio.gather(*(backend.store(f"t{n}", TaskResult.success(f"t{n}")) for n in range(100)))
        keys = client.keys(PREFIX + "c:*")
        assert 1 <= len(keys) <= 10
        assert all(50_000 < client.pttl(key) <= 60_000 for key in keys)


@pytest.mark.parametrize("verb", ["delete", "clear", "store"])
async def test_a_write_that_was_given_up_never_overtakes_the_next(
    redis_url: str, client: Any, verb: str
) -> None:
    """It arrives behind a write that took another line, as a read had taken its own, and is refused."""
    where: dict[str, Any] = Redis.from_url(redis_url).connection_pool.connection_kwargs
    async with Proxy(where["host"], where["port"]) as proxy:
        url = redis_url.replace(f":{where['port']}", f":{proxy.port}")
        async with RedisBackend(url) as backend, RedisBackend(redis_url) as other:
            for _ in range(2):  # so that the server knows the scripts, and lone calls make their trips alone
                await backend.store("t", TaskResult.pending("t"))
                await backend.clear()
                await backend.delete("t")
            await backend.store("t", TaskResult.pending("t"))
            calls: dict[str, Callable[[], Awaitable[object]]] = {
                "delete": lambda: backend.delete("t"),
                "clear": lambda: backend.clear(),
                "store": lambda: backend.store("t", TaskResult.running("t"), overwrite=True),
            }
            proxy.stall("to server")
            given_up = asyncio.ensure_future(calls[verb]())
            await asyncio.sleep(0.05)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            read = asyncio.ensure_future(backend.get("t"))  # takes the line of what was given up
            await asyncio.sleep(0.01)
            assert await backend.store("t", TaskResult.success("t", 1), overwrite=True)
            proxy.resume()
            await read
            await asyncio.sleep(0.05)
            assert (await other.wait_for("t", 5)).unwrap() == 1
            assert storage_of(backend).calls._unfenced == {}
    assert check_whole(client) == {"t": "success"}


async def test_what_was_given_up_is_fenced_off_on_a_full_server(redis_url: str, client: Any) -> None:
    """There a deletion is carried out, and so must be its fence."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        calls = storage_of(backend).calls
        calls._unfenced[f"{PREFIX}c:other"] = 7
        calls._unfenced[f"{PREFIX}c:later"] = 3
        client.set(f"{PREFIX}c:later", "9 answer")
        client.config_set("maxmemory", 1)
        try:
            assert await backend.delete("t")
        finally:
            client.config_set("maxmemory", 0)
        assert calls._unfenced == {}
        assert [client.get(f"{PREFIX}c:{name}") for name in ("other", "later")] == ["7", "9 answer"]
        assert 0 < client.pttl(f"{PREFIX}c:other") <= 60_000
