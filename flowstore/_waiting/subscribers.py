"""Who looks on without waiting for an end: what each has still to be shown."""

from __future__ import annotations

import asyncio
from typing import Any

from flowstore.models import TaskResult


class Subscriber:
    """Hears of news until an error ends that."""

    __slots__ = ("_error", "_news")

    def __init__(self) -> None:
        self._news = asyncio.Event()
        self._error: Exception | None = None

    def show(self, state: TaskResult[Any]) -> None:
        """The state of the task, which may be no news."""

    def fail(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            self._news.set()

    async def news(self) -> None:
        """Return when there is something new. Raises what ended the watching."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error


class Watcher(Subscriber):
    """What one iteration of ``watch`` has still to show: the newest state."""

    __slots__ = ("_is_at_end", "_shown", "state")

    def __init__(self) -> None:
        super().__init__()
        self.state: TaskResult[Any]
        self._shown: TaskResult[Any] | None = None
        self._is_at_end = False

    def show(self, state: TaskResult[Any]) -> None:
        """One that was shown already is no news; nothing follows a finished one."""
        if state != self._shown and not self._is_at_end:
            self.state = self._shown = state
            self._is_at_end = state.is_finished
            self._news.set()

    def fail(self, error: Exception) -> None:
        if not self._is_at_end:
            super().fail(error)
