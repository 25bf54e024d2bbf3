"""flowrra with its results in flowstore: a result backend for its executors. See docs/from-flowrra.md.

flowrra tells a backend one state after another, and these are the ends of tracked blocks here: RUNNING begins
one, and what comes next ends it. So what holds of ``track`` holds of its tasks: outcomes ride out outages,
late ones are refused, errors have their class and traceback, and the heartbeat of the worker names what is
under way, so that a sweep finds what a killed process has left.

flowrra would let a worker die of what is raised here, or run a task again that has succeeded. So a state of a
task that runs and cannot be stored is logged, after ``op_timeout`` at most, and the task goes on without.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import aclosing
from typing import ParamSpec, Self, TypeVar, Unpack

import flowstore
from flowstore import ConnectOptions, FlowstoreError, TaskStatus, UnreadableRecords
from flowstore._packages import needed
from flowstore.integrations._flowrra_blocks import Blocks, logger
from flowstore.integrations._flowrra_states import raised_by, record_of, state_of, task_of, told
from flowstore.integrations._stores import attached

with needed("flowstore.integrations.flowrra", "flowrra"):
    from flowrra.backends.base import BaseResultBackend
    from flowrra.executors.base import BaseTaskExecutor
    from flowrra.task import TaskResult
    from flowrra.task import TaskStatus as HostStatus

P = ParamSpec("P")
R = TypeVar("R")


class FlowrraBackend(BaseResultBackend):  # type: ignore[misc]  # flowrra has no types
    """A result backend of flowrra: ``Config(backend=BackendConfig(url=FlowrraBackend(url)))``.

    ``backend``: a backend of flowstore, which stays its owner's, or a URL, with options of
    ``flowstore.connect``; None: FLOWSTORE_URL. Use it with ``async with`` around the executors, which do not
    close it. A process that runs tasks registers as a worker, with the id ``worker_id``, by default of its
    host and pid, and sends a heartbeat every ``every`` seconds.

    Where flowstore fails, what a caller waits for raises flowrra's BackendError. What an executor tells of a
    task that runs never raises: see above.
    """

    def __init__(
        self,
        backend: flowstore.BaseResultBackend | str | None = None,
        *,
        worker_id: str | None = None,
        every: float = 5.0,
        **options: Unpack[ConnectOptions],
    ) -> None:
        self._attached = attached(backend, options)
        self.backend = self._attached.backend
        self._blocks = Blocks(self.backend, worker_id, every)

    @property
    def worker_id(self) -> str:
        return self._blocks.worker_id

    async def __aenter__(self) -> Self:
        with told():
            await self.backend.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End the heartbeats. What an executor was stopped in the midst of is pending for another attempt:
        flowrra has put it back into its queue.
        """
        await self._blocks.close()
        if self._attached.is_own:
            await self.backend.close()

    async def store(self, task_id: str, result: TaskResult) -> None:
        """Store a state. One that comes too late, as of a worker that was swept, is refused and logged.

        A result that cannot be encoded is stored as failed with NotSerializable. A task that is submitted by
        another one is its child.
        """
        if result.status is not HostStatus.PENDING:
            try:
                await self._tell(task_id, result)
            except FlowstoreError as trouble:
                what = result.status.value
                logger.error("task %r: that it is %s is not recorded as it was: %s", task_id, what, trouble)
            return
        around = self._blocks.around
        pending = record_of(task_id, result, None)
        if around is not None:
            pending = pending.model_copy(update={"parent_id": around.task_id})
        with told():
            await self.backend.store(task_id, pending)

    async def _tell(self, task_id: str, state: TaskResult) -> None:
        if state.status is HostStatus.RUNNING:
            await self._blocks.begin(task_id, state.task_name)
            return
        is_retried = state.status is HostStatus.RETRYING
        if await self._blocks.end(task_id, state.result, raised_by(state), is_retried=is_retried):
            return
        # Its beginning was not recorded, or not told.
        record = record_of(task_id, state, await self.backend.get(task_id))
        try:
            await self.backend.store(task_id, record, patience=None)
        except flowstore.NotSerializable as refused:
            known = record.model_copy(update={"result": None})
            await self.backend.store(task_id, flowstore.TaskResult.failed(known, refused), patience=None)
            raise

    async def get(self, task_id: str) -> TaskResult | None:
        """A cancelled task is FAILED, with the error "cancelled: reason"."""
        with told():
            record = await self.backend.get(task_id)
            return None if record is None else state_of(record)

    async def wait_for(self, task_id: str, timeout: float | None = None) -> TaskResult:
        """The outcome, as soon as it is stored, in whatever process. TimeoutError at the deadline.

        BackendError if the record is deleted or expires meanwhile.
        """
        with told():
            return state_of(await self.backend.wait_for(task_id, timeout))

    async def delete(self, task_id: str) -> bool:
        with told():
            return await self.backend.delete(task_id)

    async def clear(self) -> int:
        with told():
            return await self.backend.clear()

    async def list_by_status(
        self, status: HostStatus, limit: int | None = None, offset: int = 0
    ) -> list[TaskResult]:
        """The newest submission first, those without one last. Records that cannot be read are logged."""
        wanted = [TaskStatus(status.value)]
        if status is HostStatus.FAILED:
            wanted.append(TaskStatus.CANCELLED)
        end = None if limit is None else offset + limit
        found: list[TaskResult] = []
        with told():
            try:
                size = 1_000 if end is None else max(1, min(end, 1_000))
                async with aclosing(self.backend.iter_by_status(wanted, batch_size=size)) as walk:
                    async for record in walk:
                        if end is not None and len(found) >= end:
                            break
                        found.append(state_of(record))
            except UnreadableRecords as unreadable:  # once all the others have been yielded
                logger.warning("%s", unreadable)
        return found[offset:]

    def cancellable(self, func: Callable[P, Awaitable[R]]) -> Callable[P, Coroutine[None, None, R | None]]:
        """Below ``@app.task()``: the code ends when ``backend.cancel`` asks for it, or its worker was swept.

        CancelledError is raised in it, and it may go on and succeed. What was cancelled before it began is
        not run. For tasks of an IOExecutor; without it, a task that runs ends as it likes, and if it fails
        then, it is cancelled in flowstore although flowrra tries it again.
        """

        @functools.wraps(func)
        async def run(*args: P.args, **kwargs: P.kwargs) -> R | None:
            block = self._blocks.around
            if block is None:
                return await func(*args, **kwargs)
            return await self._blocks.run(block, func(*args, **kwargs)) if block.is_stored else None

        return run

    async def resubmit(self, executor: BaseTaskExecutor, task_ids: Iterable[str]) -> list[str]:
        """Put tasks back into the queue of ``executor``, under their ids: ``swept.requeued``, for example.

        Returns those that are stored. Raises flowrra's TaskNotFoundError if one is not registered there.
        """
        with told():
            records = await self.backend.get_many(task_ids)
        for record in records.values():
            task = task_of(record, executor.registry.get_or_raise(record.task_name))
            # The queue of an executor without a broker is private, and flowrra submits under new ids only.
            await (executor._queue.put(task) if executor.broker is None else executor.broker.push(task))
        return [*records]
