"""Redis clients that were given, in one event loop after another, and in the child of a fork."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis

from flowstore import RedisBackend, TaskResult, WrongLoop
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.engine import let_go
from flowstore.testing.contract.forking import in_child
from flowstore.testing.contract.moving import Loops, assert_opened, in_time, opened

T = TypeVar("T")

POOLS: dict[str, Callable[[str], Any]] = {
    "plain": lambda url: Redis(connection_pool=ConnectionPool.from_url(url, max_connections=3, **OWN_NAME)),
    "blocking": lambda url: Redis(
        connection_pool=BlockingConnectionPool.from_url(url, max_connections=3, timeout=5, **OWN_NAME)
    ),
    "single": lambda url: Redis.from_url(url, single_connection_client=True, **OWN_NAME),
}


@pytest.mark.filterwarnings("ignore:unclosed|loop is closed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("kind", POOLS)
async def test_a_given_client_moves_with_the_backend(redis_url: str, kind: str) -> None:
    """Its idle connections were opened in the last loop; it is the caller's, and works in each loop as well.

    Calls that die with their loop are finalised by redis-py, whose own warnings are ignored.
    """
    loops = Loops()

    def live() -> None:
        client = POOLS[kind](redis_url)
        backend = RedisBackend(client=client, op_timeout=20)

        async def use(n: int) -> list[asyncio.Task[Any]]:
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
            assert await client.ping()
            names = [f"t{m}" for m in range(n + 1)] * 20
            found = await asyncio.gather(*(backend.wait_for(name, 20) for name in names))
            assert [result.unwrap() for result in found] == [int(name[1:]) for name in names]
            await asyncio.gather(*(client.get(f"x{m}") for m in range(3 if kind == "blocking" else 1)))
            left = [asyncio.ensure_future(backend.get("t0")) for _ in range(10 * (n % 2))]
            for _ in range(n):
                await asyncio.sleep(0)
            return left

        for n in range(6):
            for task in (loops.run, loops.run_and_close)[n % 2](in_time(use(n))):
                let_go(task)
        loops.run(backend.close())
        loops.run(client.aclose())
        loops.run(client.connection_pool.disconnect())

    def live_and_leave_nothing() -> None:
        before = opened()
        live()
        assert_opened(before)

    await asyncio.to_thread(live_and_leave_nothing)


async def test_a_client_whose_loop_still_runs(redis_url: str) -> None:
    """Its connections cannot be used in another: said when the backend opens, instead of a hang."""
    client = Redis.from_url(redis_url, **OWN_NAME)
    await client.ping()

    async def elsewhere() -> None:
        with pytest.raises(WrongLoop, match=r"^client: .*another event loop"):
            await RedisBackend(client=client).get("t")

    await asyncio.to_thread(asyncio.run, elsewhere())
    async with RedisBackend(client=client) as backend:
        assert await backend.get("t") is None
    await client.aclose()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_a_client_that_was_used_before_a_fork(redis_url: str) -> None:
    """Parent and child would read each other's answers from its connections."""
    client = Redis.from_url(redis_url, **OWN_NAME)
    backend = RedisBackend(client=client)
    await client.ping()

    def child() -> str:
        try:
            asyncio.run(backend.get("t"))
        except WrongLoop as error:
            return str(error)
        return "no error"

    assert "process" in await in_child(child)
    assert await backend.get("t") is None
    await backend.close()
    await client.aclose()
