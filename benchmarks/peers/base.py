"""What the benchmark asks of every system: keep a finished result, read it, wait for it, list what failed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal, ParamSpec, TypeVar

Value = dict[str, Any]
Storage = Literal["redis", "sqlite", "memory"]
P = ParamSpec("P")
T = TypeVar("T")


UNLIMITED = 2**31
"""redis-py's default number of connections up to 7.x. From 8.0 on it is 100, and a library that takes one for
each call or waiter, made for the old default, fails beyond that; such a one is given the old default."""


class Unsupported(Exception):
    """The system has no such operation; the text says what is missing."""


class Peer(ABC):
    """One system, driven as its own users drive it: public interface, newest version, its own defaults."""

    name: ClassVar[str]
    """As on PyPI, plus the storage where there are several: "huey (sqlite)"."""
    package: ClassVar[str]
    """Distribution name, for importlib.metadata.version."""
    storage: ClassVar[Storage]
    threads: ClassVar[int] = 0
    """0: native asyncio; else a synchronous library, called in that many threads."""

    def __init__(self, location: str) -> None:
        """Redis URL, path of a SQLite file in an existing folder, "" for memory."""
        self.location = location

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    async def prepare(self, task_id: str) -> None:  # noqa: B027
        """What producer and worker do before there is a result, where store() or wait() need it.

        Optional: both do it themselves, and so pay for it, for a task that was not prepared.
        """

    @abstractmethod
    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        """The finished result, as the system's worker stores it, durable as its default promises.

        A failed task is stored with an error instead of the value where the system keeps only one of them.
        """

    async def store_named(self, task_id: str, value: Value) -> None:
        """The same with the task's name and worker, where the system keeps them beside its results."""
        await self.store(task_id, value)

    @abstractmethod
    async def get(self, task_id: str) -> Value:
        """The value of a task that was stored as finished well. An error when there is none."""

    @abstractmethod
    async def wait(self, task_id: str, timeout: float) -> Value:
        """Block by the system's own means and default poll interval until stored by anyone.

        An error of the system's own after ``timeout`` seconds.
        """

    @abstractmethod
    async def failed(self, limit: int, skip: int) -> list[str]:
        """Ids of failed tasks, newest first. Raises Unsupported when the system cannot list them."""


class TaskError(Exception):
    """What a failed task is stored with."""


class ThreadedPeer(Peer):
    """A synchronous library: every call runs in one of ``threads`` threads, one per waiter."""

    threads = 100

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix=self.package)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: call(*args, **kwargs))

    def open_sync(self) -> None: ...

    def close_sync(self) -> None: ...

    @abstractmethod
    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None: ...

    @abstractmethod
    def get_sync(self, task_id: str) -> Value: ...

    @abstractmethod
    def wait_sync(self, task_id: str, timeout: float) -> Value: ...

    @abstractmethod
    def failed_sync(self, limit: int, skip: int) -> list[str]: ...

    async def open(self) -> None:
        await self.run(self.open_sync)

    async def close(self) -> None:
        await self.run(self.close_sync)
        self._pool.shutdown()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        await self.run(self.store_sync, task_id, value, is_failed)

    async def get(self, task_id: str) -> Value:
        return await self.run(self.get_sync, task_id)

    async def wait(self, task_id: str, timeout: float) -> Value:
        return await self.run(self.wait_sync, task_id, timeout)

    async def failed(self, limit: int, skip: int) -> list[str]:
        return await self.run(self.failed_sync, limit, skip)
