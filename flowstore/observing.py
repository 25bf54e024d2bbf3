"""What a backend tells its observers: the events that logs, metrics and traces are made of.

An observer is any object with a method ``on_event``, given as ``observers=[...]`` to a backend, or to
several. It is called where the event happens, in the event loop and in the context of the caller, so it must
be quick and must not block. Whatever it raises is logged, once for each kind of event, and never reaches the
caller; KeyboardInterrupt and other exceptions that are no ``Exception`` do.

Kinds may be added, and fields at the end of a kind: an observer passes over what it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

from flowstore.errors import StorageUnavailable, UnreadableRecord
from flowstore.fields import NO_META, Scalar
from flowstore.models import TaskResult, TaskStatus

WaitOutcome = Literal[
    "success", "failed", "cancelled", "timeout", "deleted", "expired", "unreadable", "ended", "left", "error"
]
"""How a wait ended: with the status of the task, or with the error that was raised; "ended": by ``end_waits``
or ``close``; "left": the caller was cancelled, or went away.
"""

WatchKind = Literal["task", "status", "changes"]
"""What is iterated: ``watch``, ``watch_status`` or ``watch_changes``."""


class Place(NamedTuple):
    """Where a storage is. ``system``: its kind, such as "sqlite" or "redis".

    ``address``: the name of a host, its IP address or the path of a socket; None: in this process, or not
    known. ``port``: None if there is none.
    """

    system: str
    address: str | None = None
    port: int | None = None


NOWHERE: Final = Place("unknown")


@dataclass(frozen=True, slots=True)
class Event:
    """The base of all events. ``namespace``: that of the backend it happened in."""

    namespace: str


@dataclass(frozen=True, slots=True)
class CallEnded(Event):
    """The storage was called. ``verb``: one of ``flowstore.engine.Engine``, such as "write" or "read".

    ``items``: how many records or values it was about, or at most. ``seconds``: until it ended, with the time
    that it waited for a round trip to share. ``error``: None if it succeeded; CancelledError if the caller
    left. ``is_background``: no caller has asked for it, it is one that the backend makes for itself, such as
    a heartbeat, a purge, and the reads behind all waits. ``is_shared``: its round trip is, or may be, made
    for several calls, and told as BatchEnded.
    """

    verb: str
    items: int
    seconds: float
    error: BaseException | None
    place: Place = NOWHERE
    is_background: bool = False
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class BatchEnded(Event):
    """A round trip that writes has ended, after ``seconds``; in memory there are none.

    ``verb``: of all calls that shared it. ``items``: how many records or values they were about, or were to
    be if it failed. ``queued``: how many other calls to write were left waiting when it began. ``error``:
    None if it succeeded.
    """

    verb: str
    items: int
    queued: int
    seconds: float
    error: BaseException | None = None
    place: Place = NOWHERE


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
class VersionLost(Event):
    """A write that was bound to a version (compare-and-set) was not applied, as another one came first.

    Whoever has made it is told, or looks again by itself.
    """

    task_id: str


@dataclass(frozen=True, slots=True)
class BlockBegun(Event):
    """A tracked block begins: its task is stored as running, or somebody else has finished it.

    It is told in the context of the block, so a context variable that is set here is seen by the code of the
    block, and by the tasks of asyncio that it starts; also in a thread of ``flowstore.sync``. ``block``: a
    number that no other block of this process has.
    """

    task_id: str
    block: int
    name: str | None
    retries: int
    worker_id: str | None = None
    parent_id: str | None = None
    meta: Mapping[str, Scalar] = NO_META


@dataclass(frozen=True, slots=True)
class BlockEnded(Event):
    """A tracked block has ended, and its outcome is stored, or was not to be (``is_stored``).

    It is told in the context that BlockBegun was told in, unless the block ends in another one than it began
    in, as blocks in generators may: there a token cannot be reset. ``status``: the outcome; None: not known
    yet, as the block was closed and cannot wait for it. ``error``: with which the code of the block has
    ended.
    """

    task_id: str
    block: int
    status: TaskStatus | None
    is_stored: bool
    error: BaseException | None


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
class WaitBegun(Event):
    """A wait for the result of a task begins.

    ``call``: a number, the same for all waits of one call of ``wait_for_many`` or ``as_completed``, and of no
    other call in this process.
    """

    task_id: str
    call: int


@dataclass(frozen=True, slots=True)
class WaitSubscribed(Event):
    """The first read has found no outcome, and from now on the storage tells of changes of the task."""

    task_id: str
    call: int


@dataclass(frozen=True, slots=True)
class WaitWoken(Event):
    """The outcome was stored after WaitSubscribed, was read, and now the one who waits goes on.

    ``lag``: the seconds since the store was called that has made the record what it is, by the clocks of both
    processes. So it has the commit in it, and what these clocks differ by.
    """

    task_id: str
    call: int
    lag: float


@dataclass(frozen=True, slots=True)
class WaitEnded(Event):
    """A wait for the result of a task has ended, after ``seconds``. ``call``: see WaitBegun."""

    task_id: str
    outcome: WaitOutcome
    seconds: float
    call: int = 0


@dataclass(frozen=True, slots=True)
class WaitsRechecked(Event):
    """All that is awaited is being read again, as it is time: ``count`` ids, for these ``calls`` at least."""

    count: int
    calls: frozenset[int]


@dataclass(frozen=True, slots=True)
class WatchBegun(Event):
    """Somebody has begun to iterate over changes."""

    kind: WatchKind


@dataclass(frozen=True, slots=True)
class WatchEnded(Event):
    """That iteration is over, after ``seconds``."""

    kind: WatchKind
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


@runtime_checkable
class Submitting(Protocol):
    """An observer that has something to keep with each task that is submitted, such as a trace."""

    def on_submit(self, task: TaskResult, /) -> Mapping[str, Scalar]:
        """What to add to the ``meta`` of ``task``, which is about to be stored as pending, in attempt 0.

        Called in the context of whoever stores it. Entries that ``task.meta`` has already are left as they
        are, and nothing is added that would make it too large. An exception is logged, and nothing is added.
        """
