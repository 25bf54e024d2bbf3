"""BaseResultBackend: what every backend promises.

A storage is an ``Engine`` (``flowstore.engine``), and a concrete backend is this class plus a constructor.
The verbs about tasks are specified here and implemented in ``_core``; everything else is an object of its own
(``features``).
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, Unpack, overload

from flowstore._core import (
    awaiting,
    changes,
    expiring,
    listing,
    progress,
    removing,
    searching,
    steering,
    storing,
    tracking,
    updating,
    watching,
)
from flowstore._core.attempts import TrackOptions
from flowstore._core.core import Core
from flowstore._core.counting import Counts, count
from flowstore._core.facts import Facts, facts
from flowstore._core.filters import Selection
from flowstore._core.listing import selected
from flowstore._core.options import BackendOptions
from flowstore._core.removing import PURGE_STEP
from flowstore._core.tracking import TrackedTask
from flowstore._core.viewing import ping, view_of
from flowstore._lazily import on_first_use
from flowstore._values.arguments import MAX_PAGE, Seconds, check_int, check_patience
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Records, Ttl
from flowstore._values.typed import TypeForm, typed_of
from flowstore._values.types import Types
from flowstore._waiting.changes import ChangesMissed, TaskChange
from flowstore.engine import Engine
from flowstore.errors import NotSerializable
from flowstore.fields import NO_META, Scalar
from flowstore.models import Page, Settled, Statuses, StatusName, T, TaskResult, TaskStatus
from flowstore.queries import Found, TaskQuery, query_of
from flowstore.runs.place import Place

if TYPE_CHECKING:
    from flowstore.features.actions import Actions
    from flowstore.features.app import App
    from flowstore.features.archive import Archive
    from flowstore.features.checkpoints import Checkpoints
    from flowstore.features.data import Data
    from flowstore.features.errors import Errors
    from flowstore.features.facets import Facets
    from flowstore.features.families import Families
    from flowstore.features.history import History
    from flowstore.features.integrity import Integrity
    from flowstore.features.retention import Retention
    from flowstore.features.running_worker import RunningWorker
    from flowstore.features.statistics import Statistics
    from flowstore.features.workers import Workers
    from flowstore.features.workflows import Workflows
    from flowstore.runs.runs import Runs


class BaseResultBackend:
    """Keeps the results of tasks. All backends behave alike.

    It opens by itself at the first call, or with ``async with``; once closed it stays closed, and calls raise
    BackendClosed. It lives in the event loop and the process in which it opened: calls from elsewhere raise
    WrongLoop or WrongProcess. When that loop is closed, it opens in the next one, with all that is stored;
    waits and iterations of the old one are over. Any call may raise StorageError when the storage fails.

    A task id is any str of 1 to 512 UTF-8 bytes. No read returns an expired record. Arguments are checked
    when the method is called, even if it returns an iterator.
    """

    _records: ClassVar[type[Records]] = Records
    """How results become entries. Only a storage inside this process can keep anything but bytes."""

    data: Data = on_first_use("flowstore.features.data", "Data")
    checkpoints: Checkpoints = on_first_use("flowstore.features.checkpoints", "Checkpoints")
    history: History = on_first_use("flowstore.features.history", "History")
    families: Families = on_first_use("flowstore.features.families", "Families")
    facets: Facets = on_first_use("flowstore.features.facets", "Facets")
    workflows: Workflows = on_first_use("flowstore.features.workflows", "Workflows")
    integrity: Integrity = on_first_use("flowstore.features.integrity", "Integrity")
    stats: Statistics = on_first_use("flowstore.features.statistics", "Statistics")
    errors: Errors = on_first_use("flowstore.features.errors", "Errors")
    workers: Workers = on_first_use("flowstore.features.workers", "Workers")
    app: App = on_first_use("flowstore.features.app", "App")
    archive: Archive = on_first_use("flowstore.features.archive", "Archive")
    retention: Retention = on_first_use("flowstore.features.retention", "Retention")
    actions: Actions = on_first_use("flowstore.features.actions", "Actions")
    runs: Runs = on_first_use("flowstore.runs.runs", "Runs", of="_place")

    def __init__(self, engine: Engine, **options: Unpack[BackendOptions]) -> None:
        self._core = Core(engine, options, self._records)
        self.namespace = self._core.namespace
        self._place = Place(self._core, options, self._beside)

    def _beside(self, options: BackendOptions) -> BaseResultBackend:
        """Another backend on the same storage, with these options: ``runs`` has a namespace of its own.

        The default is for storages that have only one. It is called when ``runs`` is first used.
        """
        raise NotImplementedError(f"{type(self).__name__} has one namespace only, and runs need their own")

    async def open(self) -> None:
        """Connect. Only needed in order to fail early: the first call opens by itself."""
        await self._core.life.open()

    async def close(self) -> None:
        """Wake all waiters with BackendClosed, let calls in flight end, release everything. Idempotent."""
        try:
            await self._place.close()
        finally:
            await self._core.life.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is not None and core.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(namespace={self.namespace!r})"

    async def ping(self) -> float:
        """The seconds that a round trip to the storage takes now: a read of one record that does not exist.

        Raises what every call may raise, so StorageTimeout after ``op_timeout``.
        """
        return await ping(self._core)

    async def facts(self, *, silent_after: Seconds = 60.0) -> Facts:
        """What an operator wants to know of the store, with warnings of what is wrong.

        A worker counts as silent without a heartbeat for ``silent_after``, in seconds, or a timedelta. It
        takes a few round trips, however much is stored. What the storage does not tell this user is None.
        """
        return await facts(self._core, silent_after)

    def end_waits(self) -> None:
        """End all waits and iterations over changes with WaitsEnded, as later ones will; the rest goes on.

        For the shutdown of a program that lets its open requests end before it closes the backend. It may be
        called in a signal handler; the waits end in the next turn of the event loop. Idempotent, and of no
        effect after ``close``. Looks are not waits: a ``wait_for`` with the timeout 0 works as before.
        """
        self._core.end_waits()
        self._place.end_waits()

    def register_types(self, types: Types) -> None:
        """Know these types as well from now on, given as in ``types=``: for writing and for reading.

        What was Unresolved for want of one is a value when it is read again. It may be called at any time and
        from any thread, and takes effect at once. Types that are registered already may be among them. Raises
        TypeError or ValueError, as ``types=`` does, for what cannot be registered, or would take the name of
        another one or change its own; then nothing is registered.
        """
        self._core.records.codec.register(types)

    def refusal(self, value: Any) -> NotSerializable | None:
        """The error that ``store`` would raise for a result with this value; None if it can be stored.

        For programs that hand on what others have made. Nothing is stored, and it works in any thread.
        """
        return storing.refusal(self._core, value)

    @property
    def is_read_only(self) -> bool:
        """Whether it was made with ``read_only``: what would write raises AccessDenied."""
        return self._core.is_read_only

    @property
    def waiting(self) -> int:
        """How many ids are waited for or watched in this backend, or listened to by tracked blocks."""
        return len(self._core.waiters)

    async def store(
        self,
        task_id: str,
        result: TaskResult,
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        if_version: int | None = None,
        patience: Seconds | None = 0,
    ) -> bool:
        """Write ``result``. True if it is now the stored state, False if a newer or finished one stands.

        A record only advances, by (retries, rank), where pending < running = retrying < finished. Within one
        attempt the first finished write wins. A late write of an earlier attempt loses: its worker is a
        zombie, fenced off by ``retries``. ``overwrite`` writes whatever stands. ``if_version`` writes only
        over that version (0: only if there is no record) and otherwise raises VersionConflict. ``ttl`` is in
        seconds from now, None for ever; the default is ``result.expires_at``, or else the ``ttl`` or
        ``failure_ttl`` of the backend for a finished task, and its ``unfinished_ttl`` for any other.

        Raises FamilyConflict if ``parent_id`` is the task itself, or not the parent that the record has
        already. A write that names no parent keeps that of the record. Circles of several tasks are not
        refused, and no walk goes round in them.

        When it returns, the write is as durable as the backend promises. Raises NotSerializable, with the
        path of the value, for a value that would not come back as it went in; then, as after any bad
        argument, nothing is written.

        ``patience``: for how many seconds, or how long a timedelta, the write is tried again if the storage
        is full or cannot be reached; None: ``op_timeout``. It takes effect once, whatever happens. After a
        StorageError it may have been applied or not.
        """
        waited = check_patience(patience, self._core.op_timeout)
        return await storing.store(self._core, task_id, result, ttl, overwrite, if_version, waited)

    async def store_many(
        self,
        results: Iterable[TaskResult],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        create: bool = False,
    ) -> list[bool]:
        """``store`` each result, those of one id in order; one bool per result, in order.

        ``create``: only where there is no record, so that True means that it was new.

        All are checked and encoded before the first is sent. Each write is atomic, the whole is not: after a
        StorageError some of them may have been stored; after FamilyConflict or CorruptRecord, which names the
        first that failed, all the others have been.
        """
        return await storing.store_many(self._core, results, ttl, overwrite, create)

    async def update(
        self,
        task_id: str,
        step: Callable[[TaskResult | None], TaskResult | None],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        load_result: bool = True,
    ) -> TaskResult | None:
        """Store what ``step`` makes of the record, and return it; nothing that others store gets lost.

        ``step`` is called with what ``get`` returns, None if there is no record, and returns the result to
        store, whatever its state: to be written over that version only. If another write came first, it is
        called again, with what stands then; so it should do nothing but make a result. It is a plain
        function. If it returns None, or what it was given, nothing is written, and that is returned. Its
        exceptions pass. If others are always faster, VersionConflict is raised after ``op_timeout``.
        ``ttl``: see ``store``; by default a record that was read keeps its ``expires_at``, unless a
        constructor of TaskResult has made another state of it. Raises what ``get`` and ``store`` raise.

        ``load_result=False``: the values stay in the storage, whatever their size and their types. Step gets
        a result whose result, args and kwargs are NOT_LOADED, and leaves these so; the stored ones stay as
        they are, and ``redact`` is not called. If it makes a result with values of its own, from the task id,
        that is stored whole.
        """
        return await updating.update(self._core, task_id, step, ttl, view_of(None, load_result))

    async def get(
        self,
        task_id: str,
        *,
        as_: TypeForm[T] = None,
        load_result: bool = True,
        max_value: int | None = None,
    ) -> TaskResult[T] | None:
        """The record, a fresh object; None when there is none. Raises UnreadableRecord.

        A value of a type that is not registered is an ``Unresolved``, and everything else is there.
        ``as_``: the type that the result of a successful task is expected to have, such as ``Report``,
        ``list[Report]`` or a pydantic TypeAdapter; it need not be registered. What does not validate raises
        UnexpectedValue. ``load_result=False`` leaves out result, args and kwargs (NOT_LOADED).
        ``max_value``: if these take more bytes than that, encoded, only so many are read, and each that has
        begun is an ``Excerpt``, the others NOT_LOADED; None: all are whole.
        """
        return await storing.get(self._core, task_id, view_of(as_, load_result, max_value))

    async def get_many(
        self,
        task_ids: Iterable[str],
        *,
        as_: TypeForm[T] = None,
        load_result: bool = True,
        max_value: int | None = None,
    ) -> dict[str, TaskResult[T]]:
        """``get`` each; those that exist, by id, in the order of ``task_ids``. Raises UnreadableRecord."""
        return await storing.get_many(self._core, task_ids, view_of(as_, load_result, max_value))

    async def exists(self, task_id: str) -> bool:
        """Whether ``get`` would find a record. It is not decoded, so it may be unreadable."""
        return await storing.exists(self._core, task_id)

    async def wait_for(
        self,
        task_id: str,
        timeout: Seconds | None = None,
        *,
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> TaskResult[T]:
        """The finished result, as soon as it is stored. The wait may begin before the id exists.

        ``timeout`` is in seconds, or a timedelta; None or inf: for ever; 0 or less: one read, then
        WaitTimeout. Raises WaitTimeout at the deadline, ResultDeleted or ResultExpired if the record goes
        away during the wait, and BackendClosed. If the storage cannot be reached, the wait goes on and
        retries until the deadline; but if this call is the one that opens the backend, opening is attempted
        once, within ``op_timeout``. Waiters of one id in one backend share one result object. ``as_`` and
        ``load_result``: see ``get``.
        """
        return await awaiting.wait_for(self._core, task_id, timeout, view_of(as_, load_result))

    @overload
    async def wait_for_many(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: Literal[True],
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> dict[str, TaskResult[T]]: ...
    @overload
    async def wait_for_many(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> dict[str, Settled[T]]: ...
    async def wait_for_many(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[Any] = None,
        load_result: bool = True,
    ) -> dict[str, Any]:
        """``wait_for`` all of them under one deadline; what became of each by id, as ``task_ids`` go.

        That is its result, or the ResultDeleted, ResultExpired or UnreadableRecord that ``wait_for`` would
        raise, and its ``unwrap`` does. ``raise_first`` raises the first of these and returns only results.
        At the deadline a WaitTimeout names one of the tasks that are late, and has the others in ``settled``.
        """
        view = view_of(as_, load_result)
        return await awaiting.wait_for_many(self._core, task_ids, timeout, raise_first, view)

    @overload
    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: Literal[True],
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> AsyncGenerator[TaskResult[T], None]: ...
    @overload
    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> AsyncGenerator[Settled[T], None]: ...
    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[Any] = None,
        load_result: bool = True,
    ) -> AsyncGenerator[Any, None]:
        """Yield what ``wait_for_many`` returns, each as soon as its wait ends.

        All that have ended by the deadline are yielded before WaitTimeout is raised.
        """
        view = view_of(as_, load_result)
        return awaiting.as_completed(self._core, task_ids, timeout, raise_first, view)

    async def delete(self, task_id: str, *, descendants: bool = False) -> bool:
        """Remove the record and everything that belongs to it; False if there was none. Wakes its waiters.

        Its children stay, with their ``parent_id`` and ``root_id``. With ``descendants`` they go too, in
        bounded steps: for a root everything that ``page(root_id=...)`` shows, then for any task its
        ``descendants``, the last generation first. The record itself goes last, so that an interrupted call
        can be repeated. A descendant that is stored in the meantime may stay.
        """
        return await removing.delete(self._core, task_id, descendants)

    async def delete_many(self, task_ids: Iterable[str]) -> int:
        """``delete`` each; returns the number of records removed."""
        return await removing.delete_many(self._core, task_ids)

    async def take(self, task_id: str, *, as_: TypeForm[T] = None) -> TaskResult[T] | None:
        """``get`` a finished record and ``delete`` it: of all who try at the same time, one gets it.

        None, and nothing is removed, if there is no such record, or the task is not finished. What cannot be
        read, or is not of the type ``as_``, raises as in ``get``, and stays. A record that is stored anew
        meanwhile is never removed unseen. Waiters that have not read it yet are woken as by ``delete``. After
        a StorageError, or if the call is cancelled, the record may be gone with nobody having it.
        """
        return await removing.take(self._core, task_id, view_of(as_, load_result=True))

    async def clear(self, statuses: Statuses = None, **selection: Unpack[Selection]) -> int:
        """Remove every record of this namespace, in bounded steps; returns the number of records removed.

        Its runs, workers and app stay. With arguments, only those go that ``page`` lists with the same ones,
        the oldest first; also one that is stored anew in the milliseconds between its listing and removal.
        """
        return await removing.clear(self._core, statuses, selection)

    async def drop_namespace(self) -> int:
        """Remove everything of this namespace; returns the number of records removed.

        As ``clear``, and then its runs, workers, app and its place in ``app.namespaces`` of other backends.
        What is stored meanwhile stays. This backend goes on, with a namespace that is as good as new; so do
        others that have it open. See docs/workers.md.
        """
        await self._place.drop()
        return await removing.drop_namespace(self._core)

    async def purge_expired(self, limit: int = PURGE_STEP) -> int:
        """Remove at most ``limit`` expired records now; returns how many.

        Each store removes a few as well, and an open backend removes all of them every ``purge_interval``.
        """
        return await removing.purge_expired(self._core, limit)

    async def expire(self, task_id: str, ttl: Ttl) -> bool:
        """Let the record expire in ``ttl`` seconds from now, None: never. False if there is none.

        Nothing else changes, neither its version nor its history, and nothing that is stored meanwhile is
        overwritten; a later ``store`` sets the expiry anew. ``ttl`` may be a timedelta. It works for records
        in any status. Raises CorruptRecord for one that is damaged.
        """
        return await expiring.expire(self._core, task_id, ttl)

    async def requeue(self, task_id: str) -> int | None:
        """Make the task pending for another attempt, whatever its state; the number of that attempt.

        None if there is no such task. Its arguments stay, its result, error and progress go: errors of
        earlier attempts are in ``history.of``. What the lost attempt stores from now on is a late write, and
        its block is told. Values are not decoded. Nobody is called: put the id back into your queue. Raises
        UnreadableRecord.
        """
        return await steering.requeue(self._core, task_id)

    async def cancel(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task that is pending or retrying; ask the block that runs it to end. False if it is over.

        False as well if there is no such task. A block that is tracked, in whatever process, is told within
        milliseconds, or at the latest after ``recheck_interval``: by ``task.cancel_requested``, and with
        ``interrupt=True`` by CancelledError. It may still succeed or fail. ``cancel_request`` of the record
        has ``reason``, at most 4,096 UTF-8 bytes. Of several requests the first one stands. Raises
        UnreadableRecord.
        """
        return await steering.cancel(self._core, task_id, reason)

    async def vacuum(self, *, full: bool = False) -> int:
        """Give unused room of a SQLite file back, in short steps; how many bytes. See docs/backends.md."""
        return await removing.vacuum(self._core, full)

    async def list_by_status(
        self,
        status: TaskStatus | StatusName,
        limit: int | None = None,
        offset: int = 0,
        **selection: Unpack[Selection],
    ) -> list[TaskResult]:
        """The records in ``status``: newest ``submitted_at`` first, those without one last, ties by task_id.

        order="finished" goes by ``finished_at`` instead (see Selection). ``limit`` None: all, 0: none. The
        cost grows with ``offset``. To go through many records use ``page`` or ``iter_by_status``, which
        neither repeat nor skip any. Raises UnreadableRecords if one cannot be read; those two do not.
        """
        return await listing.list_by_status(self._core, status, limit, offset, selection)

    async def page(
        self,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
        as_: TypeForm[T] = None,
        max_value: int | None = None,
        **selection: Unpack[Selection],
    ) -> Page[T]:
        """One page of the records in ``statuses`` (None: any) that are in the ``selection`` (see Selection).

        The order is that of ``list_by_status``, or its exact reverse. ``limit`` is 1 to 10,000. ``cursor`` is
        the ``next_cursor`` of the page before, or the ``prev_cursor`` of the page behind, and None for the
        first page; it is bound to all that selects and orders, and raises InvalidCursor elsewhere. This is
        keyset pagination: a record that keeps its status and the time it is listed by during the walk is on
        exactly one page, in either direction. The page before has ``limit`` records as well, in the same
        order, and fewer only at the start of the listing. With ``load_result=False`` the result, args and
        kwargs of the items are NOT_LOADED. One that cannot be read is in ``unreadable``, and so is one whose
        result is not of the type ``as_``. ``as_``, ``max_value``: see ``get``.
        """
        view = view_of(as_, load_result, max_value)
        wanted = selected(self._core, statuses, selection, 0, newest_first, load_result)
        return await listing.page(self._core, wanted, limit, cursor, view)

    def iter_by_status(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 100,
        newest_first: bool = True,
        load_result: bool = True,
        as_: TypeForm[T] = None,
        **selection: Unpack[Selection],
    ) -> AsyncGenerator[TaskResult[T], None]:
        """All records that ``page`` would show, one by one, read ``batch_size`` at a time.

        If some cannot be read, UnreadableRecords names them at the end, once all others have been yielded.
        """
        check_int("batch_size", batch_size, 1, MAX_PAGE)
        wanted = selected(self._core, statuses, selection, batch_size, newest_first, load_result)
        return listing.results(self._core, listing.walk(self._core, wanted), view_of(as_, load_result))

    def iter_ids(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 1_000,
        newest_first: bool = True,
        **selection: Unpack[Selection],
    ) -> AsyncGenerator[str, None]:
        """The ids of all records that ``page`` would show, and of those among them that cannot be read.

        No record is decoded, and no value is read.
        """
        check_int("batch_size", batch_size, 1, MAX_PAGE)
        wanted = selected(self._core, statuses, selection, batch_size, newest_first, load_result=False)
        return listing.ids(listing.walk(self._core, wanted))

    async def search(
        self,
        query: str | TaskQuery,
        *,
        limit: int = 50,
        cursor: str | None = None,
        budget: int = 100_000,
        seconds: Seconds = 0.5,
        load_result: bool = False,
        max_value: int | None = None,
    ) -> Found:
        """The first ``limit`` tasks that satisfy ``query``, in the language of docs/queries.md.

        It looks at up to ``budget`` records, for about so many ``seconds``, and returns what it has found by
        then, which may be nothing. ``cursor``: the ``next_cursor`` of the call before, which goes on exactly
        there, or a ``prev_cursor``, which leads back; both belong to that query. A task that keeps its status
        and the time it is listed by is found once. What is relative in the query is resolved by the first
        call, on the clock of the backend.

        Text is looked for in names, in types and messages of errors, and in arguments and results as they are
        stored, of any types, without regard to case. ``load_result``, ``max_value``: see ``get``; without
        them the values of the items are NOT_LOADED. Raises InvalidQuery and InvalidCursor.
        """
        view = view_of(None, load_result, max_value)
        return await searching.search(self._core, query, limit, cursor, budget, seconds, view)

    def iter_search(
        self, query: str | TaskQuery, *, load_result: bool = False
    ) -> AsyncGenerator[TaskResult, None]:
        """All tasks that satisfy ``query``, one by one, however many records must be looked at.

        Otherwise as ``search``. If some cannot be read, UnreadableRecords names them at the end.
        """
        return searching.iterate(self._core, query_of(query), view_of(None, load_result))

    async def count_by_status(
        self, statuses: Statuses = None, *, at_most: int | None = None, **selection: Unpack[Selection]
    ) -> Counts:
        """The number of records in the ``selection`` (see Selection), for each of ``statuses`` (None: any).

        Of all records, that costs the same however many there are. With a filter or bounds in time it grows
        with what they find, on SQLite, and with several filters everywhere, as what the first one finds is
        tested for the others. ``at_most`` bounds it: only so many are looked at, the newest first as ``page``
        lists them by the first of the filters, and the root of a ``root_id``. If there are others,
        ``is_exact`` of the answer is False: at least so many there are. Without filters and bounds it is
        always exact. Expired records may be counted until the next purge step removes them.
        """
        return await count(self._core, statuses, selection, at_most)

    async def set_progress(
        self,
        task_id: str,
        done: float,
        total: float | None = None,
        note: str | None = None,
        *,
        retries: int | None = None,
        or_store: TaskResult | None = None,
    ) -> bool:
        """Replace the progress of a task that is not finished; False if there is no such task.

        ``done`` out of ``total`` units, None: unknown. Nothing else in the record changes, neither its
        version nor its history, but for its expiry if there is an ``unfinished_ttl``; a ``store`` replaces
        the progress like everything else. Call it as often as you like: of the reports made while one for the
        same task is being written, only the newest is written, and all of them return its outcome.
        ``retries``: only while that attempt is current, so that a late report of an earlier one is ignored.
        ``or_store``: the record to store, with this progress, if there is none of the task.
        """
        return await progress.set_progress(self._core, task_id, done, total, note, retries, or_store)

    def watch(self, task_id: str) -> AsyncGenerator[TaskResult, None]:
        """Yield the state of the task, then each change of status, progress or expiry, up to a finished one.

        It may begin before the task is stored. States that are not finished come without values (NOT_LOADED).
        A state that is replaced before it could be read is skipped; the last one never is. Raises
        ResultDeleted or ResultExpired if the record goes away, BackendClosed, and UnreadableRecord. If the
        storage cannot be reached, it retries for ever. There is no timeout: an id that is never stored is
        watched for ever, unless you put ``asyncio.timeout`` around it.
        """
        return watching.watch(self._core, task_id)

    def watch_status(self, statuses: Statuses = None) -> AsyncGenerator[str, None]:
        """Yield the id of each task that is stored in one of ``statuses`` (None: any) from this call on.

        It is the ``tail -f`` of the history: ids come as the tasks are stored, each as often as it is stored.
        What was missed, before the first step of the iteration or while a connection was lost, is looked up
        in the history, at the latest after ``recheck_interval``; without a history (``history=False``) it
        stays missed. A consumer that falls far behind is shown the rest from the history. It never ends,
        except for empty ``statuses``. Raises BackendClosed. If the storage cannot be reached, it retries for
        ever.
        """
        return watching.watch_status(self._core, statuses)

    def watch_changes(
        self, query: str | TaskQuery | None = None, *, most: int = changes.MOST_KEPT
    ) -> AsyncGenerator[TaskChange | ChangesMissed, None]:
        """Yield each stored change of the tasks that ``query`` wants (None: all), from this call on.

        A TaskChange says what became of which task, with the task but for its values. Each comes once, also
        of a state that was replaced before it could be read, and as a rule in the order of their times; what
        was missed, before the first step of the iteration or while a connection was lost, is looked up in the
        history, at the latest after ``recheck_interval``. Of those that listen in this process one reads for
        all. Changes of a task that is removed before they are read do not come, nor does the removal itself.
        What was stored within ``op_timeout`` before the call comes as well, since it may be seen late.

        ChangesMissed: some are missing. So it is for who takes them too slowly: ``most`` are kept, others are
        passed over. And where the history is not complete (``history=False``, ``history_limit``), it comes
        first of all, and after a break. ``query`` is in the query language, without text to look for, and
        tests a task as it was by that change. It never ends. Raises BackendClosed. If the storage cannot be
        reached, it retries for ever.
        """
        return changes.watch_changes(self._core, query, most)

    def worker(
        self,
        worker_id: str,
        *,
        every: Seconds = 5.0,
        slots: int | None = None,
        info: Mapping[str, Scalar] = NO_META,
        labels: Iterable[str] = (),
        parent_id: str | None = None,
    ) -> RunningWorker:
        """Use as ``async with backend.worker("w1") as worker:`` around all that a worker process does.

        Registers the worker, in place of an earlier process with this id, sends a heartbeat every ``every``
        seconds, or such a timedelta, also after the storage was out of reach, and removes the worker at the
        end; but not while tasks are under way, which ``workers.sweep`` frees. A heartbeat tells which tasks
        are. If the worker was removed meanwhile, its blocks are told (``task.cancel_requested``), as their
        outcomes will come too late, and it registers again. ``slots``: how many tasks it runs at once, told
        to others. ``info``: what else it tells, such as its version; a mapping like ``TaskResult.meta``.
        ``labels``, ``parent_id``: see Worker.
        """
        from flowstore.features.running_worker import RunningWorker  # only worker processes need it

        return RunningWorker(self._core, worker_id, every, slots, info, labels, parent_id)

    def track(
        self, task_id: str, *, result_type: TypeForm[T] = None, **options: Unpack[TrackOptions]
    ) -> TrackedTask[T]:
        """Use as ``async with backend.track(task_id) as task:`` around the code of one attempt at a task.

        Stores the task as running. When the block ends, stores it as success with ``task.result``; as
        cancelled after asyncio.CancelledError; as failed after any other exception, SystemExit included; as
        retrying, to be tried again, after one of ``retry_on`` or ``task.retry``. Exceptions propagate, except
        for the CancelledError by which ``backend.cancel`` has interrupted the block. The outcome is stored
        even if the caller is cancelled in the meantime, and even if the storage fails for a while: for
        ``patience`` seconds at most. See TrackOptions for the arguments.

        The stored record is read first, and its name, arguments, submission time and parent are kept unless
        others are given. A task that was never submitted is submitted when it starts.

        Nothing is claimed: the block runs even if someone else runs the task, or has finished it. Inside the
        block ``task.is_stored`` tells whether this attempt is the stored state, and ``task.cancel_requested``
        whether its outcome is still wanted. An outcome that is not, as the task was finished meanwhile or a
        later attempt has begun, is logged and discarded.

        A result that cannot be encoded is stored as failed with NotSerializable, which is raised; and so is
        UnexpectedValue for one that is not of the ``result_type`` (see ``get``). If a stored argument is of a
        type that is not registered, the task is stored as failed and UnresolvedValue is raised. If the
        outcome cannot be stored, StorageError is raised, or added as a note to the exception that propagates
        already. A coroutine or generator that is closed inside the block cannot await anything: the event
        loop stores it as cancelled soon after; if no loop runs, the task stays running, as if the process had
        died.
        """
        typed = typed_of(result_type, "result_type")
        return tracking.track(self._core, task_id, typed, options)
