"""flowstore behind the same operations as its peers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import flowstore
from benchmarks.peers.base import Peer, Storage, TaskError, Value
from benchmarks.peers.check import VALUE
from flowstore import Progress, TaskResult, TaskStatus


class FlowstoreRedis(Peer):
    name = "flowstore (redis)"
    package = "flowstore"
    storage: ClassVar[Storage] = "redis"

    @property
    def backend(self) -> flowstore.BaseResultBackend:
        return self._backend

    async def open(self) -> None:
        self._backend = flowstore.connect(self.url)
        await self._backend.open()
        self._without_history: flowstore.BaseResultBackend | None = None
        self._cursors: dict[int, str | None] = {}

    @property
    def url(self) -> str:
        return self.location

    async def close(self) -> None:
        await self._backend.close()
        if self._without_history is not None:
            await self._without_history.close()

    async def store_bare(self, task_id: str) -> None:
        """A result with nothing around it."""
        if self._without_history is None:
            self._without_history = flowstore.connect(self.url, history=False)
        await self._without_history.store(task_id, TaskResult[Value].success(task_id, VALUE))

    async def store_with_all(self, task_id: str) -> None:
        """The same with history, parent, labels and progress."""
        result = TaskResult[Value].success(
            task_id, VALUE, parent_id="parent", labels=("a", "b"), progress=Progress(done=1, total=2)
        )
        await self._backend.store(task_id, result)

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        if is_failed:
            now = datetime.now(UTC)
            result = TaskResult[Value].failed(task_id, TaskError("failed"), kwargs=value, submitted_at=now)
        else:
            result = TaskResult[Value].success(task_id, value)
        await self._backend.store(task_id, result)

    async def store_named(self, task_id: str, value: Value) -> None:
        now = datetime.now(UTC)
        running = TaskResult[Value].running(task_id, task_name="add", worker_id="worker-1", submitted_at=now)
        await self._backend.store(task_id, TaskResult[Value].success(running, value))

    async def get(self, task_id: str) -> Value:
        result = await self._backend.get(task_id)
        if result is None:
            raise LookupError(task_id)
        value: Value = result.unwrap()
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        value: Value = (await self._backend.wait_for(task_id, timeout)).unwrap()
        return value

    async def failed(self, limit: int, skip: int) -> list[str]:
        """A deep page by its cursor, which whoever turned the pages up to there has."""
        if skip and self._cursors.get(skip) is None:
            self._cursors[skip] = await self._cursor_behind(skip)
        page = await self._backend.page(TaskStatus.FAILED, limit=limit, cursor=self._cursors.get(skip))
        return [item.task_id for item in page.items]

    async def _cursor_behind(self, skip: int) -> str | None:
        cursor = None
        for at in range(0, skip, 500):
            page = await self._backend.page(TaskStatus.FAILED, limit=min(500, skip - at), cursor=cursor)
            cursor = page.next_cursor
        return cursor


class FlowstoreSqlite(FlowstoreRedis):
    name = "flowstore (sqlite)"
    storage = "sqlite"

    @property
    def url(self) -> str:
        return f"sqlite:///{self.location}"


class FlowstoreMemory(FlowstoreRedis):
    name = "flowstore (memory)"
    storage = "memory"

    @property
    def url(self) -> str:
        return "memory://"
