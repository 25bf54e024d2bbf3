"""flowstore behind the same operations as its peers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

import flowstore
from benchmarks.peers.base import Peer, Storage, TaskError, Value
from flowstore import TaskResult, TaskStatus


class FlowstoreRedis(Peer):
    name = "flowstore (redis)"
    package = "flowstore"
    storage: ClassVar[Storage] = "redis"

    async def open(self) -> None:
        self._backend = flowstore.connect(self.url)
        await self._backend.open()
        self._cursors: dict[int, str | None] = {}

    @property
    def url(self) -> str:
        return self.location

    async def close(self) -> None:
        await self._backend.close()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        if is_failed:
            now = datetime.now(UTC)
            result = TaskResult[Value].failed(task_id, TaskError("failed"), kwargs=value, submitted_at=now)
        else:
            result = TaskResult[Value].success(task_id, value)
        await self._backend.store(task_id, result)

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
