"""arq (MIT): results by arq.jobs.Job and the transaction in which Worker.finish_job writes them.

Waiting polls GET and ZSCORE in a transaction every 0.5 s, and only while the job is in the queue; so a
wait enqueues the job first if it is unknown, as the producer does. arq says it is in maintenance only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from arq.connections import ArqRedis, RedisSettings, create_pool
from arq.jobs import Job, serialize_result
from arq.utils import timestamp_ms
from arq.worker import Worker, func

from benchmarks.peers.base import UNLIMITED, Peer, TaskError, Value


async def work(ctx: dict[Any, Any]) -> None:
    """The task that the producer names. It never runs: what it would return is given to store()."""


class Arq(Peer):
    name = "arq"
    package = "arq"
    storage = "redis"

    async def open(self) -> None:
        settings = replace(RedisSettings.from_dsn(self.location), max_connections=UNLIMITED)
        self._redis: ArqRedis = await create_pool(settings)
        self._worker = Worker([func(work)], redis_pool=self._redis, handle_signals=False)

    async def close(self) -> None:
        await self._redis.aclose()

    async def prepare(self, task_id: str) -> None:
        await self._redis.enqueue_job("work", _job_id=task_id)

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        """The end of Worker.run_job: serialize the result, then finish_job."""
        now, queue = timestamp_ms(), self._worker.queue_name
        result = TaskError("failed") if is_failed else value
        data = serialize_result(
            "work", (), {}, 1, now, not is_failed, result, now, now, f"{task_id}:work", queue, task_id
        )
        await self._worker.finish_job(task_id, True, data, self._worker.keep_result_s, False, None, None)

    async def get(self, task_id: str) -> Value:
        info = await Job(task_id, self._redis).result_info()
        if info is None:
            raise LookupError(task_id)
        value: Value = info.result
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        await self.prepare(task_id)
        value: Value = await Job(task_id, self._redis).result(timeout)
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        """All results are fetched: KEYS, then a GET and, at once, a connection for each of them."""
        results = [result for result in await self._redis.all_job_results() if not result.success]
        return [str(result.job_id) for result in reversed(results)][skip : skip + limit]
