"""What the tests of statistics write and read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowstore.engine import Cell, Engine, Mark, Tallied, Tier, Write
from flowstore.testing.samples import NOW, sample_write

MINUTE, HOUR = Tier.MINUTE.length, Tier.HOUR.length
AT = NOW - NOW % HOUR + 7 * MINUTE
"""In the eighth minute of an hour."""
SERIES = ("", "=a")


def counting(
    series: Sequence[str], first: Sequence[str] = (), changed: Sequence[str] = ()
) -> tuple[Mark, ...]:
    """The marks of these buckets: ``first`` of those that count only for the first write of a record."""
    marks = [Mark(one, bucket, is_first=True) for one in series for bucket in first]
    return (*marks, *(Mark(one, bucket) for one in series for bucket in changed))


MARKS = counting(SERIES, ("n",), ("s1", "w2"))


async def cells(
    engine: Engine,
    series: str = "",
    tier: Tier = Tier.MINUTE,
    start: int = AT - 2 * HOUR,
    end: int = AT + 2 * HOUR,
    every: int = MINUTE,
) -> list[Cell]:
    every = max(every, tier.length)
    [found] = await engine.tallies([Tallied(tier, series, tier.start(start), end, every)])
    return found


def marked(
    task_id: str, status: str = "success", at: int = AT, marks: tuple[Mark, ...] = MARKS, **changes: Any
) -> Write:
    return sample_write(task_id, status, updated_at=at, marks=marks, **changes)


async def purged(engine: Engine, now: int) -> None:
    """Until nothing is left to do."""
    while not (await engine.purge(10, now)).is_done:
        pass
