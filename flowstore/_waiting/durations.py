"""How far waits are, how long they took and how they ended, where somebody observes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from time import monotonic
from typing import Final

from flowstore._observing.observers import Observers
from flowstore._waiting.waitlist import Waiting
from flowstore.errors import BackendClosed, ResultDeleted, ResultExpired, UnreadableRecord, WaitTimeout
from flowstore.models import TaskStatus
from flowstore.observing import (
    WaitBegun,
    WaitEnded,
    WaitOutcome,
    WaitsRechecked,
    WaitSubscribed,
    WaitWoken,
    WatchBegun,
    WatchEnded,
    WatchKind,
)

CALLS: Final = count(1)
"""The numbers of calls that wait, in this process."""

_ENDS: Final[dict[TaskStatus, WaitOutcome]] = {
    TaskStatus.SUCCESS: "success",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELLED: "cancelled",
}
_ERRORS: Final[tuple[tuple[type[Exception], WaitOutcome], ...]] = (
    (WaitTimeout, "timeout"),
    (ResultDeleted, "deleted"),
    (ResultExpired, "expired"),
    (UnreadableRecord, "unreadable"),
    (BackendClosed, "ended"),
)


class _Progress:
    """Of one wait."""

    __slots__ = ("begun", "call", "is_subscribed")

    def __init__(self, call: int) -> None:
        self.begun = monotonic()
        self.call = call
        self.is_subscribed = False


class Durations:
    """The waits in progress, and when they began. There are none where nobody observes."""

    def __init__(self, observers: Observers, clock: Callable[[], int]) -> None:
        self._observers = observers
        self._clock = clock
        self._waits: dict[Waiting, _Progress] = {}

    def begin(self, task_id: str, wait: Waiting, call: int) -> None:
        if self._observers.is_active:
            self._waits[wait] = _Progress(call)
            self._observers.tell(WaitBegun(self._observers.namespace, task_id, call))

    def subscribed(self, task_id: str, waits: Iterable[Waiting]) -> None:
        """These go on, as a read has found, and hints of the task come from now on."""
        for progress in self._of(waits):
            if not progress.is_subscribed:
                progress.is_subscribed = True
                self._observers.tell(WaitSubscribed(self._observers.namespace, task_id, progress.call))

    def woken(self, task_id: str, waits: Iterable[Waiting], at: int) -> None:
        """The outcome of these was stored ``at`` that time."""
        for progress in self._of(waits):
            if progress.is_subscribed:
                lag = max(0, self._clock() - at) / 1_000_000
                self._observers.tell(WaitWoken(self._observers.namespace, task_id, progress.call, lag))

    def _of(self, waits: Iterable[Waiting]) -> list[_Progress]:
        """Of those that were not over before."""
        if not self._waits:
            return []
        return [self._waits[wait] for wait in waits if wait in self._waits and not wait.done()]

    def rechecked(self, ids: int) -> None:
        if self._observers.is_active:
            calls = frozenset(progress.call for progress in self._waits.values())
            self._observers.tell(WaitsRechecked(self._observers.namespace, ids, calls))

    def end(self, task_id: str, wait: Waiting) -> None:
        if self._waits:
            progress = self._waits.pop(wait)
            seconds = monotonic() - progress.begun
            ended = WaitEnded(self._observers.namespace, task_id, _outcome(wait), seconds, progress.call)
            self._observers.tell(ended)


def watch_begun(observers: Observers, kind: WatchKind) -> Callable[[], None]:
    """Tell that an iteration over changes has begun; to be called when it is over."""
    if not observers.is_active:
        return lambda: None
    begun = monotonic()
    observers.tell(WatchBegun(observers.namespace, kind))
    return lambda: observers.tell(WatchEnded(observers.namespace, kind, monotonic() - begun))


def _outcome(wait: Waiting) -> WaitOutcome:
    if not wait.done() or wait.cancelled():
        return "left"
    error = wait.exception()
    if error is None:
        return _ENDS[wait.result().status]
    return next((outcome for kind, outcome in _ERRORS if isinstance(error, kind)), "error")
