"""Processes of an application with streaQ: a worker that hangs in a task, and a producer that waits.

``python -m tests.hosts.streaq_app work|produce BROKER STORAGE``
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from streaq import Worker

from flowstore.integrations.streaq import FlowstoreObserver


def worker_at(broker: str, observer: FlowstoreObserver, **options: Any) -> Worker[Any]:
    return observer.attach(Worker(redis_url=broker, **options))


async def work(broker: str, storage: str) -> None:
    """Until it is killed. Others may take its tasks as soon as it has been silent for a moment."""
    worker = worker_at(broker, FlowstoreObserver(storage), idle_timeout=0.5)

    @worker.task(name="hang")
    async def hang() -> None:
        print("begun", flush=True)
        await asyncio.Event().wait()

    await worker.run_async()


async def produce(broker: str, storage: str) -> None:
    """Print what a task returns that another process works on."""
    async with FlowstoreObserver(storage) as observer:
        worker = worker_at(broker, observer)
        async with worker:
            task = await worker.enqueue_unsafe("add", 20, b=22)
            print((await observer.wait(task, timeout=30)).unwrap(), flush=True)


if __name__ == "__main__":
    _, action, *urls = sys.argv
    asyncio.run({"work": work, "produce": produce}[action](*urls))
