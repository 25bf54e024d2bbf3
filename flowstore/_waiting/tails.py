"""Tails: every task that enters a status, including those stored while no message got through.

Messages come at once but can be lost; the history is complete but has to be read. So a tail shows what
messages say, and after every gap it compares them with the history. Each store must be shown once, though
it may arrive both ways, in either order, and a task may enter the same status twice. Hence multisets:
``_known`` and ``_heard`` hold what was shown before and since a comparison began, and must not be shown again
from the history; ``_owed`` has the times of stores shown from the history whose message may still come. A set
would swallow the second of two equal stores.

Clocks and transactions overlap: a store stamped before a comparison may commit after it. So each
comparison reaches back ``memory`` before the last one that was complete. If ``memory`` were shorter than the
time a store may take, such a store would be missed for good.

Messages come whether anybody takes them or not. Of a consumer that falls behind only so many are kept, and
those that follow are passed over, as if they were lost: the history is read for him when he has taken the
others, a step at a time. What is older than ``memory`` when a read comes to it is settled: whatever has that
time is committed, and was read. So it need not be remembered, however long the read takes.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Final

from flowstore._waiting.subscribers import Follower

Stored = tuple[str, str]
"""A task id and the status it was stored in."""

MOST_IDS: Final = 50_000
"""How many messages are kept for a consumer that falls behind: about 12 MB."""
_MOST_RECENT: Final = 1_000


class _Shown:
    """A store that was shown, and its time: in the history, or else when its message came."""

    __slots__ = ("at", "stored")

    def __init__(self, at: int, stored: Stored) -> None:
        self.at = at
        self.stored = stored


_TIME: Final = attrgetter("at")


class Tail(Follower):
    """One iteration of ``watch_status``: the ids stored in ``statuses`` that were not taken yet.

    ``memory``: how far back messages and history are compared, in microseconds of ``clock``; at least the
    time that one store may take. ``most``: how many ids to keep that nobody takes; None, where the history is
    not complete: all.
    """

    __slots__ = (
        *("_clock", "_compared", "_heard", "_ids", "_is_registered", "_known", "_memory", "_missed_ids"),
        *("_most", "_most_recent", "_owed", "_recent", "_since", "has_gap", "is_behind", "statuses"),
    )

    def __init__(
        self,
        statuses: Collection[str],
        clock: Callable[[], int],
        memory: int,
        most: int | None = None,
    ) -> None:
        super().__init__()
        self.statuses = frozenset(statuses)
        self._clock = clock
        self._memory = memory
        self._most = most
        self._ids: list[str] = []
        self._missed_ids: list[str] = []
        self._recent: list[_Shown] = []
        self._most_recent = _MOST_RECENT
        self._known: defaultdict[Stored, deque[_Shown]] = defaultdict(deque)
        self._heard: defaultdict[Stored, deque[_Shown]] = defaultdict(deque)
        self._owed: defaultdict[Stored, list[int]] = defaultdict(list)
        self._since = self._compared = clock()
        """Of the stores before the first time nothing is missing; the second is the start of the last
        comparison.
        """
        self._is_registered = False
        self.has_gap = False
        self.is_behind = False
        """Whether the messages that come are passed over, until the history is read."""

    def heard(self, ids: Collection[str], status: str) -> None:
        if status not in self.statuses:
            return
        for task_id in ids:
            stored = (task_id, status)
            if owed := self._owed.get(stored):
                owed.pop(0)  # already shown, from the history
            elif self.is_behind or (self._most is not None and len(self._ids) >= self._most):
                self.is_behind = True
                self.missed()
            else:
                self._ids.append(task_id)
                shown = _Shown(self._clock(), stored)
                self._recent.append(shown)
                self._heard[stored].append(shown)  # a comparison in progress may find it as well
                self._news.set()

    def registered(self) -> None:
        """Messages arrive from now on. Whatever was stored before the first registration may be missing."""
        if not self._is_registered:
            self._is_registered = True
            self.missed()

    def missed(self) -> None:
        self.has_gap = True
        self._news.set()

    def cut_off(self) -> None:
        self.missed()

    def compare(self) -> int:
        """Begin a comparison; returns the time from which to read the history.

        Pass each store in it to ``found``, in order, tell ``passed`` of each step, and call ``compared`` if
        the read reached the end.
        """
        # The clock is read before the history: a store that commits during the read is either found or
        # belongs to the next comparison.
        self._compared = self._clock()
        self._forget_settled()
        # The read counts every store from then on, so what was shown is counted anew over that same time.
        # So long a message may also be on its way, however many comparisons there were. A debt swallows an
        # equal store that comes meanwhile; that one is found by the next comparison.
        self._known.clear()
        self._heard.clear()
        for shown in sorted(self._recent, key=_TIME):
            self._known[shown.stored].append(shown)
        for stored, times in list(self._owed.items()):
            self._owed[stored] = [at for at in times if at >= self._compared - self._memory]
            if not self._owed[stored]:
                del self._owed[stored]
        self.has_gap = self.is_behind = False
        return self._since

    def found(self, stored: Stored, at: int) -> None:
        if stored[1] not in self.statuses or self._is_enough(at):
            return
        # The message of an older store is lost, not late: one that came since the comparison began is that of
        # another store of this task in this status. To wait for it would swallow the next one.
        is_late = at < self._compared - self._memory
        for known in (self._known,) if is_late else (self._known, self._heard):
            if shown := known.get(stored):
                # It may be that of a later, equal one, which then is shown in its stead. So it gets the time
                # of this one, or the next comparison would take a third for shown.
                shown.popleft().at = at
                return
        self._missed_ids.append(stored[0])
        self._recent.append(_Shown(at, stored))
        if not is_late:
            self._owed[stored].append(at)

    def passed(self, at: int) -> bool:
        """A step of the history was read, up to this time. True if that is enough."""
        self._settle(at)
        if len(self._recent) > self._most_recent:
            self._forget_settled()
        return self._is_enough(at)

    def _is_enough(self, at: int) -> bool:
        """Where the comparison began, for a tail that has fallen behind again: the rest is read by another.

        Messages that were kept meanwhile are older than those that were not, so they are shown before them.
        """
        return self.is_behind and at >= self._compared

    def compared(self) -> None:
        """The history was read to its end: nothing stored before the comparison began is missing."""
        self._settle(self._compared)

    def _settle(self, at: int) -> None:
        """Nothing before ``at`` is missing, except stores that were in flight when the comparison began."""
        self._since = max(self._since, min(at, self._compared - self._memory))

    def _forget_settled(self) -> None:
        self._recent = [shown for shown in self._recent if shown.at >= self._since]
        self._most_recent = 2 * len(self._recent) + _MOST_RECENT

    def take(self) -> list[str]:
        """The ids not taken yet: first those from the history, which are older, then those from messages."""
        ids = self.take_found() + self._ids
        self._ids = []
        return ids

    def take_found(self) -> list[str]:
        """Those from the history."""
        ids, self._missed_ids = self._missed_ids, []
        return ids
