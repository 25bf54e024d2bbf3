"""The arguments of ``track``: who makes an attempt at a task, and what its end means."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypedDict, cast

from flowstore._core.core import Core
from flowstore._core.scopes import Scope
from flowstore._values.arguments import (
    Seconds,
    check_age,
    check_bool,
    check_ids,
    check_instant,
    check_int,
    check_patience,
    check_ttl,
)
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.fields import NO_META, FrozenMeta, Scalar, check_meta
from flowstore.models import MAX_RETRIES, CancelRequest, TaskResult, TaskStatus
from flowstore.text import check_text
from flowstore.times import from_micros

Delay = Seconds | Callable[[BaseException, int], Seconds | None] | None
"""How long until the next attempt, or a function of the exception and ``retries``; None: not known."""

OnCancel = Literal["cancelled", "requeue"]


class TrackOptions(TypedDict, total=False):
    """The arguments of ``track`` besides the task and its type. All may be left out.

    ``name``, ``worker_id``, ``labels``, ``meta``: fields of the record. ``labels`` are added to those that
    are stored; so are the entries of ``meta``, which replace those of the same name. ``args``, ``kwargs``: by
    default those that are stored; for queues whose messages carry them. ``submitted_at``: of a task of which
    nothing is stored; by default it is submitted when it starts. ``parent_id``: by
    default that of the stored record, or else the enclosing tracked task of the same backend, also across
    ``asyncio.create_task``. ``retries``: the number of this attempt, from 0; by default the one that is
    stored, as a requeue left it, or the next one if the task is retrying.

    ``retry_on``: exception classes with which the block ends as retrying instead of failed, as with
    ``task.retry``; also those by which a queue asks for a retry, such as ``arq.Retry``. ``max_retries``: how
    many attempts there may be after the first, 2,147,483,647 at most and by default. The last one fails.
    ``retry_delay``: when the next one is due (``due_at``): seconds from the end of the block, a timedelta, or
    a function of the exception and ``retries`` that returns one of these or None, for not known (default).

    ``on_cancel``: what asyncio.CancelledError makes of the task: "cancelled" (default), or "requeue", pending
    for another attempt, as a deployment needs it. A task that ``backend.cancel`` has asked for is cancelled
    in any case. ``interrupt``: that request also raises CancelledError in the block (False). It is raised in
    the task of asyncio that has begun the block; so this is not for blocks inside of async generators.

    ``ttl``: of the finished record, as in ``store``; for queues that say how long a result is kept.
    ``patience``: for how many seconds the outcome is offered to a storage that is full or cannot be reached;
    by default ``op_timeout``. The first offer has ``op_timeout`` in any case. ``strict``: raise
    LateWrite if the task was finished already or a later attempt has begun, before the block and after it
    (False).
    """

    name: str | None
    worker_id: str | None
    retries: int | None
    parent_id: str | None
    labels: Iterable[str]
    meta: Mapping[str, Scalar]
    args: Iterable[Any]
    kwargs: Mapping[str, Any]
    submitted_at: datetime | None
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    max_retries: int | None
    retry_delay: Delay
    on_cancel: OnCancel
    interrupt: bool
    ttl: Ttl | DefaultTtl
    patience: Seconds | None
    strict: bool


class Values(TypedDict, total=False):
    """Fields of a record that hold values of the user."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Retry(NamedTuple):
    """That the block has asked for another attempt, ``delay`` from its end."""

    error: BaseException
    delay: Seconds | None


class Attempt(NamedTuple):
    """One attempt at a task, as its caller describes it. ``patience`` is in seconds.

    ``values``: its args and kwargs, as far as they are given.
    """

    core: Core
    task_id: str
    name: str | None
    worker_id: str | None
    retries: int | None
    parent_id: str | None
    labels: frozenset[str]
    meta: FrozenMeta
    values: Values
    submitted_at: datetime | None
    retry_on: tuple[type[BaseException], ...]
    max_retries: int
    retry_delay: Delay
    on_cancel: OnCancel
    interrupt: bool
    ttl: Ttl | DefaultTtl
    patience: float
    strict: bool

    def running(self, earlier: TaskResult | None, around: Scope | None, at: datetime) -> TaskResult:
        """The record to store at the start. ``earlier``: what stands. ``around``: the enclosing task."""
        known = earlier or TaskResult.pending(self.task_id, at=self.submitted_at or at)
        parent, root = self.parent_id or known.parent_id, known.root_id
        if parent is None and around is not None:
            parent, root = around.task_id, around.root_id
        return TaskResult.running(
            known,
            at=at,
            task_name=self.name or known.task_name,
            worker_id=self.worker_id,
            retries=_next_attempt(known) if self.retries is None else self.retries,
            parent_id=parent,
            root_id=root,
            labels=known.labels | self.labels,
            meta={**known.meta, **self.meta} if self.meta else known.meta,
            progress=None,
            cancel_request=known.cancel_request if known.status is TaskStatus.RUNNING else None,
            **self.values,
        )

    def ended(
        self,
        running: TaskResult,
        error: BaseException | None,
        retry: Retry | None,
        request: CancelRequest | None,
        at: datetime,
    ) -> TaskResult | None:
        """The state after a block that did not succeed, or None. ``request``: of ``backend.cancel``."""
        if retry is not None:
            return self._failed(running, retry.error, retry.delay, at, is_last=False)
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            if request is None and self.on_cancel == "requeue":
                return requeued(running)
            return TaskResult.cancelled(running, at=at, cancel_request=request)
        if error is not None:
            return self._failed(running, error, None, at, is_last=not isinstance(error, self.retry_on))
        return None

    def has_another(self, retries: int) -> bool:
        """Whether a failed attempt of this number may be followed by another one."""
        return retries < self.max_retries

    def _failed(
        self, running: TaskResult, error: BaseException, delay: Seconds | None, at: datetime, is_last: bool
    ) -> TaskResult:
        if is_last or not self.has_another(running.retries):
            return TaskResult.failed(running, error, at=at)
        if delay is None:
            delay = (
                self.retry_delay(error, running.retries) if callable(self.retry_delay) else self.retry_delay
            )
        due_at = None if delay is None else at + timedelta(microseconds=check_age("retry_delay", delay))
        return TaskResult.retrying(running, error, due_at=due_at)


