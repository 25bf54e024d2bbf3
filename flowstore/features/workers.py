"""Workers: which there are, when they were last seen, and what to do with the tasks of a dead one."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Final

from flowstore._core.attempts import given_back
from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._core.listing import Listing, results, walk
from flowstore._core.stepping import Step, stepped
from flowstore._core.writing import applied
from flowstore._values.arguments import Seconds, check_age, check_error, check_int, check_texts
from flowstore._values.facets import Where
from flowstore.engine import NAMESPACE, Item, Section, Write
from flowstore.errors import UnknownWorker, UnreadableRecord
from flowstore.features.registered import Worker, encode_worker, read_worker
from flowstore.features.sweeping import HELD, Policy, Sweep, Swept, rules
from flowstore.fields import NO_META, Scalar, check_meta
from flowstore.models import TaskResult, TaskStatus, as_error
from flowstore.observing import WorkerLost
from flowstore.task_error import TaskError
from flowstore.text import check_text
from flowstore.times import from_micros

_BATCH: Final = 100


class Workers:
    """The workers and their heartbeats, and the recovery of a dead one's tasks: ``backend.workers``.

    A worker id is any str of 1 to 512 UTF-8 bytes. Tasks name it as their ``worker_id``, whether it is
    registered or not. Workers belong to the namespace; ``clear`` does not remove them.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core, Section.WORKER)

    async def register(
        self,
        worker_id: str,
        *,
        host: str | None = None,
        pid: int | None = None,
        parent_id: str | None = None,
        labels: Iterable[str] = (),
        info: Mapping[str, Scalar] = NO_META,
    ) -> Worker:
        """Register a running worker, as last seen now; by default with this host and this process.

        The same process may register again: ``started_at`` is kept, the other fields are replaced. On another
        host or with another pid it is a new process, which starts now. ``info``: what it says of itself, a
        mapping like ``TaskResult.meta``. ``backend.worker`` does all of this, and sends the heartbeats.
        """
        check_text("worker_id", worker_id)
        host = socket.gethostname() if host is None else check_text("host", host)
        pid = os.getpid() if pid is None else check_int("pid", pid, 1, 2**53)
        if parent_id is not None:
            check_text("parent_id", parent_id)
        names, meta = frozenset(check_texts("labels", labels)), check_meta(info, "info")
        # Compare-and-set: a heartbeat or a registration in between is read again, never overwritten.
        while True:
            now = from_micros(self._core.clock())
            standing = await self._kept_worker(worker_id)
            worker = Worker(
                worker_id=worker_id,
                host=host,
                pid=pid,
                started_at=_started_at(standing, host, pid) or now,
                last_seen=now,
                parent_id=parent_id,
                labels=names,
                info=meta,
            )
            if await self._put_worker(worker_id, encode_worker(worker), standing):
                return worker

    async def heartbeat(self, worker_id: str) -> None:
        """Record that the worker is alive. Raises UnknownWorker if it is not registered, or was removed."""
        check_text("worker_id", worker_id)
        # Compare-and-set: a plain write could undo a new registration, or revive a removed worker.
        while True:
            standing = await self._kept_worker(worker_id)
            if standing is None:
                raise UnknownWorker(worker_id)
            if await self._put_worker(worker_id, standing.value, standing):
                return

    async def delete(self, worker_id: str) -> bool:
        """Remove the worker but not its tasks; False if it was not registered."""
        check_text("worker_id", worker_id)
        return (await self._keeping.put(NAMESPACE, worker_id, None)).is_applied

    async def get(self, worker_id: str) -> Worker | None:
        """The worker; None if it is not registered."""
        standing = await self._kept_worker(check_text("worker_id", worker_id))
        return None if standing is None else read_worker(standing)

    async def all(self) -> list[Worker]:
        """All registered workers, in the order of their ids."""
        return [read_worker(kept) for kept in await self._keeping.kept(NAMESPACE)]

    async def find(self, text: str) -> list[Worker]:
        """The workers with ``text`` in their id, in the order of ids. There are no wildcards."""
        check_text("text", text)
        return [worker for worker in await self.all() if text in worker.worker_id]

    async def stale(self, older_than: Seconds) -> list[Worker]:
        """The workers without a heartbeat for more than ``older_than``, the longest silent first.

        ``older_than`` is in seconds, or a timedelta.
        """
        limit = from_micros(self._core.clock() - check_age("older_than", older_than))
        stale = [worker for worker in await self.all() if worker.last_seen < limit]
        return sorted(stale, key=lambda worker: worker.last_seen)

    def running_tasks(self, worker_id: str) -> AsyncGenerator[TaskResult, None]:
        """The running tasks of the worker, registered or not, the oldest submission first.

        Unreadable records are reported at the end, as in ``iter_by_status``.
        """
        running = self._tasks(worker_id, TaskStatus.RUNNING)
        return results(self._core, walk(self._core, running))

    async def requeue(self, worker_id: str) -> list[str]:
        """Make the worker's running and retrying tasks pending, for another attempt; their ids, oldest first.

        A retrying task has nobody who will try again once its worker is dead. One that is to be cancelled
        (``backend.cancel``) is cancelled, and not returned. ``retries`` is one higher, so that a late write
        of the lost attempt loses; worker_id, started_at and progress are None. The backend's
        ``unfinished_ttl`` starts again, as with any store. A task that someone else changes in the meantime
        is left alone. Values are not decoded: their types need not be registered here, and ``redact`` is not
        called. Each task is changed atomically, the whole is not: after a StorageError some of them may have
        been changed; after CorruptRecord, which names the first that cannot be read, all the others have
        been.
        """
        return await self._step_all(worker_id, TaskStatus.PENDING, given_back)

    async def fail_lost(self, worker_id: str, error: BaseException | TaskError | None = None) -> list[str]:
        """Fail the worker's running and retrying tasks, and wake their waiters. Otherwise like ``requeue``.

        ``error`` None: a TaskError of type "WorkerLost" that names the worker.
        """
        check_text("worker_id", worker_id)
        if error is None:
            error = TaskError(
                type="WorkerLost", message=f"worker {worker_id!r} was lost while it ran the task"
            )
        lost = as_error(error)
        check_error(lost)

        def step(task: TaskResult, at: datetime) -> TaskResult:
            return TaskResult.failed(task, lost, at=at)

        return await self._step_all(worker_id, TaskStatus.FAILED, step, with_body=False)

    async def sweep(
        self,
        *,
        silent_after: Seconds = 60.0,
        silent: Policy = "requeue",
        lost: Policy = "requeue",
        overdue_after: Seconds = 60.0,
        overdue: Policy = "requeue",
        pending_after: Seconds | None = None,
        pending: Policy = "fail",
        max_retries: int | None = None,
    ) -> Swept:
        """Free the tasks that nobody works on any more, and remove the workers that are dead; what was done.

        From any process, by a timer, and by several at once. Durations are in seconds, or timedeltas. A
        worker is silent without a heartbeat for ``silent_after``, and for the time between two more, which is
        waited for: its running and retrying tasks are freed, and it is removed, unless ``silent`` is "leave".
        A task is ``lost`` if a living worker of ``backend.worker`` does not run it, though it is stored so;
        ``overdue`` if it is retrying and has been due (``due_at``) for longer than ``overdue_after``; and
        ``pending`` for too long if nobody has begun it, and it was submitted or due longer than
        ``pending_after`` ago (None, the default: there is no limit).

        Each policy is "requeue", as by ``requeue``; "fail", with a TaskError of type "WorkerLost",
        "TaskLost", "RetryOverdue" or "NeverBegun"; or "leave". Where ``max_retries`` are used up, a task is
        failed instead of requeued: it may be what kills the workers. One that is to be cancelled is
        cancelled. Running tasks without a worker, or of one that is not registered, are left alone. Values
        are not decoded. An outage is ridden out for ``op_timeout``. If it is longer, what was done until then
        is returned, with the ``error``, which is raised if that was nothing; the next sweep goes on.
        """
        given = rules(silent_after, silent, lost, overdue_after, overdue, pending_after, pending, max_retries)
        self._core.check_listed("worker_id")
        self._core.check_writable()
        return await Sweep(self._core, given).run()

    async def _step_all(
        self, worker_id: str, wanted: TaskStatus, step: Step, *, with_body: bool = True
    ) -> list[str]:
        """The ids of those that are ``wanted`` now. ``with_body``: see ``stepped``."""
        self._core.check_writable()
        held = replace(self._tasks(worker_id, *HELD), with_body=with_body)
        changed: dict[str, str] = {}
        unreadable: list[UnreadableRecord] = []
        async for entries in walk(self._core, held):
            now = self._core.clock()
            writes: list[Write] = []
            # A record that cannot be read must not keep the other tasks from being rescued.
            for entry in entries:
                with _collected(unreadable):
                    writes += filter(None, [stepped(self._core, entry, step, now)])
            async with self._core.life:
                await self._core.engine.room()
                outcomes = await self._core.engine.write(writes, now)
            for write, outcome in zip(writes, outcomes, strict=True):
                with _collected(unreadable):
                    if applied(self._core, write, outcome):
                        changed[write.entry.id] = write.entry.status
        if changed:
            self._core.observers.tell(WorkerLost(self._core.namespace, worker_id, tuple(changed)))
        if unreadable:
            raise unreadable[0]
        return [task_id for task_id, status in changed.items() if status == wanted]

    def _tasks(self, worker_id: str, *statuses: TaskStatus) -> Listing:
        check_text("worker_id", worker_id)
        self._core.check_listed("worker_id")
        return Listing(statuses, _BATCH, Where(worker=worker_id), newest_first=False)

    async def _kept_worker(self, worker_id: str) -> Item | None:
        found = await self._keeping.kept(NAMESPACE, keys=[worker_id])
        return found[0] if found else None

    async def _put_worker(self, worker_id: str, value: bytes, standing: Item | None) -> bool:
        """False if ``standing`` is no longer what is stored."""
        version = standing.version if standing else 0
        return (await self._keeping.put(NAMESPACE, worker_id, value, if_version=version)).is_applied


@contextmanager
def _collected(errors: list[UnreadableRecord]) -> Iterator[None]:
    try:
        yield
    except UnreadableRecord as error:
        errors.append(error)


def _started_at(standing: Item | None, host: str, pid: int) -> datetime | None:
    """When the registered process started, if it is the same process."""
    known = None if standing is None else read_worker(standing)
    return known.started_at if known is not None and (known.host, known.pid) == (host, pid) else None
