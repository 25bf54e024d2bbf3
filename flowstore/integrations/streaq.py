"""streaQ: its tasks recorded in flowstore, and waited for by push. See docs/from-streaq.md.

streaQ decides, flowstore records: with the storage down tasks run as before, each hook gives up after
``op_timeout`` (at the end of a task after ``patience``, the same by default; at its beginning within its own
timeout), and the logger
``flowstore.integrations`` says what was not recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Final, TypeVar, Unpack

from flowstore import BaseResultBackend, CancelRequest, ConnectOptions, TaskResult, TaskStatus
from flowstore._packages import needed
from flowstore.integrations._attempts import Again, QueueRefused
from flowstore.integrations._recorder import BaseRecorder

with needed("flowstore.integrations.streaq", "streaq"):
    from streaq import Worker
    from streaq.task import Task
    from streaq.types import StreaqCancelled, StreaqError

W = TypeVar("W", bound=Worker[Any])

_NEVER: Final = datetime.min.replace(tzinfo=UTC)
_ATTACHED: Final = "_flowstore_recorder"


class FlowstoreObserver(BaseRecorder[Task[Any, Any]]):
    """Records the tasks of a streaQ worker: what is enqueued by it, and what it runs.

    ::

        worker = observer.attach(Worker(redis_url="redis://localhost"))

        @worker.task
        async def add(a: int, b: int) -> int:
            return a + b

        async with worker:
            task = await add.enqueue(1, 2)
            result = await observer.wait(task, timeout=10)

    The ids are those of streaQ. ``requeue`` and ``cancel`` of ``backend.actions`` enqueue tasks again and
    abort them, from any process inside of ``async with worker``.
    """

    def __init__(
        self, backend: BaseResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        super().__init__(backend, **options)
        self._worker: Worker[Any] | None = None
        self.raised: dict[tuple[str, int], BaseException] = {}

    def attach(self, worker: W) -> W:
        """Record what this worker object enqueues and runs, around its other middlewares. Returns it."""
        if worker.anyio_backend != "asyncio":
            raise ValueError(f"worker: runs on {worker.anyio_backend}, and flowstore on asyncio only")
        if not hasattr(worker, _ATTACHED):
            setattr(worker, _ATTACHED, _Watched(self, worker))
        self._worker = worker
        self._hook()
        return worker

    def id_of(self, job: Task[Any, Any] | str) -> str:
        return job if isinstance(job, str) else job.id

    async def _enqueue(self, task: TaskResult) -> None:
        worker, name = self._attached_worker(task.task_id), task.task_name or ""
        registered = worker.registry.get(name)
        again: Any = (
            worker.enqueue_unsafe(name, *task.args, **task.kwargs)
            if registered is None
            else registered.enqueue(*task.args, **task.kwargs)
        )
        again.id, again.priority = task.task_id, task.meta.get("priority")
        await worker.redis.delete([worker.results_key + task.task_id])  # or it would count as done
        await again

    async def _abort(self, task_id: str, reason: str | None) -> None:
        await self._attached_worker(task_id).abort_by_id(task_id, timeout=0)

    def _attached_worker(self, task_id: str) -> Worker[Any]:
        if self._worker is None:
            raise QueueRefused(task_id, "no worker is attached to this observer")
        return self._worker

    async def finished(self, task_id: str, tries: int, how: dict[str, Any]) -> None:
        """streaQ has ended an attempt, as the arguments of ``Worker.finish_task`` say."""
        raised, value = self.raised.pop((task_id, tries), None), how["return_value"]
        if not how["finish"]:
            delay, error = _delay(how["schedule"]), raised or asyncio.CancelledError()
            if how["schedule"] is not None and isinstance(error, asyncio.CancelledError):
                error = TimeoutError("Task timed out!")
            await self.end(task_id, tries, error=error, again=Again(delay))
        elif how["success"]:
            await self.end(task_id, tries, result=value)
        else:
            await self.end(task_id, tries, error=_error(value))

    async def failed(self, task_id: str, error: BaseException) -> None:
        """streaQ has ended a task without running it."""
        if isinstance(error, StreaqCancelled):
            await self.aborted(task_id, str(error))
        else:
            await self.settle(task_id, lambda task: TaskResult.failed(task, error))

    async def aborted(self, task_id: str, reason: str) -> None:
        """One that runs is ended by its worker."""
        request = CancelRequest(at=datetime.now(UTC), reason=reason)

        def outcome(task: TaskResult) -> TaskResult:
            if task.status is TaskStatus.RUNNING:
                return task
            return TaskResult.cancelled(task, cancel_request=task.cancel_request or request)

        await self.settle(task_id, outcome)


class _Watched:
    """Methods of a worker, by which it tells of its tasks, and what is recorded then."""

    def __init__(self, observer: FlowstoreObserver, worker: Worker[Any]) -> None:
        self._recorder = observer
        self._worker = worker
        self._publish, self._abort = worker.publish_task, worker.abort_by_id
        self._finish, self._fail = worker.finish_task, worker.finish_failed_task
        self._fail_dependents = worker.fail_task_dependents
        for name in (
            "publish_task",
            "abort_by_id",
            "finish_task",
            "finish_failed_task",
            "fail_task_dependents",
        ):
            setattr(worker, name, getattr(self, name))
        worker.lifespan = self.living(worker.lifespan)
        self._middleware = worker.middleware(self.recorded)
        worker.middlewares.insert(0, worker.middlewares.pop())

    @asynccontextmanager
    async def living(self, lifespan: AbstractAsyncContextManager[Any]) -> AsyncIterator[Any]:
        worker, observer = self._worker, self._recorder
        async with lifespan as context:
            await observer.start_worker(worker.id, worker.concurrency, host="streaq", queue=worker.queue_name)
            try:
                yield context
            finally:
                await observer.stop_worker(worker.id)

    def recorded(self, task: Callable[..., Awaitable[Any]]) -> Any:
        """The middleware. How the attempt ends ``finish_task`` is told."""

        @wraps(task)
        async def attempt(*args: Any, **kwargs: Any) -> Any:
            ctx, observer = self._middleware.context, self._recorder
            run = observer.run(ctx.task_id, datetime.now(UTC), ctx.fn_name, args, kwargs)
            await observer.begin(self._worker.id, run, ctx.tries, _NEVER)
            try:
                return await task(*args, **kwargs)
            except BaseException as error:
                observer.raised[ctx.task_id, ctx.tries] = error
                raise

        return attempt

    def publish_task(
        self, pipe: Any, task: Task[Any, Any], data: Any, enqueue_time: int, **options: Any
    ) -> Any:
        """It cannot wait, as it may be in a pipeline: the record comes in the background."""
        request = self._publish(pipe, task, data, enqueue_time, **options)
        at = datetime.fromtimestamp(enqueue_time / 1000, UTC)
        meta = {"queue": self._worker.queue_name, "priority": task.priority}
        name = task.parent.fn_name
        run = self._recorder.run(
            task.id, at, name, task.args, task.kwargs, due_at=self._due(task, at), meta=meta
        )
        self._recorder.soon(self._recorder.submitted(run))
        return request

    def _due(self, task: Task[Any, Any], at: datetime) -> datetime | None:
        if isinstance(task.schedule, str):
            return datetime.fromtimestamp(self._worker.next_run(task.schedule) / 1000, UTC)
        if task.schedule is not None:
            return task.schedule.astimezone(UTC)
        if task.delay is None:
            return None
        return at + (task.delay if isinstance(task.delay, timedelta) else timedelta(seconds=task.delay))

    async def finish_task(self, msg: Any, **how: Any) -> None:
        try:
            await self._finish(msg, **how)
        except Exception as error:  # as of a result that streaQ cannot serialise
            await self._recorder.end(msg.task_id, how["tries"], error=error)
            raise
        await self._recorder.finished(msg.task_id, how["tries"], how)

    async def finish_failed_task(self, msg: Any, exc: BaseException, *args: Any, **options: Any) -> None:
        await self._fail(msg, exc, *args, **options)
        await self._recorder.failed(msg.task_id, exc)

    async def fail_task_dependents(self, dependents: list[str], otherwise: str | None) -> None:
        await self._fail_dependents(dependents, otherwise)
        for task_id in dependents:
            await self._recorder.failed(task_id, StreaqError("Dependency failed, not running task!"))

    async def abort_by_id(self, task_id: str, *args: Any, **options: Any) -> bool:
        is_aborted = await self._abort(task_id, *args, **options)
        if is_aborted:
            await self._recorder.aborted(task_id, "Task aborted by user!")
        return is_aborted


def _delay(schedule: int | None) -> float:
    """The seconds until a time in milliseconds; None: at once."""
    if schedule is None:
        return 0.0
    return max(0.0, schedule / 1000 - datetime.now(UTC).timestamp())


def _error(error: BaseException) -> BaseException:
    return asyncio.CancelledError(str(error)) if isinstance(error, StreaqCancelled) else error
