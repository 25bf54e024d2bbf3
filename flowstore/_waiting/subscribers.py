"""Subscribers: watchers of one task and tails of all tasks, which see changes without waiting for an end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import ClassVar

from flowstore.engine import Change
from flowstore.models import TaskResult


class Subscriber:
    """Notified of changes until an error ends the subscription."""

    __slots__ = ("_error", "_news")

    ignored: ClassVar[Collection[Change]] = ()
    """Changes for which the record need not be read."""

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._error: Exception | None = None

    def show(self, state: TaskResult) -> None:
        """Take the current state of the task. It may be one that was shown before."""

    def fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            self._news.set()

    async def news(self) -> None:
        """Return when there is something new. Raises the error that ended the subscription."""
        await self._news.wait()
        # Cleared before the caller takes the state: a change in between sets it again and costs one
        # empty turn. Cleared afterwards, that change would be lost.
        self._news.clear()
        if self._error is not None:
            raise self._error


class Follower(Subscriber):
    """Notified of the stores of all tasks."""

    __slots__ = ()

    def heard(self, ids: Collection[str], status: str) -> None:
        """Some tasks were stored in that status; or something else happened to them, which is no status."""

    def registered(self) -> None:
        """Hints arrive from now on. It is told again whenever they are asked for again."""

    def missed(self) -> None:
        """Hints may have been lost, as may always happen: it is time to look."""

    def cut_off(self) -> None:
        """Hints may have been lost, and nobody else may have asked for them yet; ``registered`` follows."""


class Listener(Subscriber):
    """Passes states on as they are read: to a block of code, which wants to know what others do to its task.

    How far the task is, the block has reported itself. ``over``: called if there will be no more of them, as
    when the record was removed.
    """

    __slots__ = ("_over", "_tell")

    ignored = (Change.REPORTED,)

    def __init__(self, tell: Callable[[TaskResult], None], over: Callable[[], None]) -> None:
        super().__init__()
        self._tell = tell
        self._over = over

    def show(self, state: TaskResult) -> None:
        self._tell(state)

    def fail(self, error: Exception) -> None:
        self._over()


class Watcher(Subscriber):
    """One iteration of ``watch``. It holds the newest state only: a slow consumer skips states and
    never falls behind.
    """

    __slots__ = ("_is_at_end", "_shown", "state")

    def __init__(self) -> None:
        super().__init__()
        self.state: TaskResult
        self._shown: TaskResult | None = None
        self._is_at_end = False

    def show(self, state: TaskResult) -> None:
        # A recheck reads the same row again, so equal states are dropped. The first finished state is the
        # last: one read before it must not follow, and deleting the record afterwards is no error.
        if state != self._shown and not self._is_at_end:
            self.state = self._shown = state
            self._is_at_end = state.is_finished
            self._news.set()

    def fail(self, error: Exception) -> None:
        if not self._is_at_end:
            super().fail(error)
