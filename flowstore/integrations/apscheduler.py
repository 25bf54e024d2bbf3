"""Jobs of APScheduler 4 recorded in flowstore. See docs/from-apscheduler.md.

What its events say of a job is its states and the text of its error. Its value is in the scheduler's own
store, where reading it removes it. So values, arguments and errors come from the executors, which run the
jobs and are the scheduler's public extension point.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Final, Self, Unpack
from uuid import UUID

from anyio import CancelScope

import flowstore
from flowstore import BaseResultBackend, ConnectOptions, TaskError, TaskResult, TaskStatus
from flowstore._packages import needed
from flowstore.integrations._attempts import Attempts, not_recorded, recordable
from flowstore.integrations._stores import attached
from flowstore.text import MAX_ID_BYTES

with needed("flowstore.integrations.apscheduler", "apscheduler"):
    from apscheduler import (
        AsyncScheduler,
        Event,
        Job,
        JobAcquired,
        JobAdded,
        JobOutcome,
        JobReleased,
        RunState,
        SchedulerStopped,
    )
    from apscheduler.abc import JobExecutor, Subscription

_REASONS: Final = {
    JobOutcome.missed_start_deadline: ("JobDeadlineMissed", "it was not begun before its start deadline"),
    JobOutcome.deserialization_failed: ("JobDeserializationFailed", "its arguments could not be read"),
    JobOutcome.abandoned: ("JobAbandoned", "its scheduler stopped, and did not say how the job ended"),
}


class FlowstoreObserver:
    """Use as ``async with FlowstoreObserver(scheduler, url) as observer:`` before the scheduler starts.

    A job is the task with its id as text, named after its task of APScheduler; jobs of a schedule have the
    label ``schedule:<id>``. What goes wrong with the storage never reaches a job: it is logged, and the job
    goes on without a record; begin and end of a job wait for the storage for ``op_timeout`` at most. A value
    that flowstore cannot keep is stored as JSON, or as its repr.

    A backend that was given stays open; one made from a URL and options is closed at the end. Other processes
    wait with ``backend.wait_for(str(job_id))``.
    """

    def __init__(
        self,
        scheduler: AsyncScheduler,
        backend: BaseResultBackend | str | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        self._scheduler = scheduler
        self._attached = attached(backend, options)
        self.backend = self._attached.backend
        self._attempts = Attempts(self.backend)
        self._stored: set[UUID] = set()
        self._exit = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises StorageError if the worker cannot be registered."""
        async with AsyncExitStack() as undo:
            if self._attached.is_own:
                undo.push_async_callback(self.backend.close)
            info = {"host": "apscheduler", "scheduler": self._scheduler.identity}
            await self._attempts.open(slots=self._scheduler.max_concurrent_jobs, info=info)
            undo.push_async_callback(self._attempts.close)
            undo.callback(self._wrap())
            undo.callback(self._subscribe().unsubscribe)
            self._exit = undo.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stops the scheduler first, which cancels its jobs: what becomes of these is still recorded."""
        try:
            await self._stop()
        finally:
            await self._exit.aclose()

    async def wait(self, job_id: UUID, timeout: float | None = None) -> TaskResult:
        """What became of the job, once it is over: told by push, and left where it is.

        ``timeout`` is in seconds. Raises WaitTimeout, ResultDeleted and ResultExpired.
        """
        return await self.backend.wait_for(str(job_id), timeout)

    async def _stop(self) -> None:
        """Its own wait_until_stopped returns while the jobs are still being cancelled."""
        stopped = asyncio.Event()
        broker = self._scheduler.event_broker
        with broker.subscribe(lambda _: stopped.set(), {SchedulerStopped}):
            await self._scheduler.stop()
            if self._scheduler.state is RunState.stopping:
                await stopped.wait()

    def _wrap(self) -> Callable[[], None]:
        """All executors that there are; returns what undoes it."""
        executors = self._scheduler.job_executors
        before = dict(executors)
        for name, each in before.items():
            executors[name] = _Recording(each, self._attempts, self._stored)
        return lambda: executors.update(before)

    def _subscribe(self) -> Subscription:
        kinds = {JobAdded, JobAcquired, JobReleased}
        return self._scheduler.event_broker.subscribe(self._on_event, kinds)

    async def _on_event(self, event: Event) -> None:
        try:
            match event:
                case JobAdded():
                    await self._added(event)
                case JobAcquired():
                    await self._acquired(event)
                case JobReleased():
                    await self._released(event)
        except flowstore.FlowstoreError as trouble:
            job_id = str(getattr(event, "job_id", "?"))
            not_recorded(job_id, type(event).__name__, trouble)

    async def _added(self, event: JobAdded) -> None:
        """Unless it has begun meanwhile, or other observers were told before."""
        jobs = await self._scheduler.data_store.get_jobs([event.job_id])
        if not jobs:
            return
        options = _options(jobs[0])
        record = TaskResult.pending(
            str(event.job_id),
            at=options["submitted_at"],
            task_name=options["name"],
            args=[recordable(self.backend, value) for value in options["args"]],
            kwargs={name: recordable(self.backend, value) for name, value in options["kwargs"].items()},
            labels=options["labels"],
            meta=options["meta"],
        )
        await self.backend.store_many([record], create=True)

    async def _acquired(self, event: JobAcquired) -> None:
        """By a scheduler that nobody observes, as the executors of one that is say more."""
        if event.scheduler_id == self._scheduler.identity:
            return

        def step(found: TaskResult | None) -> TaskResult | None:
            if found is None or found.status is not TaskStatus.PENDING:
                return None
            return TaskResult.running(found, at=event.timestamp)

        await self.backend.update(str(event.job_id), step, load_result=False)

    async def _released(self, event: JobReleased) -> None:
        """What the executors could not say. It changes nothing in a job that is finished."""
        if event.job_id in self._stored:
            self._stored.remove(event.job_id)
            return

        def step(found: TaskResult | None) -> TaskResult | None:
            return None if found is not None and found.is_finished else _ended(event, found)

        await self.backend.update(str(event.job_id), step, load_result=False)


class _Recording(JobExecutor):
    """An executor whose jobs are recorded. ``stored``: those whose outcome is stored, until their release."""

    def __init__(self, executor: JobExecutor, attempts: Attempts, stored: set[UUID]) -> None:
        self._executor = executor
        self._attempts = attempts
        self._stored = stored

    async def start(self, exit_stack: AsyncExitStack) -> None:
        await self._executor.start(exit_stack)

    async def run_job(self, func: Callable[..., Any], job: Job) -> Any:
        attempt = await self._attempts.begin(str(job.id), **_options(job))
        value, error = None, None
        try:
            value = await self._executor.run_job(func, job)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if attempt is not None:
                with CancelScope(shield=True):
                    await attempt.end(result=value, error=error)
                if attempt.block.is_stored:
                    self._stored.add(job.id)
        return value


def _options(job: Job) -> Any:
    """Of ``Attempts.begin``."""
    due, schedule = job.scheduled_fire_time, job.schedule_id and _name(job.schedule_id)
    meta = {"schedule_id": schedule, "scheduled_fire_time": due and due.isoformat()}
    return {
        "name": _name(job.task_id),
        "args": job.args,
        "kwargs": job.kwargs,
        "submitted_at": job.created_at,
        "labels": [] if schedule is None else [_name(f"schedule:{schedule}")],
        "meta": {name: value for name, value in meta.items() if value is not None},
    }


def _name(text: str) -> str | None:
    """APScheduler takes any text for a name, and a job must not fail of one that flowstore refuses."""
    return text.encode(errors="replace")[:MAX_ID_BYTES].decode(errors="ignore") or None


def _ended(event: JobReleased, known: TaskResult | None) -> TaskResult:
    """As far as the event says it: without the value, and with the error as text."""
    task: Any = str(event.job_id) if known is None else known
    fields: Any = {"at": event.timestamp, "task_name": _name(event.task_id)}
    match event.outcome:
        case JobOutcome.success:
            return TaskResult.success(task, **fields)
        case JobOutcome.cancelled:
            return TaskResult.cancelled(task, **fields)
        case JobOutcome.error:
            kind, message = event.exception_type or "Exception", event.exception_message or ""
            trace = "".join(event.exception_traceback or ())
            return TaskResult.failed(task, TaskError(type=kind, message=message, traceback=trace), **fields)
    kind, message = _REASONS[event.outcome]
    return TaskResult.failed(task, TaskError(type=kind, message=message), **fields)
