"""Who waits for one task or looks on, and what is known of its record."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from flowstore._waiting.subscribers import Subscriber
from flowstore.engine import Change
from flowstore.errors import ResultDeleted, ResultExpired, ResultGone
from flowstore.models import TaskResult

GOES: Final = frozenset({Change.DELETED, Change.EXPIRED})
"""The changes behind which there is no record any more."""

Waiting = asyncio.Future[TaskResult[Any]]


class Waitlist:
    """All who wait for one id and were told nothing yet, and what is known of its record."""

    __slots__ = ("expires_at", "futures", "gone", "is_seen", "later", "timer", "watchers")

    def __init__(self) -> None:
        self.futures: dict[Waiting, asyncio.TimerHandle | None] = {}
        self.watchers: set[Subscriber] = set()
        self.later: Waitlist | None = None
        """Those who came while the record is read for these: what is read may be older than they are."""
        self.is_seen = False
        self.gone: type[ResultGone] | None = None
        self.expires_at: int | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_unused(self) -> bool:
        return not self.futures and not self.watchers and self.later is None

    def hear(self, change: Change) -> None:
        if change in GOES:
            self.gone = ResultExpired if change is Change.EXPIRED else ResultDeleted
        else:
            self.is_seen = True
        if self.later is not None:
            self.later.hear(change)

    def release(self, future: Waiting) -> None:
        timer = self.futures.pop(future, None)
        if timer is not None:
            timer.cancel()
        if self.later is not None:
            self.later.release(future)

    def unwatch(self, watcher: Subscriber) -> None:
        self.watchers.discard(watcher)
        if self.later is not None:
            self.later.unwatch(watcher)

    def settle(self, outcome: TaskResult[Any] | Exception) -> None:
        """Tell all but those who came later; it is the last that these hear from this entry."""
        for future, timer in self.futures.items():
            if timer is not None:
                timer.cancel()
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self.show(outcome)
        self.stop_timer()

    def show(self, state: TaskResult[Any] | Exception) -> None:
        for watcher in self.watchers:
            if isinstance(state, Exception):
                watcher.fail(state)
            else:
                watcher.show(state)

    def join(self) -> None:
        """Those who came later wait with the others: their record is read again anyway."""
        if self.later is not None:
            self.futures |= self.later.futures
            self.watchers |= self.later.watchers
            self.later = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
