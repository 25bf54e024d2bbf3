"""arq: its jobs recorded in flowstore, and waited for by push. See docs/from-arq.md.

arq's hooks tell neither the result of a job nor its exception. So the functions themselves are wrapped. Jobs
that arq ends without calling a function, as it aborts them before they start, or finds that they have expired
or are unknown, it tells only to the serialiser of results, which is wrapped as well.

arq decides, flowstore records: with the storage down jobs run as before, each hook gives up after
``op_timeout`` (at the end of a job after ``patience``, the same by default; at its beginning within its own
timeout), and the logger
``flowstore.integrations`` says what was not recorded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import pickle
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack

from flowstore import BaseResultBackend, ConnectOptions, TaskResult
from flowstore._packages import needed
from flowstore.integrations._attempts import Again, QueueRefused, worker_name
from flowstore.integrations._recorder import BaseRecorder

with needed("flowstore.integrations.arq", "arq"):
    from arq.connections import ArqRedis
    from arq.constants import abort_jobs_ss, default_queue_name, in_progress_key_prefix, result_key_prefix
    from arq.cron import CronJob
    from arq.jobs import Job
    from arq.worker import Function, Retry, RetryJob, func

P = TypeVar("P", bound=ArqRedis)
Hook = Callable[[dict[Any, Any]], Awaitable[None]]
Coroutine = Callable[..., Awaitable[Any]]


class FlowstoreObserver(BaseRecorder[Job]):
    """Records the jobs of arq: those that are enqueued by an attached pool, and those of its workers.

    ::

        observer = FlowstoreObserver("redis://localhost")

        @observer.settings  # or observer.settings(functions=[add], ...), for arq.Worker(**...)
        class WorkerSettings:
            functions = [add]

        pool = observer.attach(await arq.create_pool())
        job = await pool.enqueue_job("add", 1, 2)
        result = await observer.wait(job, timeout=10)

    The id of a task is that of its job. ``requeue`` and ``cancel`` of ``backend.actions`` enqueue jobs again
    and abort them, from any process with an attached pool.
    """

    def __init__(
        self, backend: BaseResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        super().__init__(backend, **options)
        self._pool: ArqRedis | None = None

    def attach(self, pool: P) -> P:
        """Record what is enqueued by this pool object, which is returned."""
        if not isinstance(vars(pool).get("enqueue_job"), functools.partial):
            pool.enqueue_job = functools.partial(self._enqueued, pool.enqueue_job)  # type: ignore[method-assign]
        self._pool = self._pool or pool
        self._hook()
        return pool

    def settings(self, settings: type[Any] | Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The settings of a worker, given as arq takes them, with functions and hooks that record its jobs.

        ``allow_abort_jobs`` is on unless they say otherwise: without it arq aborts nothing.
        """
        given = vars(settings) if isinstance(settings, type) else settings or {}
        made = {**{name: value for name, value in given.items() if not name.startswith("__")}, **more}
        worker = _Worker(self, made)
        made.setdefault("allow_abort_jobs", True)
        made["functions"] = [worker.function(each) for each in made.get("functions", ())]
        made["cron_jobs"] = [worker.cron(each) for each in made.get("cron_jobs") or ()]
        made["on_startup"] = _after(worker.start, made.get("on_startup"))
        made["after_job_end"] = _after(worker.ended, made.get("after_job_end"))
        made["on_shutdown"] = _after(made.get("on_shutdown"), worker.stop)
        made["job_serializer"] = functools.partial(
            worker.serialize, made.get("job_serializer") or pickle.dumps
        )
        return made

    def id_of(self, job: Job | str) -> str:
        return job if isinstance(job, str) else job.job_id

    async def _enqueued(self, enqueue: Any, function: str, *args: Any, **kwargs: Any) -> Job | None:
        """One that arq has already is not recorded again."""
        since = datetime.now(UTC)
        job: Job | None = await enqueue(function, *args, **kwargs)
        if job is not None:
            options = {name: kwargs.pop(name) for name in list(kwargs) if name in _OPTIONS}
            run = self.run(
                job.job_id,
                datetime.now(UTC),
                function,
                args,
                kwargs,
                due_at=_due(since, options.get("_defer_until"), options.get("_defer_by")),
                meta={"queue": job._queue_name},
            )
            whole = since.microsecond // 1_000 * 1_000  # milliseconds, as in arq's own time of the job
            await self.submitted(run, since.replace(microsecond=whole))
        return job

    async def _enqueue(self, task: TaskResult) -> None:
        pool, queue = self._attached_pool(task.task_id), str(task.meta.get("queue", default_queue_name))
        await pool.delete(result_key_prefix + task.task_id)  # or arq would take the job for a duplicate
        job = await pool.enqueue_job(
            task.task_name or "", *task.args, **task.kwargs, _job_id=task.task_id, _queue_name=queue
        )
        if job is None:  # it is in the queue, perhaps marked as in progress on a worker that has lost it
            await pool.delete(in_progress_key_prefix + task.task_id)

    async def _abort(self, task_id: str, reason: str | None) -> None:
        """As ``Job.abort`` does, without waiting for what comes of it: a deferred job is due at once."""
        pool, known = self._attached_pool(task_id), await self.backend.get(task_id, load_result=False)
        queue = pool.default_queue_name if known is None else str(known.meta.get("queue", default_queue_name))
        if await pool.zscore(queue, task_id) is not None:
            await pool.zadd(abort_jobs_ss, {task_id: datetime.now(UTC).timestamp() * 1000})
            await pool.zadd(queue, {task_id: 1}, xx=True, lt=True)

    def _attached_pool(self, task_id: str) -> ArqRedis:
        if self._pool is None:
            raise QueueRefused(task_id, "no pool is attached to this observer")
        return self._pool

    def detach(self, pool: ArqRedis | None) -> None:
        """A worker closes its pool."""
        if self._pool is pool:
            self._pool = None


