"""What those are told who listen to changes, and what is kept for each of them until it is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

from flowstore._waiting.subscribers import Subscriber
from flowstore.fields import Record
from flowstore.models import TaskResult, TaskStatus
from flowstore.times import from_micros


class TaskChange(Record):
    """A stored change of a task: to ``status``, at ``at``, in the attempt ``retries``, by ``worker_id``.

    ``at`` is the time of the store, on the clock of its backend, and ``seq`` the version of the record that
    was written: both as in the Transition that it has left in the history. ``name`` is that of the task.
    ``task`` is the task without its values, as it stood when the change was read, perhaps after others that
    follow; None, like ``name``, if it cannot be read.
    """

    task_id: str
    status: TaskStatus
    name: str | None
    at: datetime
    retries: int
    worker_id: str | None
    seq: int
    task: TaskResult | None


class ChangesMissed(Record):
    """Changes that were stored at ``since`` or later are missing: look at what you show again.

    A listing that begins now shows all of them, and what is stored from now on follows.
    """

    since: datetime


Change = TaskChange | ChangesMissed


class Key(NamedTuple):
    """What tells a transition from all others, in the history and in the record that it has made."""

    task_id: str
    seq: int
    at: int


class Found(NamedTuple):
    """``then``: the task as it was by that change, as far as it is known; None: it cannot be read."""

    key: Key
    change: TaskChange
    then: TaskResult | None


class Listening(Subscriber):
    """One iteration of ``watch_changes``: the changes that it was not given yet, at most ``most``.

    ``since``: those stored before that time, in microseconds, are not for it. ``holds``: which it wants;
    None: all. What comes while ``most`` are kept is passed over, until they are taken; and a sign that
    something is missing follows them. By then nothing is passed over any more, so a look shows it all.
    """

    __slots__ = ("_holds", "_items", "_most", "_passed", "is_joining", "seen", "since")

    def __init__(self, since: int, holds: Callable[[TaskResult], bool] | None, most: int) -> None:
        super().__init__()
        self.since = since
        self.is_joining = True
        """Whether it was not given yet what had been stored before it joined."""
        self.seen: set[Key] = set()
        """While it is joining: what it was given."""
        self._holds = holds
        self._most = most
        self._items: list[Change] = []
        self._passed: int | None = None

    def put(self, found: Iterable[Found]) -> None:
        try:
            wanted = [each for each in found if self._wants(each)]
        except Exception as error:
            self.fail(error)
            return
        room = max(0, self._most - len(self._items)) if self._passed is None else 0
        self._items += [each.change for each in wanted[:room]]
        for each in wanted[room:]:
            self._pass_over(each.key.at)
        if wanted:
            self._news.set()

    def join(self, found: Iterable[Found]) -> None:
        """Of what is in the history, that which is for it."""
        fresh = [each for each in found if each.key.at >= self.since and each.key not in self.seen]
        self.seen.update(each.key for each in fresh)
        self.put(fresh)

    def joined(self) -> None:
        self.is_joining = False
        self.seen.clear()

    def miss(self, since: int) -> None:
        """Changes stored at that time or later may be missing, whatever it wants."""
        if self._passed is not None:
            self._pass_over(since)
        elif not (self._items and isinstance(self._items[-1], ChangesMissed)):
            self._items.append(_missed(max(since, self.since)))
        self._news.set()

    def take(self) -> list[Change]:
        """What was not taken yet, in order."""
        items, self._items = self._items, []
        if self._passed is not None:
            items.append(_missed(self._passed))
            self._passed = None
        return items

    def _wants(self, found: Found) -> bool:
        return self._holds is None or (found.then is not None and self._holds(found.then))

    def _pass_over(self, at: int) -> None:
        self._passed = at if self._passed is None else min(self._passed, at)


def _missed(since: int) -> ChangesMissed:
    return ChangesMissed(since=from_micros(since))
