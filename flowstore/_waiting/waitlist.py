"""The waiters and watchers of one task, and what is known of its record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from flowstore._waiting.subscribers import Subscriber
from flowstore.engine import Change
from flowstore.errors import ResultDeleted, ResultExpired, ResultGone
from flowstore.models import TaskResult

REMOVALS: Final = frozenset({Change.DELETED, Change.EXPIRED})
"""The changes after which the record no longer exists."""

_LONGEST_TIMER: Final = 86_400.0

Waiting = asyncio.Future[TaskResult]


class Waitlist:
    """The waiters of one id that have no outcome yet, its watchers, and what is known of its record.

    ``later`` is a second waitlist, of those who join while a read for this one is in flight. That read may
    be older than their call, so it must not settle them. They share every hint, which is about the record
    and not about a read, and ``join`` merges them when the read is over.
    """

    __slots__ = ("expires_at", "futures", "gone", "is_seen", "later", "since", "timer", "watchers")

    def __init__(self, since: int) -> None:
        self.since = since
        """When the first member joined, by the clock of the backend."""
        self.futures: dict[Waiting, asyncio.TimerHandle | None] = {}
        self.watchers: set[Subscriber] = set()
        self.later: Waitlist | None = None
        self.is_seen = False
        """Whether the record has ever been found or hinted at: only then can an absent one be gone."""
        self.gone: type[ResultGone] | None = None
        """What a hint said about the removal. Kept until a read confirms it or finds a record again."""
        self.expires_at: int | None = None
        self.timer: asyncio.TimerHandle | None = None

    @property
    def is_unused(self) -> bool:
        return not self.futures and not self.watchers and self.later is None

    def heeds(self, change: Change) -> bool:
        """Whether a change that ends no wait is to be read for a watcher."""
        return any(change not in watcher.ignored for watcher in self.watchers)

    def note(self, change: Change, at: int | None) -> None:
        if change in REMOVALS:
            # A removal from before the first member joined is none of their business: its message was late.
            if at is None or at >= self.since:
                self.gone = ResultExpired if change is Change.EXPIRED else ResultDeleted
        else:
            # It does not undo `gone`, as hints may arrive out of order. The read that follows decides.
            self.is_seen = True
        if self.later is not None:
            self.later.note(change, at)

    def gone_by(self, was_seen: bool, has_expired: bool, now: int) -> type[ResultGone] | None:
        """How the record went away, which a read did not find, or found expired; None: not stored yet.

        It is gone only if it was seen before the read began (``was_seen``).
        """
        # A removal that a hint reported needs no earlier sighting: the record existed, perhaps so briefly
        # that no read ever found it.
        if self.gone is not None or not was_seen:
            return self.gone
        # Without a hint only the clock can tell expiry from deletion.
        was_due = self.expires_at is not None and self.expires_at <= now
        return ResultExpired if has_expired or was_due else ResultDeleted

    def arm(self, now: int, look: Callable[[], None]) -> None:
        """Look when the record expires."""
        self.stop_timer()
        if self.expires_at is not None:
            delay = max(0.001, (self.expires_at - now) / 1_000_000)
            self.timer = asyncio.get_running_loop().call_later(min(delay, _LONGEST_TIMER), look)

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

    def settle(self, outcome: TaskResult | Exception) -> None:
        """Give the outcome to all but ``later``. These futures get nothing more from this waitlist."""
        for future, timer in self.futures.items():
            if timer is not None:
                timer.cancel()
            if future.done():  # timed out or cancelled, and not released yet
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self.show(outcome)
        self.stop_timer()

    def show(self, state: TaskResult | Exception) -> None:
        for watcher in self.watchers:
            if isinstance(state, Exception):
                watcher.fail(state)
            else:
                watcher.show(state)

    def join(self) -> None:
        """Merge ``later``. Its members marked the id stale when they came, so a read of their own follows."""
        if self.later is not None:
            self.futures |= self.later.futures
            self.watchers |= self.later.watchers
            self.later = None

    def stop_timer(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
