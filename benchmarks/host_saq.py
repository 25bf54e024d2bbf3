"""SAQ in ``benchmarks.hosts``: waits by its own notifications, or by flowstore.

``python -m benchmarks.host_saq URL WITH`` is its worker.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis
from saq import Job, Worker
from saq.queue.redis import RedisQueue

from benchmarks.hosts import WORK, Host
from flowstore.integrations.saq import FlowstoreObserver


def queue_at(url: str) -> RedisQueue:
    """With the connection limit and without the read timeout of redis-py before 8."""
    return RedisQueue(Redis.from_url(url, socket_timeout=None, max_connections=100))


async def double(ctx: Any, *, number: int, seconds: float) -> int:
    if seconds:
        await asyncio.sleep(seconds)
    return 2 * number


def worker_of(queue: RedisQueue, observer: FlowstoreObserver | None) -> Worker[Any]:
    settings: dict[str, Any] = {"queue": queue, "functions": [double]}
    return Worker(**(settings if observer is None else observer.settings(settings)))


class Saq(Host):
    name = "saq"
    packages = ("saq",)

    def worker(self) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-m", "benchmarks.host_saq", self.url, str(self.with_flowstore)], {}

    async def open(self) -> None:
        self.queue = queue_at(self.url)
        # SAQ's sweep, as by a worker that starts, aborts a job that is just about to begin.
        await self.queue.redis.set("saq:default:sweep", 1, ex=3600)
        self.observer = FlowstoreObserver(self.url) if self.with_flowstore else None
        if self.observer is not None:
            self.observer.attach(self.queue)

    async def close(self) -> None:
        if self.observer is not None:
            await self.observer.close()
        await self.queue.disconnect()

    async def round_trip(self, number: int) -> int:
        job = await self._sent(number, WORK)
        if self.observer is not None:
            value: int = (await self.observer.wait(job, timeout=30)).unwrap()
            return value
        while not job.completed:
            with suppress(TimeoutError):  # the news of a job that ended before it was listened for are lost
                await job.refresh(until_complete=1)
        return int(job.result)

    async def open_here(self) -> None:
        await self.open()
        self.here = worker_of(self.queue, self.observer)
        for hook in self.here.startup or ():
            await hook(self.here.context)

    async def send_here(self, number: int) -> None:
        await self._sent(number, 0)

    async def run_here(self) -> None:
        await self.here.process()

    async def _sent(self, number: int, seconds: float) -> Job:
        job = await self.queue.enqueue("double", number=number, seconds=seconds)
        assert job is not None
        return job


if __name__ == "__main__":
    _, its_url, its_observer = sys.argv
    asyncio.run(
        worker_of(queue_at(its_url), FlowstoreObserver(its_url) if its_observer == "True" else None).start()
    )
