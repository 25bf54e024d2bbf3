"""The data that users see: a task's result, its status, its error, and a page of results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Self, TypedDict, Unpack, cast

from pydantic import (
    ConfigDict,
    Field,
    model_serializer,
)
from typing_extensions import TypeAliasType, TypeVar

from flowstore._errors.rebuilding import named, rebuilt_or
from flowstore.errors import (
    ResultGone,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
    UnreadableRecord,
    UnresolvedValue,
)
from flowstore.fields import NO_META, Amount, Identifier, Labels, Meta, Note, Record, Scalar, Timestamp
from flowstore.jsonable import AsJson
from flowstore.stand_ins import MAYBE_LEFT_OUT, NOT_LOADED, Excerpt, NotLoaded, OrLeftOut, Unresolved
from flowstore.statuses import FINISHED as FINISHED
from flowstore.statuses import Statuses as Statuses
from flowstore.statuses import StatusName as StatusName
from flowstore.statuses import TaskStatus as TaskStatus
from flowstore.tables import Tabular
from flowstore.task_error import TaskError

T = TypeVar("T", default=Any)

MAX_RETRIES: Final = 2**31 - 1
MAX_LABELS: Final = 256


_VALUES: Final = ("result", "args", "kwargs")
_LEFT_OUT: Final = "Left out where it was not loaded."


def _only_loaded(result: TaskResult, serialize: Callable[[TaskResult], dict[str, Any]]) -> dict[str, Any]:
    missing = {name for name in _VALUES if getattr(result, name) is NOT_LOADED}
    fields = serialize(result)
    return {name: value for name, value in fields.items() if name not in missing} if missing else fields


def _values_not_required(schema: dict[str, Any]) -> None:
    schema["required"] = [name for name in schema.get("required", ()) if name not in _VALUES]


class Progress(Record):
    """How far a task is: ``done`` out of ``total`` units; None if the total is unknown."""

    done: Amount
    total: Amount | None = None
    note: Note | None = None


class Fields(TypedDict, total=False):
    """The fields of TaskResult that its constructors take besides their own arguments."""

    task_name: str | None
    args: Iterable[Any]
    kwargs: Mapping[str, Any]
    submitted_at: datetime | None
    started_at: datetime | None
    retries: int
    worker_id: str | None
    parent_id: str | None
    root_id: str | None
    labels: Iterable[str]
    meta: Mapping[str, Scalar]
    progress: Progress | None
    due_at: datetime | None
    cancel_request: CancelRequest | None
    expires_at: datetime | None


class FieldsWithValue(Fields, total=False):
    """The same, and a value: a task that did not succeed may leave one, too."""

    result: Any


class CancelRequest(Record):
    """Somebody asked that a running task be cancelled: when, and why (None: no reason was given)."""

    at: Timestamp
    reason: Note | None = None


class TaskResult(Tabular, Record, Generic[T]):
    """What is known of one task. Frozen. A stored one comes back equal, except for ``version``,
    ``updated_at``, ``expires_at``, ``parent_id`` and ``root_id`` as described below.

    Timestamps are aware and kept in UTC to the microsecond. ``retries`` is the number of the attempt, from 0.
    ``labels`` is a set. ``meta`` is what the task carries along, such as the headers of a message: a mapping
    of at most 64 names to None, bool, int, float or str, which cannot be changed and is not indexed.
    ``due_at``: when a retrying task is to be tried again, or a pending one to be begun; None: not known.
    ``cancel_request``: of a task that is to be cancelled, or was cancelled by ``backend.cancel``.
    ``version`` counts the writes of this record from 1; it is 0 on a result that was not read from a backend,
    and ``store`` ignores it. So is ``updated_at``, the time of the last of them, on the clock of its
    backend: None. ``expires_at`` is None for never; ``store`` uses it if no ``ttl`` is given.
    ``parent_id`` is fixed by the first write that names one, and kept by writes that name
    none; so is ``root_id``, the topmost ancestor. A write that names a parent may name the root as well;
    otherwise it is the root of the parent, as far as that is stored, or the parent itself. It is None for a
    task without a parent, which is a root itself.

    The constructors (``pending`` ... ``cancelled``) take a task id, or an earlier result, whose task name,
    arguments, times and other fields they carry over. As JSON, fields that are NOT_LOADED are left out.
    """

    model_config = ConfigDict(json_schema_extra=_values_not_required)

    task_id: Identifier
    status: TaskStatus
    task_name: Identifier | None = None
    result: Annotated[T | None, OrLeftOut(), AsJson] = Field(default=None, description=_LEFT_OUT)
    error: TaskError | None = None
    args: Annotated[tuple[Any, ...], MAYBE_LEFT_OUT, AsJson] = Field(default=(), description=_LEFT_OUT)
    kwargs: Annotated[dict[str, Any], MAYBE_LEFT_OUT, AsJson] = Field(
        default_factory=dict, description=_LEFT_OUT
    )
    submitted_at: Timestamp | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    retries: int = Field(default=0, ge=0, le=MAX_RETRIES, strict=True)
    worker_id: Identifier | None = None
    parent_id: Identifier | None = None
    root_id: Identifier | None = None
    labels: Labels = Field(default=frozenset(), max_length=MAX_LABELS)
    meta: Meta = NO_META
    progress: Progress | None = None
    due_at: Timestamp | None = None
    cancel_request: CancelRequest | None = None
    expires_at: Timestamp | None = None
    version: int = Field(default=0, ge=0, strict=True)
    updated_at: Timestamp | None = None

    # A lambda, as an annotated return type would replace the JSON schema.
    _serialize = model_serializer(mode="wrap", when_used="json")(
        lambda self, serialize: _only_loaded(self, serialize)
    )

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_success(self) -> bool:
        return self.status is TaskStatus.SUCCESS

    @property
    def is_loaded(self) -> bool:
        """False if values were left out (``load_result=False``) or are excerpts (``max_value``)."""
        return not isinstance(self.args, NotLoaded | Excerpt)

    def unwrap(self, *, reraise: type[BaseException] | tuple[type[BaseException], ...] = ()) -> T:
        """The value of a successful task. Otherwise raises TaskFailed, TaskCancelled or TaskNotFinished.

        ``reraise``: exception classes that are raised in place of TaskFailed. The task must have failed with
        one of these classes, not of one derived from it, and it is made again as by ``TaskError.rebuild``.
        """
        kinds = {} if reraise == () else named("reraise", reraise if type(reraise) is tuple else (reraise,))
        if not self.is_loaded:
            how = "without its result (load_result=False), or only the beginning (max_value)"
            raise TypeError(f"task {self.task_id!r} was read {how}; get() it first")
        if self.is_success:
            value: Any = self.result
            if type(value) is Unresolved:
                raise UnresolvedValue(self.task_id, value.reason)
            return cast(T, value)
        if self.status is TaskStatus.FAILED:
            failed = TaskFailed(self.task_id, self.error)
            raise failed if self.error is None else rebuilt_or(failed, self.error, kinds)
        if self.status is TaskStatus.CANCELLED:
            request = self.cancel_request
            raise TaskCancelled(self.task_id, None if request is None else request.reason)
        raise TaskNotFinished(self.task_id, self.status)

    @classmethod
    def pending(
        cls, task: str | TaskResult, *, at: datetime | None = None, **fields: Unpack[FieldsWithValue]
    ) -> Self:
        """Submitted at ``at`` (default: now). Drops start, worker and progress of an earlier attempt."""
        own = {"submitted_at": at or _now(), "started_at": None, "worker_id": None, "progress": None}
        return cls._next(task, TaskStatus.PENDING, fields, **own)

    @classmethod
    def running(
        cls, task: str | TaskResult, *, at: datetime | None = None, **fields: Unpack[FieldsWithValue]
    ) -> Self:
        """Started at ``at`` (default: now)."""
        return cls._next(task, TaskStatus.RUNNING, fields, started_at=at or _now())

    @classmethod
    def retrying(
        cls,
        task: str | TaskResult,
        error: BaseException | TaskError,
        **fields: Unpack[FieldsWithValue],
    ) -> Self:
        """Failed with ``error`` and about to be retried, at ``due_at`` if that is given.

        The next attempt has ``retries`` one higher.
        """
        return cls._next(task, TaskStatus.RETRYING, fields, error=as_error(error))

    @classmethod
    def success(
        cls,
        task: str | TaskResult,
        result: T | None = None,
        *,
        at: datetime | None = None,
        **fields: Unpack[Fields],
    ) -> Self:
        """Finished at ``at`` (default: now) with ``result``."""
        return cls._next(task, TaskStatus.SUCCESS, fields, result=result, finished_at=at or _now())

    @classmethod
    def failed(
        cls,
        task: str | TaskResult,
        error: BaseException | TaskError,
        *,
        at: datetime | None = None,
        **fields: Unpack[FieldsWithValue],
    ) -> Self:
        """Finished at ``at`` (default: now) with ``error``."""
        return cls._next(task, TaskStatus.FAILED, fields, error=as_error(error), finished_at=at or _now())

    @classmethod
    def cancelled(
        cls, task: str | TaskResult, *, at: datetime | None = None, **fields: Unpack[FieldsWithValue]
    ) -> Self:
        """Cancelled at ``at`` (default: now), because of ``cancel_request`` if that is given."""
        return cls._next(task, TaskStatus.CANCELLED, fields, finished_at=at or _now())

    @classmethod
    def _next(cls, task: str | TaskResult, status: TaskStatus, fields: Mapping[str, Any], **own: Any) -> Self:
        given = {**own, **fields, "status": status}
        if not isinstance(task, TaskResult):
            return cls(**{"task_id": task, **given})
        if not cls is type(task) is TaskResult:
            names = [name for name in cls.model_fields if name in vars(task)]
            carried = {name: getattr(task, name) for name in names if name not in _NOT_CARRIED_OVER}
            return cls(**{**carried, **given})
        known = {name: task.__dict__[name] for name in _CARRIED_OVER if name not in given}
        # Of the same class: what it has was validated before, which is most of the time that this takes.
        result = cls(**{**given, "task_id": task.task_id} if "task_id" in known else given)
        if "kwargs" in known and task.is_loaded:
            known["kwargs"] = {**known["kwargs"]}
        result.__dict__.update(known)
        result.__pydantic_fields_set__.update(known)
        return result


Settled = TypeAliasType("Settled", TaskResult[T] | ResultGone | UnreadableRecord, type_params=(T,))
"""What became of an awaited task: its result, or why there is none. Each has ``task_id`` and ``unwrap``."""

_NOT_CARRIED_OVER: Final = {
    *("status", "result", "error", "finished_at", "due_at", "cancel_request"),
    *("version", "updated_at", "expires_at"),
}
_CARRIED_OVER: Final = [name for name in TaskResult.model_fields if name not in _NOT_CARRIED_OVER]


def as_error(error: BaseException | TaskError) -> TaskError:
    """The error as data. Raises TypeError for anything but an exception or a TaskError."""
    if isinstance(error, BaseException):  # first: the __class__ of an exception may raise when it is read
        return TaskError.from_exception(error)
    if isinstance(error, TaskError):
        return error
    raise TypeError(f"error: expected an exception or TaskError, got {type(error).__name__}")


def _now() -> datetime:
    return datetime.now(UTC)


class Transition(Record):
    """A stored change of status: when, to what, in which attempt, by which worker.

    ``at`` is the time of the store, on the clock of its backend. ``seq`` is the version of the record that
    was written: for transitions at the same time it gives the order. ``error`` is that of the attempt which
    failed, cut to at most 1 KiB: its type, its message, and the end of its traceback.

    ``event``: that it is no change, but was noted by ``history.record``, with this name, while the task was
    in ``status``; ``detail`` and ``event_at`` are what was given there. None, {} and None for a change.
    """

    task_id: str
    at: Timestamp
    status: TaskStatus
    retries: int
    worker_id: str | None
    seq: int
    error: TaskError | None = None
    event: Identifier | None = None
    detail: Meta = NO_META
    event_at: Timestamp | None = None


class Unreadable(Tabular, Record):
    """A record of a listing that cannot be read, and why. ``get`` of its id raises the same reason."""

    task_id: str
    reason: str


class Page(Tabular, Record, Generic[T]):
    """One page of a listing, in order.

    ``next_cursor`` is None at the end, and only there; ``prev_cursor`` at the start, and only there.
    ``unreadable``: the records that belong on this page but cannot be read.
    """

    items: list[TaskResult[T]]
    next_cursor: str | None
    prev_cursor: str | None = None
    unreadable: list[Unreadable] = Field(default_factory=list)


class Workflow(Tabular, Record):
    """A run of a workflow: its root task, and a summary of its whole family, the root included.

    ``counts`` has every status. ``data`` is the data of the root task. ``tasks`` is the first page of the
    family, newest first, without results; continue with its cursor in ``page(root_id=...)``.
    """

    root: TaskResult
    counts: dict[TaskStatus, int]
    data: Annotated[dict[str, Any], AsJson]
    tasks: Page
