"""Every error that flowstore raises. Each is also the builtin exception that a caller would expect.

FlowstoreError
├── WaitTimeout           TimeoutError      wait_for reached its deadline
│   └── EntryTimeout                        that of flowstore.typed did
├── ResultGone            LookupError
│   ├── ResultDeleted                       deleted or cleared during a wait
│   └── ResultExpired                       expired during a wait
├── TaskFailed            RuntimeError      unwrap() of a failed task
├── RemoteTraceback                         where a task failed: the cause of what unwrap() raises
├── RemoteError           RuntimeError      rebuild() of an error whose class was not named
├── TaskCancelled         RuntimeError      unwrap() of a cancelled task
├── TaskNotFinished       RuntimeError      unwrap() of a task that has no outcome yet
├── VersionConflict       RuntimeError      compare-and-set (if_version=...) found another version
│   └── EntryConflict                       of a typed result
├── FamilyConflict        ValueError        a parent that the task cannot have
├── LateWrite             RuntimeError      a strict block whose task is finished, or in a later attempt
├── UnknownTask           LookupError       data or checkpoints for a task that is not stored
├── UnknownWorker         LookupError       a worker that is not registered
├── WorkerStopped         RuntimeError      a task for a worker that takes no more
├── RetentionBusy         RuntimeError      another process applies a retention policy at the moment
├── UnknownOperation      LookupError       an operation that was not started, or is kept no longer
├── OperationBusy         RuntimeError      another process carries out the operation at the moment
├── HostNotTold           RuntimeError      a hook raised, and an operation has stopped there
├── NotSerializable       TypeError         a value that would not come back as it went in
│   └── PayloadTooLarge   ValueError        a value over the size limit
├── UnreadableRecord      ValueError        what is stored under an id cannot be read here
│   ├── CorruptRecord                       it is damaged
│   ├── UnresolvedValue   LookupError       a value is of a type that was not given, or no longer fits
│   └── UnexpectedValue                     a value is not what the reader said by as_=
├── UnreadableRecords     ValueError        a walk ended; some records could not be shown
├── EntryExists           FileExistsError   set() of flowstore.typed must not replace what stands
├── EntryMissing          FileNotFoundError nothing is stored under the id
├── EntryMismatch         ValueError        an entry of another model than the one asked for
├── InvalidEntry          ValueError        an entry that its model, as it is now, does not take
├── DamagedEntry          ValueError        an entry that cannot be read
├── ForeignEntry          ValueError        a task, or another file, has the id of an entry
├── ModelNotRegistered    ValueError        a model that the registry does not know
├── ModelConflict         ValueError        another model has the name
├── UnknownRun            LookupError       a run that was not started, or was deleted
├── RunExists             FileExistsError   start() of a run that exists, without resume=True
├── RunNotOpen            RuntimeError      a run that is finished, or in another attempt, takes nothing more
├── RunInProgress         RuntimeError      a run that is going on cannot be deleted
├── UnknownDataset        LookupError       a run has no such dataset, or nobody shares such a value
├── DatasetReplaced       RuntimeError      a dataset was saved anew while it was being loaded
├── InvalidCursor         ValueError        a cursor that was not made by this query
├── InvalidQuery          ValueError        a query that cannot be read, or that nothing can satisfy
├── InvalidArchive        ValueError        a file of exported records is not what was written
├── RestoreConflict       RuntimeError      another record has the id of one that is to be restored
├── MissingPackage        ImportError       a package is needed that is not installed, or is too old
├── BackendMisuse         RuntimeError
│   ├── BackendClosed                       used after close()
│   │   └── WaitsEnded                      waited for something after end_waits()
│   ├── WrongLoop                           used in another event loop or thread while its own is open
│   ├── LoopIsRunning                       flowstore.sync was called where it would block an event loop
│   └── WrongProcess                        opened before fork, used after it
└── StorageError
    ├── StorageUnavailable ConnectionError  the storage cannot be reached
    │   └── StorageTimeout TimeoutError     the storage did not answer in time
    ├── AccessDenied      PermissionError   credentials, ACL or file permissions
    ├── StorageFull       OSError           no space left; nothing was written
    ├── Unconfirmed                         written, but too few replicas are known to have it
    ├── CorruptStore      ValueError        the file or database is not a flowstore one
    ├── StoreReplaced     FileNotFoundError the file under an open backend was deleted or replaced
    └── SchemaTooNew      RuntimeError      written by a newer flowstore

A bad argument raises plain ValueError or TypeError, before anything is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from flowstore._errors.archives import InvalidArchive as InvalidArchive
from flowstore._errors.archives import RestoreConflict as RestoreConflict
from flowstore._errors.entries import DamagedEntry as DamagedEntry
from flowstore._errors.entries import EntryExists as EntryExists
from flowstore._errors.entries import EntryMismatch as EntryMismatch
from flowstore._errors.entries import EntryMissing as EntryMissing
from flowstore._errors.entries import ForeignEntry as ForeignEntry
from flowstore._errors.entries import InvalidEntry as InvalidEntry
from flowstore._errors.entries import ModelConflict as ModelConflict
from flowstore._errors.entries import ModelNotRegistered as ModelNotRegistered
from flowstore._errors.leases import RetentionBusy as RetentionBusy
from flowstore._errors.operations import HostNotTold as HostNotTold
from flowstore._errors.operations import OperationBusy as OperationBusy
from flowstore._errors.operations import UnknownOperation as UnknownOperation
from flowstore._errors.queries import InvalidQuery as InvalidQuery
from flowstore._errors.root import FlowstoreError as FlowstoreError
from flowstore._errors.root import RemoteError as RemoteError
from flowstore._errors.root import RemoteTraceback as RemoteTraceback
from flowstore._errors.runs import DatasetReplaced as DatasetReplaced
from flowstore._errors.runs import RunExists as RunExists
from flowstore._errors.runs import RunInProgress as RunInProgress
from flowstore._errors.runs import RunNotOpen as RunNotOpen
from flowstore._errors.runs import UnknownDataset as UnknownDataset
from flowstore._errors.runs import UnknownRun as UnknownRun
from flowstore._errors.showing import shown
from flowstore._errors.storage import StorageError as StorageError
from flowstore._errors.storage import Unconfirmed as Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flowstore.task_error import TaskError


class WaitTimeout(FlowstoreError, TimeoutError):
    """``wait_for`` reached its deadline. ``timeout`` is the one that the caller gave, in seconds.

    ``settled``: from ``wait_for_many`` what it would have returned of the tasks that were not late; else {}.
    """

    def __init__(self, task_id: str, timeout: float) -> None:
        super().__init__(task_id, timeout)
        self.task_id = task_id
        self.timeout = timeout
        self.settled: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"task {self.task_id!r} has not finished within {self.timeout:g} s"


class EntryTimeout(WaitTimeout):
    """``wait_for`` of a typed result reached its deadline. ``task_id`` is the id of the entry."""

    def __str__(self) -> str:
        return f"there was no entry under id {self.task_id!r} within {self.timeout:g} s"


class ResultGone(FlowstoreError, LookupError):
    """The awaited record no longer exists."""

    why = "is gone"

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def unwrap(self) -> NoReturn:
        """Raise it: among the results of several waits it stands for one that has no value."""
        raise self

    def __str__(self) -> str:
        return f"result of task {self.task_id!r} {self.why}"


class ResultDeleted(ResultGone):
    """The awaited record was deleted or cleared."""

    why = "was deleted while it was awaited"


class ResultExpired(ResultGone):
    """The awaited record's ttl ran out."""

    why = "expired while it was awaited"


