"""arq in ``benchmarks.hosts``: waits by its polling, every half second, or by flowstore.

``python -m benchmarks.host_arq URL WITH`` is its worker, which polls the queue as often.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import arq
from arq.connections import ArqRedis, RedisSettings
from arq.jobs import Job

from benchmarks.hosts import WORK, Host
from flowstore.integrations.arq import FlowstoreObserver


async def pool_at(url: str) -> ArqRedis:
    return await arq.create_pool(RedisSettings.from_dsn(url))


async def double(ctx: Any, number: int, seconds: float) -> int:
    if seconds:
        await asyncio.sleep(seconds)
    return 2 * number


def worker_on(pool: ArqRedis, observer: FlowstoreObserver | None) -> arq.Worker:
    settings: dict[str, Any] = {"functions": [double], "redis_pool": pool}
    return arq.Worker(**(settings if observer is None else observer.settings(settings)))


class Arq(Host):
    name = "arq"
    packages = ("arq",)

    def worker(self) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-m", "benchmarks.host_arq", self.url, str(self.with_flowstore)], {}

    async def open(self) -> None:
        self.pool = await pool_at(self.url)
        self.observer = FlowstoreObserver(self.url) if self.with_flowstore else None
        if self.observer is not None:
            self.observer.attach(self.pool)

    async def close(self) -> None:
        if self.observer is not None:
            await self.observer.close()
        await self.pool.aclose()

    async def round_trip(self, number: int) -> int:
        job = await self._sent(number, WORK)
        if self.observer is not None:
            value: int = (await self.observer.wait(job, timeout=30)).unwrap()
            return value
        return int(await job.result(timeout=30))

    async def open_here(self) -> None:
        await self.open()
        self.here = worker_on(self.pool, self.observer)
        self.here.ctx["redis"] = self.pool
        if self.here.on_startup is not None:
            await self.here.on_startup(self.here.ctx)

    async def send_here(self, number: int) -> None:
        self.sent = await self._sent(number, 0)

    async def run_here(self) -> None:
        await self.here.run_job(self.sent.job_id, int(time.time() * 1000))

    async def _sent(self, number: int, seconds: float) -> Job:
        job = await self.pool.enqueue_job("double", number, seconds)
        assert job is not None
        return job


async def work(url: str, observer: FlowstoreObserver | None) -> None:
    await worker_on(await pool_at(url), observer).async_run()


if __name__ == "__main__":
    _, its_url, its_observer = sys.argv
    asyncio.run(work(its_url, FlowstoreObserver(its_url) if its_observer == "True" else None))
