"""SAQ: its jobs recorded in flowstore, and waited for by push. See docs/from-saq.md.

SAQ decides, flowstore records: with the storage down jobs run as before, each hook gives up after
``op_timeout`` (at the end of a job after ``patience``, the same by default), and the logger
``flowstore.integrations`` says what was not recorded.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, Unpack

from flowstore import BaseResultBackend, CancelRequest, ConnectOptions, TaskResult
from flowstore._packages import needed
from flowstore.integrations._attempts import Again, QueueRefused
from flowstore.integrations._recorder import BaseRecorder

with needed("flowstore.integrations.saq", "saq"):
    from saq.job import ACTIVE_STATUSES, Job, Status
    from saq.queue import Queue
    from saq.utils import exponential_backoff

Q = TypeVar("Q", bound=Queue)

_OPTIONS: Final = {
    field.name: field.default
    for field in dataclasses.fields(Job)
    if field.name
    in {"timeout", "heartbeat", "retries", "ttl", "retry_delay", "retry_backoff", "priority", "group_key"}
}
"""What a job is enqueued with besides its arguments; what differs from these goes into ``meta``."""


class FlowstoreObserver(BaseRecorder[Job]):
    """Records the jobs of SAQ: those that are enqueued by an attached queue, and those of its workers.

    ::

        observer = FlowstoreObserver("redis://localhost")
        queue = observer.attach(Queue.from_url("redis://localhost"))
        settings = observer.settings(queue=queue, functions=[add])  # for saq, or for Worker(**settings)

        job = await queue.enqueue("add", a=1, b=2)
        result = await observer.wait(job, timeout=10)

    The id of a task is the key of its job. ``requeue`` and ``cancel`` of ``backend.actions`` enqueue jobs
    again and abort them, from any process with an attached queue.
    """

    def __init__(
        self, backend: BaseResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        super().__init__(backend, **options)
        self._queues: dict[str, Queue] = {}

    def attach(self, queue: Q) -> Q:
        """Record what is enqueued, retried and finished by this queue object, which is returned."""
        if queue not in self._queues.values():
            self._queues[queue.name] = queue
            _Watched(self, queue)
            self._hook()
        return queue

    def settings(self, settings: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """The settings of a worker, or arguments of ``saq.Worker``, with hooks that record its jobs."""
        made = {**(settings or {}), **more}
        self.attach(made["queue"])
        made["startup"] = [self._startup, *_listed(made.get("startup"))]
        made["before_process"] = [self._before, *_listed(made.get("before_process"))]
        made["after_process"] = [self._after, *_listed(made.get("after_process"))]
        made["shutdown"] = [*_listed(made.get("shutdown")), self._shutdown]
        return made

    def id_of(self, job: Job | str) -> str:
        return job if isinstance(job, str) else job.key

    async def _startup(self, ctx: Any) -> None:
        worker = ctx["worker"]
        await self.start_worker(worker.id, worker.concurrency, host="saq", queue=worker.queue.name)

    async def _shutdown(self, ctx: Any) -> None:
        await self.stop_worker(ctx["worker"].id)

    async def _before(self, ctx: Any) -> None:
        await self.begin(ctx["worker"].id, self.run_of(ctx["job"]), ctx["job"].attempts)

    async def _after(self, ctx: Any) -> None:
        job: Job = ctx["job"]
        error = ctx.get("exception")
        if job.status is Status.COMPLETE:
            await self.end(job.key, job.attempts, result=job.result)
        elif job.status is Status.ACTIVE and not self.has_begun(job.key, job.attempts):
            return  # stopped while it was being recorded: SAQ's sweep will find it
        elif job.status in (Status.QUEUED, Status.ACTIVE):
            error = error or asyncio.CancelledError(job.error)
            again = Again(_delay(job) if job.status is Status.QUEUED else None)
            await self.end(job.key, job.attempts, error=error, again=again)
        else:
            error = error or asyncio.CancelledError(job.error)
            await self.end(job.key, job.attempts, error=error)

    def run_of(self, job: Job) -> TaskResult | None:
        """The job as it was submitted."""
        due_at = datetime.fromtimestamp(job.scheduled, UTC) if job.scheduled else None
        meta = {name: getattr(job, name) for name, usual in _OPTIONS.items() if getattr(job, name) != usual}
        return self.run(
            job.key,
            _time(job.queued),
            job.function,
            (),
            job.kwargs or {},
            due_at=due_at,
            meta={**meta, "queue": job.get_queue().name},
        )

    async def settled(self, job: Job) -> None:
        """A job has ended that no worker here has: it was aborted in the queue, or by a sweep."""
        error = JobEnded(job.error or f"job is {job.status.value}")
        if job.status is Status.ABORTED:
            request = CancelRequest(at=datetime.now(UTC), reason=job.error)
            await self.settle(job.key, lambda task: TaskResult.cancelled(task, cancel_request=request))
        elif job.status is Status.FAILED:
            await self.settle(job.key, lambda task: TaskResult.failed(task, error))

    async def _enqueue(self, task: TaskResult) -> None:
        queue = self._queue_of(task)
        known = await queue.job(task.task_id)
        if known is not None and known.status is Status.ACTIVE:  # on a worker that has lost it
            await queue.retry(known, "requeued")
            return
        options: dict[str, Any] = {name: task.meta[name] for name in _OPTIONS if name in task.meta}
        job = Job(task.task_name or "", kwargs=dict(task.kwargs), key=task.task_id, **options)
        if await queue.enqueue(job) is None and not _is_open(await queue.job(task.task_id)):
            raise QueueRefused(task.task_id, "SAQ takes no job for 5 s after one with its key was aborted")

    def _queue_of(self, task: TaskResult) -> Queue:
        name = task.meta.get("queue")
        if name not in self._queues:
            raise QueueRefused(task.task_id, f"no queue {name!r} is attached to this observer")
        return self._queues[str(name)]

    async def _abort(self, task_id: str, reason: str | None) -> None:
        for queue in self._queues.values():
            job = await queue.job(task_id)
            if job is not None and _is_open(job):
                await queue.abort(job, reason or "cancelled")


class JobEnded(Exception):
    """The error of a job of which SAQ says only in a text how it ended."""


class _Watched:
    """Methods of a queue, by which whoever has it tells of jobs, and what is recorded then."""

    def __init__(self, observer: FlowstoreObserver, queue: Queue) -> None:
        self._recorder = observer
        self._enqueue, self._retry, self._finish = queue.enqueue, queue.retry, queue.finish
        queue.enqueue = self.enqueue  # type: ignore[method-assign]
        queue.retry = self.retry  # type: ignore[method-assign]
        queue.finish = self.finish  # type: ignore[method-assign]

    async def enqueue(self, job_or_func: str | Job, **kwargs: Any) -> Job | None:
        """One that SAQ has already is not recorded again."""
        job = await self._enqueue(job_or_func, **kwargs)
        if job is not None:
            await self._recorder.submitted(self._recorder.run_of(job))
        return job

    async def retry(self, job: Job, error: str | None) -> None:
        await self._retry(job, error)
        if not self._recorder.has_begun(job.key, job.attempts):
            due_at = datetime.now(UTC) + timedelta(seconds=_delay(job))
            await self._recorder.again(job.key, JobEnded(error or "retried"), due_at)

    async def finish(self, job: Job, status: Status, **outcome: Any) -> None:
        await self._finish(job, status, **outcome)
        if not self._recorder.has_begun(job.key, job.attempts):
            await self._recorder.settled(job)


def _delay(job: Job) -> float:
    """The seconds until SAQ tries again at the latest: with ``retry_backoff`` it draws a shorter one."""
    if job.retry_backoff is False:
        return job.retry_delay
    most = None if job.retry_backoff is True else float(job.retry_backoff)
    return exponential_backoff(job.attempts, job.retry_delay, most, jitter=False)


def _is_open(job: Job | None) -> bool:
    return job is not None and job.status in ACTIVE_STATUSES


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)


def _listed(hooks: Any) -> list[Any]:
    if hooks is None:
        return []
    return [*hooks] if isinstance(hooks, Collection) else [hooks]