class TaskFailed(FlowstoreError, RuntimeError):
    """``unwrap()`` of a failed task. ``error`` is the stored error, None if there is none.

    Its ``__cause__`` is a RemoteTraceback of that error, also after pickling.
    """

    def __init__(self, task_id: str, error: TaskError | None) -> None:
        super().__init__(task_id, error)
        self.task_id = task_id
        self.error = error
        if error is not None:
            self.__cause__ = RemoteTraceback(shown(error))

    def __str__(self) -> str:
        reason = f"{self.error.type}: {self.error.message}" if self.error else "no error was stored"
        return f"task {self.task_id!r} failed: {reason}"


class TaskCancelled(FlowstoreError, RuntimeError):
    """``unwrap()`` of a cancelled task. Not ``asyncio.CancelledError``: the caller was not cancelled.

    ``reason``: that given to ``backend.cancel``, or None.
    """

    def __init__(self, task_id: str, reason: str | None = None) -> None:
        super().__init__(task_id, reason)
        self.task_id = task_id
        self.reason = reason

    def __str__(self) -> str:
        return f"task {self.task_id!r} was cancelled{f': {self.reason}' if self.reason else ''}"


class TaskNotFinished(FlowstoreError, RuntimeError):
    """``unwrap()`` of a task without an outcome."""

    def __init__(self, task_id: str, status: str) -> None:
        super().__init__(task_id, status)
        self.task_id = task_id
        self.status = status

    def __str__(self) -> str:
        return f"task {self.task_id!r} is {self.status}, it has no outcome yet"