class _Worker:
    """What the jobs of one worker are recorded by."""

    def __init__(self, observer: FlowstoreObserver, settings: Mapping[str, Any]) -> None:
        self.id = worker_name()
        self._recorder = observer
        self._slots = settings.get("max_jobs", 10)
        self._retries = settings.get("retry_jobs", True)
        self._outcomes: dict[str, tuple[Any, BaseException | None]] = {}

    def function(self, given: Any) -> Function:
        known = func(given)
        return dataclasses.replace(known, coroutine=self._recorded(known.name, known.coroutine))

    def cron(self, job: CronJob) -> CronJob:
        return dataclasses.replace(job, coroutine=self._recorded(job.name, job.coroutine))

    def _recorded(self, name: str, coroutine: Coroutine) -> Any:
        @functools.wraps(coroutine)
        async def attempt(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> Any:
            task_id, tries = ctx["job_id"], ctx["job_try"]
            run = self._recorder.run(task_id, ctx["enqueue_time"], name, args, kwargs)
            await self._recorder.begin(self.id, run, tries)
            try:
                result = await coroutine(ctx, *args, **kwargs)
            except (Exception, asyncio.CancelledError) as error:
                self._outcomes[task_id] = None, error
                raise
            self._outcomes[task_id] = result, None
            return result

        return attempt

    async def start(self, ctx: dict[Any, Any]) -> None:
        pool = self._recorder.attach(ctx["redis"])
        await self._recorder.start_worker(self.id, self._slots, host="arq", queue=pool.default_queue_name)

    async def stop(self, ctx: dict[Any, Any]) -> None:
        self._recorder.detach(ctx.get("redis"))
        await self._recorder.stop_worker(self.id)

    async def ended(self, ctx: dict[Any, Any]) -> None:
        """arq has stored how the job ended, or has left it in the queue."""
        recording = self._recorder.soon(self._end(ctx))
        with suppress(asyncio.CancelledError):  # of a worker that stops; ``close`` of arq would raise it
            await asyncio.shield(recording)

    async def _end(self, ctx: dict[Any, Any]) -> None:
        task_id, tries = ctx["job_id"], ctx["job_try"]
        result, error = self._outcomes.pop(task_id, (None, asyncio.CancelledError()))
        again = None
        try:
            if isinstance(error, asyncio.CancelledError):
                error, again = await _reason(ctx["redis"], task_id, error)
            elif self._retries and isinstance(error, Retry | RetryJob):
                again = Again((getattr(error, "defer_score", None) or 0) / 1000)
        finally:
            await self._recorder.end(task_id, tries, result=result, error=error, again=again)

    def serialize(self, dump: Callable[[dict[str, Any]], bytes], data: dict[str, Any]) -> bytes:
        """Of a result that is no outcome of a function, the outcome."""
        task_id, error = data.get("id"), data.get("r")
        if task_id is not None and task_id not in self._outcomes and isinstance(error, BaseException):
            self._recorder.soon(self._recorder.settle(task_id, functools.partial(_uncalled, error)))
        return dump(data)


async def _reason(pool: ArqRedis, task_id: str, error: BaseException) -> tuple[BaseException, Again | None]:
    """Why a job was cancelled: it has timed out, was aborted, or is given back by a worker that stops."""
    info = await Job(task_id, pool, pool.default_queue_name, pool.job_deserializer).info()
    result = getattr(info, "result", None)
    if isinstance(result, BaseException):
        return result, None
    return error, None if info is None or info.score is None else Again(0.0)


def _uncalled(error: BaseException, task: TaskResult) -> TaskResult:
    if isinstance(error, asyncio.CancelledError):
        return TaskResult.cancelled(task, cancel_request=task.cancel_request)
    return TaskResult.failed(task, error)


_OPTIONS = {"_job_id", "_queue_name", "_defer_until", "_defer_by", "_expires", "_job_try"}
"""Arguments of ``enqueue_job`` that are none of the function."""


def _due(since: datetime, until: datetime | None, by: float | timedelta | None) -> datetime | None:
    if until is not None:
        return until.astimezone(UTC)
    if by is None:
        return None
    return since + (by if isinstance(by, timedelta) else timedelta(seconds=by))


def _after(*hooks: Hook | None) -> Hook:
    """One after the other, those that there are; the later ones also where an earlier one raises."""

    async def each(ctx: dict[Any, Any]) -> None:
        async with AsyncExitStack() as stack:
            for hook in reversed(hooks):
                if hook is not None:
                    stack.push_async_callback(hook, ctx)

    return each
