"""taskiq on flowstore: its results, and what becomes of its tasks, in one object. See docs/from-taskiq.md.

::

    results = FlowstoreResultBackend("redis://localhost")
    broker = RedisStreamBroker("redis://localhost").with_result_backend(results)
    broker.add_middlewares(SmartRetryMiddleware(), results)

As the result backend alone it keeps what any other one does. As a middleware, the last one, it records each
task from its submission on. Then ``results.backend`` lists, searches, cancels and requeues them.

A storage that cannot be reached breaks no task. Sending and beginning one wait for it for ``op_timeout`` at
most and go on without a record, which is logged; the end of one waits for it as well, and if it is back by
then, the task is stored with its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import Context
from typing import Any, Final, Unpack

from flowstore import BaseResultBackend, ConnectOptions, StorageUnavailable, TaskResult, TrackedTask
from flowstore._packages import needed
from flowstore.integrations._attempts import logger
from flowstore.integrations._stores import Attached, attached
from flowstore.integrations._taskiq_middleware import DISPATCHED, Recording, labels_to_send
from flowstore.integrations._taskiq_records import ARGS_SHOWN, ResultIsMissing
from flowstore.integrations._taskiq_results import FlowstoreTask, Results
from flowstore.integrations._taskiq_runs import UNDER_WAY

with needed("flowstore.integrations.taskiq", "taskiq"):
    from taskiq import AsyncBroker, TaskiqResult
    from taskiq.kicker import AsyncKicker

__all__: Final = ["FlowstoreResultBackend", "FlowstoreTask", "ResultIsMissing", "tracked_task"]


class FlowstoreResultBackend(Recording, Results):
    """A result backend of taskiq, and a middleware.

    ``backend``: one that was given, which stays its owner's, or a URL with the options of
    ``flowstore.connect``; None: FLOWSTORE_URL. One of its own is opened by the first call, closed when the
    broker shuts down, and made anew when that starts again. ``keep_results=False``: who reads a result first
    removes it, and nobody else gets it.
    """

    def __init__(
        self,
        backend: BaseResultBackend | str | None = None,
        *,
        keep_results: bool = True,
        **options: Unpack[ConnectOptions],
    ) -> None:
        super().__init__()
        self.keep_results = keep_results
        self._given, self._options = backend, options
        self._attached = self._attach()
        self._is_shut = False

    @property
    def backend(self) -> BaseResultBackend:
        """Where the records are: for listings, searches, statistics, workers and all else that it has."""
        return self._attached.backend

    def set_broker(self, broker: AsyncBroker) -> None:
        super().set_broker(broker)
        self._take_hooks()

    async def startup(self) -> None:
        """taskiq calls it, once for each of its two parts. Raises StorageError, but not for an outage."""
        if self._is_shut:
            self._is_shut = False
            self._attached = self._attach()
            self._take_hooks()
        if self.broker is None:
            return
        self.check_order()
        try:
            await self.backend.open()
        except StorageUnavailable as trouble:
            logger.warning("taskiq starts without its result backend: %s", trouble)
            if self.broker.is_worker_process:
                self.serve_later()
            return
        if self.broker.is_worker_process:
            await self.serve()

    async def shutdown(self) -> None:
        """taskiq calls it, once for each of its two parts."""
        await self.stop_serving()
        if self._attached.is_own and not self._is_shut:
            self._is_shut = True
            await self.backend.close()

    async def set_result(self, task_id: str, result: TaskiqResult[Any]) -> None:
        """The end of the task that this worker runs; or the result of any task, whatever stands.

        Raises StorageError for the latter.
        """
        run = self._run(task_id)
        if run is not None:
            await self.finish(run, result)
        else:
            await super().set_result(task_id, result)

    async def report(self, task_id: str, done: float, total: float | None, note: str | None) -> None:
        run = self._run(task_id)
        if run is not None and run.block is not None:
            await run.block.progress(done, total, note)  # which stays when the task has ended
        else:
            await super().report(task_id, done, total, note)

    async def requeue(self, task_id: str) -> int | None:
        """``backend.requeue``, and send the task again, with its arguments and labels, under its id.

        The number of the new attempt; None if there is no such task. Raises ValueError for one of whose
        arguments only the looks are kept, and what sending it raises: then it is pending all the same.
        """
        task = await self.backend.get(task_id)
        if task is None:
            return None
        _check_sendable(task)
        number = await self.backend.requeue(task_id)
        if number is not None:
            await self._send(task)
        return number

    async def dispatch(self, task_ids: Iterable[str]) -> None:
        """Send tasks again that are pending for another attempt, as ``workers.sweep`` has left them.

        Each under its id, with its arguments and labels. Raises as ``requeue`` does, before the first is
        sent, for those that it would refuse.
        """
        whole = await self.backend.get_many(task_ids)
        for task in whole.values():
            _check_sendable(task)
        for task in whole.values():
            await self._send(task)

    def _attach(self) -> Attached[BaseResultBackend]:
        return attached(self._given, self._options)

    def _take_hooks(self) -> None:
        if self.broker is not None:
            self.backend.actions.on_requeue(self._dispatch)
            self.backend.actions.on_cancel(_leave_to_workers)

    async def _dispatch(self, tasks: list[TaskResult]) -> None:
        await self.dispatch(task.task_id for task in tasks)

    async def _send(self, task: TaskResult) -> None:
        assert task.task_name is not None
        kicker = AsyncKicker[Any, Any](task.task_name, self.broker, labels_to_send(task))

        async def send() -> None:
            DISPATCHED.set(task.task_id)
            await kicker.with_task_id(task.task_id).kiq(*task.args, **task.kwargs)

        # In a context of its own, or a broker in memory would run it as a child of this code.
        await asyncio.get_running_loop().create_task(send(), context=Context())


def tracked_task() -> TrackedTask[Any] | None:
    """The attempt that this code is part of: to ask whether it should end, to report progress.

    None outside of tasks, and where it is not recorded. In the signature of a task:
    ``attempt: TrackedTask = TaskiqDepends(tracked_task)``.
    """
    run = UNDER_WAY.get()
    return None if run is None else run.block


async def _leave_to_workers(tasks: list[TaskResult]) -> None:
    """taskiq cannot revoke a message; but a worker that gets it finds the task cancelled, and skips it."""


def _check_sendable(task: TaskResult) -> None:
    if task.task_name is None:
        raise ValueError(f"task {task.task_id!r}: its name is not stored, so it cannot be sent again")
    if ARGS_SHOWN in task.meta:
        raise ValueError(f"task {task.task_id!r}: of its arguments only the looks are stored; send it anew")
