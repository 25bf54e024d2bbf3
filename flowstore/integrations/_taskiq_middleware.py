"""The middleware's half of the adapter of taskiq: what becomes of each task, recorded as it happens.

taskiq's retry middlewares send the next attempt from within ``on_error``, under the same id, and taskiq calls
``on_error`` of the last middleware first. So this one comes last: it knows the error by then, and stores the
task as retrying before the message is sent, so that no worker can be ahead of it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final

from flowstore import BaseResultBackend, FlowstoreError, NotSerializable, TaskResult, TrackOptions
from flowstore._packages import needed
from flowstore.fields import Scalar
from flowstore.integrations._attempts import Attempts, logger, not_recorded, recordable
from flowstore.integrations._taskiq_records import ARGS_SHOWN, labels_of, meta_of, storable
from flowstore.integrations._taskiq_results import FlowstoreDecoratedTask
from flowstore.integrations._taskiq_runs import ENDING, TROUBLE, UNDER_WAY, Run, Unwanted, ended_before

with needed("flowstore.integrations.taskiq", "taskiq"):
    from taskiq import AsyncBroker, AsyncTaskiqDecoratedTask, TaskiqMessage, TaskiqMiddleware, TaskiqResult
    from taskiq import __version__ as version
    from taskiq.exceptions import NoResultError
    from taskiq.labels import parse_label

_SENT: Final = "flowstore_sent"
_PARENT: Final = "flowstore_parent"
_ATTEMPT: Final = "flowstore_attempt"
"""The number of the attempt that has sent its message again by itself, with ``Context.requeue``."""
_REQUEUED: Final = "X-Taskiq-requeue"
_MOST: Final = 2**31 - 2
_A_WHILE: Final = 5.0
"""Seconds until a worker tries to register again, after the storage could not be reached."""

DISPATCHED: Final[ContextVar[str | None]] = ContextVar("flowstore_taskiq_dispatched", default=None)
"""The task that is being sent again. Its record says so already, and it is no child of who sends it."""


class Recording(TaskiqMiddleware):
    """What taskiq tells a middleware, recorded in ``backend``."""

    def __init__(self) -> None:
        super().__init__()
        self._attempts: Attempts | None = None
        self._opening: asyncio.Lock | None = None
        self._registering: asyncio.Task[None] | None = None

    @property
    def backend(self) -> BaseResultBackend:
        raise NotImplementedError

    def set_broker(self, broker: AsyncBroker) -> None:
        """taskiq calls it. Tasks that are declared from now on return a FlowstoreTask from ``kiq``."""
        super().set_broker(broker)
        if broker.decorator_class is AsyncTaskiqDecoratedTask:
            broker.decorator_class = FlowstoreDecoratedTask

    async def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        message.labels.pop(_ATTEMPT, None)  # which a retry has from the message before
        if DISPATCHED.get() == message.task_id:
            return message
        message.labels[_SENT] = str(int(datetime.now(UTC).timestamp() * 1e6))
        run = UNDER_WAY.get()
        if run is not None and run.backend is self.backend:
            if run.task_id == message.task_id:
                await run.retry(_number(message.labels.get("delay")))
            else:
                message.labels[_PARENT] = run.task_id
        return message

    async def post_send(self, message: TaskiqMessage) -> None:
        """Only now: a message that the broker refuses leaves no trace. A worker that was faster stands."""
        if DISPATCHED.get() == message.task_id or _number(message.labels.get("_retries")):
            return
        try:
            await self._submit(self._submitted(message))
        except TROUBLE as trouble:
            not_recorded(message.task_id, "its submission", trouble)

    def _submitted(self, message: TaskiqMessage) -> TaskResult:
        types = message.labels_types or {}
        labels = {name: parse_label(value, types.get(name)) for name, value in message.labels.items()}
        sent_at, parent = _sent_at(labels.pop(_SENT, None)), labels.pop(_PARENT, None)
        args, kwargs, meta = self._described(message, labels)
        return TaskResult.pending(
            message.task_id,
            at=sent_at,
            task_name=message.task_name,
            args=args,
            kwargs=kwargs,
            parent_id=parent,
            meta=meta,
        )

    async def _submit(self, task: TaskResult) -> None:
        if await self.backend.store(task.task_id, task):
            return
        standing = await self.backend.get(task.task_id, load_result=False)
        if standing is not None and ended_before(standing, task.submitted_at):
            again = TaskResult.pending(task, at=task.submitted_at, retries=standing.retries + 1)
            await self.backend.store(task.task_id, again)

    async def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        if DISPATCHED.get() is not None:  # by who runs it in this process
            DISPATCHED.set(None)
        await self.serve()
        sent_at = _sent_at(message.labels.pop(_SENT, None))
        parent, before = message.labels.pop(_PARENT, None), message.labels.pop(_ATTEMPT, None)
        args, kwargs, meta = self._described(message, message.labels)
        options = TrackOptions(name=message.task_name, args=args, kwargs=kwargs, meta=meta, interrupt=True)
        options["worker_id"] = self._attempts.worker_id if self._attempts else None
        options["submitted_at"] = sent_at
        if parent is not None:
            options["parent_id"] = parent
        if before is not None:
            options["retries"] = int(_number(before)) + 1
        run = Run(self.backend, message.task_id, sent_at, options)
        run.requeued = message.labels.get(_REQUEUED)
        await run.begin()
        UNDER_WAY.set(run)
        if run.block is not None:
            message.labels[_ATTEMPT] = str(run.block.retries)
        if run.is_unwanted:
            message.args, message.kwargs = [], Unwanted()
        return message

    def on_error(self, message: TaskiqMessage, result: TaskiqResult[Any], exception: BaseException) -> None:
        run = self._run(message.task_id)
        if run is None:
            return
        run.error = exception
        is_cancelled = run.block is not None and run.block.cancel_requested and not run.is_over
        if is_cancelled or isinstance(exception, GeneratorExit):
            message.labels["retry_on_error"] = False  # or the middlewares that come now would send it again

    async def post_execute(self, message: TaskiqMessage, result: TaskiqResult[Any]) -> None:
        run = self._run(message.task_id)
        if run is None:
            return
        if isinstance(result.error, NoResultError):
            await run.finish_without_result(message.labels.get(_REQUEUED) != run.requeued)
            UNDER_WAY.set(run.outer)
        elif not self._has_results():
            await self.finish(run, result)

    async def finish(self, run: Run, result: TaskiqResult[Any]) -> None:
        await run.finish(result)
        UNDER_WAY.set(run.outer)

    async def serve(self) -> None:
        """Register this process as a worker, unless it is. Where that fails, it is tried on beside the tasks.

        Those that begin meanwhile belong to no worker: what it does not know of would be taken for lost.
        """
        if self._attempts is not None or self._registering is not None:
            return
        self._opening = self._opening or asyncio.Lock()
        async with self._opening:
            if self._attempts is None and self._registering is None:
                try:
                    await self._register()
                except FlowstoreError as trouble:
                    logger.warning("this worker is not registered yet: %s", trouble)
                    self.serve_later()

    def serve_later(self) -> None:
        """``serve`` where the storage has just been found to be away."""
        if self._registering is None:
            self._registering = asyncio.get_running_loop().create_task(self._keep_registering())

    async def _keep_registering(self) -> None:
        while self._attempts is None:
            await asyncio.sleep(_A_WHILE)
            with suppress(FlowstoreError):
                await self._register()

    async def _register(self) -> None:
        attempts = Attempts(self.backend)
        about: dict[str, Scalar] = {"taskiq": version, "broker": type(self.broker).__name__}
        await attempts.open(info=about)
        self._attempts = attempts

    async def stop_serving(self) -> None:
        registering, self._registering, self._opening = self._registering, None, None
        if registering is not None:
            registering.cancel()
            await asyncio.wait([registering])
        attempts, self._attempts = self._attempts, None
        loop = asyncio.get_running_loop()
        if ending := [each for each in ENDING if each.get_loop() is loop]:
            await asyncio.wait(ending)
        if attempts is not None:
            await attempts.close()

    def check_order(self) -> None:
        """Middlewares behind this one that may send a task again would do so before it knows the error."""
        middlewares = self.broker.middlewares
        for later in middlewares[middlewares.index(self) + 1 :] if self in middlewares else ():
            if type(later).on_error is not TaskiqMiddleware.on_error:
                logger.warning(
                    "the middleware of flowstore comes before %s: add it last, or retries have no error",
                    type(later).__name__,
                )

    def _has_results(self) -> bool:
        """Whether taskiq hands the results to this object. Otherwise tasks end before they are saved."""
        results: object = self.broker.result_backend
        return results is self

    def _run(self, task_id: str) -> Run | None:
        run = UNDER_WAY.get()
        is_it = run is not None and run.task_id == task_id and run.backend is self.backend
        return run if is_it else None

    def _described(
        self, message: TaskiqMessage, labels: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any], dict[str, Scalar]]:
        """Arguments and labels as they are stored, and whether these are the arguments themselves."""
        backend = self.backend
        try:
            args, kwargs = storable(backend, [message.args, message.kwargs])
            return args, kwargs, meta_of(labels)
        except NotSerializable:  # taskiq sends them nevertheless, by a formatter of the user
            args = [recordable(backend, value) for value in message.args]
            kwargs = {name: recordable(backend, value) for name, value in message.kwargs.items()}
            return args, kwargs, meta_of(labels, {ARGS_SHOWN: True})


def labels_to_send(task: TaskResult) -> dict[str, Any]:
    """Those it was sent with, but for the count of retries, which begins anew."""
    return {name: value for name, value in labels_of(task.meta).items() if name != "_retries"}


def _number(label: Any) -> float:
    """Of a label that should be one; 0 for anything else."""
    try:
        number = float(label or 0)
    except (TypeError, ValueError):
        return 0.0
    return number if 0 <= number <= _MOST else 0.0


def _sent_at(label: Any) -> datetime | None:
    """In a message that another program has made there may be anything."""
    try:
        return None if label is None else datetime.fromtimestamp(int(label) / 1e6, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
