"""What one scrape tells of whole stores: read once for all who ask at the same time, and within bounds.

Names are labels, and there may be a thousand. The first 200 in the order in which they were first counted
keep series of their own for good, as that order never changes, whoever exports it; all others are added up.
So no series falls, ends or changes its meaning when other names become the busiest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import flowstore.sync
from flowstore import EVER, BaseResultBackend, Distribution, Facts, TaskStats

OTHER: Final = "other"
"""The label of all names that have no series of their own."""
BOUNDS: Final = tuple(4**power / 1_000 for power in range(14))
"""Upper bounds of histograms, in seconds, from a millisecond to 18 hours: each is one of the statistics."""
_MOST_GROUPS: Final = 2_000

_LOG: Final = logging.getLogger("flowstore.integrations.prometheus")

T = TypeVar("T")


class Scope(NamedTuple):
    """What is asked of each store. ``names``: how many have series of their own."""

    names: int
    silent_after: float


class Histogram(NamedTuple):
    """``counts``: of each of BOUNDS, how many took that long at most. ``sum``: in seconds, to 9 percent."""

    counts: tuple[int, ...]
    total: int
    sum: float


class Named(NamedTuple):
    """What was counted of one label, since ever."""

    name: str
    transitions: dict[str, int]
    run: Histogram
    wait: Histogram


class Reading(NamedTuple):
    facts: Facts
    named: list[Named]
    open_errors: int


class Scraped(NamedTuple):
    """``reading``: None if the store could not be read. ``failures``: how often that was, in this process."""

    namespace: str
    reading: Reading | None
    failures: int


async def read(backend: BaseResultBackend, scope: Scope) -> Reading:
    async with asyncio.TaskGroup() as group:
        facts = group.create_task(backend.facts(silent_after=scope.silent_after))
        named = group.create_task(_read_names(backend, scope))
        errors = group.create_task(backend.errors.groups("open", limit=_MOST_GROUPS))
    return Reading(facts.result(), named.result(), len(errors.result()))


async def _read_names(backend: BaseResultBackend, scope: Scope) -> list[Named]:
    """The names last, as in ``read_sync``: one that is new must not be taken for another, once."""
    rows = await backend.stats.by("name", since=EVER)
    return _labelled(rows, (await backend.stats.names(order="first"))[: scope.names])


def read_sync(backend: flowstore.sync.ResultBackend, scope: Scope) -> Reading:
    facts = backend.facts(silent_after=scope.silent_after)
    rows, names = backend.stats.by("name", since=EVER), backend.stats.names(order="first")
    groups = backend.errors.groups("open", limit=_MOST_GROUPS)
    return Reading(facts, _labelled(rows, names[: scope.names]), len(groups))


def _labelled(rows: Iterable[TaskStats], shown: Sequence[str]) -> list[Named]:
    labels: defaultdict[str, list[TaskStats]] = defaultdict(list)
    known = frozenset(shown)
    for row in rows:
        label = "" if row.name is None else row.name
        labels[label if label in known or not label else OTHER].append(row)
    return [_named(label, labels[label]) for label in sorted(labels)]


def _named(label: str, rows: Sequence[TaskStats]) -> Named:
    transitions = {
        "submitted": sum(row.submitted for row in rows),
        "requeued": sum(row.requeued for row in rows),
        "retrying": sum(row.retried for row in rows),
        "success": sum(row.succeeded for row in rows),
        "failed": sum(row.failed for row in rows),
        "cancelled": sum(row.cancelled for row in rows),
    }
    run, wait = _histogram([row.run for row in rows]), _histogram([row.wait for row in rows])
    return Named(label, transitions, run, wait)


def _histogram(distributions: Iterable[Distribution]) -> Histogram:
    buckets: Counter[float] = Counter()
    for distribution in distributions:
        buckets.update(dict(distribution.buckets))
    added = Distribution(buckets=tuple(sorted(buckets.items())))
    counts = [sum(number for highest, number in added.buckets if highest <= bound) for bound in BOUNDS]
    return Histogram(tuple(counts), added.total, added.sum)


class Kept(Generic[T]):
    """What was read last, for as long as it is new enough."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = -1.0
        self._value: T

    def get(self) -> T | None:
        return self._value if self._clock() < self._until else None

    def set(self, value: T) -> T:
        self._value, self._until = value, self._clock() + self._seconds
        return value


class Outcomes:
    """Tells of a store that cannot be read: in its result, and once in the log."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._failures = 0
        self._is_failing = False

    def of(self, reading: Reading) -> Scraped:
        self._is_failing = False
        return Scraped(self._namespace, reading, self._failures)

    def failed(self, error: Exception) -> Scraped:
        self._failures += 1
        if not self._is_failing:
            _LOG.warning("the metrics of %s cannot be read: %r", self._namespace, error)
        self._is_failing = True
        return Scraped(self._namespace, None, self._failures)

    async def within(self, seconds: float, reading: Awaitable[Reading]) -> Scraped:
        try:
            async with asyncio.timeout(seconds):
                return self.of(await reading)
        except ExceptionGroup as group:
            return self.failed(group.exceptions[0])
        except Exception as error:
            return self.failed(error)
