"""What those are told who listen to changes, and what is kept for each of them until it is taken."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

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
    """``then``: the task as it was by that change, as far as it is known; None: it cannot be read.

    ``is_heard``: a hint has told of it; False: it was found in the history.
    """

    key: Key
    change: TaskChange
    then: TaskResult | None
    is_heard: bool = True


class Question(NamedTuple):
    """Which changes are wanted: those for whose row ``holds``. Equal if ``asked`` is."""

    asked: Hashable
    holds: Callable[[Any], bool]


class Listening(Subscriber):
    """One iteration of ``watch_changes``: the changes that it was not given yet, at most ``most``.

    ``since``: what the history has of the time before that, in microseconds, is not for it. ``question``:
    what it wants; None: all. What comes while ``most`` are kept is passed over, until they are taken; and a
    sign that something is missing follows them. By then nothing is passed over any more, so a look shows it
    all.
    """

    __slots__ = ("_given", "_items", "_most", "_passed", "question", "since")

    def __init__(self, since: int, question: Question | None, most: int) -> None:
        super().__init__()
        self.since = since
        self.question = question
        self._given: dict[Key, int] = {}
        """What it has read by itself when it joined, and until when to remember that."""
        self._most = most
        self._items: list[Found | ChangesMissed] = []
        self._passed: int | None = None

    def wake(self) -> None:
        self._news.set()

    def check(self) -> None:
        """Raise the error that ended it."""
        if self._error is not None:
            raise self._error

    def put(self, wanted: Sequence[Found]) -> None:
        fresh = [
            each
            for each in wanted
            if each.key not in self._given and (each.is_heard or each.key.at >= self.since)
        ]
        room = max(0, self._most - len(self._items)) if self._passed is None else 0
        self._items += fresh[:room]
        for each in fresh[room:]:
            self._pass_over(each.key.at)
        if fresh:
            self._news.set()

    def join(self, found: Iterable[Found], now: int) -> list[Found]:
        """Of what it has read in the history, that which it was not given yet."""
        fresh = [each for each in found if each.key not in self._given]
        self._given.update((each.key, max(now, each.key.at)) for each in fresh)
        return fresh

    def joined(self, before: int) -> None:
        """It has read all that was stored. No hint will be about what is older than ``before``."""
        self._items = [
            each for each in self._items if isinstance(each, ChangesMissed) or each.key not in self._given
        ]
        self._given = {key: until for key, until in self._given.items() if key.at >= before}

    def forget(self, before: int) -> None:
        self._given = remembered(self._given, before)

    def miss(self, since: int) -> None:
        """Changes stored at that time or later may be missing, whatever it wants."""
        if self._passed is not None:
            self._pass_over(since)
        elif not (self._items and isinstance(self._items[-1], ChangesMissed)):
            self._items.append(missed(max(since, self.since)))
        self._news.set()

    def take(self) -> list[Change]:
        """What was not taken yet, in order."""
        items = [each if isinstance(each, ChangesMissed) else each.change for each in self._items]
        self._items = []
        if self._passed is not None:
            items.append(missed(self._passed))
            self._passed = None
        return items

    def _pass_over(self, at: int) -> None:
        self._passed = at if self._passed is None else min(self._passed, at)


def missed(since: int) -> ChangesMissed:
    return ChangesMissed(since=from_micros(since))


def remembered(keys: Mapping[Key, int], before: int) -> dict[Key, int]:
    """Those of which ``before`` is not past the time until which they are remembered."""
    return {key: until for key, until in keys.items() if until >= before}
