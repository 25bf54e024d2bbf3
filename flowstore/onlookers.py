"""Who looks on without waiting for an end: what each has still to be shown."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from flowstore.models import TaskResult


class Onlooker:
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


class Watcher(Onlooker):
    """What one iteration of ``watch`` has still to show: the newest state."""

    __slots__ = ("_shown", "state")

    def __init__(self) -> None:
        super().__init__()
        self.state: TaskResult[Any]
        self._shown: tuple[object, ...] = ()

    def show(self, state: TaskResult[Any]) -> None:
        """One that was shown already is no news; nothing follows a finished one."""
        mark = (state.version, state.progress)
        if mark != self._shown and not (self._shown and self.state.is_finished):
            self.state, self._shown = state, mark
            self._news.set()

    def fail(self, error: Exception) -> None:
        if not (self._shown and self.state.is_finished):
            super().fail(error)


Stored = tuple[str, str]
"""An id, and the status that it was stored in."""


class Tail(Onlooker):
    """What one iteration of ``watch_status`` has still to show: ids that were stored in ``statuses``.

    What it did not hear of, because it was not registered yet or messages were lost, is told from the
    history: there each store is as often as it was heard of, or has been missed. ``memory``: for how
    many microseconds of ``clock`` both are compared, at least the time that a store may take.
    """

    __slots__ = (
        *("_begun", "_clock", "_ids", "_is_registered", "_known", "_memory", "_owed"),
        *("_missed_ids", "_recent", "_sound", "has_gap", "statuses"),
    )

    def __init__(self, statuses: Collection[str], clock: Callable[[], int], memory: int) -> None:
        super().__init__()
        self.statuses = frozenset(statuses)
        self._clock = clock
        self._memory = memory
        self._ids: list[str] = []
        self._missed_ids: list[str] = []
        self._recent: deque[tuple[int, Stored]] = deque()
        self._known: Counter[Stored] = Counter()
        self._owed: Counter[Stored] = Counter()
        self._begun = self._sound = clock()
        """Since when it shows, and up to when it has missed nothing, but for stores on their way then."""
        self._is_registered = False
        self.has_gap = False

    def heard(self, ids: Iterable[str], status: str) -> None:
        if status not in self.statuses:
            return
        for task_id in ids:
            stored = (task_id, status)
            if self._owed[stored]:
                self._owed[stored] -= 1  # it was in the history already
            else:
                self._add(stored, self._ids)
                self._known[stored] += 1  # a comparison under way may find it as well

    def registered(self) -> None:
        """From now on it hears of all; what came before the first time it may have missed."""
        if not self._is_registered:
            self._is_registered = True
            self.missed()

    def missed(self) -> None:
        self.has_gap = True
        self._news.set()

    def compare(self) -> tuple[int, Callable[[Stored], None]]:
        """Since when the history has to be read, and what to call with each of its stores, in order."""
        since, self._sound = max(self._begun, self._sound - self._memory), self._clock()
        while self._recent and self._recent[0][0] < since:
            self._recent.popleft()
        self._known = Counter(stored for _, stored in self._recent)
        self._owed.clear()
        self.has_gap = False

        def found(stored: Stored) -> None:
            if stored[1] not in self.statuses:
                return
            if self._known[stored]:
                self._known[stored] -= 1
            else:
                self._owed[stored] += 1
                self._add(stored, self._missed_ids)

        return since, found

    def take(self) -> list[str]:
        """The ids that were not taken yet: those that had been missed, then those that were heard of."""
        ids = self._missed_ids + self._ids
        self._missed_ids, self._ids = [], []
        return ids

    def _add(self, stored: Stored, ids: list[str]) -> None:
        ids.append(stored[0])
        self._recent.append((self._clock(), stored))
        self._news.set()
