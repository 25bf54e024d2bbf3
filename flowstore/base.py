"""BaseResultBackend: what every backend promises.

A storage is an ``Engine`` (``flowstore.engine``); a concrete backend is this class plus a constructor. The
verbs about tasks stand here, with their rules, and are carried out in ``_core``; what there is besides has an
object of its own (``features``).
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Iterable
from typing import Any, Self, Unpack

from flowstore._core import awaiting, listing, progress, removing, storing, tracking, watching
from flowstore._core.core import Core
from flowstore._core.listing import Filters, query_of, where_of
from flowstore._core.options import BackendOptions
from flowstore._core.removing import PURGE_STEP
from flowstore._core.tracking import TrackedTask
from flowstore._values.arguments import MAX_PAGE, check_int
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.engine import Engine
from flowstore.features.app import App
from flowstore.features.checkpoints import Checkpoints
from flowstore.features.data import Data
from flowstore.features.families import Families
from flowstore.features.history import History
from flowstore.features.workers import Workers
from flowstore.features.workflows import Workflows
from flowstore.models import Page, Statuses, StatusName, TaskResult, TaskStatus


class BaseResultBackend:
    """Keeps the results of tasks; all backends behave alike.

    Opens by itself at the first call, or with ``async with``; once closed it stays closed. Lives in
    one event loop of one process: elsewhere every call raises WrongLoop or WrongProcess, after
    ``close`` BackendClosed. Any call may raise StorageError when the storage fails.

    A task id is any str of 1 to 512 UTF-8 bytes. Reading never returns an expired record. Arguments are
    checked at the call, also by what returns an iterator.
    """

    def __init__(self, engine: Engine, **options: Unpack[BackendOptions]) -> None:
        self._core = Core(engine, options)
        self.namespace = self._core.namespace
        self.data = Data(self._core)
        self.checkpoints = Checkpoints(self._core)
        self.history = History(self._core)
        self.families = Families(self._core)
        self.workflows = Workflows(self._core)
        self.workers = Workers(self._core)
        self.app = App(self._core)

    async def open(self) -> None:
        """Connect. Needed only to fail early: the first call opens by itself."""
        await self._core.life.open()

    async def close(self) -> None:
        """Wake all waiters with BackendClosed, let calls in flight end, release everything. Idempotent."""
        await self._core.life.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and core.life.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(namespace={self.namespace!r})"

    @property
    def waiting(self) -> int:
        """The number of ids that somebody waits for here."""
        return len(self._core.waiters)

    async def store(
        self,
        task_id: str,
        result: TaskResult[Any],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        if_version: int | None = None,
    ) -> bool:
        """Write ``result``; True when it is the stored state now, False when a newer or finished one stands.

        A record only advances: by (retries, rank) with pending < running = retrying < finished. Within
        one try the first finished write wins; a write of an earlier try is a zombie and loses.
        ``overwrite`` writes whatever stands. ``if_version`` writes only over that version (0: only
        where there is no record) and raises VersionConflict otherwise. ``ttl`` in seconds from now,
        None for ever; by default ``result.expires_at``, or else the backend's ttl.

        FamilyConflict: the parent that is named descends from the task, or another one is known.

        Returning means durable as the backend promises. NotSerializable names the path of a value
        that would not come back as it went in; then, as after any bad argument, nothing is written.
        """
        return await storing.store(self._core, task_id, result, ttl, overwrite, if_version)

    async def store_many(
        self,
        results: Iterable[TaskResult[Any]],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
    ) -> list[bool]:
        """``store`` each, those of one id in order. All are checked and encoded before the first is sent.

        Each write is atomic, the whole is not: after a StorageError a part may have been stored, after
        FamilyConflict or CorruptRecord, which names the first that could not be, all others.
        """
        return await storing.store_many(self._core, results, ttl, overwrite)

    async def get(self, task_id: str) -> TaskResult[Any] | None:
        """The record, a fresh object; None when there is none. Raises UnreadableRecord."""
        return await storing.get(self._core, task_id)

    async def get_many(self, task_ids: Iterable[str]) -> dict[str, TaskResult[Any]]:
        """The records that exist, by id, in the order asked for. Raises UnreadableRecord."""
        return await storing.get_many(self._core, task_ids)

    async def exists(self, task_id: str) -> bool:
        """Whether ``get`` would find a record; its value is not read."""
        return await storing.exists(self._core, task_id)

    async def wait_for(self, task_id: str, timeout: float | None = None) -> TaskResult[Any]:
        """The finished result, as soon as it is stored; waiting may start before the id exists.

        ``timeout`` in seconds; None or inf: for ever; 0 or less: one look. Raises WaitTimeout at the
        deadline, ResultDeleted or ResultExpired when the record goes away during the wait, and
        BackendClosed. A storage that cannot be reached is tried again until the deadline; but where this
        call is the one that opens the backend, that is tried once, within ``op_timeout``. Waiters of
        one id in one backend share one result object.
        """
        return await awaiting.wait_for(self._core, task_id, timeout)

    async def wait_for_many(
        self, task_ids: Iterable[str], timeout: float | None = None
    ) -> dict[str, TaskResult[Any]]:
        """``wait_for`` all of them under one deadline; the results by id, in the order asked for.

        Raises what the first failing wait raises, WaitTimeout naming one that was late.
        """
        return await awaiting.wait_for_many(self._core, task_ids, timeout)

    def as_completed(
        self, task_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncGenerator[TaskResult[Any], None]:
        """Yield the results as they finish, in that order, under one deadline as in ``wait_for_many``."""
        return awaiting.as_completed(self._core, task_ids, timeout)

    async def delete(self, task_id: str, *, descendants: bool = False) -> bool:
        """Remove the record and all that belongs to it; False when there was none. Wakes its waiters.

        Its children stay, and keep their ``parent_id`` and ``root_id``. With ``descendants`` they go too,
        in bounded steps: of a root all that ``page(root_id=...)`` shows, then of any task its
        ``descendants``, the last generation first. The record itself goes last, so that a call that was
        interrupted can be made again. A descendant that is stored meanwhile may stay.
        """
        return await removing.delete(self._core, task_id, descendants)

    async def delete_many(self, task_ids: Iterable[str]) -> int:
        """``delete`` each; the number of records that there were."""
        return await removing.delete_many(self._core, task_ids)

    async def clear(self) -> int:
        """Remove every record of this namespace, in bounded steps; the number of records that there were.

        What belongs to the namespace itself stays: its workers, and what its app said.
        """
        return await removing.clear(self._core)

    async def purge_expired(self, limit: int = PURGE_STEP) -> int:
        """Free the room of at most ``limit`` expired records; how many. Stores do a little of it each."""
        return await removing.purge_expired(self._core, limit)

    async def list_by_status(
        self, status: TaskStatus | StatusName, limit: int | None = None, offset: int = 0
    ) -> list[TaskResult[Any]]:
        """The records in ``status``: newest ``submitted_at`` first, those without one last, ties by task_id.

        ``limit`` None: all, 0: none. Skipping ``offset`` records costs time in proportion; to go
        through many, use ``page`` or ``iter_by_status``, which never repeat or skip. UnreadableRecords
        where one of them cannot be read; those two show the others.
        """
        return await listing.list_by_status(self._core, status, limit, offset)

    async def page(
        self,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
        **filters: Unpack[Filters],
    ) -> Page[Any]:
        """One page of the records in ``statuses`` (None: any) that pass all ``filters`` (see Filters).

        In the order of ``list_by_status``, or its exact reverse. ``limit`` is 1 to 10,000. ``cursor``
        is the ``next_cursor`` of the page before, None for the first page; it belongs to its statuses,
        filters and order, and anything else is refused with InvalidCursor. A record that keeps its
        status and submission time during the walk is on exactly one page. With ``load_result`` False
        the items' result, args and kwargs are NOT_LOADED. One filter costs what none costs, the range
        that is shown; of several the first of parent_id, worker_id, root_id, label and name is walked
        along, for what passes the others. A record that cannot be read is in ``Page.unreadable``.
        """
        query = query_of(statuses, where_of(filters), 0, newest_first, load_result)
        return await listing.page(self._core, query, limit, cursor)

    def iter_by_status(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 100,
        newest_first: bool = True,
        load_result: bool = True,
        **filters: Unpack[Filters],
    ) -> AsyncGenerator[TaskResult[Any], None]:
        """All records that ``page`` would show, one by one, read ``batch_size`` at a time.

        Where some cannot be read, UnreadableRecords names them at the end, when all others were yielded.
        """
        check_int("batch_size", batch_size, 1, MAX_PAGE)
        query = query_of(statuses, where_of(filters), batch_size, newest_first, load_result)
        return listing.results(self._core, listing.walk(self._core, query))

    async def count_by_status(self, **filters: Unpack[Filters]) -> dict[TaskStatus, int]:
        """How many records there are in each status, of those that pass all ``filters`` (see Filters).

        Without filters at a cost that does not grow with them. Expired records may count until the
        next purge step removes them.
        """
        return await listing.count(self._core, filters)

    async def set_progress(
        self,
        task_id: str,
        done: float,
        total: float | None = None,
        note: str | None = None,
        *,
        retries: int | None = None,
    ) -> bool:
        """Replace the progress of a task that is not finished; False when there is no such task.

        ``done`` out of ``total`` units, None: unknown. Nothing else of the record changes, neither its
        version nor its history; a ``store`` replaces progress as all else. Meant to be called as often
        as one likes: of reports made while one on the same task is under way only the newest is
        written, and answers for all of them. ``retries``: only while that try is under way, so that a
        zombie cannot report.
        """
        return await progress.set_progress(self._core, task_id, done, total, note, retries)

    def watch(self, task_id: str) -> AsyncGenerator[TaskResult[Any], None]:
        """Yield the state of the task, then each change of status or progress; ends with a finished one.

        May begin before the task is stored. States that are not finished come without values
        (NOT_LOADED). One that is followed by the next before it could be read is skipped, the last one
        never. Raises ResultDeleted or ResultExpired when the record goes away, BackendClosed, and
        UnreadableRecord; a storage that cannot be reached is tried again for ever. There is no other end:
        an id that is never stored is watched for ever, but for an ``asyncio.timeout`` around it.
        """
        return watching.watch(self._core, task_id)

    def watch_status(self, statuses: Statuses = None) -> AsyncGenerator[str, None]:
        """Yield the id of each task that is stored in one of ``statuses`` (None: any) from this call on.

        As they are stored, as ``tail -f`` of the history: a task comes as often as it is stored there.
        What was missed, before the first step of the iteration or as a connection was lost, is looked up
        in the history, at the latest after ``recheck_interval``; where that is not kept
        (``history=False``) it stays missed. Without end, but for no ``statuses``; raises BackendClosed. A
        storage that cannot be reached is tried again for ever.
        """
        return watching.watch_status(self._core, statuses)

    def track(
        self,
        task_id: str,
        *,
        name: str | None = None,
        worker_id: str | None = None,
        retries: int | None = None,
        parent_id: str | None = None,
        labels: Iterable[str] = (),
    ) -> TrackedTask:
        """Use as ``async with backend.track(task_id) as task:`` around the code of one try of a task.

        Stores it as running; then, when the block ends: as success with ``task.result``; as cancelled
        with asyncio.CancelledError; as failed with any other exception, SystemExit too. Exceptions
        propagate. The outcome is stored even if the caller is cancelled meanwhile, within ``op_timeout``.

        What stands is read first, and kept where nothing else is given: name, arguments, submission
        time, parent; ``labels`` are added to its labels. A task that nobody submitted is submitted when
        it starts. ``parent_id`` is by default that of the stored record, or else the task around this
        one, if it is in the same backend; also across ``asyncio.create_task``. ``retries`` None: the try
        that stands, as ``workers.requeue`` left it, or the one after it where the task is retrying.

        Nothing is claimed: the block runs, whoever runs the task as well and even if it is finished.
        ``task.is_stored`` tells inside the block whether this try is what is stored.

        A result that cannot be kept: stored as failed with NotSerializable, which is raised. An outcome
        that cannot be stored: StorageError, or, if an exception propagates already, a note on that. A
        coroutine or generator that is closed inside the block cannot wait for anything: the event loop
        stores cancelled soon after; where none runs the task stays running, as if the process had died.
        """
        return tracking.track(self._core, task_id, name, worker_id, retries, parent_id, labels)
