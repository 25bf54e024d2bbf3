"""Processes of an application with arq: a worker that hangs in a job, and a producer that waits.

``python -m tests.hosts.arq_app work|produce BROKER STORAGE``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import arq
from arq.connections import ArqRedis, RedisSettings

from flowstore.integrations.arq import FlowstoreObserver


async def pool_at(broker: str) -> ArqRedis:
    return await arq.create_pool(RedisSettings.from_dsn(broker))


async def hang(ctx: Any) -> None:
    print("begun", flush=True)
    await asyncio.Event().wait()


async def work(broker: str, storage: str) -> None:
    """Until it is killed. Others may take its jobs as soon as half a second later."""
    settings = FlowstoreObserver(storage).settings(
        functions=[hang], redis_pool=await pool_at(broker), poll_delay=0.02
    )
    worker = arq.Worker(**settings, handle_signals=False)
    worker.in_progress_timeout_s = 0.5
    await worker.async_run()


async def produce(broker: str, storage: str) -> None:
    """Print what a job returns that another process works on."""
    pool = await pool_at(broker)
    async with FlowstoreObserver(storage) as observer:
        job = await observer.attach(pool).enqueue_job("Lab.add", 20, b=22)
        assert job is not None
        print((await observer.wait(job, timeout=30)).unwrap(), flush=True)
    await pool.aclose()


if __name__ == "__main__":
    _, action, *urls = sys.argv
    asyncio.run({"work": work, "produce": produce}[action](*urls))
