"""taskiq-redis (MIT): RedisAsyncResultBackend, as its broker's receiver and AsyncTaskiqTask use it.

Waiting polls EXISTS every 0.2 s per waiter, then reads. Results are pickled and kept for ever by default.
The pool blocks rather than fails, at redis-py's default size.
"""

from __future__ import annotations

from taskiq import AsyncTaskiqTask, TaskiqResult
from taskiq_redis import RedisAsyncResultBackend

from benchmarks.peers.base import Peer, TaskError, Unsupported, Value


class TaskiqRedis(Peer):
    name = "taskiq-redis"
    package = "taskiq-redis"
    storage = "redis"

    async def open(self) -> None:
        self._backend: RedisAsyncResultBackend[Value] = RedisAsyncResultBackend(self.location)
        await self._backend.startup()

    async def close(self) -> None:
        await self._backend.shutdown()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        result: TaskiqResult[Value] = TaskiqResult(
            is_err=is_failed,
            return_value=value,
            execution_time=0.01,
            error=TaskError("failed") if is_failed else None,
        )
        await self._backend.set_result(task_id, result)

    async def get(self, task_id: str) -> Value:
        value: Value = (await self._backend.get_result(task_id)).return_value
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        task = AsyncTaskiqTask(task_id, self._backend)
        value: Value = (await task.wait_result(timeout=timeout)).return_value
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        raise Unsupported("taskiq-redis cannot list results")
