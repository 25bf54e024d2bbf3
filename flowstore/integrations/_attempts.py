"""Attempts at tasks that a host announces by hooks: one before the code of a task runs, and one after it.

Each is a tracked block that begins in one hook and ends in another. So what holds of ``track`` holds here:
outcomes ride out outages, late ones are refused, the heartbeat of the worker names what is under way, and
tasks that are submitted or begun inside are children.

A host has its own idea of how its tasks ended, which flowstore only records. So what goes wrong here never
reaches it: it is logged, and the task goes on without a record. Each hook takes no longer than a call of the
backend may take, ``op_timeout``, and at the end of a task as long as its ``patience``.
"""

from __future__ import annotations

import logging
import os
import reprlib
import secrets
import socket
from asyncio import CancelledError
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypedDict, TypeVar, Unpack

from flowstore import (
    BaseResultBackend,
    CancelRequest,
    FlowstoreError,
    LateWrite,
    RunningWorker,
    TaskResult,
    TrackedTask,
    TrackOptions,
    sync,
    to_jsonable,
)

logger: Final = logging.getLogger("flowstore.integrations")

AnyBackend = BaseResultBackend | sync.ResultBackend
Block = TypeVar("Block", TrackedTask[Any], sync.TrackedTask[Any])
Step = Callable[[TaskResult | None], TaskResult | None]

SHOWN: Final = "arguments"
"""In ``meta``, with the value "shown": what is stored does not suffice to run the task again."""


class Again(NamedTuple):
    """The host makes another attempt. ``delay``: the seconds until then, None: not known."""

    delay: float | None = None


class Outcome(TypedDict, total=False):
    """How an attempt ends, as ``Attempt.end`` takes it."""

    result: Any
    error: BaseException | None
    again: Again | None


class QueueRefused(ValueError):
    """A task cannot be handed to the host again."""

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(f"task {task_id!r} is not enqueued: {reason}")
        self.task_id = task_id
        self.reason = reason


class Attempt:
    """One attempt that is under way. ``block``: for the code that wants to know, as whether to end."""

    def __init__(self, backend: BaseResultBackend, block: TrackedTask[Any]) -> None:
        self._backend = backend
        self.block = block

    async def end(
        self, *, result: Any = None, error: BaseException | None = None, again: Again | None = None
    ) -> None:
        """With ``result``, or with ``error``, of which asyncio.CancelledError means cancelled.

        ``again``: after this ``error`` there will be another attempt.
        """
        settle(self._backend, self.block, result, error, again)
        trace = None if error is None else error.__traceback__
        try:
            await self.block.__aexit__(None if error is None else type(error), error, trace)
        except LateWrite:
            pass  # the log of the backend has it
        except FlowstoreError as trouble:
            not_recorded(self.block.task_id, "its end", trouble)


class Attempts:
    """All attempts of one worker process of a host, which lives from ``open`` to ``close``."""

    def __init__(self, backend: BaseResultBackend, worker_id: str | None = None) -> None:
        self.backend = backend
        self.worker_id = worker_id or worker_name()
        self._worker: RunningWorker | None = None

    async def open(
        self, *, every: float = 5.0, slots: int | None = None, info: Mapping[str, Any] | None = None
    ) -> None:
        """Register the worker, and begin to send heartbeats, ``every`` seconds.

        Raises StorageError; then it can be called again.
        """
        worker = self.backend.worker(self.worker_id, every=every, slots=slots, info=info or {})
        self._worker = await worker.__aenter__()

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            await worker.__aexit__(None, None, None)
        except FlowstoreError as trouble:  # its heartbeats end, and a sweep frees what it has left
            logger.warning("worker %r stays registered: %s", self.worker_id, trouble)

    async def begin(self, task_id: str, **options: Unpack[TrackOptions]) -> Attempt | None:
        """Store the task as running; None if that cannot be done. The options are those of ``track``."""
        try:
            return await self.enter(task_id, **options)
        except FlowstoreError as trouble:
            not_recorded(task_id, "its beginning", trouble)
            return None

    async def enter(self, task_id: str, **options: Unpack[TrackOptions]) -> Attempt:
        """``begin`` for who knows what to do about a FlowstoreError, such as LateWrite of ``strict``."""
        block = self.backend.track(
            task_id, **begun_by(self.backend, self.worker_id if self._worker else None, options)
        )
        return Attempt(self.backend, await block.__aenter__())


class SyncAttempt:
    """``Attempt`` where there is no event loop: it ends in the thread in which it began."""

    def __init__(self, backend: sync.ResultBackend, block: sync.TrackedTask[Any]) -> None:
        self._backend = backend
        self.block = block

    def end(
        self, *, result: Any = None, error: BaseException | None = None, again: Again | None = None
    ) -> None:
        settle(self._backend, self.block, result, error, again)
        trace = None if error is None else error.__traceback__
        try:
            self.block.__exit__(None if error is None else type(error), error, trace)
        except LateWrite:
            pass
        except FlowstoreError as trouble:
            not_recorded(self.block.task_id, "its end", trouble)


