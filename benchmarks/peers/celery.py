"""Celery (BSD-3-Clause): its redis result backend through mark_as_done and AsyncResult, on a default app.

Waiting subscribes to the id and is woken by a message. By default each thread has a backend of its own, so a
waiter costs two connections. Values are JSON, kept for a day; a store reads the record first, then writes
and publishes in one transaction.
"""

from __future__ import annotations

from celery import Celery
from celery.result import AsyncResult

from benchmarks.peers.base import TaskError, ThreadedPeer, Unsupported, Value


class CeleryRedis(ThreadedPeer):
    name = "celery (redis)"
    package = "celery"
    storage = "redis"

    def open_sync(self) -> None:
        self._app = Celery("work", backend=self.location)

    def close_sync(self) -> None:
        self._app.close()

    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None:
        """What the tracer of a worker calls when a task has ended."""
        if is_failed:
            self._app.backend.mark_as_failure(task_id, TaskError("failed"))
        else:
            self._app.backend.mark_as_done(task_id, value)

    def get_sync(self, task_id: str) -> Value:
        value: Value | None = AsyncResult(task_id, app=self._app).result
        if value is None:
            raise LookupError(task_id)
        return value

    def wait_sync(self, task_id: str, timeout: float) -> Value:
        value: Value = AsyncResult(task_id, app=self._app).get(timeout=timeout)
        return value

    def failed_sync(self, limit: int, skip: int) -> list[str]:
        raise Unsupported("Celery's redis backend cannot list results")
