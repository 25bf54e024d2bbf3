"""The synchronous classes. Do not change them: scripts/make_sync.py writes them."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Generator, Iterable, Mapping
from datetime import datetime
from typing import Any, Generic, Literal, Unpack, overload

from flowstore._core import changes
from flowstore._core.acting import Hook, OnProgress
from flowstore._core.attempts import TrackOptions
from flowstore._core.counting import Counts
from flowstore._core.facts import Facts
from flowstore._core.filters import Selection
from flowstore._core.findings import Finding, Verification
from flowstore._core.grouping import ErrorGroup, ErrorState
from flowstore._core.histories import HistoryPage
from flowstore._core.measures import TaskStats
from flowstore._core.operations import ActionName, Operation, Preview
from flowstore._core.pictures import FamilyPicture
from flowstore._core.policies import RetentionOutcome, RetentionPlan, RetentionPolicy
from flowstore._core.removing import PURGE_STEP
from flowstore._core.tracking import TrackedTask as AsyncTrackedTask
from flowstore._core.verifying import Progress
from flowstore._dumping.outcomes import Copied, Exported, Imported, OnConflict
from flowstore._dumping.packing import Compression
from flowstore._dumping.tables import Format
from flowstore._values.arguments import Seconds
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore._values.typed import TypeForm
from flowstore._values.types import Types
from flowstore._waiting.changes import ChangesMissed, TaskChange
from flowstore.base import BaseResultBackend
from flowstore.errors import NotSerializable
from flowstore.features.actions import ActionOptions
from flowstore.features.actions import Actions as AsyncActions
from flowstore.features.app import App as AsyncApp
from flowstore.features.app import AppInfo
from flowstore.features.archive import Archive as AsyncArchive
from flowstore.features.archive import FilePath, Tabled
from flowstore.features.checkpoints import Checkpoint
from flowstore.features.checkpoints import Checkpoints as AsyncCheckpoints
from flowstore.features.data import AppData as AsyncAppData
from flowstore.features.data import Data as AsyncData
from flowstore.features.data import DataEntry
from flowstore.features.errors import Errors as AsyncErrors
from flowstore.features.errors import Order
from flowstore.features.facets import Facets as AsyncFacets
from flowstore.features.facets import FacetValue
from flowstore.features.families import Families as AsyncFamilies
from flowstore.features.history import Events
from flowstore.features.history import History as AsyncHistory
from flowstore.features.integrity import Integrity as AsyncIntegrity
from flowstore.features.registered import Worker
from flowstore.features.retention import Retention as AsyncRetention
from flowstore.features.running_worker import RunningWorker as AsyncRunningWorker
from flowstore.features.statistics import Every, Field
from flowstore.features.statistics import Statistics as AsyncStatistics
from flowstore.features.sweeping import Policy, Swept
from flowstore.features.workers import Workers as AsyncWorkers
from flowstore.features.workflows import Workflows as AsyncWorkflows
from flowstore.fields import NO_META, Scalar
from flowstore.models import (
    CancelRequest,
    Page,
    Settled,
    Statuses,
    StatusName,
    T,
    TaskResult,
    TaskStatus,
    Transition,
    Workflow,
)
from flowstore.queries import Found, TaskQuery
from flowstore.runs.archive import RunsArchive as AsyncRunsArchive
from flowstore.runs.datasets import DatasetInfo
from flowstore.runs.datasets import Datasets as AsyncDatasets
from flowstore.runs.models import EvaluatedValue, Evaluation, RecordPage, Run, RunPage, RunProgress, RunRecord
from flowstore.runs.records import Keep
from flowstore.runs.retaining import RunsRetention as AsyncRunsRetention
from flowstore.runs.running import RunningRun as AsyncRunningRun
from flowstore.runs.runs import _BATCH
from flowstore.runs.runs import Runs as AsyncRuns
from flowstore.runs.sizes import RunSize
from flowstore.sync.copying import Destination, RunsDestination, across, runs_across
from flowstore.sync.faces import BlockFace, Face, awaited, check_options
from flowstore.sync.feeding import fed, taken
from flowstore.sync.links import Link
from flowstore.sync.store import Store
from flowstore.task_error import TaskError


class Actions(Face[AsyncActions]):
    """One action on all tasks that match a query: ``backend.actions``.

    "requeue" makes each pending for another attempt, "cancel" cancels it, or asks the block that runs it to
    end, "fail" stores it as failed, "delete" removes it, "expire" changes when it expires, "label" adds and
    removes labels. Each is done as by the method of the backend for one task, and a task to which it does not
    apply is left alone and counted: finished ones by "cancel" and "fail", pending ones by "requeue", and
    running ones by "requeue", "fail" and "delete", unless ``include_running`` is given. Typed results are no
    tasks. Values are not decoded: the types of tasks need not be known here.
    """

    def on_requeue(self, hook: Hook) -> Hook:
        """Let ``hook`` put tasks back into the queue of the host, once they were stored as pending.

        It is called with up to 500 of them, without values (``get_many`` has these), and is called in a
        thread of its own, in which it may call this backend; or it is a coroutine function, which runs in the
        thread of the event loop. If it raises, the operation stops. A task may be told twice, after a crash,
        and is told at least once. The hook is that of this backend object; another one replaces it. Returns
        ``hook``, so that it can be used as a decorator.
        """
        self._link.always(lambda backend: backend.actions.on_requeue(hook))
        return hook

    def on_cancel(self, hook: Hook) -> Hook:
        """Let ``hook`` revoke tasks in the queue of the host, once they were cancelled or asked to end.

        Otherwise as ``on_requeue``.
        """
        self._link.always(lambda backend: backend.actions.on_cancel(hook))
        return hook

    @overload
    def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: Literal[True] = True,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview: ...

    @overload
    def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: Literal[False],
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Operation: ...

    @overload
    def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: bool,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview | Operation: ...

    def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: bool = True,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview | Operation:
        """What the action would do now, as a Preview; with ``dry_run=False`` do it, and return the Operation.

        A dry run writes nothing, and looks at 10,000 records at most. ``limit``: change so many tasks at
        most. ``reason`` and ``by`` are kept with the operation, and ``reason`` in the request of "cancel".
        See ActionOptions for the arguments of single actions.

        Without it, as ``start`` and ``resume``: ``progress`` is called after each step with the Operation so
        far. After an error or a crash, ``resume`` goes on with it; ``all`` has its id.
        """
        call = self._its.apply(
            action, query, limit=limit, reason=reason, by=by, dry_run=dry_run, progress=progress, **options
        )
        return self._run(call)

    def start(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        **options: Unpack[ActionOptions],
    ) -> Operation:
        """Keep an operation to be carried out by ``resume``, here or in another process. Nothing is done yet.

        Its time is now: tasks that are submitted or changed later are left alone. The arguments are those of
        ``apply``.
        """
        call = self._its.start(action, query, limit=limit, reason=reason, by=by, **options)
        return self._run(call)

    def resume(self, operation_id: str, *, progress: OnProgress | None = None) -> Operation:
        """Carry out an operation that was started, or go on with one that has stopped; returned when over.

        Tasks are changed in steps of at most 500, and others may read and write in between. One that somebody
        else changes meanwhile is left alone. Each is changed once, however often this is called, and in
        however many processes: one at a time does it, others raise OperationBusy, until half a minute after
        the last sign of one that has died. An outage is ridden out for ``op_timeout``. An operation that is
        done or aborted is returned as it is. Raises UnknownOperation, and HostNotTold if the hook raises.
        """
        call = self._its.resume(operation_id, progress=progress)
        return self._run(call)

    def abort(self, operation_id: str) -> Operation:
        """End the operation after the step that is under way; what is done stays done.

        If a process is at it, it will end it, and the state returned is still "running"; so it is within half
        a minute after that has died, after which another call ends it.
        """
        call = self._its.abort(operation_id)
        return self._run(call)

    def get(self, operation_id: str) -> Operation:
        """The operation as it stands. Raises UnknownOperation: the newest 10,000 are kept."""
        call = self._its.get(operation_id)
        return self._run(call)

    def all(self, limit: int = 50, *, before: str | None = None) -> list[Operation]:
        """The newest operations first, at most ``limit``, up to 500; ``before``: those older than that id.

        The cost does not grow with the number of operations. One that is damaged is left out;
        ``integrity.verify`` names it.
        """
        call = self._its.all(limit, before=before)
        return self._run(call)


class AppData(Face[AsyncAppData]):
    """Values of the namespace itself, under keys: ``backend.app.data``. Otherwise like ``backend.data``.

    They belong to no task, and stay until they are deleted; ``clear`` leaves them.
    """

    def set(self, key: str, value: Any, *, if_version: int | None = None) -> int:
        """Set the value, which may be None; returns its new version. ``if_version``: as in ``data.set``."""
        call = self._its.set(key, value, if_version=if_version)
        return self._run(call)

    def get(self, key: str, default: Any = None, *, as_: TypeForm[T] = None) -> T | Any:
        """The value, a fresh object; ``default`` if there is no such key. ``as_``: as in ``data.get``."""
        call = self._its.get(key, default, as_=as_)
        return self._run(call)

    def entry(self, key: str, *, as_: TypeForm[T] = None) -> DataEntry[T] | None:
        """The value with its version, for ``if_version``; None if there is no such key."""
        call = self._its.entry(key, as_=as_)
        return self._run(call)

    def all(self, *, as_: TypeForm[T] = None) -> dict[str, T]:
        """All values by key, in the order of the keys."""
        call = self._its.all(as_=as_)
        return self._run(call)

    def delete(self, key: str) -> bool:
        """Remove the value; False if there was no such key. Its version starts again at 1."""
        call = self._its.delete(key)
        return self._run(call)


class App(Face[AsyncApp]):
    """The app whose tasks are in this namespace: ``backend.app``. ``clear`` leaves its info and its data."""

    def __init__(self, link: Link[Any], of: Callable[[BaseResultBackend], AsyncApp]) -> None:
        super().__init__(link, of)
        self.data = AppData(self._link, lambda backend: of(backend).data)

    def register(self, info: Mapping[str, Any]) -> None:
        """Describe the app of this namespace. Replaces an earlier description.

        Values are encoded like results; to read one of a registered type, a backend needs that type as well.
        """
        call = self._its.register(info)
        self._run(call)

    def info(self) -> AppInfo | None:
        """The description of this namespace's app; None if it was never registered."""
        call = self._its.info()
        return self._run(call)

    def namespaces(self) -> list[str]:
        """All namespaces of the storage, sorted. This one is among them even if it is empty.

        A memory backend has no other. Those of runs, which belong to one of these, are left out.
        ``flowstore.discover_apps`` returns the info of each.
        """
        call = self._its.namespaces()
        return self._run(call)


