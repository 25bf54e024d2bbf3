"""pynenc (MIT, Python 3.12 or later): its state backend and orchestrator on Redis, SQLite and memory.

Waiting polls the status every 0.1 s by async_result(), whose every look is a blocking call in the event loop.
A result is one write among several: status, history, auto-purge and triggers. Values are JSON by jsonpickle.
SQLite is opened anew for each call, with synchronous=NORMAL; in 100 threads some 30 files stay open for each
result, so 1,000 fail where a process may have 20,000. pynenc means it for tests. On Redis it needs pynenc
below 0.4, as pynenc-redis 0.3.0 lacks two methods that 0.4 demands of a broker. A task ends only once.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from pynenc import Pynenc, PynencBuilder
from pynenc.call import Call
from pynenc.exceptions import InvocationNotFoundError
from pynenc.identifiers.invocation_id import InvocationId
from pynenc.invocation.dist_invocation import DistributedInvocation, TaskInvocation
from pynenc.invocation.status import InvocationStatus
from pynenc.runner.runner_context import RunnerContext

from benchmarks.peers.base import TaskError, ThreadedPeer, Value


def work() -> None:
    """The task that the producer names. It never runs: what it would return is given to store()."""


class _Pynenc(ThreadedPeer):
    package = "pynenc"

    @abstractmethod
    def _configure(self, builder: PynencBuilder) -> PynencBuilder: ...

    def open_sync(self) -> None:
        builder = PynencBuilder().app_id("work").logging_level("error")
        self._app: Pynenc = self._configure(builder).build()
        self._task = self._app.task(work)
        # made at the first use, twice when two threads are the first, and then one of them is forgotten
        assert self._app.state_backend
        assert self._app.orchestrator
        self._runner = RunnerContext("benchmark")
        self._running: dict[str, DistributedInvocation[Any, Any]] = {}

    def _find(self, task_id: str) -> DistributedInvocation[Any, Any]:
        """The invocation of that id, registered as the producer does if it is unknown."""
        try:
            return self._app.state_backend.get_invocation(InvocationId(task_id))
        except InvocationNotFoundError:
            invocation: DistributedInvocation[Any, Any] = TaskInvocation(
                Call(self._task), InvocationId(task_id), None, None, stored_in_backend=False
            )
            self._app.orchestrator.register_new_invocations([invocation])
            return invocation

    def _prepare(self, task_id: str) -> None:
        """A result is taken only of an invocation that is registered, was picked up and is running."""
        self._running[task_id] = self._find(task_id)
        for status in (InvocationStatus.PENDING, InvocationStatus.RUNNING):
            self._app.orchestrator.set_invocation_status(InvocationId(task_id), status, self._runner)

    async def prepare(self, task_id: str) -> None:
        await self.run(self._prepare, task_id)

    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None:
        """The end of DistributedInvocation.run."""
        if task_id not in self._running:
            self._prepare(task_id)
        invocation = self._running.pop(task_id)
        if is_failed:
            self._app.orchestrator.set_invocation_exception(invocation, TaskError("failed"), self._runner)
        else:
            self._app.orchestrator.set_invocation_result(invocation, value, self._runner)

    def get_sync(self, task_id: str) -> Value:
        value: Value = self._app.state_backend.get_result(InvocationId(task_id))
        return value

    async def wait(self, task_id: str, timeout: float) -> Value:
        """In the event loop, not in a thread: only async_result() can be given up at a deadline."""
        invocation = await self.run(self._find, task_id)
        value: Value = await asyncio.wait_for(invocation.async_result(), timeout)
        return value

    def wait_sync(self, task_id: str, timeout: float) -> Value:
        raise NotImplementedError

    def failed_sync(self, limit: int, skip: int) -> list[str]:
        """Newest first by registration."""
        found = self._app.orchestrator.get_invocation_ids_paginated(
            statuses=[InvocationStatus.FAILED], limit=limit, offset=skip
        )
        return [str(invocation_id) for invocation_id in found]


class PynencRedis(_Pynenc):
    name = "pynenc (redis)"
    package = "pynenc-redis"
    storage = "redis"

    def _configure(self, builder: PynencBuilder) -> PynencBuilder:
        return builder.redis(url=self.location)


class PynencSqlite(_Pynenc):
    name = "pynenc (sqlite)"
    storage = "sqlite"

    def _configure(self, builder: PynencBuilder) -> PynencBuilder:
        return builder.sqlite(self.location)


class PynencMemory(_Pynenc):
    name = "pynenc (memory)"
    storage = "memory"

    def _configure(self, builder: PynencBuilder) -> PynencBuilder:
        return builder.memory()
