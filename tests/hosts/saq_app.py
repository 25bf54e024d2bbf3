"""Processes of an application with SAQ: a worker that hangs in a job, and a producer that waits.

``python saq_app.py work|produce BROKER STORAGE``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from redis.asyncio import Redis
from saq import Worker
from saq.queue.redis import RedisQueue

from flowstore.integrations.saq import FlowstoreObserver


def queue_at(broker: str) -> RedisQueue:
    """With the connection limit and without the read timeout of redis-py before 8."""
    return RedisQueue(Redis.from_url(broker, socket_timeout=None, max_connections=100))


async def hang(ctx: Any) -> None:
    print("begun", flush=True)
    await asyncio.Event().wait()


async def work(broker: str, storage: str) -> None:
    """Until it is killed."""
    observer = FlowstoreObserver(storage)
    settings = observer.settings(queue=queue_at(broker), functions=[hang], id="doomed")
    await Worker(**settings).start()


async def produce(broker: str, storage: str) -> None:
    """Print what a job returns that another process works on."""
    queue = queue_at(broker)
    async with FlowstoreObserver(storage) as observer:
        job = await observer.attach(queue).enqueue("add", a=20, b=22)
        assert job is not None
        print((await observer.wait(job, timeout=30)).unwrap(), flush=True)
    await queue.disconnect()


if __name__ == "__main__":
    _, action, *urls = sys.argv
    asyncio.run({"work": work, "produce": produce}[action](*urls))
