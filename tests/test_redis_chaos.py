"""Clients of a Redis or Valkey that dies, hangs, hangs up and forgets: an order explains what they saw."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import redis

from flowstore import RedisBackend, StorageError
from flowstore.testing.faults import History, Proxy, Recorder, crowd
from flowstore.testing.support import IS_STRESS
from tests.redis_whole import check_whole
from tests.servers import SERVER_KINDS, Server, start_server

SEEDS = range(30 if IS_STRESS else 1)
TIMEOUT = 0.5


@pytest.fixture(params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One to break, which keeps each write in its AOF."""
    started = start_server(request.param, "--appendonly", "yes", "--appendfsync", "always")
    yield started
    started.stop()


class Trouble:
    """One fault after the other, drawn with a seed, never two at a time."""

    def __init__(self, server: Server, proxy: Proxy, seed: int) -> None:
        self._server = server
        self._proxy = proxy
        self._random = random.Random(seed)
        self._lock = asyncio.Lock()

    async def __call__(self) -> None:
        faults = [self.kill, self.pause, self.hang_up, self.forget, self.cut, self.stall, self.lose_replies]
        async with self._lock:
            await self._random.choice(faults)()

    async def kill(self) -> None:
        self._server.kill()
        await asyncio.to_thread(self._server.restart)

    async def pause(self) -> None:
        self._server.pause()
        await self._a_while()
        self._server.resume()

    async def stall(self) -> None:
        self._proxy.stall()
        await self._a_while()
        self._proxy.resume()

    async def hang_up(self) -> None:
        with redis.Redis.from_url(self._server.url) as admin:
            for kind in ("normal", "pubsub"):
                admin.client_kill_filter(_type=kind, skipme=True)

    async def forget(self) -> None:
        with redis.Redis.from_url(self._server.url) as admin:
            admin.script_flush()

    async def cut(self) -> None:
        self._proxy.cut()

    async def lose_replies(self) -> None:
        self._proxy.lose_reply(self._random.randint(1, 4))

    async def _a_while(self) -> None:
        """Sometimes too long for a call, and sometimes not."""
        await asyncio.sleep(self._random.uniform(0, 2 * TIMEOUT))


@pytest.mark.parametrize("seed", SEEDS)
async def test_an_order_of_all_calls_explains_them(server: Server, seed: int) -> None:
    """Six clients, three behind a bad network. In the end records and indexes agree."""
    history = History()
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy("127.0.0.1", server.port))
        urls = [server.url, f"redis://127.0.0.1:{proxy.port}/0"] * 3
        backends = [RedisBackend(url, op_timeout=TIMEOUT) for url in urls]
        for each in backends:  # which open at their first call, as that may take longer than TIMEOUT as well
            stack.push_async_exit(each)
        clients = [Recorder(each, history.note) for each in backends]
        await crowd(clients, seed, 600, disturb=Trouble(server, proxy, seed), disturb_every=120)
    with redis.Redis.from_url(server.url, decode_responses=True) as view:
        check_whole(view)
    history.check()
    assert len(history) > 1_000


@pytest.mark.parametrize("seed", SEEDS)
async def test_no_record_of_a_run_is_lost_or_doubled(server: Server, seed: int) -> None:
    """Four clients append to one run: what was acknowledged is there, and what was not at most once."""
    acknowledged: set[tuple[int, int]] = set()

    async def append(number: int, backend: RedisBackend, trouble: Trouble) -> None:
        for n in range(80):
            with contextlib.suppress(StorageError):
                await backend.runs.append("r", (number, n), key=f"{number} {n}" if n % 2 else None)
                acknowledged.add((number, n))
            if n % 20 == 5 * number:
                await trouble()

    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(Proxy("127.0.0.1", server.port))
        urls = [server.url, f"redis://127.0.0.1:{proxy.port}/0"] * 2
        backends = [RedisBackend(url, op_timeout=TIMEOUT) for url in urls]
        for each in backends:
            stack.push_async_exit(each)
        # Beginning and end are no trouble, and a server that syncs each write may be slower than TIMEOUT.
        patient = await stack.enter_async_context(RedisBackend(server.url))
        await patient.runs.start("r")
        trouble = Trouble(server, proxy, seed)
        await asyncio.gather(*(append(number, each, trouble) for number, each in enumerate(backends)))
        found = [record.value async for record in patient.runs.records("r")]
        assert (await patient.runs.progress("r")).done == len(found)
    assert len({*found}) == len(found)
    assert {*found} >= acknowledged
    assert len(acknowledged) > 100
    with redis.Redis.from_url(server.url, decode_responses=True) as view:
        check_whole(view, "flowstore:{default\x1fruns}:")