def requeued(task: TaskResult) -> TaskResult:
    """Pending for another attempt. The time of its submission stays: nobody has submitted it anew."""
    return TaskResult.pending(task, submitted_at=task.submitted_at, retries=task.retries + 1)


def given_back(task: TaskResult, at: datetime) -> TaskResult | None:
    """The task of a worker that is gone: for another attempt, or cancelled if that was asked for.

    None: it has had as many attempts as there can be, and stays as it is.
    """
    if task.cancel_request is not None:
        return TaskResult.cancelled(task, at=at, cancel_request=task.cancel_request)
    return None if task.retries == MAX_RETRIES else requeued(task)


def _next_attempt(known: TaskResult) -> int:
    return known.retries + (known.status is TaskStatus.RETRYING)


def attempt_of(core: Core, task_id: str, options: TrackOptions) -> Attempt:
    """Raises TypeError or ValueError that names the argument."""
    if unknown := options.keys() - TrackOptions.__annotations__:
        known = ", ".join(TrackOptions.__annotations__)
        raise TypeError(f"{min(unknown)}: unknown argument; expected some of {known}")
    texts = {name: _text(name, options) for name in ("name", "worker_id", "parent_id")}
    retries, most = options.get("retries"), options.get("max_retries")
    on_cancel = options.get("on_cancel", "cancelled")
    if on_cancel not in ("cancelled", "requeue"):
        raise ValueError(f"on_cancel: expected 'cancelled' or 'requeue', got {on_cancel!r:.80}")
    return Attempt(
        core,
        check_text("task_id", task_id),
        **texts,
        retries=None if retries is None else check_int("retries", retries, 0, MAX_RETRIES),
        labels=frozenset(check_ids(options.get("labels", ()), "labels")),
        meta=check_meta(options.get("meta", NO_META)),
        values=_values(options),
        submitted_at=_time(options.get("submitted_at")),
        retry_on=_exceptions(options.get("retry_on", ())),
        max_retries=MAX_RETRIES if most is None else check_int("max_retries", most, 0, MAX_RETRIES),
        retry_delay=_delay(options.get("retry_delay")),
        on_cancel=on_cancel,
        interrupt=check_bool("interrupt", options.get("interrupt", False)),
        ttl=_ttl(options.get("ttl", DEFAULT_TTL)),
        patience=check_patience(options.get("patience"), core.op_timeout),
        strict=check_bool("strict", options.get("strict", False)),
    )


def _text(name: Literal["name", "worker_id", "parent_id"], options: TrackOptions) -> str | None:
    value = options.get(name)
    return None if value is None else check_text(name, value)


def _values(options: TrackOptions) -> Values:
    """Copies, as the caller may change what it has given."""
    values = Values()
    if "args" in options:
        args = options["args"]
        if isinstance(args, str | bytes) or not isinstance(args, Iterable):
            raise TypeError(f"args: expected an iterable of arguments, got {type(args).__name__}")
        values["args"] = tuple(args)
    if "kwargs" in options:
        kwargs = options["kwargs"]
        if not isinstance(kwargs, Mapping) or any(not isinstance(name, str) for name in kwargs):
            raise TypeError(f"kwargs: expected a mapping with names as str, got {kwargs!r:.80}")
        values["kwargs"] = dict(kwargs)
    return values


def _time(at: datetime | None) -> datetime | None:
    return None if at is None else from_micros(check_instant("submitted_at", at))


def _delay(delay: Delay) -> Delay:
    if delay is not None and not callable(delay):
        check_age("retry_delay", delay)
    return delay


def _ttl(ttl: Ttl | DefaultTtl) -> Ttl | DefaultTtl:
    if ttl is not DEFAULT_TTL:
        check_ttl("ttl", ttl)
    return ttl


def _exceptions(value: object) -> tuple[type[BaseException], ...]:
    kinds = value if type(value) is tuple else (value,)
    for kind in cast("tuple[object, ...]", kinds):
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"retry_on: expected exception classes, got {kind!r:.80}")
    return cast("tuple[type[BaseException], ...]", kinds)
