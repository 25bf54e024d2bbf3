"""huey (MIT): Huey.put_result, as Huey.execute calls it, and Huey.result, on RedisHuey and SqliteHuey.

Waiting polls, first after 0.05 s, then each time 15 % later up to every second. Results are pickled and kept
until they are read; here they are read with preserve=True. SqliteHuey has one connection for all threads,
in WAL mode with synchronous=FULL: a store is durable.
"""

from __future__ import annotations

from abc import abstractmethod

from huey import RedisHuey, SqliteHuey
from huey.api import Huey, Task
from huey.utils import Error

from benchmarks.peers.base import TaskError, ThreadedPeer, Unsupported, Value


class _Huey(ThreadedPeer):
    package = "huey"

    @abstractmethod
    def _make(self) -> Huey: ...

    def open_sync(self) -> None:
        self._huey = self._make()

    def close_sync(self) -> None:
        self._huey.storage.close()

    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None:
        result: object = value
        if is_failed:
            result = Error(self._huey.build_error_result(Task(id=task_id), TaskError("failed")))
        self._huey.put_result(task_id, result)

    def get_sync(self, task_id: str) -> Value:
        value: Value | None = self._huey.result(task_id, preserve=True)
        if value is None:
            raise LookupError(task_id)
        return value

    def wait_sync(self, task_id: str, timeout: float) -> Value:
        value: Value = self._huey.result(task_id, blocking=True, timeout=timeout, preserve=True)
        return value

    def failed_sync(self, limit: int, skip: int) -> list[str]:
        raise Unsupported("huey keeps neither a time nor an order of results")


class HueyRedis(_Huey):
    name = "huey (redis)"
    storage = "redis"

    def _make(self) -> Huey:
        return RedisHuey(url=self.location)


class HueySqlite(_Huey):
    """WAL with SQLite's synchronous=FULL, which huey leaves alone."""

    name = "huey (sqlite)"
    storage = "sqlite"

    def _make(self) -> Huey:
        return SqliteHuey(filename=self.location)
