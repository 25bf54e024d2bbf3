"""What the recorders of SAQ, arq and streaQ share: a job of the host is a task here, under the host's id.

The host decides, and what it decides is recorded: an attempt that it begins, how that ended, and what becomes
of jobs that no worker here has, as when they are aborted in the queue. Attempts have the numbers of the host.
A host may use the id of a finished job again: then the record begins anew, with attempt 0. Which of two
submissions is the later one tells the time at which the host says that it was queued.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar, Unpack

from flowstore import (
    BaseResultBackend,
    ConnectOptions,
    FamilyConflict,
    FlowstoreError,
    LateWrite,
    TaskResult,
    TaskStatus,
    TrackOptions,
    current_task,
)
from flowstore.integrations._attempts import (
    SHOWN,
    Attempt,
    Attempts,
    Outcome,
    Step,
    check_whole,
    logger,
    not_recorded,
    storable,
    unattended,
)
from flowstore.integrations._stores import attached
from flowstore.models import T

_A_WHILE: Final = 5.0
"""Seconds until a worker tries to register again, after the storage could not be reached."""


Job = TypeVar("Job")


class BaseRecorder(Generic[Job]):
    """Records the jobs of a host in a backend, given as such or as a URL with options of ``connect``.

    A backend that was given is never closed here. One of its own is closed with ``async with`` or ``close``,
    or else with the last worker that has used it.
    """

    def __init__(
        self, backend: BaseResultBackend | str | None = None, **options: Unpack[ConnectOptions]
    ) -> None:
        self._attached = attached(backend, options)
        self.backend = self._attached.backend
        self._is_held = False
        self._crews: dict[str, Attempts] = {}
        self._under_way: dict[tuple[str, int], Attempt] = {}
        self._unrecorded: dict[tuple[str, int], TaskResult] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._registering: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        self._is_held = True
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is being recorded, and close the backend if it is our own. Idempotent."""
        for worker_id in [*self._registering]:
            self._unregister(worker_id)
        await self._recorded()
        if self._attached.is_own:
            await self.backend.close()

    async def wait(
        self, job: Job | str, timeout: float | timedelta | None = None, *, as_: type[T] | None = None
    ) -> TaskResult[T]:
        """The finished result of a job, or of the one with this id, as soon as it is recorded.

        It is ``backend.wait_for``, whose arguments and errors it has; ``unwrap`` of what it returns is the
        value of the job, or raises TaskFailed or TaskCancelled.
        """
        return await self.backend.wait_for(self.id_of(job), timeout, as_=as_)

    async def cancel(self, job: Job | str, reason: str | None = None) -> bool:
        """Cancel the task, and have the host abort the job. False if it is over, or not recorded."""
        task_id = self.id_of(job)
        is_open = await self.backend.cancel(task_id, reason)
        if is_open or not await self.backend.exists(task_id):
            await self._abort(task_id, reason)
        return is_open

    async def dispatch(self, tasks: Iterable[TaskResult | str]) -> None:
        """Enqueue each task, or the one with this id, again under its own id, after it was stored as pending.

        It is the hook of ``backend.actions.on_requeue``, and for what ``workers.sweep`` has requeued. Raises
        QueueRefused if the host does not take one, or, before any is enqueued, for one whose arguments are
        not stored as they were.
        """
        loaded = await self.backend.get_many(
            task if isinstance(task, str) else task.task_id for task in tasks
        )
        for task in loaded.values():
            check_whole(task)
        for task in loaded.values():
            await self._enqueue(task)

    async def _revoked(self, tasks: list[TaskResult]) -> None:
        """The hook of ``backend.actions.on_cancel``: have the host abort each job."""
        for task in tasks:
            await self._abort(
                task.task_id, None if task.cancel_request is None else task.cancel_request.reason
            )

    def _hook(self) -> None:
        """Be the hooks of the actions of the backend, in place of others."""
        self.backend.actions.on_requeue(self.dispatch)
        self.backend.actions.on_cancel(self._revoked)

    def id_of(self, job: Job | str) -> str:
        """The id that the host has for a job."""
        raise NotImplementedError

    async def _enqueue(self, task: TaskResult) -> None:
        """Hand a job to the host again. Raises QueueRefused if it does not take it."""
        raise NotImplementedError

    async def _abort(self, task_id: str, reason: str | None) -> None:
        """Have the host abort a job, if it has it."""
        raise NotImplementedError

    def run(
        self,
        task_id: str,
        at: datetime,
        name: str,
        args: Iterable[Any],
        kwargs: Mapping[str, Any],
        *,
        due_at: datetime | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> TaskResult | None:
        """A job as it was submitted ``at``, with arguments that can be stored, and the caller's task.

        None if there can be no such task, as with an id that is too long.
        """
        args, kwargs, is_whole = storable(self.backend, args, kwargs)
        if not is_whole:
            meta = {**(meta or {}), SHOWN: "shown"}
        try:
            return TaskResult.pending(
                task_id,
                at=at,
                task_name=name,
                args=tuple(args),
                kwargs=kwargs,
                meta=meta or {},
                parent_id=current_task(self.backend),
                due_at=due_at,
            )
        except ValueError as error:
            logger.warning("job %.80r cannot be recorded: %s", task_id, error)
            return None

    async def submitted(self, run: TaskResult | None, since: datetime | None = None) -> None:
        """The host has taken the job. It may be under way, or even finished, by now.

        ``since``: what was submitted before is another run of the same id; by default the time of ``run``.
        """
        if run is None:
            return
        try:
            if not await self._is_new(run):
                step = partial(renewed, run, since or run.submitted_at)
                await self.backend.update(run.task_id, step, load_result=False)
        except FlowstoreError as trouble:
            not_recorded(run.task_id, "its submission", trouble)

    async def _is_new(self, run: TaskResult) -> bool:
        try:
            return await self.backend.store(run.task_id, run)
        except FamilyConflict:  # the first to submit this id was another task
            return False

    async def begin(
        self, worker_id: str, run: TaskResult | None, tries: int, since: datetime | None = None
    ) -> None:
        """The host begins attempt number ``tries``, from 1, at ``run``. ``since``: see ``submitted``."""
        if run is None:
            return
        try:
            crew = self._crews.get(worker_id) or Attempts(self.backend, worker_id)  # it is stopping
            attempt = await self._entered(crew, run, tries, since or run.submitted_at)
        except FlowstoreError as trouble:
            not_recorded(run.task_id, "its beginning", trouble)
            if not isinstance(trouble, LateWrite):
                self._unrecorded[run.task_id, tries] = run
        else:
            self._under_way[run.task_id, tries] = attempt

    async def _entered(self, crew: Attempts, run: TaskResult, tries: int, since: datetime | None) -> Attempt:
        options: TrackOptions = {
            "name": run.task_name,
            "args": run.args,
            "kwargs": run.kwargs,
            "meta": run.meta,
            "submitted_at": run.submitted_at,
            "strict": True,
            "retries": tries - 1,
        }
        try:
            return await crew.enter(run.task_id, **options)
        except LateWrite as late:
            step = partial(renewed, run, since)
            standing = await self.backend.update(run.task_id, step, load_result=False)
            if standing is None or standing.is_finished:
                raise late from None
        # The host counts from the beginning again, or others have requeued the task.
        options["retries"] = standing.retries + (standing.status is not TaskStatus.PENDING)
        return await crew.enter(run.task_id, **options)

    def has_begun(self, task_id: str, tries: int) -> bool:
        """Whether a worker of this process has that attempt under way, recorded or not, and will end it."""
        return (task_id, tries) in self._under_way or (task_id, tries) in self._unrecorded

    async def end(self, task_id: str, tries: int, **outcome: Unpack[Outcome]) -> bool:
        """End the attempt as ``Attempt.end`` does. False if it is not under way here.

        Then the task ends all the same, unless it is finished: somebody may wait for it.
        """
        attempt = self._under_way.pop((task_id, tries), None)
        if attempt is not None:
            await attempt.end(**outcome)
            return True
        run = self._unrecorded.pop((task_id, tries), None)
        known = partial(TaskResult.pending, run or task_id, retries=tries - 1)
        await self._revise(task_id, *unattended(known, self.backend, outcome))
        return False

    async def settle(self, task_id: str, outcome: Callable[[TaskResult], TaskResult]) -> None:
        """Store what the host has made of a job that no worker here has, which is no result of it.

        A finished one stays as it is.
        """

        def step(standing: TaskResult | None) -> TaskResult:
            known = standing or TaskResult.pending(task_id)
            return known if known.is_finished else outcome(known)

        await self._revise(task_id, step)

    async def _revise(self, task_id: str, step: Step, load_result: bool = False) -> None:
        try:
            await self.backend.update(task_id, step, load_result=load_result)
        except (FlowstoreError, ValueError) as trouble:  # as of an id that no record can have
            not_recorded(task_id, "what became of it", trouble)

    async def again(self, task_id: str, error: BaseException, due_at: datetime | None = None) -> None:
        """The host gives a job, which its worker has lost, another attempt."""
        await self._revise(task_id, partial(lost, error, due_at))

    def soon(self, recording: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Record in the background, from a hook that cannot wait."""
        task = asyncio.get_running_loop().create_task(recording)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _recorded(self) -> None:
        """Not what begins meanwhile, as in a producer that goes on: that might never end."""
        if self._background:
            await asyncio.wait([*self._background])

    async def start_worker(self, worker_id: str, slots: int, **info: str) -> None:
        """A worker of the host starts, also if it cannot be registered yet."""
        crew = self._crews[worker_id] = Attempts(self.backend, worker_id)
        try:
            await crew.open(slots=slots, info=info)
        except FlowstoreError as trouble:
            logger.warning("worker %r is not registered yet: %s", worker_id, trouble)
            self._registering[worker_id] = asyncio.create_task(self._register(crew, slots, info))

    async def _register(self, crew: Attempts, slots: int, info: Mapping[str, str]) -> None:
        while True:
            await asyncio.sleep(_A_WHILE)
            with suppress(FlowstoreError):
                return await crew.open(slots=slots, info=info)

    async def stop_worker(self, worker_id: str) -> None:
        self._unregister(worker_id)
        await self._recorded()
        crew = self._crews.pop(worker_id, None)
        if crew is not None:
            await crew.close()
        if not self._crews and not self._is_held:
            await self.close()

    def _unregister(self, worker_id: str) -> None:
        """End the attempts to register it, if there are any."""
        if (registering := self._registering.pop(worker_id, None)) is not None:
            registering.cancel()


def renewed(run: TaskResult, since: datetime | None, standing: TaskResult | None) -> TaskResult | None:
    """``run``, if what stands is over and was submitted before; otherwise what stands, with its parent."""
    if standing is None:
        return run
    if standing.is_finished and (
        standing.submitted_at is None or since is None or standing.submitted_at < since
    ):
        return run if standing.parent_id is None else run.model_copy(update={"parent_id": None})
    if standing.parent_id is None and run.parent_id is not None and run.parent_id != standing.task_id:
        return standing.model_copy(update={"parent_id": run.parent_id})
    return standing


def lost(error: BaseException, due_at: datetime | None, standing: TaskResult | None) -> TaskResult | None:
    """Retrying after an attempt that nobody has ended; pending for the next after one that has ended."""
    if standing is None or standing.status in (TaskStatus.PENDING, TaskStatus.RETRYING):
        return standing
    if standing.status is TaskStatus.RUNNING:
        return TaskResult.retrying(standing, error, due_at=due_at)
    return TaskResult.pending(standing, submitted_at=standing.submitted_at, retries=standing.retries + 1)
