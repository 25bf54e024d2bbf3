"""What statistics say of a time: how many tasks there were of each kind, and how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import ceil, fsum
from typing import Annotated, Final, Self

from pydantic import BaseModel, Field

from flowstore._values.tallying import (
    ENDED,
    REQUEUED,
    RETRYING,
    SUBMITTED,
    WAITED,
    highest_in,
    middle_of,
)
from flowstore.models import TaskStatus
from flowstore.tables import Tabular

_OF_LETTER: Final = {letter: TaskStatus(status) for status, letter in ENDED.items()}


class Distribution(Tabular, BaseModel, frozen=True, extra="forbid"):
    """How long something took, counted in buckets of which each is a fifth wider than the one before.

    ``buckets``: of each that is not empty its upper bound in seconds, ascending, and how many are in it.
    """

    buckets: tuple[tuple[float, int], ...] = ()

    @property
    def total(self) -> int:
        return sum(number for _, number in self.buckets)

    @property
    def sum(self) -> float:
        """How many seconds all took together, as far as is known: to 9 percent."""
        return fsum(number * _middle_below(highest) for highest, number in self.buckets)

    def percentile(self, q: float) -> float | None:
        """The seconds that a share ``q``, from 0 to 1, took at most; None if there is none.

        It is known to 9 percent, or half a millisecond.
        """
        if isinstance(q, bool) or not isinstance(q, int | float):
            raise TypeError(f"q: expected float, got {type(q).__name__}")
        if not 0 <= q <= 1:
            raise ValueError(f"q: expected a share from 0 to 1, such as 0.95, got {q!r}")
        rank = ceil(round(q * self.total, 6))  # a product such as 0.55 * 100 is a little too high
        for highest, number in self.buckets:
            rank -= number
            if rank <= 0:
                return _middle_below(highest)
        return None

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> Self:
        """By the numbers of the buckets."""
        return cls(buckets=tuple((highest_in(bucket), counts[bucket]) for bucket in sorted(counts)))


_MIDDLES: Final = {highest_in(bucket): middle_of(bucket) for bucket in range(121)}


def _middle_below(highest: float) -> float:
    return _MIDDLES.get(highest, highest)


class TaskStats(Tabular, BaseModel, frozen=True, extra="forbid"):
    """What became of tasks from ``start`` to before ``end``, by the time at which that was stored.

    ``name``: those of that name; None: all, or in ``by("name")`` those without one. ``status``: only those
    that ended in it; None: all.

    ``submitted``: tasks that were stored for the first time. ``requeued``: that became pending for another
    attempt. ``retried``: attempts that failed and were to be repeated. The others are how tasks ended.
    ``run``: how long their last attempt ran, of those that ended. ``wait``: how long they had waited for
    their start, of those that ended in their first attempt. Both only where the times are known.
    """

    start: datetime
    end: datetime
    name: str | None = None
    status: TaskStatus | None = None
    submitted: int = 0
    requeued: int = 0
    retried: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    run: Annotated[Distribution, Field(default_factory=Distribution)]
    wait: Annotated[Distribution, Field(default_factory=Distribution)]

    @property
    def ended(self) -> int:
        return self.succeeded + self.failed + self.cancelled

    @property
    def failure_rate(self) -> float | None:
        """The share of failed tasks among those that succeeded or failed; None if there was none."""
        judged = self.succeeded + self.failed
        return self.failed / judged if judged else None


def measured(
    counts: Mapping[str, int],
    start: datetime,
    end: datetime,
    name: str | None = None,
    status: TaskStatus | None = None,
) -> TaskStats:
    """Of the buckets of a series. A bucket that a newer program counts is passed over."""
    ended: Counter[TaskStatus] = Counter()
    run: Counter[int] = Counter()
    wait: Counter[int] = Counter()
    for bucket, number in counts.items():
        letter, duration = bucket[:1], bucket[1:]
        if duration and not (duration.isdecimal() and duration.isascii() and len(duration) <= 3):
            continue
        if letter == WAITED and duration and status is None:
            wait[int(duration)] += number
        elif (end_status := _OF_LETTER.get(letter)) and status in (None, end_status):
            ended[end_status] += number
            if duration:
                run[int(duration)] += number
    own = counts if status is None else {}
    return TaskStats(
        start=start,
        end=end,
        name=name,
        status=status,
        submitted=own.get(SUBMITTED, 0),
        requeued=own.get(REQUEUED, 0),
        retried=own.get(RETRYING, 0),
        succeeded=ended[TaskStatus.SUCCESS],
        failed=ended[TaskStatus.FAILED],
        cancelled=ended[TaskStatus.CANCELLED],
        run=Distribution.of(run),
        wait=Distribution.of(wait),
    )


def statuses_in(counts: Iterable[str]) -> list[TaskStatus]:
    """In which tasks ended, in the order of TaskStatus."""
    found = {_OF_LETTER.get(bucket[:1]) for bucket in counts}
    return [status for status in TaskStatus if status in found]
