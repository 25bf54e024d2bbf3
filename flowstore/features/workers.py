"""Workers: which there are, when they were last seen, and what to do with the tasks of a dead one."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._core.listing import Listing, results, walk
from flowstore._core.writing import applied
from flowstore._values.arguments import Seconds, check_age, check_error, check_int, check_texts
from flowstore._values.checks import is_whole_item
from flowstore._values.codec import DecodeError
from flowstore._values.facets import Where
from flowstore._values.reading import DAMAGED, first_of, only_known
from flowstore.engine import NAMESPACE, Entry, Item, Section, Write
from flowstore.errors import CorruptRecord, UnknownWorker, UnreadableRecord
from flowstore.fields import Identifier, Labels, Timestamp
from flowstore.models import TaskResult, TaskStatus, as_error
from flowstore.observing import WorkerLost
from flowstore.task_error import TaskError
from flowstore.text import check_text
from flowstore.times import from_iso, from_micros

_BATCH: Final = 100

Step = Callable[[TaskResult, datetime], TaskResult]
"""Maps a task and the current time to its next state."""


class Worker(BaseModel, frozen=True, extra="forbid"):
    """A registered worker process. ``parent_id``: the worker that started it. ``labels`` is a set."""

    worker_id: Identifier
    host: Identifier
    pid: int
    started_at: Timestamp
    last_seen: Timestamp
    parent_id: Identifier | None = None
    labels: Labels = frozenset()


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
    ) -> Worker:
        """Register a running worker, as last seen now; by default with this host and this process.

        The same process may register again: ``started_at`` is kept, the other fields are replaced. On another
        host or with another pid it is a new process, which starts now.
        """
        check_text("worker_id", worker_id)
        host = socket.gethostname() if host is None else check_text("host", host)
        pid = os.getpid() if pid is None else check_int("pid", pid, 1, 2**53)
        if parent_id is not None:
            check_text("parent_id", parent_id)
        names = frozenset(check_texts("labels", labels))
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
            )
            if await self._put_worker(worker_id, _encode(worker), standing):
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
        return None if standing is None else _worker(standing)

    async def all(self) -> list[Worker]:
        """All registered workers, in the order of their ids."""
        return [_worker(kept) for kept in await self._keeping.kept(NAMESPACE)]

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
        running = self._running(worker_id)
        return results(self._core, walk(self._core, running))

    async def requeue(self, worker_id: str) -> list[str]:
        """Make the worker's running tasks pending, for another attempt; returns their ids, oldest first.

        ``retries`` is one higher, so that a late write of the lost attempt loses; worker_id, started_at and
        progress are None. The backend's ``unfinished_ttl`` starts again, as with any store. A task that
        someone else changes in the meantime is left alone. Values are not decoded: their types need not be
        registered here, and ``redact`` is not called. Each task is changed atomically, the whole is not:
        after a StorageError some of them may have been changed; after CorruptRecord, which names the first
        that cannot be read, all the others have been.
        """
        return await self._step_all(worker_id, _requeued)

    async def fail_lost(self, worker_id: str, error: BaseException | TaskError | None = None) -> list[str]:
        """Fail the worker's running tasks, and wake their waiters. Otherwise like ``requeue``.

        ``error`` None: a TaskError of type "WorkerLost" that names the worker.
        """
        check_text("worker_id", worker_id)
        if error is None:
            error = TaskError(
                type="WorkerLost", message=f"worker {worker_id!r} was lost while it ran the task"
            )
        lost = as_error(error)
        check_error(lost)
        return await self._step_all(worker_id, lambda task, at: TaskResult.failed(task, lost, at=at))

    async def _step_all(self, worker_id: str, step: Step) -> list[str]:
        changed: list[str] = []
        unreadable: list[UnreadableRecord] = []
        async for entries in walk(self._core, self._running(worker_id)):
            now = self._core.clock()
            writes: list[Write] = []
            # A record that cannot be read must not keep the other tasks from being rescued.
            for entry in entries:
                with _collected(unreadable):
                    writes.append(self._stepped(entry, step, now))
            async with self._core.life:
                await self._core.engine.room()
                outcomes = await self._core.engine.write(writes, now)
            for write, outcome in zip(writes, outcomes, strict=True):
                with _collected(unreadable):
                    changed += [write.entry.id] if applied(self._core, write, outcome) else []
        if changed:
            self._core.observers.tell(WorkerLost(self._core.namespace, worker_id, tuple(changed)))
        if unreadable:
            raise unreadable[0]
        return changed

    def _running(self, worker_id: str) -> Listing:
        check_text("worker_id", worker_id)
        self._core.check_listed("worker_id")
        return Listing((TaskStatus.RUNNING,), _BATCH, Where(worker=worker_id), newest_first=False)

    def _stepped(self, entry: Entry, step: Step, now: int) -> Write:
        """The write of the task's next state over exactly this version.

        A worker that is alive after all may have stored meanwhile. The values are passed on as bytes.
        """
        if not self._core.records.is_whole(entry):  # its values get a new checksum
            raise CorruptRecord(entry.id, DAMAGED)
        task = step(self._core.records.decode(entry._replace(body=None)), from_micros(now))
        return self._core.records.write(task, now, if_version=entry.version, body=entry.body)

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


def _requeued(task: TaskResult, at: datetime) -> TaskResult:
    return TaskResult.pending(task, submitted_at=task.submitted_at, retries=task.retries + 1)


def _started_at(standing: Item | None, host: str, pid: int) -> datetime | None:
    """When the registered process started, if it is the same process."""
    known = None if standing is None else _worker(standing)
    return known.started_at if known is not None and (known.host, known.pid) == (host, pid) else None


_ELSEWHERE: Final = {"worker_id", "last_seen"}
"""The fields that are stored as the key and as the time of the last write."""
_STORED: Final = Worker.model_fields.keys() - _ELSEWHERE


def _encode(worker: Worker) -> bytes:
    return worker.model_dump_json(exclude=_ELSEWHERE, exclude_defaults=True).encode()


def _worker(kept: Item) -> Worker:
    try:
        if not is_whole_item(Section.WORKER, kept):
            raise DecodeError(DAMAGED)
        fields = only_known(from_json(kept.value), _STORED)
        fields["started_at"] = from_iso(fields.get("started_at"))
        return Worker(worker_id=kept.key, last_seen=from_micros(kept.at), **fields)
    except ValidationError as error:
        raise CorruptRecord(kept.key, first_of(error), Section.WORKER) from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CorruptRecord(kept.key, str(error), Section.WORKER) from error