class SyncAttempts:
    """``Attempts`` where there is no event loop; any thread may begin one."""

    def __init__(self, backend: sync.ResultBackend, worker_id: str | None = None) -> None:
        self.backend = backend
        self.worker_id = worker_id or worker_name()
        self._worker: sync.RunningWorker | None = None

    def open(self, *, slots: int | None = None, info: Mapping[str, Any] | None = None) -> None:
        worker = self.backend.worker(self.worker_id, slots=slots, info=info or {})
        self._worker = worker.__enter__()

    def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            worker.__exit__(None, None, None)
        except FlowstoreError as trouble:
            logger.warning("worker %r stays registered: %s", self.worker_id, trouble)

    def begin(self, task_id: str, **options: Unpack[TrackOptions]) -> SyncAttempt | None:
        try:
            return self.enter(task_id, **options)
        except FlowstoreError as trouble:
            not_recorded(task_id, "its beginning", trouble)
            return None

    def enter(self, task_id: str, **options: Unpack[TrackOptions]) -> SyncAttempt:
        block = self.backend.track(
            task_id, **begun_by(self.backend, self.worker_id if self._worker else None, options)
        )
        return SyncAttempt(self.backend, block.__enter__())


def worker_name() -> str:
    """An id for this process: host and pid, and what tells it from a later one that has the same."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"


def recordable(backend: AnyBackend, value: Any) -> Any:
    """The value if it can be stored, or else what it is as JSON, or the beginning of its repr."""
    if backend.refusal(value) is None:
        return value
    try:
        shown = to_jsonable(value)
    except ValueError:
        return reprlib.repr(value)
    return shown if backend.refusal(shown) is None else reprlib.repr(value)


def storable(
    backend: AnyBackend, args: Iterable[Any], kwargs: Mapping[Any, Any]
) -> tuple[list[Any], dict[str, Any], bool]:
    """Arguments that can be stored, and whether they are what was given: others are shown.

    Those that are too much together are left out, down to none: without them the task still has a record.
    """
    shown, named = list(args), {str(name): value for name, value in kwargs.items()}
    if backend.refusal([shown, named]) is None:
        return shown, named, True
    for form in (lambda value: recordable(backend, value), reprlib.repr):
        shown, named = [form(each) for each in shown], {name: form(each) for name, each in named.items()}
        if backend.refusal([shown, named]) is None:
            return shown, named, False
    return [], {}, False


def check_whole(task: TaskResult) -> None:
    """Raise QueueRefused unless what is stored suffices to run the task again."""
    if task.meta.get(SHOWN) or task.task_name is None:
        raise QueueRefused(task.task_id, "its arguments, or what follows it, are not stored as they were")


def begun_by(backend: AnyBackend, worker_id: str | None, options: TrackOptions) -> TrackOptions:
    """The options of an attempt of this worker, with arguments that can be stored.

    ``worker_id``: None while it is not registered. Its heartbeats will not name what has begun before, and a
    sweep would take that for lost, and have it done once more while it runs.
    """
    if worker_id is not None:
        options.setdefault("worker_id", worker_id)
    return with_storable(backend, options)


def with_storable(backend: AnyBackend, options: TrackOptions) -> TrackOptions:
    """The options with arguments that can be stored; ``meta`` says if they are not the task's own."""
    if "args" not in options and "kwargs" not in options:
        return options
    args, kwargs, is_whole = storable(backend, options.get("args", ()), options.get("kwargs", {}))
    meta = options.get("meta", {}) if is_whole else {**options.get("meta", {}), SHOWN: "shown"}
    return options | TrackOptions(args=args, kwargs=kwargs, meta=meta)


def settle(
    backend: AnyBackend, block: Block, result: Any, error: BaseException | None, again: Again | None
) -> None:
    """Tell the block how it ends."""
    if error is None:
        block.result = recordable(backend, result)
    elif again is not None:
        block.retry(error, delay=again.delay)


def unattended(known: Callable[[], TaskResult], backend: AnyBackend, outcome: Outcome) -> tuple[Step, bool]:
    """The step of ``update`` by which a task ends of which no attempt is recorded, and its ``load_result``.

    One that is finished stays as it is. ``known``: the task where nothing of it is recorded.
    """
    if "result" in outcome:
        outcome["result"] = recordable(backend, outcome["result"])

    def step(standing: TaskResult | None) -> TaskResult | None:
        return (
            None if standing is not None and standing.is_finished else ended(standing or known(), **outcome)
        )

    return step, outcome.get("error") is None  # arguments that are not loaded cannot stay beside a new result


def ended(
    task: TaskResult, result: Any = None, error: BaseException | None = None, again: Again | None = None
) -> TaskResult:
    """What ``track`` makes of a block that ends so."""
    if error is None:
        return TaskResult.success(task, result)
    if again is not None:
        delay = None if again.delay is None else datetime.now(UTC) + timedelta(seconds=again.delay)
        return TaskResult.retrying(task, error, due_at=delay)
    if isinstance(error, CancelledError):
        now = datetime.now(UTC)
        asked = CancelRequest(at=now, reason=str(error)) if error.args else None
        return TaskResult.cancelled(task, cancel_request=task.cancel_request or asked)
    return TaskResult.failed(task, error)


def not_recorded(task_id: str, what: str, trouble: Exception) -> None:
    logger.warning("task %r: %s is not recorded: %s", task_id, what, trouble)
