"""Tails: every task that enters a status, including those stored while no message got through.

Messages come at once but can be lost; the history is complete but has to be read. So a tail shows what
messages say, and after every gap it compares them with the history. Each store must be shown once, though
it may arrive both ways, in either order, and a task may enter the same status twice. Hence two multisets:
``_known`` counts stores shown from messages, which the history must not show again; ``_owed`` has the times
of stores shown from the history whose message may still come. A set would swallow the second of two equal
stores.

Clocks and transactions overlap: a store stamped before a comparison may commit after it. So each
comparison reaches back ``memory`` before the last one that was complete. If ``memory`` were shorter than the
time a store may take, such a store would be missed for good.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable

from flowstore._waiting.subscribers import Subscriber

Stored = tuple[str, str]
"""A task id and the status it was stored in."""


class Tail(Subscriber):
    """One iteration of ``watch_status``: the ids stored in ``statuses`` that were not taken yet.

    ``memory``: how far back messages and history are compared, in microseconds of ``clock``; at least the
    time that one store may take.
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
        self._owed: defaultdict[Stored, list[int]] = defaultdict(list)
        self._begun = self._sound = self._compared = clock()
        """The start of the tail; the time up to which nothing was missed, except stores in flight at that
        time; and the start of the last comparison.
        """
        self._is_registered = False
        self.has_gap = False

    def heard(self, ids: Iterable[str], status: str) -> None:
        if status not in self.statuses:
            return
        for task_id in ids:
            stored = (task_id, status)
            if self._owed[stored]:
                self._owed[stored].pop(0)  # already shown, from the history
            else:
                self._ids.append(task_id)
                self._recent.append((self._clock(), stored))
                self._known[stored] += 1  # a comparison in progress may find it as well
                self._news.set()

    def registered(self) -> None:
        """Messages arrive from now on. Whatever was stored before the first registration may be missing."""
        if not self._is_registered:
            self._is_registered = True
            self.missed()

    def missed(self) -> None:
        self.has_gap = True
        self._news.set()

    def compare(self) -> int:
        """Begin a comparison; returns the time from which to read the history.

        Pass each store in it to ``found``, in order, and call ``compared`` if the read reached the end.
        """
        # The clock is read before the history: a store that commits during the read is either found or
        # belongs to the next comparison.
        self._compared = self._clock()
        since = max(self._begun, self._sound - self._memory)
        self._recent = [entry for entry in self._recent if entry[0] >= since]
        # The read counts every store from `since` on, so what was shown is counted anew over that same time.
        # So long a message may also be on its way, however many comparisons there were. A debt swallows an
        # equal store that comes meanwhile; that one is found by the next comparison.
        self._known = Counter(stored for _, stored in self._recent)
        for stored, times in list(self._owed.items()):
            self._owed[stored] = [at for at in times if at >= self._compared - self._memory]
            if not self._owed[stored]:
                del self._owed[stored]
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
        # The message of an older store is lost, not late. To wait for it would swallow the next store of
        # this task in this status.
        if at >= self._compared - self._memory:
            self._owed[stored].append(at)

    def compared(self) -> None:
        """The history was read to its end: nothing stored before the comparison began is missing."""
        self._sound = self._compared

    def take(self) -> list[str]:
        """The ids not taken yet: first those from the history, which are older, then those from messages."""
        ids = self._missed_ids + self._ids
        self._missed_ids, self._ids = [], []
        return ids
