"""SAQ (MIT): Job.finish and Job.refresh on its RedisQueue, as the worker and the producer call them.

Waiting subscribes one connection for all waiters of a process to the channels of the whole queue and
routes in the process. A job must exist before it can be waited for. Values are JSON, kept for 600 s.
"""

from __future__ import annotations

from redis.asyncio import from_url
from saq import Job, Status
from saq.job import TERMINAL_STATUSES
from saq.queue.redis import RedisQueue

from benchmarks.peers.base import UNLIMITED, Peer, Value


class Saq(Peer):
    name = "saq"
    package = "saq"
    storage = "redis"

    async def open(self) -> None:
        self._queue = RedisQueue(from_url(self.location, max_connections=UNLIMITED))
        await self._queue.connect()

    async def close(self) -> None:
        await self._queue.disconnect()

    async def prepare(self, task_id: str) -> None:
        await self._queue.enqueue("work", key=task_id)

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        """The end of Worker.process for the job that it has dequeued."""
        job = Job("work", key=task_id, queue=self._queue)
        if is_failed:
            await job.finish(Status.FAILED, error="TaskError: failed")
        else:
            await job.finish(Status.COMPLETE, result=value)

    async def get(self, task_id: str) -> Value:
        job = await self._queue.job(task_id)
        if job is None or job.status not in TERMINAL_STATUSES:
            raise LookupError(task_id)
        value: Value = job.result
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        """A job that is unknown is enqueued first, as the producer does.

        Enqueueing again would start a finished job anew; so a wait that may cross the store must be prepared.
        """
        job = await self._queue.job(task_id) or await self._queue.enqueue("work", key=task_id)
        if job is None:
            raise LookupError(task_id)
        await job.refresh(until_complete=timeout)
        value: Value = job.result
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        """iter_jobs scans the whole database and reads every job; the order is made here."""
        jobs = [job async for job in self._queue.iter_jobs([Status.FAILED])]
        jobs.sort(key=lambda job: job.completed, reverse=True)
        return [job.key for job in jobs[skip : skip + limit]]
