"""``flowstore stats``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final, Literal

from cyclopts import Parameter

from flowstore import EVER, Distribution, TaskStats
from flowstore._faces.figures import Window, as_json, percentiles, rate, series_of_names, window_of
from flowstore._faces.moments import moment
from flowstore._faces.showing import lasting, plain, share, sparkline
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common
from flowstore.cli._watching import shown_again

By = Literal["total", "name", "status", "minute", "hour", "day"]


async def stats(
    *,
    by: By = "total",
    name: str | None = None,
    since: str = "24h",
    until: str | None = None,
    limit: int = 50,
    watch: Annotated[bool, Parameter(alias="-w", show_default=False)] = False,
    common: Common | None = None,
) -> None:
    """Count what became of tasks, and how long they took.

    Parameters
    ----------
    by
        total, name, status, minute, hour or day: a row for each.
    name
        Tasks of this name only.
    since
        From when on: 24h, today, 2026-11-25, ever. It is widened to whole minutes or hours.
    until
        Up to when; default: now.
    limit
        How many rows at most, those with the most tasks.
    watch
        Show it again every two seconds.
    """
    async with at_desk(common, read_only=True) as desk:
        if limit < 1:
            raise usage(f"--limit: expected at least 1, got {limit}")
        if by in ("name", "status") and name is not None:
            raise usage(f"--name: is one row already, got --by {by} as well")

        async def show() -> None:
            now = desk.out.now
            first = EVER if since == "ever" else moment("--since", since, now)
            last = None if until is None else moment("--until", until, now)
            rows = await _rows(desk, by, name, first, last)
            bars: dict[str | None, list[int]] = {}
            if by == "name" and desk.out.is_for_people and first != EVER and last is None:
                window = window_of(now - first)
                names = [row.name for row in rows[:limit]]
                bars = await series_of_names(desk.backend, names, _coarse(window), now)
            if by == "total" and desk.out.format == "json":
                desk.out.document(as_json(rows[0]))
                return
            desk.out.items(_kind(desk.out, by, bars), rows[-limit:] if by in _TIMES else rows[:limit])
            if len(rows) > limit and not watch:
                which = "last" if by in _TIMES else "first"
                desk.out.note(f"the {which} {limit:,} of {len(rows):,} rows: --limit {len(rows)} has all")

        await shown_again(desk.out, show, watch=watch, every=2)


_TIMES: Final = ("minute", "hour", "day")
_WIDE: Final = 110
"""Of a terminal, in cells, from which on it has room for all columns."""


async def _rows(
    desk: Desk, by: By, name: str | None, since: datetime, until: datetime | None
) -> list[TaskStats]:
    stats = desk.backend.stats
    if by == "total":
        return [await stats.total(name, since=since, until=until)]
    if by == "name" or by == "status":
        return await stats.by(by, since=since, until=until)
    if since == EVER:
        raise usage(f"--since: expected a time, as --by {by} has a row for each {by}")
    return await stats.series(name, since=since, until=until, every=by)


def _coarse(window: Window) -> Window:
    """In a dozen periods, as there is no room for more."""
    periods = max(1, round(window.span / window.every / 12))
    return Window(window.name, window.span, window.every * periods)


def _kind(out: Out, by: By, bars: dict[str | None, list[int]]) -> Kind[TaskStats]:
    def first(row: TaskStats) -> str:
        if by == "name":
            return plain(row.name or "(no name)")
        if by == "status":
            return (row.status or "").upper()
        if by == "total":
            return plain(row.name or "all")
        return out.time(row.start) if out.settings.time != "relative" else _clock(row.start, by)

    is_narrow = out.width < _WIDE and by == "name"
    shown = ("p50", "p95") if is_narrow else ("p50", "p95", "p99")
    columns: list[Column[TaskStats]] = [
        Column("name" if by == "total" else by, first, may_shrink=by == "name"),
        Column("done", lambda row: f"{row.succeeded:,}", is_right=True),
        Column("failed", _failed, is_right=True, style=lambda row: "red" if row.failed else None),
        Column("cancelled", lambda row: f"{row.cancelled:,}", is_right=True),
        Column("retried", lambda row: f"{row.retried:,}", is_right=True),
        _Times("wait", lambda row: _times(row.wait, shown), is_right=True, shares=shown),
        _Times("run", lambda row: _times(row.run, shown), is_right=True, shares=shown),
        Column("per_min", _rate, is_right=True),
    ]
    if is_narrow:
        columns = [column for column in columns if column.name not in ("cancelled", "retried")]
    if any(bars.values()):
        columns.append(Column("over_time", lambda row: sparkline(bars.get(row.name, []))))
    fields = (
        *("name", "status", "start", "end", "submitted", "succeeded", "failed", "cancelled", "retried"),
        "failure_rate",
    )
    return Kind(columns, as_json=as_json, csv=fields)


@dataclass(frozen=True)
class _Times(Column[TaskStats]):
    """Several times in one column, and its head says which."""

    shares: Sequence[str] = ()

    @property
    def head(self) -> str:
        return f"{self.name.upper()} {'/'.join(self.shares)}"


def _failed(row: TaskStats) -> str:
    return f"{row.failed:,} {share(row.failure_rate):>5}" if row.failed else "0"


def _times(times: Distribution, shown: Sequence[str]) -> str:
    found = percentiles(times)
    return " / ".join(lasting(found[name]) for name in shown) if found["p50"] is not None else ""


def _rate(row: TaskStats) -> str:
    """Nothing where it is since ever."""
    found = rate(row)
    if row.start.year == 1 or not found:
        return "" if row.start.year == 1 else "0"
    return f"{found:,.0f}" if found >= 10 else f"{found:.1f}" if found >= 0.1 else "<0.1"


def _clock(at: datetime, by: By) -> str:
    local = at.astimezone()
    return f"{local:%Y-%m-%d}" if by == "day" else f"{local:%m-%d %H:%M}"
