"""How long waits took and how they ended, where somebody observes it."""

from __future__ import annotations

from time import monotonic
from typing import Final

from flowstore._observing.observers import Observers
from flowstore._waiting.waitlist import Waiting
from flowstore.errors import BackendClosed, ResultDeleted, ResultExpired, UnreadableRecord, WaitTimeout
from flowstore.models import TaskStatus
from flowstore.observing import WaitEnded, WaitOutcome

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


class Durations:
    """The waits in progress, and when they began."""

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._begun: dict[Waiting, float] = {}

    def begin(self, wait: Waiting) -> None:
        if self._observers.is_active:
            self._begun[wait] = monotonic()

    def end(self, task_id: str, wait: Waiting) -> None:
        if self._begun:
            seconds = monotonic() - self._begun.pop(wait)
            self._observers.tell(WaitEnded(self._observers.namespace, task_id, _outcome(wait), seconds))


def _outcome(wait: Waiting) -> WaitOutcome:
    if not wait.done() or wait.cancelled():
        return "left"
    error = wait.exception()
    if error is None:
        return _ENDS[wait.result().status]
    return next((outcome for kind, outcome in _ERRORS if isinstance(error, kind)), "error")
