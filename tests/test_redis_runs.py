"""Runs on a Redis or Valkey that loses replies, goes away, or holds what is no record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from flowstore import RedisBackend, TaskStatus
from flowstore.runs.ids import record_id
from flowstore.testing.faults import Proxy
from flowstore.testing.runs_contract.base import stored

PREFIX = "flowstore:{default\x1fruns}:"


@asynccontextmanager
async def behind_proxy(redis_url: str, **options: Any) -> AsyncIterator[tuple[Proxy, RedisBackend]]:
    where: dict[str, Any] = Redis.from_url(redis_url).connection_pool.connection_kwargs
    async with Proxy(where["host"], where["port"]) as proxy:
        url = redis_url.replace(f":{where['port']}", f":{proxy.port}")
        async with RedisBackend(url, **options) as backend:
            yield proxy, backend


async def test_lost_replies(redis_url: str, client: Any) -> None:
    """Each call ends as if nothing had happened; what was appended is there once, without a key as well."""
    async with behind_proxy(redis_url) as (proxy, backend):
        runs = backend.runs
        for _ in range(2):  # so that the server knows all scripts
            await runs.start("r")
            await runs.append("r", 1)
            await runs.evaluate("r", "k", 1)
            await runs.datasets.save("r", [1])
            await runs.complete("r", 1)
            assert await runs.delete("r")

        async def lost(call: Awaitable[Any]) -> Any:
            await asyncio.gather(*(runs.exists("r", "k") for _ in range(3)))  # it is connected
            proxy.lose_reply()
            return await call

        assert (await lost(runs.start("r"))).attempt == 0
        for number in range(5):
            assert await lost(runs.append("r", number)) is True
            assert await lost(runs.append("r", number, key=f"first {number}", keep="first")) is True
            assert await lost(runs.append("r", number, key=f"l{number}")) is True
        assert await lost(runs.append_many("r", [(None, "many")] * 50)) == [True] * 50
        assert (await runs.progress("r")).done == 65
        found = [record async for record in runs.records("r")]
        assert {record.version for record in found} == {1}
        assert [record.value for record in found if record.key.startswith("first ")] == [*range(5)]
        assert [record.value for record in found].count("many") == 50
        assert (await lost(runs.start("r", resume=True))).attempt == 1
        await lost(runs.evaluate("r", "k", 1))
        await lost(runs.evaluate("r", "k", 2))
        assert [each.values for each in await runs.all_evaluations("r")] == [1]
        assert (await lost(runs.datasets.save("r", range(600)))).rows == 600
        assert (await lost(runs.datasets.save("r", range(700)))).rows == 700
        assert await lost(runs.checkpoint("r", 1)) == 1
        assert (await lost(runs.complete("r", "done"))).result == "done"
        assert await lost(runs.delete("r")) is True
        assert await lost(runs.delete("r")) is False
        assert await stored(backend) == 0


@pytest.mark.parametrize("result", [None, "done"])
async def test_a_block_rides_out_an_outage_at_its_end(redis_url: str, result: Any) -> None:
    """And ends its run once, in its own attempt."""
    async with behind_proxy(redis_url, op_timeout=0.5) as (proxy, backend):
        async with backend.runs.run("r", patience=30) as run:
            await run.append(1)
            run.result = result
            proxy.stall()
            asyncio.get_running_loop().call_later(1.2, proxy.resume)
        ended = await backend.runs.get("r")
        assert ended is not None
        assert (ended.status, ended.attempt, ended.result) == (TaskStatus.SUCCESS, 0, result)
        assert (await backend.runs.progress("r")).done == 1


async def test_what_is_no_record_is_removed_with_its_run(redis_url: str, client: Any) -> None:
    async with RedisBackend(redis_url) as backend:
        await backend.runs.start("r")
        await backend.runs.append_many("r", {str(n): n for n in range(5)})
        client.set(PREFIX + "r:" + record_id("r", "2"), "no record")
        assert [each.key for each in (await backend.runs.page("r")).unreadable] == ["2"]
        assert await backend.runs.delete("r", force=True)
    assert not client.keys(PREFIX + "r:*")