class VersionConflict(FlowstoreError, RuntimeError):
    """Compare-and-set lost. ``actual`` is the stored version, 0 if there is none.

    It is the version of the task's record, or of its data under ``key``; ``task_id`` is "" for data of the
    namespace.
    """

    def __init__(self, task_id: str, expected: int, actual: int, key: str | None = None) -> None:
        super().__init__(task_id, expected, actual, key)
        self.task_id = task_id
        self.expected = expected
        self.actual = actual
        self.key = key

    def __str__(self) -> str:
        what = f"task {self.task_id!r}" if self.task_id else "the namespace"
        what = what if self.key is None else f"data {self.key!r} of {what}"
        return f"{what} is at version {self.actual}, not {self.expected}; nothing was written"


class EntryConflict(VersionConflict):
    """Compare-and-set of a typed result lost, or others were always faster. ``task_id`` is its id."""

    def __str__(self) -> str:
        found = f"has version {self.actual}" if self.actual else "does not exist"
        return f"the entry under id {self.task_id!r} {found}, expected version {self.expected}"


class FamilyConflict(FlowstoreError, ValueError):
    """A store named a parent that differs from the stored one, or the task itself. Nothing was written.

    ``standing_parent_id``: the stored parent; None if the named one is the task itself.
    """

    def __init__(self, task_id: str, parent_id: str, standing_parent_id: str | None) -> None:
        super().__init__(task_id, parent_id, standing_parent_id)
        self.task_id = task_id
        self.parent_id = parent_id
        self.standing_parent_id = standing_parent_id

    def __str__(self) -> str:
        if self.standing_parent_id is not None:
            reason = f"its parent is {self.standing_parent_id!r}"
        else:
            reason = "no task is its own parent"
        return f"parent_id: {self.parent_id!r} cannot be the parent of {self.task_id!r}: {reason}"


class LateWrite(FlowstoreError, RuntimeError):
    """What a block tracked with ``strict=True`` stores does not count any more.

    The task is finished in the attempt ``retries``, or a later one has begun.
    """

    def __init__(self, task_id: str, retries: int) -> None:
        super().__init__(task_id, retries)
        self.task_id = task_id
        self.retries = retries

    def __str__(self) -> str:
        return f"task {self.task_id!r}: attempt {self.retries} is finished already, or a later one has begun"


class UnknownTask(FlowstoreError, LookupError):
    """Data and checkpoints can be kept only for a task whose record is stored."""

    def __init__(self, task_id: str) -> None:
        super().__init__(task_id)
        self.task_id = task_id

    def __str__(self) -> str:
        return f"task_id: there is no record of {self.task_id!r}; store it first"


class UnknownWorker(FlowstoreError, LookupError):
    """The worker was never registered, or has been removed."""

    def __init__(self, worker_id: str) -> None:
        super().__init__(worker_id)
        self.worker_id = worker_id

    def __str__(self) -> str:
        return f"worker_id: {self.worker_id!r} is not registered"


class WorkerStopped(FlowstoreError, RuntimeError):
    """The worker takes no new tasks: it is draining, or another process has registered with its id."""

    def __init__(self, worker_id: str, is_lost: bool) -> None:
        super().__init__(worker_id, is_lost)
        self.worker_id = worker_id
        self.is_lost = is_lost

    def __str__(self) -> str:
        reason = "another process has registered with this id" if self.is_lost else "it is draining"
        return f"worker {self.worker_id!r} takes no new tasks: {reason}"


