"""Background tasks that are recorded: who waits for one learns how it has ended, or that it is lost."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from contextvars import ContextVar
from typing import Any

from flowstore import (
    BaseResultBackend,
    LateWrite,
    NotSerializable,
    StorageError,
    TaskResult,
    TrackedTask,
    WorkerStopped,
)
from flowstore._packages import needed
from flowstore.integrations._asgi_service import GRACE, Service, service_of

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    import anyio
    from starlette.background import BackgroundTask, BackgroundTasks
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import HTTPConnection

logger = logging.getLogger("flowstore.integrations.asgi")
_current: ContextVar[TrackedTask[Any]] = ContextVar("flowstore_background_task")


def background_task() -> TrackedTask[Any]:
    """Inside of a tracked background task, also in the thread of a plain function: its tracked block.

    For ``progress`` and ``cancel_requested``. LookupError anywhere else, and where the beginning of the task
    could not be recorded.
    """
    return _current.get()


class TrackedBackgroundTasks(BackgroundTasks):
    """Background tasks of Starlette that are stored: pending before the response, then as ``track`` does.

    Made of the request, and given to the response, ``JSONResponse(..., 202, background=tasks)``, or to the
    tasks of FastAPI, ``background.add_task(tasks)``. They run in this process, one after the other, once the
    response is sent. Each ends by itself: its failure is stored and logged, and the next one runs.

    A task that is lost with its process is found as its worker is silent, by ``backend.workers.sweep``: with
    ``silent="fail"``, as nobody else runs it, and ``pending_after`` for those that had not begun. Arguments
    are not stored.

    If its beginning cannot be recorded, as the storage is down, it runs all the same, and its outcome is
    stored if it can be by then.
    """

    def __init__(self, connection: HTTPConnection) -> None:
        super().__init__()
        self._service = service_of(connection.scope)

    async def submit(
        self, task: str | TaskResult, func: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> bool:
        """Record a task, to call ``func`` with these arguments; False, and nothing, if the id is taken.

        ``task``: an id, or a ``TaskResult.pending`` with what else is to be known of it, such as its owner in
        ``meta``. Its name is that of ``func`` unless it has one. A plain function is called in a thread. What
        it returns is the result. Raises what ``store`` raises; then it will not run.
        """
        pending = TaskResult.pending(task) if isinstance(task, str) else task
        if pending.task_name is None:
            pending = pending.model_copy(update={"task_name": _name(func)})
        [is_new] = await self._service.backend.store_many([pending], create=True)
        if is_new:
            self.tasks.append(_Tracked(self._service, pending, func, args, kwargs))
        return is_new

    async def __call__(self) -> None:
        left = [*self.tasks]
        with self._service.background():
            try:
                while left:
                    await left.pop(0)()
            finally:
                if left:  # cancelled, as the server stops; or a task of add_task has raised
                    with anyio.move_on_after(GRACE, shield=True):
                        await _give_back(self._service.backend, left)


class _Tracked(BackgroundTask):
    def __init__(
        self,
        service: Service,
        pending: TaskResult,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        super().__init__(func, *args, **kwargs)
        self.pending = pending
        self._service = service

    async def __call__(self) -> None:
        try:
            await self._run()
        except WorkerStopped:  # the application stops
            await _give_back(self._service.backend, [self])
        except LateWrite as error:  # somebody has cancelled it, or a sweep has failed it
            logger.info("background task %r: %s", self.pending.task_id, error)
        except Exception:
            logger.exception("background task %r (%s)", self.pending.task_id, self.pending.task_name)

    async def _run(self) -> None:
        async with AsyncExitStack() as stack:
            block = await self._begun(stack)
            if block is not None:
                block.result = await self._called(block)
        if block is None:
            await self._run_unrecorded()

    async def _begun(self, stack: AsyncExitStack) -> TrackedTask[Any] | None:
        """The block, which ends with ``stack``; None if it cannot be recorded."""
        try:
            worker = await self._service.worker()
            # what runs in a thread cannot be interrupted
            block = worker.track(self.pending.task_id, interrupt=self.is_async, strict=True)
            return await stack.enter_async_context(block)
        except StorageError as error:
            logger.warning("background task %r begins unrecorded: %s", self.pending.task_id, error)
            return None

    async def _called(self, block: TrackedTask[Any] | None) -> Any:
        token = None if block is None else _current.set(block)
        try:
            if self.is_async:
                return await self.func(*self.args, **self.kwargs)
            return await run_in_threadpool(self.func, *self.args, **self.kwargs)
        finally:
            if token is not None:
                _current.reset(token)

    async def _run_unrecorded(self) -> None:
        try:
            value = await self._called(None)
        except Exception as error:
            await self._store(TaskResult.failed(self.pending, error))
            raise
        try:
            await self._store(TaskResult.success(self.pending, value))
        except NotSerializable as refused:
            await self._store(TaskResult.failed(self.pending, refused))
            raise

    async def _store(self, outcome: TaskResult) -> None:
        await self._service.backend.store(outcome.task_id, outcome, patience=None)


async def _give_back(backend: BaseResultBackend, left: list[BackgroundTask]) -> None:
    """Cancel what has not begun: nobody else runs it, and whoever waits for it would wait for ever."""
    for task in left:
        if isinstance(task, _Tracked):
            try:
                await backend.cancel(task.pending.task_id, "the server stopped before it began")
            except StorageError as error:
                logger.warning("background task %r stays pending: %s", task.pending.task_id, error)


def _name(func: Callable[..., Any]) -> str:
    kind = func if hasattr(func, "__qualname__") else type(func)
    return f"{kind.__module__}.{kind.__qualname__}"
