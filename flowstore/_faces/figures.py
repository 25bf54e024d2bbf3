"""Figures of statistics, as tables and charts show them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from flowstore import BaseResultBackend, Distribution, TaskStats

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
SHARES: Final = (0.5, 0.95, 0.99)


@dataclass(frozen=True)
class Window:
    """A time up to now that is looked at, in periods of ``every``."""

    name: str
    span: timedelta
    every: timedelta


WINDOWS: Final = {
    window.name: window
    for window in (
        Window("1h", _HOUR, _MINUTE),
        Window("6h", 6 * _HOUR, 5 * _MINUTE),
        Window("24h", 24 * _HOUR, _HOUR),
        Window("7d", 168 * _HOUR, 4 * _HOUR),
        Window("90d", 2_160 * _HOUR, 24 * _HOUR),
    )
}


def window_of(span: timedelta) -> Window:
    """One that begins so long ago, in at most about 100 periods that statistics can tell apart."""
    for window in WINDOWS.values():
        if span <= window.span:
            return Window(f"{span}", span, window.every)
    days = -(-span // (100 * timedelta(days=1))) or 1
    return Window(f"{span}", span, days * timedelta(days=1))


def rate(stats: TaskStats) -> float:
    """Tasks that ended in a minute."""
    minutes = (stats.end - stats.start) / _MINUTE
    return stats.ended / minutes if minutes > 0 else 0.0


def ended_by_status(series: Sequence[TaskStats]) -> dict[str, list[int]]:
    """How many tasks ended in each status, in each of the periods."""
    return {
        "success": [each.succeeded for each in series],
        "failed": [each.failed for each in series],
        "cancelled": [each.cancelled for each in series],
    }


def percentiles(times: Distribution) -> dict[str, float | None]:
    """p50, p95 and p99, in seconds; None where nothing was counted."""
    return {f"p{share * 100:g}": times.percentile(share) for share in SHARES}


def as_json(stats: TaskStats) -> dict[str, Any]:
    """The numbers of one row, for programs. Durations are seconds, known to 9 percent."""
    return {
        "v": 1,
        "name": stats.name,
        "status": stats.status,
        "start": stats.start.isoformat().replace("+00:00", "Z"),
        "end": stats.end.isoformat().replace("+00:00", "Z"),
        "submitted": stats.submitted,
        "requeued": stats.requeued,
        "retried": stats.retried,
        "succeeded": stats.succeeded,
        "failed": stats.failed,
        "cancelled": stats.cancelled,
        "ended": stats.ended,
        "failure_rate": stats.failure_rate,
        "ended_per_minute": rate(stats),
        "wait": {**percentiles(stats.wait), "buckets": stats.wait.buckets},
        "run": {**percentiles(stats.run), "buckets": stats.run.buckets},
    }


async def series_of_names(
    backend: BaseResultBackend, names: Sequence[str | None], window: Window, now: datetime
) -> dict[str | None, list[int]]:
    """How many tasks of each name ended in each period of the window."""
    since = now - window.span
    found = await asyncio.gather(
        *(backend.stats.series(name, since=since, until=now, every=window.every) for name in names)
    )
    return {name: [stats.ended for stats in series] for name, series in zip(names, found, strict=True)}
