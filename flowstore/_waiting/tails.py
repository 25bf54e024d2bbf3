"""Who follows all tasks that enter a status, also those that were stored while nothing could be heard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable

from flowstore._waiting.subscribers import Subscriber

Stored = tuple[str, str]
"""An id, and the status that it was stored in."""


class Tail(Subscriber):
    """What one iteration of ``watch_status`` has still to show: ids that were stored in ``statuses``.

    What it did not hear of, because it was not registered yet or messages were lost, is told from the
    history: there each store is as often as it was heard of, or has been missed. ``memory``: for how
    many microseconds of ``clock`` both are compared, at least the time that a store may take.
    """

    __slots__ = (
        *("_begun", "_clock", "_compared", "_ids", "_is_registered", "_known", "_memory", "_missed_ids"),
        *("_owed", "_recent", "_sound", "has_gap", "statuses"),
    )

    def __init__(self, statuses: Collection[str], clock: Callable[[], int], memory: int) -> None:
        super().__init__()
        self.statuses = frozenset(statuses)
        self._clock = clock
        self._memory = memory
        self._ids: list[str] = []
        self._missed_ids: list[str] = []
        self._recent: list[tuple[int, Stored]] = []
        self._known: Counter[Stored] = Counter()
        self._owed: Counter[Stored] = Counter()
        self._begun = self._sound = self._compared = clock()
        """Since when it shows; up to when it has missed nothing, but for stores on their way then; and when
        the last comparison began.
        """
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
                self._ids.append(task_id)
                self._recent.append((self._clock(), stored))
                self._known[stored] += 1  # a comparison under way may find it as well
                self._news.set()

    def registered(self) -> None:
        """From now on it hears of all; what came before the first time it may have missed."""
        if not self._is_registered:
            self._is_registered = True
            self.missed()

    def missed(self) -> None:
        self.has_gap = True
        self._news.set()

    def compare(self) -> int:
        """Begin to. Since when the history has to be read; each store in it is then ``found``, in order."""
        self._compared = self._clock()
        since = max(self._begun, self._sound - self._memory)
        self._recent = [entry for entry in self._recent if entry[0] >= since]
        self._known = Counter(stored for _, stored in self._recent)
        self._owed.clear()
        self.has_gap = False
        return since

    def found(self, stored: Stored, at: int) -> None:
        if stored[1] not in self.statuses:
            return
        if self._known[stored]:
            self._known[stored] -= 1
            return
        self._missed_ids.append(stored[0])
        self._recent.append((at, stored))
        if at >= self._compared - self._memory:  # what is older is not on its way any more, but lost
            self._owed[stored] += 1

    def compared(self) -> None:
        """All of the history was read: nothing is missed that was stored before the comparison."""
        self._sound = self._compared

    def take(self) -> list[str]:
        """The ids that were not taken yet: those that had been missed, then those that were heard of."""
        ids = self._missed_ids + self._ids
        self._missed_ids, self._ids = [], []
        return ids
