"""Sweeping: tasks that nobody works on any more are found, and given another attempt or failed.

Any process may sweep, and any number of them at once. Each task is changed over exactly the version that was
judged, so that it is done once, by one of them; and never to a task that has moved on meanwhile. A worker
that was only slow is fenced: its late writes lose.

Nothing is taken for dead that may be alive. After an outage all workers seem silent, so they are given the
time of a heartbeat to say something; and what a worker has begun less than ``silent_after`` ago is left to
the next sweep, and so is the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final, Literal, get_args

from flowstore._core.attempts import given_back
from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._core.listing import Listing, walk, within
from flowstore._core.stepping import step_one
from flowstore._values.arguments import Seconds, check_age, check_int
from flowstore._values.facets import Where
from flowstore.engine import NAMESPACE, Entry, Item, Section
from flowstore.errors import StorageError, UnreadableRecord
from flowstore.features.registered import Worker, read_worker
from flowstore.fields import Record
from flowstore.models import MAX_RETRIES, TaskResult, TaskStatus
from flowstore.observing import WorkerLost
from flowstore.task_error import TaskError
from flowstore.times import from_micros

Policy = Literal["requeue", "fail", "leave"]
"""What becomes of a task that is found: another attempt, failed, or nothing."""
Reason = Literal["silent", "lost", "overdue", "pending"]

HELD: Final = (TaskStatus.RUNNING, TaskStatus.RETRYING)
"""The statuses in which a task is in the hands of its worker."""
_STEP: Final = 100

Known = tuple[Worker, Item]
"""A worker, and its item, whose version tells whether it has said something since."""


class SweptTask(Record):
    """A task that a sweep has changed: why, and the status and attempt that it has now.

    ``reason``: "silent", its worker sent no heartbeats; "lost", its worker is alive and does not run it;
    "overdue", nobody has begun its retry; "pending", nobody has begun it at all.
    """

    task_id: str
    reason: Reason
    status: TaskStatus
    retries: int


class Swept(Record):
    """What one sweep did itself: the workers that it removed, and the tasks that it changed, both sorted.

    ``unreadable``, ``unreadable_workers``: those that could not be judged, as they cannot be read. ``error``:
    why it ended before its time; None if it came to its end.
    """

    workers: list[str]
    tasks: list[SweptTask]
    unreadable: list[str]
    unreadable_workers: list[str]
    error: StorageError | None = None

    @property
    def requeued(self) -> list[str]:
        """The ids of the tasks that are pending again, for you to put back into your queue."""
        return [task.task_id for task in self.tasks if task.status is TaskStatus.PENDING]

    @property
    def failed(self) -> list[str]:
        return [task.task_id for task in self.tasks if task.status is TaskStatus.FAILED]


@dataclass(frozen=True, slots=True)
class Rules:
    """The arguments of ``sweep``, in microseconds; ``pending_after`` None: never."""

    silent_after: int
    silent: Policy
    lost: Policy
    overdue_after: int
    overdue: Policy
    pending_after: int | None
    pending: Policy
    max_retries: int


def rules(
    silent_after: Seconds,
    silent: Policy,
    lost: Policy,
    overdue_after: Seconds,
    overdue: Policy,
    pending_after: Seconds | None,
    pending: Policy,
    max_retries: int | None,
) -> Rules:
    return Rules(
        check_age("silent_after", silent_after),
        _policy("silent", silent),
        _policy("lost", lost),
        check_age("overdue_after", overdue_after),
        _policy("overdue", overdue),
        None if pending_after is None else check_age("pending_after", pending_after),
        _policy("pending", pending),
        MAX_RETRIES if max_retries is None else check_int("max_retries", max_retries, 0, MAX_RETRIES),
    )


def _policy(name: str, value: Policy) -> Policy:
    if value not in get_args(Policy):
        raise ValueError(f"{name}: expected 'requeue', 'fail' or 'leave', got {value!r:.80}")
    return value


@dataclass
class Sweep:
    """One sweep. Times of records are compared with that of its beginning."""

    core: Core
    rules: Rules
    tasks: list[SweptTask] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)
    unreadable_workers: set[str] = field(default_factory=set)

    async def run(self) -> Swept:
        """Raises StorageError only if nothing was done: what was must not be forgotten."""
        self.began = from_micros(self.core.clock())
        self.keeping = Keeping(self.core, Section.WORKER)
        trouble: StorageError | None = None
        try:
            await self._free_all()
        except StorageError as error:
            if not self.tasks:
                raise
            trouble = error
        return Swept(
            workers=sorted(self.workers),
            tasks=sorted(self.tasks, key=lambda task: task.task_id),
            unreadable=sorted(self.unreadable),
            unreadable_workers=sorted(self.unreadable_workers),
            error=trouble,
        )

    async def _free_all(self) -> None:
        silent, living = self._told_apart(await self.keeping.kept(NAMESPACE))
        if silent and self.rules.silent != "leave":
            for worker, item in await self._still_silent(silent):
                await self._free(worker, item)
        for worker, _ in living:
            await self._free_lost(worker)
        await self._free_overdue()
        await self._free_pending()

    def _told_apart(self, items: Iterable[Item]) -> tuple[list[Known], list[Known]]:
        """The silent workers, and the others."""
        silent: list[Known] = []
        living: list[Known] = []
        for item in items:
            try:
                worker = read_worker(item)
            except UnreadableRecord as error:
                self.unreadable_workers.add(error.task_id)
                continue
            is_silent = worker.last_seen < self._ago(self.rules.silent_after)
            (silent if is_silent else living).append((worker, item))
        return silent, living

    async def _still_silent(self, silent: list[Known]) -> list[Known]:
        """Those that have sent no heartbeat after the time in which one is due."""
        shortest = self.rules.silent_after / 12_000_000
        longest = max(
            [2 * (worker.every or 0.0) or shortest for worker, _ in silent]
        )  # one may be on its way
        await asyncio.sleep(min(longest, self.rules.silent_after / 1_000_000))
        names = [worker.worker_id for worker, _ in silent]
        found = {item.key: item.version for item in await self.keeping.kept(NAMESPACE, keys=names)}
        return [(worker, item) for worker, item in silent if found.get(item.key) == item.version]

    async def _free(self, worker: Worker, item: Item) -> None:
        """The tasks of a silent worker, and then the worker, if nothing of it is left."""
        long_ago = self._ago(self.rules.silent_after)

        def is_silent(task: TaskResult) -> bool:
            return task.worker_id == worker.worker_id and task.status in HELD and _begun(task) < long_ago

        error = TaskError(
            type="WorkerLost", message=f"worker {worker.worker_id!r} has been silent since {worker.last_seen}"
        )
        before = len(self.tasks)
        try:
            is_over = await self._change(_of(worker, *HELD), "silent", self.rules.silent, is_silent, error)
        finally:
            if freed := tuple(task.task_id for task in self.tasks[before:]):
                self.core.observers.tell(WorkerLost(self.core.namespace, worker.worker_id, freed))
        if is_over:
            gone = await self.keeping.put(NAMESPACE, worker.worker_id, None, if_version=item.version)
            self.workers += [worker.worker_id] if gone.is_applied else []

    async def _free_lost(self, worker: Worker) -> None:
        """Tasks that are running on a living worker, which does not say so.

        Both times are those of the worker's own clock, so others may go wrong.
        """
        named, as_of = worker.tasks, worker.as_of
        if named is None or as_of is None:
            return
        tasks = frozenset(named)

        def is_lost(task: TaskResult) -> bool:
            is_running = task.worker_id == worker.worker_id and task.status is TaskStatus.RUNNING
            return is_running and _begun(task) < as_of and task.task_id not in tasks

        error = TaskError(type="TaskLost", message=f"worker {worker.worker_id!r} does not run the task")
        await self._change(_of(worker, TaskStatus.RUNNING), "lost", self.rules.lost, is_lost, error)

    async def _free_overdue(self) -> None:
        long_ago = self._ago(self.rules.overdue_after)

        def is_overdue(task: TaskResult) -> bool:
            return task.status is TaskStatus.RETRYING and task.due_at is not None and task.due_at < long_ago

        error = TaskError(type="RetryOverdue", message="the next attempt was due, and nobody has begun it")
        listing = Listing((TaskStatus.RETRYING,), _STEP, newest_first=False, with_body=False)
        await self._change(listing, "overdue", self.rules.overdue, is_overdue, error)

    async def _free_pending(self) -> None:
        if self.rules.pending_after is None:
            return
        long_ago = self._ago(self.rules.pending_after)

        def is_unbegun(task: TaskResult) -> bool:
            begins = task.due_at or task.submitted_at
            is_due = begins is not None and begins < long_ago
            return task.status is TaskStatus.PENDING and is_due and _written(task) < long_ago

        error = TaskError(type="NeverBegun", message=f"nobody has begun the task since {long_ago}")
        listing = Listing((TaskStatus.PENDING,), _STEP, newest_first=False, with_body=False)
        listing = replace(listing, within=within(None, long_ago))
        await self._change(listing, "pending", self.rules.pending, is_unbegun, error)

    async def _change(
        self,
        listing: Listing,
        reason: Reason,
        policy: Policy,
        is_meant: Callable[[TaskResult], bool],
        error: TaskError,
    ) -> bool:
        """Change those that are meant; whether no other task is left in the listing."""
        is_over = True
        async for entries in walk(self.core, listing):
            found = [task for entry in entries if (task := self._readable(entry)) is not None]
            meant = [task for task in found if policy != "leave" and is_meant(task)]
            is_over &= len(meant) == len(entries)
            changes = [self._change_one(task, reason, policy, is_meant, error) for task in meant]
            # All of them end before an error is raised, and what they did is known.
            for outcome in await asyncio.gather(*changes, return_exceptions=True):
                if isinstance(outcome, BaseException):
                    raise outcome
        return is_over

    def _readable(self, entry: Entry) -> TaskResult | None:
        try:
            return self.core.records.decode(entry)
        except UnreadableRecord:
            self.unreadable.add(entry.id)
            return None

    async def _change_one(
        self,
        task: TaskResult,
        reason: Reason,
        policy: Policy,
        is_meant: Callable[[TaskResult], bool],
        error: TaskError,
    ) -> None:
        after: list[TaskResult | None] = []

        def step(standing: TaskResult, at: datetime) -> TaskResult | None:
            if not is_meant(standing):
                return None
            is_last = policy == "fail" or standing.retries >= self.rules.max_retries
            after[:] = [TaskResult.failed(standing, error, at=at) if is_last else given_back(standing, at)]
            return after[0]

        try:
            is_changed = await step_one(
                self.core,
                task.task_id,
                step,
                with_body=policy == "requeue",
                patience=self.core.op_timeout,
            )
        except UnreadableRecord:
            self.unreadable.add(task.task_id)
            return
        if is_changed and (now := after[0]) is not None:
            self.tasks.append(
                SweptTask(task_id=now.task_id, reason=reason, status=now.status, retries=now.retries)
            )

    def _ago(self, micros: int) -> datetime:
        return self.began - timedelta(microseconds=micros)


def _of(worker: Worker, *statuses: TaskStatus) -> Listing:
    where = Where(worker=worker.worker_id)
    return Listing(statuses, _STEP, where, newest_first=False, with_body=False)


def _begun(task: TaskResult) -> datetime:
    """By the clock of the worker, which is not touched by what others write about the task."""
    return task.started_at or _written(task)


def _written(task: TaskResult) -> datetime:
    assert task.updated_at is not None, "a record that was read"
    return task.updated_at
