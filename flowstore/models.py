"""The data that users see: a task's result, its status, its error, and a page of results."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import Annotated, Any, Final, Generic, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from flowstore.errors import TaskCancelled, TaskFailed, TaskNotFinished

T = TypeVar("T")

MAX_ID_BYTES: Final = 512
MAX_RETRIES: Final = 2**31 - 1
MAX_TRACEBACK_CHARS: Final = 16_384
MAX_MESSAGE_CHARS: Final = 4_096
MAX_CAUSES: Final = 16
MAX_ERROR_ARGS: Final = 16

_SURROGATE = re.compile("[\ud800-\udfff]")


class TaskStatus(StrEnum):
    """Where a task stands. The last three are finished: they do not change within one try."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        return self in FINISHED


FINISHED: Final = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})


class NotLoaded:
    """The type of ``NOT_LOADED``, which stands for a value that a listing left in the storage."""

    def __repr__(self) -> str:
        return "<not loaded>"


NOT_LOADED: Final = NotLoaded()


def _left_out(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    return value if value is NOT_LOADED else validate(value)


_MAYBE_LEFT_OUT: Final = WrapValidator(_left_out)


def check_text(name: str, value: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """Return ``value`` if it can serve as an identifier: 1 to ``max_bytes`` bytes of valid UTF-8.

    Raises TypeError or ValueError naming the argument.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str, got {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{name}: {value[:80]!r} has a lone surrogate; expected valid Unicode") from None
    if not 1 <= size <= max_bytes:
        shown = value if size <= 80 else value[:80] + "..."
        raise ValueError(f"{name}: expected 1 to {max_bytes} UTF-8 bytes, got {size}: {shown!r}")
    return value


def _identifier(value: str) -> str:
    return check_text("identifier", value)


def _to_utc(value: datetime) -> datetime:
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is out of the range of UTC datetimes") from None


Plain = None | bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | FiniteFloat | str
Identifier = Annotated[str, AfterValidator(_identifier)]
Timestamp = Annotated[AwareDatetime, AfterValidator(_to_utc)]


class _Record(BaseModel):
    """Frozen and strict about its fields; values inside are the caller's."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Progress(_Record):
    """How far a task is: ``done`` out of ``total`` units, None when the total is unknown."""

    done: float = Field(ge=0, allow_inf_nan=False)
    total: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    note: str | None = None


class TaskError(_Record):
    """An exception as data. Reading one never imports or calls what it names.

    ``type`` is the qualified name of the class. ``args`` are the exception's arguments when all of
    them are None, bool, int, float or str, else empty. ``traceback`` is text without local variables.
    ``cause`` is what the exception was raised from, or during. Text and chain are bounded.
    """

    type: str
    message: str
    args: tuple[Plain, ...] = ()
    traceback: str | None = None
    cause: TaskError | None = None

    @classmethod
    def from_exception(cls, error: BaseException) -> Self:
        """Describe ``error`` and its chain of causes. Never raises, whatever the exception's methods do.

        The source lines of the traceback are read as the module ``traceback`` does: each file from disk
        once, 1 ms or so for a large one; after that it is only asked whether the file has changed.
        """
        described: Self | None = None
        for link in reversed(list(_chain(error))):
            described = cls(
                type=_clean(_type_name(link), MAX_MESSAGE_CHARS),
                message=_clean(_message(link), MAX_MESSAGE_CHARS),
                args=_plain_args(link),
                traceback=_traceback_text(link.__traceback__),
                cause=described,
            )
        return cast(Self, described)

    def chain(self) -> Iterator[TaskError]:
        """This error, then what caused it, and so on."""
        link: TaskError | None = self
        while link is not None:
            yield link
            link = link.cause


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < MAX_CAUSES:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _type_name(error: BaseException) -> str:
    cls = type(error)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as failure:
        return f"<no message: str() of it raised {type(failure).__name__}>"


def _plain_args(error: BaseException) -> tuple[Plain, ...]:
    args = error.args
    if type(args) is not tuple or len(args) > MAX_ERROR_ARGS or not all(_is_plain(arg) for arg in args):
        return ()
    return args


def _is_plain(value: object) -> bool:
    if type(value) is str:
        return len(value) <= MAX_MESSAGE_CHARS and not _SURROGATE.search(value)
    if type(value) is int:
        return value.bit_length() <= 63
    if type(value) is float:
        return value - value == 0
    return value is None or type(value) is bool


def _traceback_text(trace: TracebackType | None) -> str | None:
    if trace is None:
        return None
    return _clean("".join(traceback.format_tb(trace)), MAX_TRACEBACK_CHARS)


def _clean(text: str, limit: int) -> str:
    """Valid Unicode of at most about ``limit`` characters; of a longer text the head and the tail."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"


_NOT_CARRIED_OVER: Final = frozenset({"status", "result", "error", "finished_at", "version", "expires_at"})


class TaskResult(_Record, Generic[T]):
    """What is known of one task. Frozen; a stored one comes back equal, but for the two fields below.

    Timestamps are aware and kept in UTC to the microsecond. ``retries`` is the number of the try,
    from 0. ``labels`` is a set. ``version`` counts the writes of this record from 1; it is 0 on a
    result that was not read from a backend, and ignored by ``store``. ``expires_at`` is None for
    never; ``store`` honours it when no ``ttl`` is given.

    The constructors (``pending`` ... ``cancelled``) take a task id, or an earlier result whose
    task name, arguments, times and so on they carry over.
    """

    task_id: Identifier
    status: TaskStatus
    task_name: Identifier | None = None
    result: T | None = None
    error: TaskError | None = None
    args: Annotated[tuple[Any, ...], _MAYBE_LEFT_OUT] = ()
    kwargs: Annotated[dict[str, Any], _MAYBE_LEFT_OUT] = Field(default_factory=dict)
    submitted_at: Timestamp | None = None
    started_at: Timestamp | None = None
    finished_at: Timestamp | None = None
    retries: int = Field(default=0, ge=0, le=MAX_RETRIES, strict=True)
    worker_id: Identifier | None = None
    parent_id: Identifier | None = None
    labels: frozenset[Identifier] = frozenset()
    progress: Progress | None = None
    expires_at: Timestamp | None = None
    version: int = Field(default=0, ge=0, strict=True)

    @property
    def is_finished(self) -> bool:
        return self.status in FINISHED

    @property
    def is_success(self) -> bool:
        return self.status is TaskStatus.SUCCESS

    @property
    def is_loaded(self) -> bool:
        """False on an item of a listing that was asked for without results."""
        return not isinstance(self.args, NotLoaded)

    def unwrap(self) -> T:
        """The value of a successful task. Raises TaskFailed, TaskCancelled or TaskNotFinished otherwise."""
        if not self.is_loaded:
            raise TypeError(f"task {self.task_id!r} was listed with load_result=False; get() it first")
        if self.is_success:
            return cast(T, self.result)
        if self.status is TaskStatus.FAILED:
            raise TaskFailed(self.task_id, self.error)
        if self.status is TaskStatus.CANCELLED:
            raise TaskCancelled(self.task_id)
        raise TaskNotFinished(self.task_id, self.status)

    @classmethod
    def pending(cls, task: str | TaskResult[Any], *, at: datetime | None = None, **fields: Any) -> Self:
        """Submitted at ``at`` (default: now)."""
        return cls._next(task, TaskStatus.PENDING, fields, submitted_at=at or _now(), started_at=None)

    @classmethod
    def running(cls, task: str | TaskResult[Any], *, at: datetime | None = None, **fields: Any) -> Self:
        """Started at ``at`` (default: now)."""
        return cls._next(task, TaskStatus.RUNNING, fields, started_at=at or _now())

    @classmethod
    def retrying(cls, task: str | TaskResult[Any], error: BaseException | TaskError, **fields: Any) -> Self:
        """Failed with ``error`` and about to be tried again; the next try has ``retries`` one higher."""
        return cls._next(task, TaskStatus.RETRYING, fields, error=_as_error(error))

    @classmethod
    def success(
        cls,
        task: str | TaskResult[Any],
        result: T | None = None,
        *,
        at: datetime | None = None,
        **fields: Any,
    ) -> Self:
        """Finished at ``at`` (default: now) with ``result``."""
        return cls._next(task, TaskStatus.SUCCESS, fields, result=result, finished_at=at or _now())

    @classmethod
    def failed(
        cls,
        task: str | TaskResult[Any],
        error: BaseException | TaskError,
        *,
        at: datetime | None = None,
        **fields: Any,
    ) -> Self:
        """Finished at ``at`` (default: now) with ``error``."""
        return cls._next(task, TaskStatus.FAILED, fields, error=_as_error(error), finished_at=at or _now())

    @classmethod
    def cancelled(cls, task: str | TaskResult[Any], *, at: datetime | None = None, **fields: Any) -> Self:
        """Cancelled at ``at`` (default: now)."""
        return cls._next(task, TaskStatus.CANCELLED, fields, finished_at=at or _now())

    @classmethod
    def _next(
        cls, task: str | TaskResult[Any], status: TaskStatus, fields: Mapping[str, Any], **own: Any
    ) -> Self:
        known = _carried_over(task) if isinstance(task, TaskResult) else {"task_id": task}
        return cls(**{**known, **own, **fields, "status": status})


def _carried_over(earlier: TaskResult[Any]) -> dict[str, Any]:
    return {name: value for name, value in earlier if name not in _NOT_CARRIED_OVER}


def _as_error(error: BaseException | TaskError) -> TaskError:
    return error if isinstance(error, TaskError) else TaskError.from_exception(error)


def _now() -> datetime:
    return datetime.now(UTC)


class Page(_Record, Generic[T]):
    """One page of a listing, in its order. ``next_cursor`` is None at the end, and only there."""

    items: list[TaskResult[T]]
    next_cursor: str | None