class NotSerializable(FlowstoreError, TypeError):
    """A value that would not come back as it went in. ``path`` leads to it, as in ``result['rows'][3]``."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class PayloadTooLarge(NotSerializable, ValueError):
    """A value whose encoded form exceeds the limit of the backend."""


class UnreadableRecord(FlowstoreError, ValueError):
    """What is stored under one id cannot be read here. Other records are not affected.

    ``kind`` says what ``task_id`` identifies if it is not a task: a worker, an app or its data.
    """

    def __init__(self, task_id: str, reason: str, kind: str = "record of task") -> None:
        super().__init__(task_id, reason, kind)
        self.task_id = task_id
        self.reason = reason
        self.kind = kind

    def unwrap(self) -> NoReturn:
        """Raise it: among the results of several waits it stands for one that has no value."""
        raise self

    def __str__(self) -> str:
        return f"stored {self.kind} {self.task_id!r} cannot be read: {self.reason}"


class CorruptRecord(UnreadableRecord):
    """The stored bytes are damaged, or were never written by flowstore."""


class UnresolvedValue(UnreadableRecord, LookupError):
    """The record is whole, but a value in it is of a type that this backend was not given, or no longer fits.

    ``reason`` gives the name under which the type was registered by the writer, and the remedy.
    """


class UnexpectedValue(UnreadableRecord):
    """The record is whole, but a value in it is not of the type that the reader gave as ``as_``.

    ``path`` leads to the first part that is not, as in ``result.lines[3].price``.
    """

    def __init__(self, task_id: str, path: str, reason: str, kind: str = "record of task") -> None:
        super().__init__(task_id, reason, kind)
        self.args = (task_id, path, reason, kind)
        self.path = path

    def __str__(self) -> str:
        return f"stored {self.kind} {self.task_id!r} holds something else: {self.path}: {self.reason}"


class UnreadableRecords(FlowstoreError, ValueError):
    """A walk or a list came upon ``count`` records that cannot be read; a walk has yielded all others.

    ``errors`` are those that ``get`` would raise, for the first 100 of them at most.
    """

    MOST_ERRORS = 100

    def __init__(self, errors: Sequence[UnreadableRecord], count: int) -> None:
        super().__init__(errors, count)
        self.errors = errors
        self.count = count

    def __str__(self) -> str:
        others = f"; and {self.count - 1} more like it" if self.count > 1 else ""
        return f"{self.errors[0]}{others}"


class InvalidCursor(FlowstoreError, ValueError):
    """A cursor that was not made by this query on this backend."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"cursor: {self.reason}"


class MissingPackage(FlowstoreError, ImportError):
    """``feature`` needs a package that is not installed, or is too old. ``extra`` installs it.

    ``package`` is a requirement as pip reads it. ``found`` is the version that is too old, None where
    there is none.
    """

    def __init__(self, feature: str, package: str, extra: str, found: str | None = None) -> None:
        super().__init__(feature, package, extra, found)
        self.feature = feature
        self.package = package
        self.extra = extra
        self.found = found

    def __str__(self) -> str:
        trouble = "which is not installed" if self.found is None else f"but version {self.found} is installed"
        return f"{self.feature} needs {self.package}, {trouble}: pip install 'flowstore[{self.extra}]'"


class BackendMisuse(FlowstoreError, RuntimeError):
    """The backend was used where it cannot work."""


class BackendClosed(BackendMisuse):
    """The backend is closed. Waits that were in flight end with this error, too."""


class WaitsEnded(BackendClosed):
    """``end_waits`` was called, as the program is shutting down: nothing is waited for any more.

    Everything else goes on until the backend is closed.
    """


class WrongLoop(BackendMisuse):
    """The backend is open in another event loop, which is not closed. Make one for each that runs.

    Also raised by an iteration that was begun in another loop, closed or not.
    """


class LoopIsRunning(BackendMisuse):
    """A call of flowstore.sync would block the event loop that runs in this thread, and all of its tasks."""

    def __init__(self) -> None:
        super().__init__(
            "flowstore.sync would block the event loop that runs in this thread; "
            "use flowstore.connect here, or a thread, as with asyncio.to_thread"
        )


class WrongProcess(BackendMisuse):
    """The backend was opened before fork. Open it in the children only, or make one in each process."""


class StorageUnavailable(StorageError, ConnectionError):
    """The storage cannot be reached. A write in flight may or may not have been stored."""


class StorageTimeout(StorageUnavailable, TimeoutError):
    """The storage did not answer within ``op_timeout``."""


class AccessDenied(StorageError, PermissionError):
    """The credentials, the ACL or the permissions of the file are not sufficient."""


class StorageFull(StorageError, OSError):
    """There is no space left. Nothing was written."""


class CorruptStore(StorageError, ValueError):
    """The file or database is damaged, or is not a flowstore one."""


class StoreReplaced(StorageError, FileNotFoundError):
    """The file of an open backend was deleted or replaced.

    A write in flight may have gone into the old file, where nobody will find it. Open a new backend.
    """


class SchemaTooNew(StorageError, RuntimeError):
    """The storage was written by a newer flowstore. ``is_readable``: this one may read but not write it."""

    def __init__(self, where: str, found: int, known: int, is_readable: bool = False) -> None:
        super().__init__(where, found, known, is_readable)
        self.where = where
        self.found = found
        self.known = known
        self.is_readable = is_readable

    def __str__(self) -> str:
        able = "can read it but not write it" if self.is_readable else "cannot use it"
        known = f"this flowstore knows formats up to {self.known} and {able}"
        return f"{self.where} has format {self.found}, {known}: upgrade flowstore"
