"""flowrra (Apache-2.0): its two result backends, which its executors call.

Waiting on Redis subscribes a connection per waiter, after a look that is not repeated once subscribed: a
result stored in between is missed. Values are JSON, kept for ever; listing reads every record.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import datetime

from flowrra.backends.base import BaseResultBackend
from flowrra.backends.factory import get_backend
from flowrra.task import TaskResult, TaskStatus

from benchmarks.peers.base import UNLIMITED, Peer, Value


class _Flowrra(Peer):
    package = "flowrra"

    @abstractmethod
    def _make(self) -> BaseResultBackend: ...

    async def open(self) -> None:
        self._backend = self._make()

    async def close(self) -> None:
        if hasattr(self._backend, "close"):
            await self._backend.close()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        now = datetime.now()
        result = TaskResult(
            task_id=task_id,
            status=TaskStatus.FAILED if is_failed else TaskStatus.SUCCESS,
            task_name="work",
            result=None if is_failed else value,
            error="TaskError: failed" if is_failed else None,
            submitted_at=now,
            started_at=now,
            finished_at=now,
        )
        await self._backend.store(task_id, result)

    async def get(self, task_id: str) -> Value:
        result = await self._backend.get(task_id)
        if result is None:
            raise LookupError(task_id)
        value: Value = result.result
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        value: Value = (await self._backend.wait_for(task_id, timeout)).result
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        results = await self._backend.list_by_status(TaskStatus.FAILED, limit=limit, offset=skip)
        return [result.task_id for result in results]


class FlowrraRedis(_Flowrra):
    name = "flowrra (redis)"
    storage = "redis"

    def _make(self) -> BaseResultBackend:
        return get_backend(self.location, max_connections=UNLIMITED)


class FlowrraMemory(_Flowrra):
    name = "flowrra (memory)"
    storage = "memory"

    def _make(self) -> BaseResultBackend:
        return get_backend(None)
