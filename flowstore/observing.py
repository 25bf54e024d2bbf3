"""What a backend tells its observers: the events that logs, metrics and traces are made of.

An observer is any object with a method ``on_event``, given as ``observers=[...]`` to a backend, or to
several. It is called where the event happens, in the event loop and in the context of the caller, so it must
be quick and must not block. Whatever it raises is logged, once for each kind of event, and never reaches the
caller; KeyboardInterrupt and other exceptions that are no ``Exception`` do.

Kinds may be added, and fields at the end of a kind: an observer passes over what it does not know.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from flowstore.errors import StorageUnavailable, UnreadableRecord
from flowstore.models import TaskResult, TaskStatus

WaitOutcome = Literal[
    "success", "failed", "cancelled", "timeout", "deleted", "expired", "unreadable", "ended", "left", "error"
]
"""How a wait ended: with the status of the task, or with the error that was raised; "ended": by ``end_waits``
or ``close``; "left": the caller was cancelled, or went away.
"""


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events. ``namespace``: that of the backend it happened in."""

    namespace: str


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """The storage was called. ``verb``: one of ``flowstore.engine.Engine``, such as "write" or "read".

    ``items``: how many records or values it was about, or at most. ``seconds``: until it ended, with the time
    that it waited for a round trip to share. ``error``: None if it succeeded; CancelledError if the caller
    left.
    """

    verb: str
    items: int
    seconds: float
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class CallGivenUp(Event):
    """A call of the backend has raised StorageUnavailable or StorageTimeout."""

    error: StorageUnavailable


@dataclass(frozen=True, slots=True)
class StorageLost(Event):
    """The storage cannot be reached, or the connection that brings wake-ups was lost. Waits go on.

    It is noticed only while there are waits: calls that fail meanwhile are CallGivenUp.
    """

    error: Exception


@dataclass(frozen=True, slots=True)
class StorageBack(Event):
    """What StorageLost has told is over, after ``seconds``. All that is awaited is being read again."""

    seconds: float


@dataclass(frozen=True, slots=True)
class TaskStored(Event):
    """A task was stored in ``status``, or was not, as a newer or finished record stands (``is_applied``).

    ``name``: None also if this backend does not index names. A compare-and-set that lost is not told.
    """

    task_id: str
    status: TaskStatus
    retries: int
    name: str | None
    is_applied: bool


@dataclass(frozen=True, slots=True)
class OutcomeLost(Event):
    """The outcome of a tracked block could not be stored; ``error`` is why.

    ``outcome`` is what was to be stored, for whoever can keep it elsewhere. It is never logged, as it holds
    the values of the task. None: the block has not got that far.
    """

    task_id: str
    error: Exception
    outcome: TaskResult | None = None


@dataclass(frozen=True, slots=True)
class OutcomeLate(Event):
    """The outcome of a tracked block was discarded: the task is finished, or in a later attempt."""

    task_id: str
    retries: int
    outcome: TaskResult


@dataclass(frozen=True, slots=True)
class RecordUnreadable(Event):
    """A record was met that cannot be read; ``error`` is what ``get`` raises."""

    task_id: str
    error: UnreadableRecord


@dataclass(frozen=True, slots=True)
class WaitEnded(Event):
    """A wait for the result of a task has ended, after ``seconds``."""

    task_id: str
    outcome: WaitOutcome
    seconds: float


@dataclass(frozen=True, slots=True)
class RecheckFound(Event):
    """A wait was ended by the regular re-check, as no hint of the change had come, nor came soon after."""

    task_id: str


@dataclass(frozen=True, slots=True)
class RecordsPurged(Event):
    """Expired records were removed, by an open backend now and then or by ``purge_expired``."""

    count: int


@dataclass(frozen=True, slots=True)
class PurgeFailed(Event):
    """An open backend could not remove what has expired, and will try again. ``is_repeated``: as before."""

    error: Exception
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class WorkerLost(Event):
    """A worker was given up, and its tasks were requeued or failed: ``task_ids``."""

    worker_id: str
    task_ids: tuple[str, ...]


class Observer(Protocol):
    """Is told what happens in a backend."""

    def on_event(self, event: Event, /) -> None:
        """Note the event. Called synchronously: no blocking, nothing slow."""
