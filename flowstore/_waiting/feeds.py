"""The feed of a backend: which changes were stored, once for all who listen to them in this process.

Hints say at once which tasks were stored, but can be lost; the history has every change, but has to be read.
So each hint is followed by a look at the record, and now and then the history is read, which shows what no
hint has told. What makes that simple is the key of a transition: its task, version and time are the same in
the record that it has made and in the history. So whatever was shown is known by its key, however it was
found, and how often; and what is shown twice by hints, or found again in the history, is dropped.

Clocks and transactions overlap: a store stamped before a comparison may commit after it. So each comparison
reaches back, and keys are kept for that long. How far is a matter of cost: after each break in which hints
may have been lost, ``_NEAR``, and every ``recheck_interval``, which finds what committed later still,
``memory``, which is at least the time that one store may take.

Whoever joins reads by itself what the history has from its call on, and knows what it was given there by its
keys. So it neither waits for others nor keeps them waiting, and what is only for it is shown to nobody else.

Where the history is not complete, nobody can tell what was missed. Then those who listen are told so: after
each break, when a state is gone that was heard of, and those who join, of the time between their call and the
first step. They are told once hints arrive again, since whoever looks then has to hear of all that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

from flowstore._waiting.changes import Found, Key, Listening, remembered
from flowstore._waiting.subscribers import Follower
from flowstore.engine import STATUSES, let_go

MOST_HEARD: Final = 50_000
"""How many ids are kept for a reader that falls behind: about 12 MB. What follows is as if it were lost."""
_NEAR: Final = 1_000_000
_KNOWN: Final = frozenset(STATUSES)


class Comparison(NamedTuple):
    """A read of the history from ``start`` on, that began at ``end``."""

    start: int
    end: int
    is_deep: bool
    is_near: bool


class Feed(Follower):
    """What was heard and is still to be read, what was shown, and those who listen.

    ``memory``: in microseconds of ``clock``. ``has_history``: whether there is one to compare with, and
    ``is_complete``: whether all that was stored is in it.
    """

    def __init__(self, clock: Callable[[], int], memory: int, has_history: bool, is_complete: bool) -> None:
        super().__init__()
        self.listeners: list[Listening] = []
        self._clock = clock
        self._memory = memory
        self.has_history = has_history
        self.is_complete = is_complete
        self._heard: dict[str, list[str]] = {}
        self._shown: dict[Key, int] = {}
        """Until when to remember what was shown."""
        self._compared = self._told = clock()
        """The start of the last comparison, and when hints came."""
        self.settled = self._compared - memory
        """Before that nothing is missing."""
        self._is_cut = True
        """Whether hints may not arrive: they do once all ids are watched again."""
        self.is_registered = False
        """Whether hints have begun to arrive."""
        self._cut_since: int | None = None
        self._is_near = self._is_deep = False
        self.reader: asyncio.Task[None] | None = None
        """Who reads what was heard, and shows it."""

    @property
    def is_over(self) -> bool:
        return self._error is not None

    def add(self, listener: Listening) -> None:
        self.listeners.append(listener)
        self._news.set()

    def stop(self) -> None:
        """Nobody listens any more. From any loop, as a closed generator may be finalised anywhere."""
        if self.reader is not None and not self.reader.get_loop().is_closed():
            self.reader.get_loop().call_soon_threadsafe(self.reader.cancel)
        else:
            self.abandon()

    async def close(self) -> None:
        """Stop the reader, which has nothing to read any more."""
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.wait([self.reader])

    def abandon(self) -> None:
        """Let go of the reader, whose loop is closed."""
        let_go(self.reader)

    def fail(self, error: Exception) -> None:
        super().fail(error)
        for listener in self.listeners:
            listener.fail(error)

    def heard(self, ids: Collection[str], status: str) -> None:
        if status not in _KNOWN:
            return
        self._told = self._clock()
        if len(self._heard) + len(ids) > MOST_HEARD:
            self._look_back()
        else:
            self.put_back({task_id: [status] for task_id in ids})

    def put_back(self, heard: dict[str, list[str]]) -> None:
        for task_id, statuses in heard.items():
            self._heard.setdefault(task_id, []).extend(statuses)
        self._news.set()

    def wake(self) -> None:
        """Let those who listen look at it."""
        for listener in self.listeners:
            listener.wake()

    def registered(self) -> None:
        if not self.is_registered:  # so far nobody was told of anything; whoever joins looks by itself
            self.is_registered = True
            self._is_cut = False
            self.wake()
        elif self._is_cut:
            self._is_cut = False
            self._look_back()

    def missed(self) -> None:
        self._is_deep = True
        self._news.set()

    def cut_off(self) -> None:
        self._is_cut = True

    def _look_back(self) -> None:
        """Hints were lost, and come again."""
        self._is_near = True
        self._lack_since(self._told - self._memory)
        self._news.set()

    def lack(self) -> None:
        """A state that was heard of is in the history no more."""
        self._lack_since(self.settled)
        self.tell_missed()

    def _lack_since(self, since: int) -> None:
        if not self.is_complete:
            self._cut_since = since if self._cut_since is None else min(self._cut_since, since)

    def try_again(self) -> None:
        """The reader was interrupted, and what it had begun to read was not shown."""
        self._look_back()

    def take_heard(self, most: int) -> dict[str, list[str]]:
        """Of some ids, the oldest first, each status that they were stored in."""
        taken = {task_id: self._heard[task_id] for task_id in islice(self._heard, most)}
        for task_id in taken:
            del self._heard[task_id]
        return taken

    def tell_missed(self) -> None:
        """What the history cannot tell: that something is missing."""
        since, self._cut_since = self._cut_since, None
        for listener in self.listeners:
            if since is not None:
                listener.miss(since)

    def compare(self) -> Comparison | None:
        """From when to read the history on, and up to when; None if there is no reason to."""
        starts = []
        is_deep, is_near, now = self._is_deep, self._is_near, self._clock()
        self._is_deep = self._is_near = False
        if not self.has_history:
            self._forget(now - self._memory)
            return None
        if is_deep:
            starts.append(self.settled)
        if is_near:
            starts.append(max(self.settled, self._compared - _NEAR))
        return Comparison(min(starts), now, is_deep, is_near) if starts else None

    def compared(self, comparison: Comparison) -> None:
        """The history was read from its start to its end."""
        if comparison.is_near or comparison.is_deep:
            self._compared = comparison.end
        if comparison.is_deep:
            self.settled = max(self.settled, comparison.end - self._memory)
            self._forget(self.settled)

    def undo(self, comparison: Comparison) -> None:
        """It was not read to its end."""
        self._is_deep |= comparison.is_deep
        self._is_near |= comparison.is_near
        self._news.set()

    def is_shown(self, key: Key) -> bool:
        return key in self._shown

    def tell(self, fresh: Sequence[Found], answers: Mapping[Hashable, Sequence[Found] | Exception]) -> None:
        """Show what was not shown before: all of it to those without a question, others the answer to theirs.

        Whoever joined while the answers were made finds it in the history.
        """
        now = self._clock()
        self._shown.update((each.key, max(now, each.key.at)) for each in fresh)
        for listener in self.listeners:
            question = listener.question
            wanted = fresh if question is None else answers.get(question.asked, ())
            if isinstance(wanted, Exception):
                listener.fail(wanted)
            else:
                listener.put(wanted)

    def _forget(self, before: int) -> None:
        self._shown = remembered(self._shown, before)
        for listener in self.listeners:
            listener.forget(before)