class Archive(Face[AsyncArchive]):
    """Records out of this backend and into it, exactly as they are: ``backend.archive``.

    With a record go its version, its times and its place in a family, its history, its data and its
    checkpoints. Workers, the app and its data do not belong to a record, and stay. Values are not decoded, so
    their types need not be known here. Calls take what they select as ``page`` does, the oldest first, or
    ``task_ids``, in their order. They go through any number of records in bounded memory: 500 at a time, and
    4 MiB of values or one record. ``progress`` is called with the number of records so far after each of
    these steps, in the event loop. What is written meanwhile is there as it was at some time of the call.
    """

    def export(
        self,
        path: FilePath,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        compress: Compression | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Exported:
        """Write records to a file, a line of JSON for each. See docs/formats.md.

        ``compress``: "gzip", "zstd" or "none"; None: as the name says, which may end in .gz or .zst. zstd
        needs Python 3.14 or ``flowstore[zstd]``. The file has its name once it is whole and on disk; before
        that there is one beside it whose name ends in .part. That of an export that was killed, or failed, is
        carried on by the same call with ``resume=True``, behind its last whole line, and is written anew
        without. A record that is damaged is named, in the file and in what is returned, and hides no other.
        Raises FileExistsError for a file that is there, unless with ``overwrite``, and other OSErrors.
        """
        call = self._its.export(
            path,
            statuses,
            task_ids=taken(task_ids),
            compress=compress,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            **selection,
        )
        return self._run(call)

    def load(
        self,
        path: FilePath,
        *,
        on_conflict: OnConflict = "raise",
        partial: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Imported:
        """Restore the records of a file that ``export`` has written, from any backend.

        What is there already and the same is left alone, so a call that was killed can be repeated, and
        completes. ``on_conflict``, where another record has the id: "raise" RestoreConflict, before anything
        of that step is written; "keep" it, and name it in ``conflicts``; or "replace" it with all that
        belongs to it. Records that have expired are left out. Waits for what is restored end; observers are
        told nothing, and ``redact`` sees nothing. What a record is listed by is what it was written with:
        ``facets`` of this backend do not change it. A version is written as often as it says.

        The file is read to its end first. Raises InvalidArchive with the line, and nothing is restored, if it
        was cut off, changed, or written by a newer flowstore; with ``partial`` the lines before that are
        restored. Raises PayloadTooLarge for values above ``max_result_bytes``.
        """
        call = self._its.load(path, on_conflict=on_conflict, partial=partial, progress=progress)
        return self._run(call)

    def copy_to(
        self,
        other: Destination,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        on_conflict: OnConflict = "raise",
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Copied:
        """Copy records into another backend, as ``export`` and ``load`` would, without a file.

        What was copied is read again there: ``is_verified`` says that it is the same to the last byte, unless
        somebody writes to it meanwhile. A call that was interrupted can be repeated, and completes.
        """
        call = self._its.copy_to(
            across(other),
            statuses,
            task_ids=taken(task_ids),
            on_conflict=on_conflict,
            progress=progress,
            **selection,
        )
        return self._run(call)

    def digest(
        self,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> str:
        """The SHA-256 of records, with all that ``export`` writes of them: 64 hexadecimal digits.

        It is the same for the same records on every backend, and that of the file that they are exported to.
        """
        call = self._its.digest(statuses, task_ids=taken(task_ids), progress=progress, **selection)
        return self._run(call)

    def table(
        self,
        path: FilePath,
        statuses: Statuses = None,
        *,
        task_ids: Iterable[str] | None = None,
        format: Format | None = None,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
        **selection: Unpack[Selection],
    ) -> Tabled:
        """Write tasks to a table for other programs, with a row for each and the columns of ``to_frame``.

        ``format``: "csv" or "parquet"; None: as the name says. Parquet needs ``flowstore[parquet]``. Values,
        labels, meta, progress and cancel requests are texts of JSON, as ``to_jsonable`` shows them. Nothing
        reads a table back: for that use ``export``. Raises FileExistsError as ``export`` does.
        """
        call = self._its.table(
            path,
            statuses,
            task_ids=taken(task_ids),
            format=format,
            overwrite=overwrite,
            progress=progress,
            **selection,
        )
        return self._run(call)


class Checkpoints(Face[AsyncCheckpoints]):
    """What a task saves along the way, for a later attempt to resume from: ``backend.checkpoints``."""

    def save(
        self, task_id: str, value: Any, *, keep: int | None = None, or_store: TaskResult | None = None
    ) -> int:
        """Append ``value``; returns its seq. Concurrent saves each get one of their own.

        ``keep``: only so many of the latest are kept; None: all. Raises UnknownTask if the task is not
        stored, unless ``or_store`` is given, as in ``data.set``. Raises NotSerializable with the path of a
        value that would not come back as it went in.
        """
        call = self._its.save(task_id, value, keep=keep, or_store=or_store)
        return self._run(call)

    def latest(self, task_id: str, *, as_: TypeForm[T] = None) -> Checkpoint[T] | None:
        """The last one saved; None if there is none or no such task. The others are not read.

        ``as_``: the type that its value is expected to have, as in ``backend.get``.
        """
        call = self._its.latest(task_id, as_=as_)
        return self._run(call)

    def all(self, task_id: str, *, as_: TypeForm[T] = None) -> list[Checkpoint[T]]:
        """All checkpoints, in the order in which they were saved; empty for an unknown id."""
        call = self._its.all(task_id, as_=as_)
        return self._run(call)


class Data(Face[AsyncData]):
    """Values of a task besides its result, under keys: ``backend.data``.

    A key is any str of 1 to 512 UTF-8 bytes. Values are encoded like results: what comes back equals what
    went in. They are removed when the record is deleted, cleared or expires; a new record with the same id
    begins with none.
    """

    def set(
        self,
        task_id: str,
        key: str,
        value: Any,
        *,
        if_version: int | None = None,
        or_store: TaskResult | None = None,
    ) -> int:
        """Set the value, which may be None; returns its new version.

        ``if_version`` writes only over that version (0: only if there is no such key) and otherwise raises
        VersionConflict; ``entry`` returns the current version. Raises UnknownTask if the task is not stored,
        unless ``or_store`` is given: then that record is stored first, if there is still none. Raises
        NotSerializable with the path of a value that would not come back as it went in.
        """
        call = self._its.set(task_id, key, value, if_version=if_version, or_store=or_store)
        return self._run(call)

    def get(self, task_id: str, key: str, default: Any = None, *, as_: TypeForm[T] = None) -> T | Any:
        """The value; ``default`` if there is no such key or no such task. Always a fresh object.

        ``as_``: the type that it is expected to have, as in ``backend.get``. Raises UnexpectedValue if it has
        not, UnresolvedValue if it is of a type that is not registered.
        """
        call = self._its.get(task_id, key, default, as_=as_)
        return self._run(call)

    def entry(self, task_id: str, key: str, *, as_: TypeForm[T] = None) -> DataEntry[T] | None:
        """The value with its version, for ``if_version``; None if there is no such key or no such task."""
        call = self._its.entry(task_id, key, as_=as_)
        return self._run(call)

    def all(self, task_id: str, *, as_: TypeForm[T] = None) -> dict[str, T]:
        """All values by key, in the order of the keys; empty if there are none or no such task."""
        call = self._its.all(task_id, as_=as_)
        return self._run(call)

    def delete(self, task_id: str, key: str) -> bool:
        """Remove the value; False if there was no such key or no such task. Its version starts again at 1."""
        call = self._its.delete(task_id, key)
        return self._run(call)


class Errors(Face[AsyncErrors]):
    """The errors of failed and retrying tasks, grouped: ``backend.errors``.

    A group are the failures of one type of exception with the same message, but for numbers, ids, times,
    paths and quoted texts, in the same functions of your program, whatever the lines. Each failure is counted
    in the commit that stores it. At most 2,000 groups are kept, those seen last, and each for 90 days after
    its last failure. With the option ``error_groups=False`` tasks are not grouped, and with ``stats=None``
    groups are not counted: then there are none here.
    """

    def groups(
        self,
        state: ErrorState | Literal["open", "resolved", "ignored"] | None = None,
        *,
        since: datetime | None = None,
        order: Order = "last",
        limit: int = 50,
    ) -> list[ErrorGroup]:
        """At most ``limit`` groups in this state, None: in any.

        ``since``: only those with a failure from then on, which are counted as ``recent``: from the minute,
        or if it is longer than an hour ago from the hour that it is in. ``order``: by the last failure, the
        first one, the number of all failures, or with ``since`` that of the recent ones; the highest first.
        """
        call = self._its.groups(state, since=since, order=order, limit=limit)
        return self._run(call)

    def get(self, group: str) -> ErrorGroup | None:
        """None if there is none with this id."""
        call = self._its.get(group)
        return self._run(call)

    def occurrences(
        self,
        group: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = False,
    ) -> Page:
        """The failed tasks of the group, as far as there are records of them: the last to fail first.

        Arguments and cursors are those of ``page``, which has the retrying ones as well:
        ``page("retrying", error=group)``.
        """
        call = self._its.occurrences(
            group, limit=limit, cursor=cursor, newest_first=newest_first, load_result=load_result
        )
        return self._run(call)

    def types(self, prefix: str = "", *, limit: int = 20) -> dict[str, int]:
        """The types of errors that begin with ``prefix``, and how many failures the groups of each have.

        At most ``limit``, those with the most first.
        """
        call = self._its.types(prefix, limit=limit)
        return self._run(call)

    def resolve(self, group: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Take the error for mended, until it comes again. False if there is no such group."""
        call = self._its.resolve(group, by=by, reason=reason)
        return self._run(call)

    def ignore(
        self,
        group: str,
        *,
        until: datetime | None = None,
        more: int | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Hide the error: until a time, or until there are so many ``more`` failures; by default for ever.

        False if there is no such group.
        """
        call = self._its.ignore(group, until=until, more=more, by=by, reason=reason)
        return self._run(call)

    def reopen(self, group: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Take back that it is resolved or ignored. False if there is no such group."""
        call = self._its.reopen(group, by=by, reason=reason)
        return self._run(call)


class Facets(Face[AsyncFacets]):
    """The values that the filters of listings can have: ``backend.facets``. For suggestions and side bars.

    All methods take the same. They return the first ``limit`` values that begin with ``prefix``, by code
    point; ``after``: of those behind that one, so that the last value of a call leads to the next call. Of
    each at most ``at_most`` tasks are counted, the newest. A value whose tasks have all expired may be among
    them until the next purge step. The cost grows neither with the number of values nor with that of tasks.
    """

    def names(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The names of tasks, with a parent or without."""
        call = self._its.names(prefix, limit=limit, after=after, at_most=at_most)
        return self._run(call)

    def labels(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The labels of tasks."""
        call = self._its.labels(prefix, limit=limit, after=after, at_most=at_most)
        return self._run(call)

    def workers(
        self, prefix: str = "", *, limit: int = 20, after: str | None = None, at_most: int = 1_000
    ) -> list[FacetValue]:
        """The workers that have run tasks, registered or not: the ``worker_id`` of results."""
        call = self._its.workers(prefix, limit=limit, after=after, at_most=at_most)
        return self._run(call)


class Families(Face[AsyncFamilies]):
    """Which task started which: ``backend.families``. ``store`` names a parent, ``track`` finds it."""

    def children(self, task_id: str, *, load_result: bool = True) -> Generator[TaskResult, None, None]:
        """The tasks whose ``parent_id`` is ``task_id``, the oldest submission first.

        That is the reverse of the order of ``page``, so those without a submission time come first. A child
        that keeps its submission time during the walk comes exactly once. Children outlive their parent, so a
        task that is not stored may have some. Unreadable records are reported at the end, as in
        ``iter_by_status``.
        """
        items = self._its.children(task_id, load_result=load_result)
        return self._walk(items)

    def descendants(self, task_id: str, *, load_result: bool = True) -> Generator[TaskResult, None, None]:
        """The children, then their children, and so on: breadth first, each generation as in ``children``.

        Each task comes once, and costs at least one round trip. The walk does not get past a task that is no
        longer stored; ``page(root_id=...)`` still shows what is beyond it.
        """
        items = self._its.descendants(task_id, load_result=load_result)
        return self._walk(items)

    def picture(self, root_id: str, *, limit: int = 500, steps: int = 100) -> FamilyPicture:
        """What a picture of a family needs: its tasks without their values, each with its transitions.

        The family is what ``page(root_id=...)`` shows. At most ``limit`` members, 1 to 10,000, are shown: the
        root, and of the others those that were submitted last; of each at most its ``steps`` newest
        transitions, 0 to 10,000. What is left out is counted. It takes three reads, or six if members are
        left out, and for a ``limit`` above 500 more of them; while the family lives on, the later ones may be
        newer. Without members: there is no such family.
        """
        call = self._its.picture(root_id, limit=limit, steps=steps)
        return self._run(call)


class History(Face[AsyncHistory]):
    """What happened to tasks, and when: ``backend.history``. Empty with the option ``history=False``.

    Beside the changes it has events of your own. ``statuses``, in each call: only what happened to a task in
    one of these; None: any. ``events``: only events of these names, one or several; (): only changes; None:
    both.
    """

    def record(
        self, task_id: str, event: str, detail: Mapping[str, Scalar] = NO_META, *, at: datetime | None = None
    ) -> bool:
        """Note an event of your own in the history of a task, in any state.

        False if there is no such task, or the backend keeps no history. ``detail`` is a mapping like
        ``TaskResult.meta``. ``at``: when it happened, if that is not now. It counts as a write: the version
        of the record goes up, ``history_limit`` counts it, and ``watch_status`` yields the task once more; do
        not note something for each task that it yields. Nothing else of the record changes, and its values
        stay in the storage. Raises UnreadableRecord.
        """
        call = self._its.record(task_id, event, detail, at=at)
        return self._run(call)

    def of(self, task_id: str, *, statuses: Statuses = None, events: Events = None) -> list[Transition]:
        """The transitions of the task, in the order of writing.

        Every store that was applied is among them, as far as ``history_limit`` allows. Empty for an unknown
        id.
        """
        call = self._its.of(task_id, statuses=statuses, events=events)
        return self._run(call)

    def of_many(
        self, task_ids: Iterable[str], *, statuses: Statuses = None, events: Events = None
    ) -> dict[str, list[Transition]]:
        """``of`` each of the tasks, by id, in the order of ``task_ids``; 500 of them in a round trip."""
        call = self._its.of_many(taken(task_ids), statuses=statuses, events=events)
        return self._run(call)

    def of_family(
        self, root_id: str, *, statuses: Statuses = None, events: Events = None
    ) -> Generator[Transition, None, None]:
        """The transitions of a task and all whose ``root_id`` it is: task by task, each as in ``of``.

        The oldest submission comes first. Read are 500 tasks at a time, without their values. For a picture
        of a family see ``families.picture``.
        """
        items = self._its.of_family(root_id, statuses=statuses, events=events)
        return self._walk(items)

    def page(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        statuses: Statuses = None,
        events: Events = None,
    ) -> HistoryPage:
        """What happened last: one page of the history of all tasks, from ``start`` to ``end``, both included.

        ``limit`` is 1 to 10,000. ``cursor`` is the ``next_cursor`` of the page before, None for the first
        page; it is bound to all other arguments but ``limit``, and raises InvalidCursor elsewhere. What stays
        stored during the walk is on exactly one page. With ``statuses`` or ``events`` a page looks at 5,000
        transitions at most, so it may have fewer than ``limit``, or none, although it goes on.
        """
        call = self._its.page(
            start,
            end,
            limit=limit,
            cursor=cursor,
            newest_first=newest_first,
            statuses=statuses,
            events=events,
        )
        return self._run(call)

    def iter(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        batch_size: int = 100,
        newest_first: bool = False,
        statuses: Statuses = None,
        events: Events = None,
    ) -> Generator[Transition, None, None]:
        """The history of all tasks from ``start`` to ``end``, both included, in order of time.

        None: no bound. ``newest_first``: exactly the reverse order. It is read ``batch_size`` at a time. A
        transition that exists throughout the walk comes exactly once, whatever is stored in the meantime.
        Filters are applied to what is read.
        """
        items = self._its.iter(
            start, end, batch_size=batch_size, newest_first=newest_first, statuses=statuses, events=events
        )
        return self._walk(items)

    def iter_ids(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        batch_size: int = 100,
        newest_first: bool = False,
        statuses: Statuses = None,
        events: Events = None,
    ) -> Generator[str, None, None]:
        """The ids of the tasks with a transition from ``start`` to ``end``, both included.

        Each comes once, in the order of the first transition in that time, or with ``newest_first`` from the
        last one backwards. The walk remembers the ids that it has shown.
        """
        items = self._its.iter_ids(
            start, end, batch_size=batch_size, newest_first=newest_first, statuses=statuses, events=events
        )
        return self._walk(items)


class Integrity(Face[AsyncIntegrity]):
    """Verifies a whole namespace: ``backend.integrity``.

    Every record is read whole, with its history, data and checkpoints, and so are workers, app and data of
    the namespace: their checksums are verified, and their values decoded. Each record is compared with the
    indexes that list it, and each entry of an index with its record. Others may read and write meanwhile.
    It takes two to three times as long as reading everything, and no more memory than a listing.

    ``repair``: indexes, counts and values whose record is gone are made to agree with the records. What is
    damaged is left as it is, and so are the entries of its record. ``progress`` is called after each step
    with the number of records that were read and the number that there are.
    """

    def verify(self, *, repair: bool = False, progress: Progress | None = None) -> Verification:
        """Verify all of it, and sum up what was found. A type that is not registered is no damage."""
        call = self._its.verify(repair=repair, progress=progress)
        return self._run(call)

    def findings(
        self, *, repair: bool = False, progress: Progress | None = None
    ) -> Generator[Finding, None, None]:
        """Each finding as soon as it is made, however many there are. Whoever stops asking stops the walk."""
        items = self._its.findings(repair=repair, progress=progress)
        return self._walk(items)


class Retention(Face[AsyncRetention]):
    """What to keep of finished tasks, by a policy: ``backend.retention``.

    A group are the tasks of one name; those without a name are one, too. The newest are those that were
    submitted last. Tasks with the label "pinned" (``flowstore.PINNED``) stay. The size of a task is that of
    its result and its arguments, as they are stored.
    """

    def plan(
        self, policy: RetentionPolicy, *, name: str | None = None, label: str | None = None
    ) -> RetentionPlan:
        """What ``apply`` would remove now, and why. Nothing is changed.

        ``name``, ``label``: only among the tasks of that name, or with that label. It reads every finished
        task among them, but for the values.
        """
        call = self._its.plan(policy, name=name, label=label)
        return self._run(call)

    def apply(
        self,
        policy: RetentionPolicy,
        *,
        name: str | None = None,
        label: str | None = None,
        progress: Callable[[RetentionOutcome], object] | None = None,
    ) -> RetentionOutcome:
        """Remove what the policy does not keep, with all that belongs to it, in steps of 200; what was done.

        A task goes only if it is still in the state that was judged: one that is requeued, pinned or stored
        in any way meanwhile stays. Its children stay. Waiters of a task that goes are woken as by ``delete``.
        ``progress`` is called after each step, with what was done so far.

        One call at a time applies a policy to a namespace, in whatever process; others raise RetentionBusy.
        After an error, or if the process dies, call it again: it goes on with what is left, half a minute
        after the last sign of the process that has died.
        """
        call = self._its.apply(policy, name=name, label=label, progress=progress)
        return self._run(call)

    def pin(self, task_id: str) -> bool:
        """Give the task the label "pinned", so that it stays; False if there is no such task.

        That is an event of its history, "pinned". Nothing else changes, and values are not decoded. Raises
        UnreadableRecord.
        """
        call = self._its.pin(task_id)
        return self._run(call)

    def unpin(self, task_id: str) -> bool:
        """Take the label "pinned" away; False if there is no such task. Otherwise like ``pin``."""
        call = self._its.unpin(task_id)
        return self._run(call)


class Statistics(Face[AsyncStatistics]):
    """What became of tasks, over time: ``backend.stats``.

    Each store counts in its own commit, so the numbers are exact, for all processes together, whatever was
    killed or sent twice. A task counts by the time at which its change was stored, and stays counted when its
    record is removed. Minutes are kept for a day, hours for 90 days.

    ``name``, in each call: the tasks of that name; None: all; OTHER_NAMES: those beyond the first thousand
    names. ``since``: default a day ago. ``until``: default now. Both are aware datetimes and are widened to
    whole minutes, where the time begins within the last day and is at most six hours long, and otherwise to
    whole hours: ``start`` and ``end`` of what is returned. Without the option ``stats`` nothing is counted.

    ``since=EVER``, but for ``series``: all that was ever counted up to now, also what is no longer kept by
    the hour. These numbers never fall, until the namespace is dropped.
    """

    def total(
        self, name: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> TaskStats:
        """All in one."""
        call = self._its.total(name, since=since, until=until)
        return self._run(call)

    def percentiles(
        self,
        *shares: float,
        name: str | None = None,
        of: Literal["run", "wait"] = "run",
        status: TaskStatus | StatusName | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[float, float | None]:
        """For each share, such as 0.5 or 0.99, the seconds that as many tasks ran, or waited, at most.

        ``status``: only of tasks that ended in it; there is no such ``wait``. See Distribution.percentile.
        """
        call = self._its.percentiles(*shares, name=name, of=of, status=status, since=since, until=until)
        return self._run(call)

    def series(
        self,
        name: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        every: Every = "hour",
    ) -> list[TaskStats]:
        """The periods of a time in order, the empty ones among them; at most 3,000.

        ``every``: how long each is: a multiple of a minute, and of an hour where it begins more than a day
        ago. Periods begin at multiples of their length since the epoch, the first one at or before ``since``.
        """
        call = self._its.series(name, since=since, until=until, every=every)
        return self._run(call)

    def by(
        self, *fields: Field, since: datetime | None = None, until: datetime | None = None
    ) -> list[TaskStats]:
        """One for each name, each status in which tasks ended, or each pair of these, that there was.

        ``fields``: "name", "status" or both. Those with the most ended tasks come first.
        """
        call = self._its.by(*fields, since=since, until=until)
        return self._run(call)

    def names(self, *, order: Literal["name", "first"] = "name") -> list[str]:
        """The task names that are counted by themselves, sorted.

        ``order="first"``: in the order in which they were first counted. A name keeps its place for good, and
        new ones come behind it.
        """
        call = self._its.names(order=order)
        return self._run(call)


class Workers(Face[AsyncWorkers]):
    """The workers and their heartbeats, and the recovery of a dead one's tasks: ``backend.workers``.

    A worker id is any str of 1 to 512 UTF-8 bytes. Tasks name it as their ``worker_id``, whether it is
    registered or not. Workers belong to the namespace; ``clear`` does not remove them.
    """

    def register(
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
        call = self._its.register(
            worker_id, host=host, pid=pid, parent_id=parent_id, labels=taken(labels), info=info
        )
        return self._run(call)

    def heartbeat(self, worker_id: str) -> None:
        """Record that the worker is alive. Raises UnknownWorker if it is not registered, or was removed."""
        call = self._its.heartbeat(worker_id)
        self._run(call)

    def delete(self, worker_id: str) -> bool:
        """Remove the worker but not its tasks; False if it was not registered."""
        call = self._its.delete(worker_id)
        return self._run(call)

    def get(self, worker_id: str) -> Worker | None:
        """The worker; None if it is not registered."""
        call = self._its.get(worker_id)
        return self._run(call)

    def all(self) -> list[Worker]:
        """All registered workers, in the order of their ids."""
        call = self._its.all()
        return self._run(call)

    def find(self, text: str) -> list[Worker]:
        """The workers with ``text`` in their id, in the order of ids. There are no wildcards."""
        call = self._its.find(text)
        return self._run(call)

    def stale(self, older_than: Seconds) -> list[Worker]:
        """The workers without a heartbeat for more than ``older_than``, the longest silent first.

        ``older_than`` is in seconds, or a timedelta.
        """
        call = self._its.stale(older_than)
        return self._run(call)

    def running_tasks(self, worker_id: str) -> Generator[TaskResult, None, None]:
        """The running tasks of the worker, registered or not, the oldest submission first.

        Unreadable records are reported at the end, as in ``iter_by_status``.
        """
        items = self._its.running_tasks(worker_id)
        return self._walk(items)

    def requeue(self, worker_id: str) -> list[str]:
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
        call = self._its.requeue(worker_id)
        return self._run(call)

    def fail_lost(self, worker_id: str, error: BaseException | TaskError | None = None) -> list[str]:
        """Fail the worker's running and retrying tasks, and wake their waiters. Otherwise like ``requeue``.

        ``error`` None: a TaskError of type "WorkerLost" that names the worker.
        """
        call = self._its.fail_lost(worker_id, error)
        return self._run(call)

    def sweep(
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
        call = self._its.sweep(
            silent_after=silent_after,
            silent=silent,
            lost=lost,
            overdue_after=overdue_after,
            overdue=overdue,
            pending_after=pending_after,
            pending=pending,
            max_retries=max_retries,
        )
        return self._run(call)


class Workflows(Face[AsyncWorkflows]):
    """Runs by their type: ``backend.workflows``. They come from tasks that name their parents."""

    def types(self) -> list[str]:
        """The distinct task names of all tasks without a parent, sorted.

        A name whose runs have all expired may be among them until the next purge step.
        """
        call = self._its.types()
        return self._run(call)

    def runs(
        self,
        type: str,
        statuses: Statuses = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
    ) -> Page:
        """One page of the tasks named ``type`` without a parent; arguments and order as in ``page``.

        Tasks of that name with a parent cost nothing. The cursor is valid for this listing only.
        """
        call = self._its.runs(
            type, statuses, limit=limit, cursor=cursor, newest_first=newest_first, load_result=load_result
        )
        return self._run(call)

    def get(self, root_id: str) -> Workflow | None:
        """A run and a summary of its family; None if there is no such task, or it has a parent.

        It takes several reads. While the run goes on, the later ones may be newer than the first.
        """
        call = self._its.get(root_id)
        return self._run(call)


class TrackedTask(BlockFace[AsyncTrackedTask[T]], Generic[T]):
    """One attempt at a task while it runs. Assign its outcome to ``result``; the default is None.

    ``is_stored``: whether the last store was applied. It was not if someone else has finished the task, or a
    later attempt has begun: then nothing was written. ``outcome``: the state in which the block has ended,
    whether it could be stored or not; None before.
    """

    @property
    def result(self) -> T:
        return self._its.result

    @result.setter
    def result(self, result: T) -> None:
        self._its.result = result

    @property
    def outcome(self) -> TaskResult[T] | None:
        return self._its.outcome

    @property
    def is_stored(self) -> bool:
        return self._its.is_stored

    @property
    def task_id(self) -> str:
        return self._its.task_id

    @property
    def retries(self) -> int:
        """The number of this attempt, from 0; RuntimeError before the block has begun."""
        return self._its.retries

    @property
    def cancel_request(self) -> CancelRequest | None:
        """That the block should end: its task is to be cancelled, or its outcome would come too late.

        By ``backend.cancel``, or since somebody else has finished the task or begun another attempt, as when
        its worker was declared dead. None: there is no such request.
        """
        return self._its.cancel_request

    @property
    def cancel_requested(self) -> bool:
        return self._its.cancel_requested

    def raise_if_cancelled(self) -> None:
        """End the block with asyncio.CancelledError, which it keeps, if ``cancel_requested``."""
        self._its.raise_if_cancelled()

    def retry(self, error: BaseException, *, delay: Seconds | None = None) -> bool:
        """End the block as retrying, with ``error``; however it ends from here on. Waiters go on waiting.

        False if there is to be no other attempt (``max_retries``): the block ends as failed. ``delay``: the
        next one is due so many seconds, or such a timedelta, after the end of the block; by default as
        ``retry_delay`` says. The code goes on: return, or let ``error`` propagate.
        """
        return self._its.retry(error, delay=delay)

    def end_with(self, make: Callable[[TaskResult], TaskResult]) -> None:
        """Let ``make`` say how the block ends, whatever happens in it: for hosts with outcomes of their own.

        It is called at the end with the state of the running task, and returns a finished one that is made of
        it, such as ``TaskResult.failed(running, error, result=rest)``. It goes before ``result`` and
        ``retry``. If it raises, or returns what cannot be stored, the task is stored as failed with that
        error, which is raised.
        """
        self._its.end_with(make)

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> bool:
        """``set_progress`` of the backend, for this attempt. The last report is stored with the outcome.

        False as well, and never an error, if the storage fails: a report is not worth a task.
        """
        report = awaited(lambda: self._its.progress(done, total, note))
        return self._run(report)


class RunningWorker(BlockFace[AsyncRunningWorker]):
    """Use as ``with backend.worker("w1") as worker:`` around all that a worker process does.

    Tasks that are tracked in the same backend with its id belong to it, those of ``worker.track`` and others.
    ``is_draining``: it takes no new ones. ``is_lost``: another process has registered with this id.
    """

    @property
    def worker_id(self) -> str:
        return self._its.worker_id

    @property
    def is_draining(self) -> bool:
        return self._its.is_draining

    @property
    def is_lost(self) -> bool:
        return self._its.is_lost

    @property
    def tasks(self) -> list[str]:
        """The ids of the tasks under way, sorted."""
        return self._its.tasks

    @property
    def info(self) -> Mapping[str, Scalar]:
        """What the worker says of itself. Assign another mapping, and the next heartbeat carries it."""
        return self._its.info

    @info.setter
    def info(self, info: Mapping[str, Scalar]) -> None:
        self._its.info = info

    def track(
        self, task_id: str, *, result_type: TypeForm[T] = None, **options: Unpack[TrackOptions]
    ) -> TrackedTask[T]:
        """``backend.track`` with the id of this worker. Raises WorkerStopped if it is draining or lost."""
        check_options(options)
        block = self._its.track(task_id, result_type=result_type, **options)
        return TrackedTask(self._link, block)

    def drain(self, grace: Seconds | None = None) -> list[str]:
        """Take no new tasks, and return once those under way have ended and are stored.

        After ``grace`` seconds, or such a timedelta, the blocks that are left are asked to end, by
        ``task.cancel_requested`` and ``task.raise_if_cancelled``, and ``on_cancel`` says what becomes of
        those that do; returns the ids of these, sorted. None: never. A block that goes on is waited for.
        """
        call = self._its.drain(grace)
        return self._run(call)

    def beat(self) -> None:
        """Send a heartbeat now, with what has changed. It is sent every ``every`` seconds anyway."""
        call = self._its.beat()
        self._run(call)


class RunningRun(BlockFace[AsyncRunningRun]):
    """An attempt at a run while its block runs: what it appends is refused once another attempt has begun.

    Assign its result to ``result``; the default is None. ``checkpoint``: the latest one of the attempts
    before, to resume from; None: there is none.
    """

    @property
    def result(self) -> Any:
        return self._its.result

    @result.setter
    def result(self, result: Any) -> None:
        self._its.result = result

    @property
    def checkpoint(self) -> Checkpoint[Any] | None:
        return self._its.checkpoint

    @property
    def run_id(self) -> str:
        return self._its.run_id

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 0; RuntimeError before the block has begun."""
        return self._its.attempt

    @property
    def run(self) -> Run:
        """The run as it has begun; RuntimeError before that."""
        return self._its.run

    def checkpoint_with(self, state: Callable[[], Any]) -> None:
        """Save what ``state`` returns as a checkpoint after every ``checkpoint_every`` records. It is called
        in the thread of the event loop, and must not call this backend.
        """
        self._its.checkpoint_with(state)

    def save_checkpoint(self, value: Any) -> int:
        """``runs.checkpoint`` of this run, of which the ``keep`` latest stay; returns its seq.

        Raises RunNotOpen if another attempt has begun before.
        """
        call = self._its.save_checkpoint(value)
        return self._run(call)

    def append(
        self,
        value: Any,
        *,
        key: str | None = None,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        error: BaseException | TaskError | None = None,
        keep: Keep = "last",
    ) -> bool:
        """``runs.append`` to this run, in this attempt. Raises RunNotOpen if another one has begun."""
        call = self._its.append(value, key=key, status=status, error=error, keep=keep)
        return self._run(call)

    def append_many(
        self,
        values: Mapping[str, Any] | Iterable[tuple[str | None, Any]],
        *,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        keep: Keep = "last",
    ) -> list[bool]:
        """``runs.append_many`` to this run, in this attempt."""
        call = self._its.append_many(taken(values), status=status, keep=keep)
        return self._run(call)

    def missing(self, keys: Iterable[str], *, status: Statuses = None) -> list[str]:
        """``runs.missing`` of this run: what is still to be done."""
        call = self._its.missing(taken(keys), status=status)
        return self._run(call)


class Datasets(Face[AsyncDatasets]):
    """What runs work on: rows under a name, and values that several runs share. ``backend.runs.datasets``."""

    def save(
        self, run_id: str, rows: Iterable[Any] | AsyncIterable[Any], name: str = "default"
    ) -> DatasetInfo:
        """Store the rows, any values, in place of those that have this name; as they come, in chunks. They
        are gone through in the thread of the caller.

        Until all are there, those of before are what ``load`` reads, and they stay if anything fails. Rows
        that another run has as well are stored once. Raises UnknownRun, and NotSerializable with the row.
        """
        return fed(self._link, rows, lambda given: self._its.save(run_id, given, name))

    def load(self, run_id: str, name: str = "default") -> Generator[Any, None, None]:
        """The rows in order, a few chunks in memory at a time. Raises UnknownDataset at the first step.

        DatasetReplaced, if somebody saves others under this name before all were read.
        """
        items = self._its.load(run_id, name)
        return self._walk(items)

    def info(self, run_id: str, name: str = "default") -> DatasetInfo:
        """How many rows it has, and their digest. Raises UnknownDataset."""
        call = self._its.info(run_id, name)
        return self._run(call)

    def all(self, run_id: str) -> list[DatasetInfo]:
        """The datasets of a run, in the order in which they were saved."""
        call = self._its.all(run_id)
        return self._run(call)

    def delete(self, run_id: str, name: str = "default") -> bool:
        """Remove it; False if there is none. Rows that other runs have stay."""
        call = self._its.delete(run_id, name)
        return self._run(call)

    def share(self, run_id: str, value: Any) -> str:
        """Store a value, such as a prompt, once for all runs that share it; returns its digest.

        It is removed with the last run that has shared it. Raises UnknownRun and NotSerializable.
        """
        call = self._its.share(run_id, value)
        return self._run(call)

    def shared(self, digest: str, *, as_: TypeForm[T] = None) -> T:
        """The value with this digest. Raises UnknownDataset if no run shares it (any more)."""
        call = self._its.shared(digest, as_=as_)
        return self._run(call)


class RunsRetention(Face[AsyncRunsRetention]):
    """What to keep of finished runs, by a policy: ``backend.runs.retention``.

    The newest are those that were started last. A run that is going on, or is pinned, never goes, and does
    not count. The size of a run is ``runs.size(run_id).total``: a payload that it shares is part of it.
    """

    def plan(
        self, policy: RetentionPolicy, *, group: str | None = None, label: str | None = None
    ) -> RetentionPlan:
        """What ``apply`` would remove now, and why. Nothing is changed.

        ``group``, ``label``: only among the runs of that group, or with that label.
        """
        call = self._its.plan(policy, group=group, label=label)
        return self._run(call)

    def apply(
        self,
        policy: RetentionPolicy,
        *,
        group: str | None = None,
        label: str | None = None,
        progress: Callable[[RetentionOutcome], object] | None = None,
    ) -> RetentionOutcome:
        """Remove the runs that the policy does not keep, each with all that belongs to it; what was done.

        A run goes only if it is still as it was judged: one that is resumed, pinned or ended anew meanwhile
        stays. One call at a time, in whatever process; others raise RetentionBusy. After an error, or if the
        process dies, call it again: it first ends what was begun, whatever the policy says, and goes on.
        ``progress`` is called after each step, with what was done so far.
        """
        call = self._its.apply(policy, group=group, label=label, progress=progress)
        return self._run(call)


class RunsArchive(Face[AsyncRunsArchive]):
    """Runs out of this backend and into it, exactly as they are: ``backend.runs.archive``.

    With a run go its records, evaluations, datasets, shared values, checkpoints and history. Calls take one
    run, those of a ``group``, or by default all runs. Otherwise they are like those of ``backend.archive``.
    """

    def export(
        self,
        path: FilePath,
        run_id: str | None = None,
        *,
        group: str | None = None,
        compress: Compression | None = None,
        overwrite: bool = False,
        resume: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Exported:
        """Write runs to a file, a line of JSON for each record of any kind. Raises UnknownRun.

        ``compress``, ``overwrite``, ``resume``, ``progress``: as in ``backend.archive.export``.
        """
        call = self._its.export(
            path,
            run_id,
            group=group,
            compress=compress,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
        )
        return self._run(call)

    def load(
        self,
        path: FilePath,
        *,
        on_conflict: OnConflict = "raise",
        partial: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Imported:
        """Restore the runs of a file, as ``backend.archive.load`` does tasks, whose errors it raises.

        What is there already and the same is left alone, so a call that was killed can be repeated. A run
        that stands there with something else is a conflict of each record that differs: "replace" replaces
        these, and leaves what else that run has; delete it first to have none of it.
        """
        call = self._its.load(path, on_conflict=on_conflict, partial=partial, progress=progress)
        return self._run(call)

    def copy_to(
        self,
        other: RunsDestination,
        run_id: str | None = None,
        *,
        group: str | None = None,
        on_conflict: OnConflict = "raise",
        progress: Callable[[int], object] | None = None,
    ) -> Copied:
        """Copy runs into the ``runs`` of another backend, and read them there again to compare.

        A call that was interrupted can be repeated, and completes. Raises UnknownRun.
        """
        call = self._its.copy_to(
            runs_across(other), run_id, group=group, on_conflict=on_conflict, progress=progress
        )
        return self._run(call)

    def digest(
        self,
        run_id: str | None = None,
        *,
        group: str | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> str:
        """The SHA-256 of runs, with all that ``export`` writes of them: 64 hexadecimal digits.

        It is the same for the same runs on every backend, and that of the file they are exported to.
        """
        call = self._its.digest(run_id, group=group, progress=progress)
        return self._run(call)

    def table(
        self,
        path: FilePath,
        run_id: str,
        *,
        format: Format | None = None,
        overwrite: bool = False,
        progress: Callable[[int], object] | None = None,
    ) -> Tabled:
        """Write the records of a run to a table for other programs: key, status, at, value, error, version.

        ``format``, and what becomes of values: as in ``backend.archive.table``.
        """
        call = self._its.table(path, run_id, format=format, overwrite=overwrite, progress=progress)
        return self._run(call)


class Runs(Face[AsyncRuns]):
    """Runs and what belongs to them: ``backend.runs``.

    They are kept in a namespace of their own beside the tasks: no listing, count or ``clear`` of tasks has
    anything to do with them, and no ttl. A run id is a
    str of 1 to 200 UTF-8 bytes without control characters, a key one of 1 to 200 bytes. Values are encoded
    like results: what comes back equals what went in.
    """

    def __init__(self, link: Link[Any], of: Callable[[BaseResultBackend], AsyncRuns]) -> None:
        super().__init__(link, of)
        self.datasets = Datasets(self._link, lambda backend: of(backend).datasets)
        self.retention = RunsRetention(self._link, lambda backend: of(backend).retention)
        self.archive = RunsArchive(self._link, lambda backend: of(backend).archive)

    def start(
        self,
        run_id: str,
        *,
        group: str | None = None,
        config: Any = None,
        labels: Iterable[str] = (),
        total: int | None = None,
        resume: bool = False,
    ) -> Run:
        """Begin a run. Raises RunExists if there is one, unless ``resume``: then begin its next attempt.

        ``group``: what it is compared with and cleaned up with ("default"). ``config``: any value, kept as it
        is now. ``total``: how many records are expected. A resumed run keeps its records and all of these but
        ``total``; those that are given again must be as they were, or RunExists is raised. Whatever its state
        was, it is running then, and what the attempt before still appends as such is refused.
        """
        call = self._its.start(
            run_id, group=group, config=config, labels=taken(labels), total=total, resume=resume
        )
        return self._run(call)

    def run(
        self,
        run_id: str,
        *,
        group: str | None = None,
        config: Any = None,
        labels: Iterable[str] = (),
        total: int | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        keep: int | None = 3,
        patience: Seconds | None = None,
    ) -> RunningRun:
        """Use as ``with backend.runs.run("r1") as run:`` around the code of one attempt at a run.

        Starts the run, with the arguments of ``start``. When the block ends, completes it with
        ``run.result``; cancels it after KeyboardInterrupt; fails it after any other exception, which
        propagates. ``patience``: for how many seconds, or how long a timedelta, the end is tried again if the
        storage is full or out of reach; None: ``op_timeout``. ``checkpoint_every``: after how many records a
        checkpoint is saved, of what ``run.checkpoint_with`` was given; ``keep``: how many of them stay.
        """
        block = self._its.run(
            run_id,
            group=group,
            config=config,
            labels=taken(labels),
            total=total,
            resume=resume,
            checkpoint_every=checkpoint_every,
            keep=keep,
            patience=patience,
        )
        return RunningRun(self._link, block)

    def complete(self, run_id: str, result: Any = None, *, attempt: int | None = None) -> Run:
        """End the run as successful. Raises RunNotOpen if it is finished, UnknownRun if there is none.

        ``attempt``: only if that one is current.
        """
        call = self._its.complete(run_id, result, attempt=attempt)
        return self._run(call)

    def fail(self, run_id: str, error: BaseException | TaskError, *, attempt: int | None = None) -> Run:
        """End the run as failed with ``error``. Raises as ``complete`` does."""
        call = self._its.fail(run_id, error, attempt=attempt)
        return self._run(call)

    def cancel(self, run_id: str, reason: str | None = None, *, attempt: int | None = None) -> Run:
        """End the run as cancelled: what it still appends is refused. Raises as ``complete`` does."""
        call = self._its.cancel(run_id, reason, attempt=attempt)
        return self._run(call)

    def get(self, run_id: str) -> Run | None:
        """The run; None if there is none. Raises UnreadableRecord."""
        call = self._its.get(run_id)
        return self._run(call)

    def wait_for(self, run_id: str, timeout: Seconds | None = None) -> Run:
        """The finished run, as soon as it is. The wait may begin before it is started.

        ``timeout``: as in ``backend.wait_for``, whose errors it raises.
        """
        call = self._its.wait_for(run_id, timeout)
        return self._run(call)

    def iter(
        self,
        *,
        group: str | None = None,
        status: Statuses = None,
        label: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        load_values: bool = True,
    ) -> Generator[Run, None, None]:
        """All runs that ``list`` would show. UnreadableRecords names the others at the end."""
        items = self._its.iter(
            group=group,
            status=status,
            label=label,
            since=since,
            until=until,
            newest_first=newest_first,
            load_values=load_values,
        )
        return self._walk(items)

    def progress(self, run_id: str) -> RunProgress:
        """How many records there are, counted by the storage: exact whoever appends. Raises UnknownRun.

        ``done`` are those that are finished: successful, failed or cancelled.
        """
        call = self._its.progress(run_id)
        return self._run(call)

    def pin(self, run_id: str) -> bool:
        """Let retention leave the run alone; False if it was so before. Raises UnknownRun."""
        call = self._its.pin(run_id)
        return self._run(call)

    def unpin(self, run_id: str) -> bool:
        """Take that back; False if the run was not pinned. Raises UnknownRun."""
        call = self._its.unpin(run_id)
        return self._run(call)

    def delete(self, run_id: str, *, force: bool = False) -> bool:
        """Remove the run and all that belongs to it, in bounded steps; False if there is none.

        Raises RunInProgress for one that is going on, unless ``force``: it is cancelled then. Nobody can add
        anything once it has begun, and a call that was interrupted may be repeated. Shared payloads go with
        the last run that has them.
        """
        call = self._its.delete(run_id, force=force)
        return self._run(call)

    def append(
        self,
        run_id: str,
        value: Any,
        *,
        key: str | None = None,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        error: BaseException | TaskError | None = None,
        keep: Keep = "last",
        attempt: int | None = None,
    ) -> bool:
        """Append a record; as durable as a ``store``, and counted by the same write.

        ``key``: what it is found by. Of several with one key one stands, the one that came last, which takes
        its place at the end, or with ``keep="first"`` the first: False then, if another one stands. None: a
        key that nobody else has. Raises RunNotOpen if the run is finished, or in another attempt than
        ``attempt``, UnknownRun, and NotSerializable; then nothing is written.
        """
        call = self._its.append(
            run_id, value, key=key, status=status, error=error, keep=keep, attempt=attempt
        )
        return self._run(call)

    def append_many(
        self,
        run_id: str,
        values: Mapping[str, Any] | Iterable[tuple[str | None, Any]],
        *,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        keep: Keep = "last",
        attempt: int | None = None,
    ) -> list[bool]:
        """``append`` each value under its key, in order; one bool for each.

        All are checked and encoded before the first is sent. Each is atomic, the whole is not.
        """
        call = self._its.append_many(run_id, taken(values), status=status, keep=keep, attempt=attempt)
        return self._run(call)

    def exists(self, run_id: str, key: str) -> bool:
        """Whether there is a record with this key, in any status."""
        call = self._its.exists(run_id, key)
        return self._run(call)

    def get_by_key(self, run_id: str, key: str, *, as_: TypeForm[T] = None) -> RunRecord[T] | None:
        """The record with this key; None if there is none. ``as_``: the type that its value is to have."""
        call = self._its.get_by_key(run_id, key, as_=as_)
        return self._run(call)

    def records(
        self,
        run_id: str,
        *,
        status: Statuses = None,
        newest_first: bool = False,
        batch_size: int = _BATCH,
        as_: TypeForm[T] = None,
    ) -> Generator[RunRecord[T], None, None]:
        """The records in the order of appending, or its reverse, ``batch_size`` in memory at a time.

        The order is that of the clocks of those who append. Records that keep their place come exactly once;
        those that are appended meanwhile may come, also again. Unreadable ones are reported at the end, by
        UnreadableRecords. A run that does not exist has none. ``as_``: the type of the values.
        """
        items = self._its.records(
            run_id, status=status, newest_first=newest_first, batch_size=batch_size, as_=as_
        )
        return self._walk(items)

    def page(
        self,
        run_id: str,
        *,
        status: Statuses = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = False,
        as_: TypeForm[T] = None,
    ) -> RecordPage[T]:
        """One page of the records, in the order of ``records``; ``cursor`` as in ``backend.page``."""
        call = self._its.page(
            run_id, status=status, limit=limit, cursor=cursor, newest_first=newest_first, as_=as_
        )
        return self._run(call)

    def missing(self, run_id: str, keys: Iterable[str], *, status: Statuses = None) -> list[str]:
        """Those of ``keys`` that no record has, in order, each once: what a resumed run has still to do.

        ``status``: only records in these statuses count, so ``status="success"`` also has those that failed.
        """
        call = self._its.missing(run_id, taken(keys), status=status)
        return self._run(call)

    def evaluate(
        self, run_id: str, key: str, value: Any, *, eval_id: str = "default", config: Any = None
    ) -> None:
        """Say ``value`` of the record with this key, in place of what was said before; also when it is over.

        Values with another ``eval_id`` or another ``config`` are kept apart. ``config`` may be what
        ``cache_key`` takes. Raises UnknownRun and NotSerializable.
        """
        call = self._its.evaluate(run_id, key, value, eval_id=eval_id, config=config)
        self._run(call)

    def evaluate_many(
        self,
        run_id: str,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        eval_id: str = "default",
        config: Any = None,
    ) -> None:
        """``evaluate`` each key with its value. All are encoded before the first is sent."""
        call = self._its.evaluate_many(run_id, taken(values), eval_id=eval_id, config=config)
        self._run(call)

    def evaluations(
        self, run_id: str, eval_id: str = "default", config: Any = None, *, as_: TypeForm[T] = None
    ) -> Generator[EvaluatedValue[T], None, None]:
        """The values of one evaluation of one config, in the order in which they were given."""
        items = self._its.evaluations(run_id, eval_id, config, as_=as_)
        return self._walk(items)

    def evaluation(
        self, run_id: str, key: str, eval_id: str = "default", config: Any = None, *, as_: TypeForm[T] = None
    ) -> EvaluatedValue[T] | None:
        """What an evaluation says of one key; None: nothing."""
        call = self._its.evaluation(run_id, key, eval_id, config, as_=as_)
        return self._run(call)

    def all_evaluations(self, run_id: str) -> list[Evaluation]:
        """Which evaluations of the run there are, of which configs, the oldest first."""
        call = self._its.all_evaluations(run_id)
        return self._run(call)

    def checkpoint(self, run_id: str, value: Any, *, keep: int | None = None) -> int:
        """Save a checkpoint, as ``backend.checkpoints.save`` does for a task; returns its seq."""
        call = self._its.checkpoint(run_id, value, keep=keep)
        return self._run(call)

    def latest_checkpoint(self, run_id: str, *, as_: TypeForm[T] = None) -> Checkpoint[T] | None:
        """The last one that was saved; None if there is none."""
        call = self._its.latest_checkpoint(run_id, as_=as_)
        return self._run(call)

    def checkpoints(self, run_id: str, *, as_: TypeForm[T] = None) -> list[Checkpoint[T]]:
        """All checkpoints of the run, in the order in which they were saved."""
        call = self._its.checkpoints(run_id, as_=as_)
        return self._run(call)

    def size(self, run_id: str | None = None, *, group: str | None = None) -> RunSize:
        """How many bytes a run takes, or all of a group, or all there are; without reading payloads."""
        call = self._its.size(run_id, group=group)
        return self._run(call)

    def verify(
        self, run_id: str | None = None, *, repair: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Read a run, or all, with all that belongs to them, and sum up what is not as it was written.

        As ``backend.integrity.verify`` does, and besides: what belongs to no run, datasets without payloads
        and payloads without datasets. ``repair`` mends indexes and claims, and removes payloads that nobody
        has; a record that is damaged, or whose run is gone, stays. Raises UnknownRun.
        """
        call = self._its.verify(run_id, repair=repair, progress=progress)
        return self._run(call)

    def list(
        self,
        *,
        group: str | None = None,
        status: Statuses = None,
        label: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_values: bool = True,
    ) -> RunPage:
        """One page of runs, by their first start, the newest first, or its exact reverse.

        ``since``, ``until``: bounds of that start, the first included. ``limit``, ``cursor``: as in
        ``backend.page``. ``load_values=False``: config and result are NOT_LOADED.
        """
        call = self._its.list(
            group=group,
            status=status,
            label=label,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
            newest_first=newest_first,
            load_values=load_values,
        )
        return self._run(call)


class ResultBackend(Store):
    """Keeps the results of tasks. All backends behave alike.

    It opens by itself at the first call, or with ``with``; once closed it stays closed, and calls raise
    BackendClosed. It is closed at exit at the latest. Any number of threads may use it at the same time. It
    runs in an event loop in a thread of its own, where functions are called that are given to it, such as
    observers: these must not call it. After a fork a child process has a backend and a loop of its own, made
    from the same arguments; blocks and iterations that were begun before raise WrongProcess there. Where an
    event loop runs, calls raise LoopIsRunning, but in the cells of a notebook they work. KeyboardInterrupt
    ends any call at once, as if it had been cancelled. Any call may raise StorageError when the storage
    fails.

    A task id is any str of 1 to 512 UTF-8 bytes. No read returns an expired record. Arguments are checked
    when the method is called, even if it returns an iterator.
    """

    def __init__(self, make: Callable[[], BaseResultBackend]) -> None:
        super().__init__(make)
        self.data = Data(self._link, lambda backend: backend.data)
        self.checkpoints = Checkpoints(self._link, lambda backend: backend.checkpoints)
        self.history = History(self._link, lambda backend: backend.history)
        self.families = Families(self._link, lambda backend: backend.families)
        self.facets = Facets(self._link, lambda backend: backend.facets)
        self.workflows = Workflows(self._link, lambda backend: backend.workflows)
        self.integrity = Integrity(self._link, lambda backend: backend.integrity)
        self.stats = Statistics(self._link, lambda backend: backend.stats)
        self.errors = Errors(self._link, lambda backend: backend.errors)
        self.workers = Workers(self._link, lambda backend: backend.workers)
        self.app = App(self._link, lambda backend: backend.app)
        self.archive = Archive(self._link, lambda backend: backend.archive)
        self.retention = Retention(self._link, lambda backend: backend.retention)
        self.actions = Actions(self._link, lambda backend: backend.actions)
        self.runs = Runs(self._link, lambda backend: backend.runs)

    @property
    def namespace(self) -> str:
        return self._its.namespace

    def open(self) -> None:
        """Connect. Only needed in order to fail early: the first call opens by itself."""
        call = self._its.open()
        self._run(call)

    def close(self) -> None:
        """Wake all waiters with BackendClosed, let calls in flight end, release everything. Idempotent."""
        self._link.close()

    def ping(self) -> float:
        """The seconds that a round trip to the storage takes now: a read of one record that does not exist.

        Raises what every call may raise, so StorageTimeout after ``op_timeout``.
        """
        call = self._its.ping()
        return self._run(call)

    def facts(self, *, silent_after: Seconds = 60.0) -> Facts:
        """What an operator wants to know of the store, with warnings of what is wrong.

        A worker counts as silent without a heartbeat for ``silent_after``, in seconds, or a timedelta. It
        takes a few round trips, however much is stored. What the storage does not tell this user is None.
        """
        call = self._its.facts(silent_after=silent_after)
        return self._run(call)

    def end_waits(self) -> None:
        """End all waits and iterations over changes with WaitsEnded, as later ones will; the rest goes on.

        For the shutdown of a program that lets its open requests end before it closes the backend. It may be
        called in a signal handler; the waits end soon after. Idempotent, and of no effect after ``close``.
        Looks are not waits: a ``wait_for`` with the timeout 0 works as before.
        """
        self._link.end_waits()

    def register_types(self, types: Types) -> None:
        """Know these types as well from now on, given as in ``types=``: for writing and for reading.

        What was Unresolved for want of one is a value when it is read again. It may be called at any time and
        from any thread, and takes effect at once. Types that are registered already may be among them. Raises
        TypeError or ValueError, as ``types=`` does, for what cannot be registered, or would take the name of
        another one or change its own; then nothing is registered.
        """
        self._link.register_types(types)

    def refusal(self, value: Any) -> NotSerializable | None:
        """The error that ``store`` would raise for a result with this value; None if it can be stored.

        For programs that hand on what others have made. Nothing is stored, and it works in any thread.
        """
        return self._its.refusal(value)

    @property
    def is_read_only(self) -> bool:
        """Whether it was made with ``read_only``: what would write raises AccessDenied."""
        return self._its.is_read_only

    @property
    def waiting(self) -> int:
        """How many ids are waited for or watched in this backend, or listened to by tracked blocks."""
        return self._its.waiting

    def store(
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
        call = self._its.store(
            task_id, result, ttl=ttl, overwrite=overwrite, if_version=if_version, patience=patience
        )
        return self._run(call)

    def store_many(
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
        call = self._its.store_many(taken(results), ttl=ttl, overwrite=overwrite, create=create)
        return self._run(call)

    def update(
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
        called again, with what stands then; so it should do nothing but make a result. It is called in the
        thread of the event loop, and must not call this backend. If it returns None, or what it was given,
        nothing is written, and that is returned. Its exceptions pass. If others are always faster,
        VersionConflict is raised after ``op_timeout``. ``ttl``: see ``store``; by default a record that was
        read keeps its ``expires_at``, unless a constructor of TaskResult has made another state of it. Raises
        what ``get`` and ``store`` raise.

        ``load_result=False``: the values stay in the storage, whatever their size and their types. Step gets
        a result whose result, args and kwargs are NOT_LOADED, and leaves these so; the stored ones stay as
        they are, and ``redact`` is not called. If it makes a result with values of its own, from the task id,
        that is stored whole.
        """
        call = self._its.update(task_id, step, ttl=ttl, load_result=load_result)
        return self._run(call)

    def get(
        self, task_id: str, *, as_: TypeForm[T] = None, load_result: bool = True, max_value: int | None = None
    ) -> TaskResult[T] | None:
        """The record, a fresh object; None when there is none. Raises UnreadableRecord.

        A value of a type that is not registered is an ``Unresolved``, and everything else is there.
        ``as_``: the type that the result of a successful task is expected to have, such as ``Report``,
        ``list[Report]`` or a pydantic TypeAdapter; it need not be registered. What does not validate raises
        UnexpectedValue. ``load_result=False`` leaves out result, args and kwargs (NOT_LOADED).
        ``max_value``: if these take more bytes than that, encoded, only so many are read, and each that has
        begun is an ``Excerpt``, the others NOT_LOADED; None: all are whole.
        """
        call = self._its.get(task_id, as_=as_, load_result=load_result, max_value=max_value)
        return self._run(call)

    def get_many(
        self,
        task_ids: Iterable[str],
        *,
        as_: TypeForm[T] = None,
        load_result: bool = True,
        max_value: int | None = None,
    ) -> dict[str, TaskResult[T]]:
        """``get`` each; those that exist, by id, in the order of ``task_ids``. Raises UnreadableRecord."""
        call = self._its.get_many(taken(task_ids), as_=as_, load_result=load_result, max_value=max_value)
        return self._run(call)

    def exists(self, task_id: str) -> bool:
        """Whether ``get`` would find a record. It is not decoded, so it may be unreadable."""
        call = self._its.exists(task_id)
        return self._run(call)

    def wait_for(
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
        call = self._its.wait_for(task_id, timeout, as_=as_, load_result=load_result)
        return self._run(call)

    @overload
    def wait_for_many(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: Literal[True],
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> dict[str, TaskResult[T]]: ...

    @overload
    def wait_for_many(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> dict[str, Settled[T]]: ...

    def wait_for_many(
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
        call = self._its.wait_for_many(
            taken(task_ids), timeout, raise_first=raise_first, as_=as_, load_result=load_result
        )
        return self._run(call)

    @overload
    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: Literal[True],
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> Generator[TaskResult[T], None, None]: ...

    @overload
    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[T] = None,
        load_result: bool = True,
    ) -> Generator[Settled[T], None, None]: ...

    def as_completed(
        self,
        task_ids: Iterable[str],
        timeout: Seconds | None = None,
        *,
        raise_first: bool = False,
        as_: TypeForm[Any] = None,
        load_result: bool = True,
    ) -> Generator[Any, None, None]:
        """Yield what ``wait_for_many`` returns, each as soon as its wait ends.

        All that have ended by the deadline are yielded before WaitTimeout is raised.
        """
        items = self._its.as_completed(
            taken(task_ids), timeout, raise_first=raise_first, as_=as_, load_result=load_result
        )
        return self._stream(items)

    def delete(self, task_id: str, *, descendants: bool = False) -> bool:
        """Remove the record and everything that belongs to it; False if there was none. Wakes its waiters.

        Its children stay, with their ``parent_id`` and ``root_id``. With ``descendants`` they go too, in
        bounded steps: for a root everything that ``page(root_id=...)`` shows, then for any task its
        ``descendants``, the last generation first. The record itself goes last, so that an interrupted call
        can be repeated. A descendant that is stored in the meantime may stay.
        """
        call = self._its.delete(task_id, descendants=descendants)
        return self._run(call)

    def delete_many(self, task_ids: Iterable[str]) -> int:
        """``delete`` each; returns the number of records removed."""
        call = self._its.delete_many(taken(task_ids))
        return self._run(call)

    def take(self, task_id: str, *, as_: TypeForm[T] = None) -> TaskResult[T] | None:
        """``get`` a finished record and ``delete`` it: of all who try at the same time, one gets it.

        None, and nothing is removed, if there is no such record, or the task is not finished. What cannot be
        read, or is not of the type ``as_``, raises as in ``get``, and stays. A record that is stored anew
        meanwhile is never removed unseen. Waiters that have not read it yet are woken as by ``delete``. After
        a StorageError, or if the call is cancelled, the record may be gone with nobody having it.
        """
        call = self._its.take(task_id, as_=as_)
        return self._run(call)

    def clear(self, statuses: Statuses = None, **selection: Unpack[Selection]) -> int:
        """Remove every record of this namespace, in bounded steps; returns the number of records removed.

        Its runs, workers and app stay. With arguments, only those go that ``page`` lists with the same ones,
        the oldest first; also one that is stored anew in the milliseconds between its listing and removal.
        """
        call = self._its.clear(statuses, **selection)
        return self._run(call)

    def drop_namespace(self) -> int:
        """Remove everything of this namespace; returns the number of records removed.

        As ``clear``, and then its runs, workers, app and its place in ``app.namespaces`` of other backends.
        What is stored meanwhile stays. This backend goes on, with a namespace that is as good as new; so do
        others that have it open. See docs/workers.md.
        """
        call = self._its.drop_namespace()
        return self._run(call)

    def purge_expired(self, limit: int = PURGE_STEP) -> int:
        """Remove at most ``limit`` expired records now; returns how many.

        Each store removes a few as well, and an open backend removes all of them every ``purge_interval``.
        """
        call = self._its.purge_expired(limit)
        return self._run(call)

    def expire(self, task_id: str, ttl: Ttl) -> bool:
        """Let the record expire in ``ttl`` seconds from now, None: never. False if there is none.

        Nothing else changes, neither its version nor its history, and nothing that is stored meanwhile is
        overwritten; a later ``store`` sets the expiry anew. ``ttl`` may be a timedelta. It works for records
        in any status. Raises CorruptRecord for one that is damaged.
        """
        call = self._its.expire(task_id, ttl)
        return self._run(call)

    def requeue(self, task_id: str) -> int | None:
        """Make the task pending for another attempt, whatever its state; the number of that attempt.

        None if there is no such task. Its arguments stay, its result, error and progress go: errors of
        earlier attempts are in ``history.of``. What the lost attempt stores from now on is a late write, and
        its block is told. Values are not decoded. Nobody is called: put the id back into your queue. Raises
        UnreadableRecord.
        """
        call = self._its.requeue(task_id)
        return self._run(call)

    def cancel(self, task_id: str, reason: str | None = None) -> bool:
        """Cancel a task that is pending or retrying; ask the block that runs it to end. False if it is over.

        False as well if there is no such task. A block that is tracked, in whatever process, is told within
        milliseconds, or at the latest after ``recheck_interval``: by ``task.cancel_requested``; an
        asynchronous one with ``interrupt=True`` by CancelledError. It may still succeed or fail.
        ``cancel_request`` of the record has ``reason``, at most 4,096 UTF-8 bytes. Of several requests the
        first one stands. Raises UnreadableRecord.
        """
        call = self._its.cancel(task_id, reason)
        return self._run(call)

    def vacuum(self, *, full: bool = False) -> int:
        """Give unused room of a SQLite file back, in short steps; how many bytes. See docs/backends.md."""
        call = self._its.vacuum(full=full)
        return self._run(call)

    def list_by_status(
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
        call = self._its.list_by_status(status, limit, offset, **selection)
        return self._run(call)

    def page(
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
        call = self._its.page(
            statuses,
            limit=limit,
            cursor=cursor,
            newest_first=newest_first,
            load_result=load_result,
            as_=as_,
            max_value=max_value,
            **selection,
        )
        return self._run(call)

    def iter_by_status(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 100,
        newest_first: bool = True,
        load_result: bool = True,
        as_: TypeForm[T] = None,
        **selection: Unpack[Selection],
    ) -> Generator[TaskResult[T], None, None]:
        """All records that ``page`` would show, one by one, read ``batch_size`` at a time.

        If some cannot be read, UnreadableRecords names them at the end, once all others have been yielded.
        """
        items = self._its.iter_by_status(
            statuses,
            batch_size=batch_size,
            newest_first=newest_first,
            load_result=load_result,
            as_=as_,
            **selection,
        )
        return self._walk(items)

    def iter_ids(
        self,
        statuses: Statuses = None,
        *,
        batch_size: int = 1_000,
        newest_first: bool = True,
        **selection: Unpack[Selection],
    ) -> Generator[str, None, None]:
        """The ids of all records that ``page`` would show, and of those among them that cannot be read.

        No record is decoded, and no value is read.
        """
        items = self._its.iter_ids(statuses, batch_size=batch_size, newest_first=newest_first, **selection)
        return self._walk(items)

    def search(
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
        call = self._its.search(
            query,
            limit=limit,
            cursor=cursor,
            budget=budget,
            seconds=seconds,
            load_result=load_result,
            max_value=max_value,
        )
        return self._run(call)

    def iter_search(
        self, query: str | TaskQuery, *, load_result: bool = False
    ) -> Generator[TaskResult, None, None]:
        """All tasks that satisfy ``query``, one by one, however many records must be looked at.

        Otherwise as ``search``. If some cannot be read, UnreadableRecords names them at the end.
        """
        items = self._its.iter_search(query, load_result=load_result)
        return self._walk(items)

    def count_by_status(
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
        call = self._its.count_by_status(statuses, at_most=at_most, **selection)
        return self._run(call)

    def set_progress(
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
        call = self._its.set_progress(task_id, done, total, note, retries=retries, or_store=or_store)
        return self._run(call)

    def watch(self, task_id: str) -> Generator[TaskResult, None, None]:
        """Yield the state of the task, then each change of status, progress or expiry, up to a finished one.

        It may begin before the task is stored. States that are not finished come without values (NOT_LOADED).
        A state that is replaced before it could be read is skipped; the last one never is. Raises
        ResultDeleted or ResultExpired if the record goes away, BackendClosed, and UnreadableRecord. If the
        storage cannot be reached, it retries for ever. There is no timeout: an id that is never stored is
        watched for ever.
        """
        items = self._its.watch(task_id)
        return self._stream(items)

    def watch_status(self, statuses: Statuses = None) -> Generator[str, None, None]:
        """Yield the id of each task that is stored in one of ``statuses`` (None: any) from this call on.

        It is the ``tail -f`` of the history: ids come as the tasks are stored, each as often as it is stored.
        What was missed, before the first step of the iteration or while a connection was lost, is looked up
        in the history, at the latest after ``recheck_interval``; without a history (``history=False``) it
        stays missed. A consumer that falls far behind is shown the rest from the history. It never ends,
        except for empty ``statuses``. Raises BackendClosed. If the storage cannot be reached, it retries for
        ever.
        """
        items = self._its.watch_status(statuses)
        return self._stream(items)

    def watch_changes(
        self, query: str | TaskQuery | None = None, *, most: int = changes.MOST_KEPT
    ) -> Generator[TaskChange | ChangesMissed, None, None]:
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
        items = self._its.watch_changes(query, most=most)
        return self._stream(items)

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
        """Use as ``with backend.worker("w1") as worker:`` around all that a worker process does.

        Registers the worker, in place of an earlier process with this id, sends a heartbeat every ``every``
        seconds, or such a timedelta, also after the storage was out of reach, and removes the worker at the
        end; but not while tasks are under way, which ``workers.sweep`` frees. A heartbeat tells which tasks
        are. If the worker was removed meanwhile, its blocks are told (``task.cancel_requested``), as their
        outcomes will come too late, and it registers again. ``slots``: how many tasks it runs at once, told
        to others. ``info``: what else it tells, such as its version; a mapping like ``TaskResult.meta``.
        ``labels``, ``parent_id``: see Worker.
        """
        block = self._its.worker(
            worker_id, every=every, slots=slots, info=info, labels=taken(labels), parent_id=parent_id
        )
        return RunningWorker(self._link, block)

    def track(
        self, task_id: str, *, result_type: TypeForm[T] = None, **options: Unpack[TrackOptions]
    ) -> TrackedTask[T]:
        """Use as ``with backend.track(task_id) as task:`` around the code of one attempt at a task.

        Stores the task as running. When the block ends, stores it as success with ``task.result``; as
        cancelled after KeyboardInterrupt; as failed after any other exception, SystemExit included; as
        retrying, to be tried again, after one of ``retry_on`` or ``task.retry``. Exceptions propagate, except
        for the CancelledError of ``task.raise_if_cancelled``. The outcome is stored even if the storage fails
        for a while: for ``patience`` seconds at most. See TrackOptions for the arguments; ``interrupt``
        raises ValueError, as a thread cannot be interrupted.

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
        already. A generator that is closed inside the block is stored as cancelled.
        """
        check_options(options)
        block = self._its.track(task_id, result_type=result_type, **options)
        return TrackedTask(self._link, block)
