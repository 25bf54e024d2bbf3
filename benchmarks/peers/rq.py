"""RQ (BSD-2-Clause): Job.latest_result, and the end of a job as Worker.handle_job_success writes it.

Waiting blocks in XREAD on the job's stream, one connection per waiter, by whole seconds. Results are
pickled, kept for 500 s, together with the job's hash. The list of failures is ordered by the second.
"""

from __future__ import annotations

from math import ceil
from uuid import uuid4

from redis import Redis
from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job, JobStatus
from rq.registry import FailedJobRegistry
from rq.utils import now

from benchmarks.peers.base import TaskError, ThreadedPeer, Value


class Rq(ThreadedPeer):
    name = "rq"
    package = "rq"
    storage = "redis"

    def open_sync(self) -> None:
        self._redis = Redis.from_url(self.location)
        self._queue = Queue(connection=self._redis)
        self._worker = Worker([self._queue], connection=self._redis)

    def close_sync(self) -> None:
        self._redis.close()

    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None:
        """Worker.perform_job from where the function has returned or raised."""
        job = Job.create("work", id=task_id, connection=self._redis, origin=self._queue.name)
        job.started_at = job.ended_at = now()
        execution = Execution(uuid4().hex, task_id, self._redis, self._worker.name)
        if is_failed:
            job._status = JobStatus.FAILED
            self._worker.handle_job_failure(
                job, self._queue, exc_string=repr(TaskError("failed")), execution=execution
            )
        else:
            job._result = value
            job._status = JobStatus.FINISHED
            self._worker.handle_job_success(job, self._queue, self._queue.started_job_registry, execution)

    def get_sync(self, task_id: str) -> Value:
        result = Job(task_id, connection=self._redis).latest_result()
        if result is None:
            raise LookupError(task_id)
        value: Value = result.return_value or {}
        return value

    def wait_sync(self, task_id: str, timeout: float) -> Value:
        result = Job(task_id, connection=self._redis).latest_result(timeout=ceil(timeout))
        if result is None:
            raise TimeoutError(task_id)
        value: Value = result.return_value or {}
        return value

    def failed_sync(self, limit: int, skip: int) -> list[str]:
        registry = FailedJobRegistry(queue=self._queue)
        found: list[str] = registry.get_job_ids(skip, skip + limit - 1, desc=True)
        return found
