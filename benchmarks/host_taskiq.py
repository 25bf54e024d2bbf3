"""taskiq in ``benchmarks.hosts``: with the results in taskiq-redis, as most of its users have them, or here.

The module is what its worker imports: FLOWSTORE_BENCH_REDIS and FLOWSTORE_BENCH_WITH say which of the two.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, Final

from taskiq import AsyncBroker, AsyncResultBackend, BrokerMessage, InMemoryBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from benchmarks.hosts import WORK, Host
from flowstore.integrations.taskiq import FlowstoreResultBackend


def results_at(url: str, with_flowstore: bool) -> AsyncResultBackend[Any]:
    return FlowstoreResultBackend(url) if with_flowstore else RedisAsyncResultBackend(url)


def on(broker: AsyncBroker, results: AsyncResultBackend[Any]) -> AsyncBroker:
    broker.with_result_backend(results)
    if isinstance(results, FlowstoreResultBackend):
        broker.add_middlewares(results)
    broker.register_task(double, task_name="double")
    return broker


async def double(number: int, seconds: float) -> int:
    if seconds:
        await asyncio.sleep(seconds)
    return 2 * number


class Here(InMemoryBroker):
    """Without a queue: a message that was sent is run when it is asked for."""

    async def kick(self, message: BrokerMessage) -> None:
        self.sent = message.message

    async def run(self) -> None:
        await self.receiver.callback(self.sent)


class Taskiq(Host):
    name = "taskiq"
    packages = ("taskiq", "taskiq-redis")

    def worker(self) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "taskiq", "worker", "benchmarks.host_taskiq:broker", "--workers=1"]
        asks = {"FLOWSTORE_BENCH_REDIS": self.url, "FLOWSTORE_BENCH_WITH": str(self.with_flowstore)}
        return [*command, "--log-level=ERROR"], asks

    async def open(self) -> None:
        self.broker = on(ListQueueBroker(self.url), results_at(self.url, self.with_flowstore))
        await self.broker.startup()

    async def close(self) -> None:
        await self.broker.shutdown()

    async def round_trip(self, number: int) -> int:
        task = self.broker.find_task("double")
        assert task is not None
        result = await (await task.kiq(number, WORK)).wait_result(timeout=30)
        value: int = result.return_value
        return value

    async def open_here(self) -> None:
        self.broker = self.here = Here()
        on(self.here, results_at(self.url, self.with_flowstore))
        await self.broker.startup()

    async def send_here(self, number: int) -> None:
        task = self.broker.find_task("double")
        assert task is not None
        await task.kiq(number, 0)

    async def run_here(self) -> None:
        await self.here.run()


_URL: Final = os.environ.get("FLOWSTORE_BENCH_REDIS")
if _URL is not None:
    broker = on(ListQueueBroker(_URL), results_at(_URL, os.environ["FLOWSTORE_BENCH_WITH"] == "True"))
