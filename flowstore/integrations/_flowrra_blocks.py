"""The tasks that the executors of flowrra run in this process: each is a tracked block while it is under way.

flowrra tells of a beginning and of an end, in the same task of asyncio, that of one of its workers. Nothing
may be raised in that: it would take it for the end of the worker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from flowstore import BaseResultBackend, FlowstoreError, RunningWorker, TrackedTask
from flowstore.integrations._attempts import worker_name

R = TypeVar("R")

logger: Final = logging.getLogger("flowstore.integrations.flowrra")

_AROUND: Final[ContextVar[TrackedTask[Any] | None]] = ContextVar("flowstore_flowrra_block", default=None)
"""The block of the task that this worker of an executor runs."""


class Blocks:
    """The blocks under way, and the worker that they belong to, which registers with the first of them."""

    def __init__(self, backend: BaseResultBackend, worker_id: str | None, every: float) -> None:
        self.worker_id = worker_id or worker_name()
        self._backend = backend
        self._every = every
        self._opening = asyncio.Lock()
        self._worker: RunningWorker | None = None
        self._blocks: dict[str, TrackedTask[Any]] = {}
        self._given_up: set[str] = set()

    @property
    def around(self) -> TrackedTask[Any] | None:
        """The block of the task that calls this; None outside of tasks."""
        return _AROUND.get()

    async def begin(self, task_id: str, name: str | None) -> None:
        """Raises FlowstoreError, and then there is no block. The task may have one, of an executor that was
        stopped in the midst of it.
        """
        _AROUND.set(None)
        worker = await self._registered()
        block = self._blocks.get(task_id)
        if block is None:
            block = await worker.track(task_id, name=name, on_cancel="requeue").__aenter__()
            self._blocks[task_id] = block
        _AROUND.set(block)

    async def end(self, task_id: str, result: Any, error: BaseException | None, *, is_retried: bool) -> bool:
        """False if there is no such block. ``is_retried``: after this ``error`` there is another attempt."""
        _AROUND.set(None)
        if task_id in self._given_up:
            self._given_up.discard(task_id)
            return True
        block = self._blocks.get(task_id)
        if block is None:
            return False
        block.result = result
        if error is not None and is_retried:
            block.retry(error)
        await self._leave(block, error)
        return True

    async def close(self) -> None:
        """What is under way is given back, as flowrra does with its queue: pending, for another attempt."""
        try:
            for block in [*self._blocks.values()]:
                await self._leave(block, asyncio.CancelledError())
            worker, self._worker = self._worker, None
            if worker is not None:
                await worker.__aexit__(None, None, None)
        except FlowstoreError as trouble:  # its heartbeats end, and a sweep frees what it has left
            logger.warning("worker %r stays registered: %s", self.worker_id, trouble)

    async def run(self, block: TrackedTask[Any], code: Awaitable[R]) -> R | None:
        """Run the code of a block, and cancel it when its outcome is not wanted any more. Then None."""
        running, asked = asyncio.ensure_future(code), asyncio.create_task(self._asked(block))
        try:
            await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                running.cancel()
                await asyncio.wait([running])
            if not running.cancelled():
                return running.result()
        finally:
            running.cancel()
            asked.cancel()
            await asyncio.gather(running, asked, return_exceptions=True)
        self._given_up.add(block.task_id)  # the executor is about to tell of a success
        await self._leave(block, asyncio.CancelledError())
        return None

    async def _asked(self, block: TrackedTask[Any]) -> None:
        try:
            async with aclosing(self._backend.watch(block.task_id)) as states:
                async for state in states:
                    if state.cancel_request or state.is_finished or state.retries > block.retries:
                        return
        except FlowstoreError as trouble:
            logger.warning("task %r cannot be cancelled any more: %s", block.task_id, trouble)
            await asyncio.Event().wait()

    async def _registered(self) -> RunningWorker:
        async with self._opening:
            if self._worker is None:
                worker = self._backend.worker(self.worker_id, every=self._every, info={"host": "flowrra"})
                self._worker = await worker.__aenter__()
            return self._worker

    async def _leave(self, block: TrackedTask[Any], error: BaseException | None) -> None:
        if self._blocks.pop(block.task_id, None) is None:
            return  # it has ended while others were waited for
        trace = None if error is None else error.__traceback__
        await block.__aexit__(None if error is None else type(error), error, trace)
