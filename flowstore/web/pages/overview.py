"""The overview: what is in the store, what became of it lately, and what needs somebody."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from flowstore import Counts, ErrorGroup, Facts, InvalidQuery, TaskResult, TaskStats, TaskStatus, Worker
from flowstore._faces.figures import SHARES, WINDOWS, Window, ended_by_status
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.showing import share
from flowstore.web.charts import Chart, bars, lines, sparkline
from flowstore.web.looks import STATUSES
from flowstore.web.pages.tasks import counts_of
from flowstore.web.view import View

SILENT_AFTER: Final = timedelta(seconds=60)
COUNTED_FOR: Final = 10.0
"""Seconds for which statistics of the whole store are shown to whoever comes."""
FACTS_FOR: Final = 60.0
_DAY: Final = WINDOWS["24h"]
_MOST: Final = 5
_SECONDS: Final = 0.02
_LINES: Final = dict(zip(("first", "second", "third"), SHARES, strict=True))


@dataclass(frozen=True)
class Tile:
    """A status, how many tasks are in it, and how many came to it by the hour; None: not counted."""

    status: str
    count: int | None
    is_exact: bool
    spark: Chart | None


async def overview(view: View) -> Response:
    """``window``. Who sees a part of the tasks only is shown neither statistics nor errors nor workers."""
    window = WINDOWS[view.asked.window]
    async with asyncio.TaskGroup() as group:
        counts = group.create_task(counts_of(view, view.narrowed("")))
        pending = group.create_task(_oldest(view, "pending"))
        running = group.create_task(_oldest(view, "running"))
        whole = None if view.is_narrowed else group.create_task(_whole(view, window))
        facts = None if view.is_narrowed else group.create_task(_facts(view))
    stats, day, errors, workers = ([], [], [], []) if whole is None else whole.result()
    silent = [each for each in workers if each.last_seen < view.now - SILENT_AFTER]
    return view.render(
        "overview.html",
        tiles=_tiles(counts.result(), day),
        window=window.name,
        windows=tuple(WINDOWS),
        facts=None if facts is None else facts.result(),
        charts=_charts(stats, window) if whole is not None else [],
        total=_summed(stats),
        errors=errors,
        workers=workers,
        silent=silent,
        pending=pending.result(),
        running=running.result(),
        run_time=run_time,
        wait_time=wait_time,
    )


async def _oldest(view: View, status: str) -> list[TaskResult]:
    """Of those in a status the ones that were submitted first."""
    try:
        query = view.narrowed(f"status:{status} sort:submitted")
    except InvalidQuery:  # the reader may see certain statuses only
        return []
    return (await view.backend.search(query, limit=_MOST, seconds=_SECONDS)).items


async def _facts(view: View) -> Facts:
    """Kept longer: they take more trips than all the rest, and change slowly."""
    return await view.kept("facts", FACTS_FOR, lambda: view.backend.facts(silent_after=SILENT_AFTER))


async def _whole(
    view: View, window: Window
) -> tuple[list[TaskStats], list[TaskStats], list[ErrorGroup], list[Worker]]:
    """What is only known of the whole namespace: of the window, of a day, error groups and workers."""
    backend = view.backend
    async with asyncio.TaskGroup() as group:
        shown = group.create_task(_series(view, window))
        day = None if window == _DAY else group.create_task(_series(view, _DAY))
        errors = group.create_task(
            backend.errors.groups("open", since=view.now - _DAY.span, order="recent", limit=_MOST)
        )
        workers = group.create_task(backend.workers.all())
    of_day = shown.result() if day is None else day.result()
    return shown.result(), of_day, errors.result(), workers.result()


async def _series(view: View, window: Window) -> list[TaskStats]:
    """Kept for a while: with a thousand names they cost more than all the rest of the page."""

    async def series() -> list[TaskStats]:
        return await view.backend.stats.series(since=view.now - window.span, every=window.every)

    return await view.kept(f"series {window.name}", COUNTED_FOR, series)


def _tiles(counts: Counts | None, day: Sequence[TaskStats]) -> list[Tile]:
    came: dict[str, list[int]] = {
        "pending": [each.submitted + each.requeued for each in day],
        "retrying": [each.retried for each in day],
        "success": [each.succeeded for each in day],
        "failed": [each.failed for each in day],
        "cancelled": [each.cancelled for each in day],
    }
    tiles = []
    for status in STATUSES:
        numbers = came.get(status)
        spark = sparkline(f"{status}, by the hour", numbers, status) if numbers and any(numbers) else None
        count = None if counts is None else counts.get(TaskStatus(status), 0)
        tiles.append(Tile(status, count, counts is None or counts.is_exact, spark))
    return tiles


def _charts(stats: Sequence[TaskStats], window: Window) -> list[Chart]:
    starts = [each.start for each in stats]
    rates = {"third": [each.failure_rate for each in stats]}
    names = {kind: f"p{of * 100:g}" for kind, of in _LINES.items()}
    waits = {kind: [each.wait.percentile(of) for each in stats] for kind, of in _LINES.items()}
    runs = {kind: [each.run.percentile(of) for each in stats] for kind, of in _LINES.items()}
    return [
        bars("Ended", starts, window.every, ended_by_status(stats)),
        lines("Failure rate", starts, window.every, rates, {"third": "failed"}, shown=share),
        lines("Wait for a start", starts, window.every, waits, names),
        lines("Run time", starts, window.every, runs, names),
    ]


@dataclass(frozen=True)
class Total:
    """Of a window: how many ended, how many of them failed, and how many ended in a minute."""

    ended: int
    failed: int
    failure_rate: float | None
    by_minute: float


def _summed(stats: Sequence[TaskStats]) -> Total | None:
    if not stats:
        return None
    failed, succeeded = sum(each.failed for each in stats), sum(each.succeeded for each in stats)
    ended = sum(each.ended for each in stats)
    minutes = (stats[-1].end - stats[0].start).total_seconds() / 60
    judged = failed + succeeded
    return Total(ended, failed, failed / judged if judged else None, ended / minutes)
