"""Task names: how many there were of each, how many failed, and how long they took."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from flowstore import Distribution, TaskStats
from flowstore._faces.figures import WINDOWS, ended_by_status, percentiles, rate
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.showing import lasting
from flowstore._faces.terms import term
from flowstore.web.asked import SPANS
from flowstore.web.charts import Chart, bars, lines
from flowstore.web.pages.overview import COUNTED_FOR
from flowstore.web.view import View

_MOST: Final = 200
_NEWEST: Final = 10


async def names(view: View) -> Response:
    """``window``: the time that is counted."""
    window = view.asked.window

    async def by_name() -> list[TaskStats]:
        return await view.backend.stats.by("name", since=view.now - SPANS[window])

    rows = await view.kept(f"names {window}", COUNTED_FOR, by_name)
    return view.render(
        "names.html",
        rows=rows[:_MOST],
        left_out=max(0, len(rows) - _MOST),
        window=window,
        windows=tuple(SPANS),
        percentiles=percentiles,
        rate=rate,
    )


async def name(view: View) -> Response:
    """One name: along the time, and how its durations are spread."""
    task_name = view.part("name")
    window = WINDOWS[view.asked.window]
    since = view.now - window.span
    stats = view.backend.stats
    query = term("name", task_name)
    narrowed = view.narrowed(query)
    total, series, newest = await asyncio.gather(
        stats.total(task_name, since=since),
        stats.series(task_name, since=since, every=window.every),
        view.backend.search(narrowed, limit=_NEWEST, seconds=0.2),
    )
    p95 = percentiles(total.run)["p95"]
    slow = f"run:>{int(p95 * 1_000)}ms" if p95 else ""
    return view.render(
        "name.html",
        name=task_name,
        total=total,
        percentiles=percentiles,
        rate=rate,
        window=window.name,
        windows=tuple(SPANS),
        query=query,
        slowest=f"{query} {slow} since:{window.name}".strip(),
        newest=newest.items,
        run_time=run_time,
        wait_time=wait_time,
        charts=_charts(series, window.every),
        spreads=[
            ("How long they ran", total.run, _spread(total.run)),
            ("How long they waited", total.wait, _spread(total.wait)),
        ],
    )


def _charts(series: list[TaskStats], every: timedelta) -> list[Chart]:
    starts = [each.start for each in series]
    times = {
        "first": [percentiles(each.run)["p50"] for each in series],
        "second": [percentiles(each.run)["p95"] for each in series],
    }
    return [
        bars("Ended tasks", starts, every, ended_by_status(series)),
        lines("Run time", starts, every, times, {"first": "p50", "second": "p95"}),
    ]


def _spread(times: Distribution) -> list[tuple[str, int, float]]:
    """The buckets of a distribution: up to how long, how many, and the share of the fullest one."""
    fullest = max((number for _, number in times.buckets), default=1)
    return [(lasting(highest), number, number / fullest) for highest, number in times.buckets]
