"""Charts, as what stands where in an SVG; ``partials/charts.html`` draws them, with a table of their numbers.

A chart has neither style nor markup in it, only numbers, text, and ``kinds``: names of classes in the sheet,
the statuses among them. All times are aware. A time along the bottom is a Tick with ``at``, which the page
shows in the zone of the reader.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil, floor, log10
from typing import Final, NamedTuple

from flowstore._faces.showing import lasting

WIDTH: Final = 640
HEIGHT: Final = 160
LEFT: Final = 72
TOP, BOTTOM, RIGHT = 14, 28, 8
_MOST_TICKS: Final = 6
_STEPS: Final = (
    *(60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200),
    *(86_400, 172_800, 604_800, 1_209_600, 2_592_000),
)
_DAY: Final = 86_400

Shown = Callable[[float], str]


class Rect(NamedTuple):
    """``kind``: its class. ``title``: what is told of it under the pointer."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


class Line(NamedTuple):
    """``path``: as the attribute ``d`` of an SVG path."""

    path: str
    kind: str


class Tick(NamedTuple):
    """A label at a place along its axis. ``at``: the time that it stands for; None: it is no time."""

    place: float
    text: str
    at: datetime | None = None


class Label(NamedTuple):
    """The name of a row of a gantt. ``href``: where it leads to."""

    y: float
    text: str
    href: str


@dataclass(frozen=True)
class Chart:
    """``rows``: the numbers as text, the first column of each a time if ``is_by_time``; under ``head``.

    ``legend``: kinds, and what they stand for. ``left``: where the figure begins, behind the labels.
    """

    title: str
    width: float
    height: float
    left: float = 0
    rects: tuple[Rect, ...] = ()
    lines: tuple[Line, ...] = ()
    levels: tuple[Tick, ...] = ()
    ticks: tuple[Tick, ...] = ()
    labels: tuple[Label, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[datetime | str, ...], ...] = ()


def number(value: float) -> str:
    """``0``, ``3``, ``1,200``, ``0.25``."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.2g}" if value < 10 else f"{value:,.0f}"


def sparkline(title: str, numbers: Sequence[float], kind: str = "bar") -> Chart:
    """A bar for each number, the highest for the greatest; without axes or table."""
    width, height = 120, 28
    most, step = max(numbers, default=0), width / max(1, len(numbers))
    rects = tuple(
        Rect(short(place * step), short(height - tall), short(step * 0.8), short(tall), kind, "")
        for place, value in enumerate(numbers)
        if value > 0 and (tall := max(1.5, height * value / most))
    )
    return Chart(title, width, height, rects=rects)


def bars(
    title: str,
    starts: Sequence[datetime],
    every: timedelta,
    values: Mapping[str, Sequence[float]],
    names: Mapping[str, str] | None = None,
    *,
    shown: Shown = number,
    height: float = HEIGHT,
) -> Chart:
    """A column for each period, in which the ``values`` of each kind stand on top of each other.

    ``starts``: of the periods, each ``every`` long. ``names``: what the kinds are called.
    """
    named = {kind: (names or {}).get(kind, kind) for kind in values}
    tops = [sum(column) for column in zip(*values.values(), strict=True)] if values else []
    most = _nice(max(tops, default=0))
    frame = _Frame(starts, every, height, most)
    rects = []
    for place in range(len(starts)):
        base = 0.0
        title_of = ", ".join(f"{name} {shown(values[kind][place])}" for kind, name in named.items())
        for kind in values:
            value = values[kind][place]
            if value > 0:
                low, high = frame.y(base), frame.y(base + value)
                x, width = frame.column(place)
                rects.append(Rect(x, high, width, short(max(1.0, low - high)), kind, title_of))
            base += value
    return frame.chart(title, named, values, shown, rects=tuple(rects))


def lines(
    title: str,
    starts: Sequence[datetime],
    every: timedelta,
    values: Mapping[str, Sequence[float | None]],
    names: Mapping[str, str] | None = None,
    *,
    shown: Shown = lasting,
    height: float = HEIGHT,
) -> Chart:
    """A line for each kind, broken where there is None. Otherwise as ``bars``."""
    named = {kind: (names or {}).get(kind, kind) for kind in values}
    most = _nice(max((value for line in values.values() for value in line if value is not None), default=0))
    frame = _Frame(starts, every, height, most)
    paths = tuple(Line(path, f"line {kind}") for kind, line in values.items() if (path := frame.path(line)))
    return frame.chart(title, named, values, shown, lines=paths)


class _Frame:
    """From periods and numbers to places in a chart."""

    def __init__(self, starts: Sequence[datetime], every: timedelta, height: float, most: float) -> None:
        self._starts = starts
        self._every = every
        self._height = height
        self._most = most
        self._step = (WIDTH - LEFT - RIGHT) / max(1, len(starts))

    def y(self, value: float) -> float:
        tall = self._height - TOP - BOTTOM
        return short(self._height - BOTTOM - (tall * value / self._most if self._most else 0))

    def column(self, place: int) -> tuple[float, float]:
        return short(LEFT + place * self._step), short(max(0.6, self._step * 0.82))

    def path(self, values: Sequence[float | None]) -> str:
        parts = []
        for place, value in enumerate(values):
            if value is not None:
                before, after = values[place - 1 : place], values[place + 1 : place + 2]
                x, is_first = LEFT + (place + 0.5) * self._step, before in ([], [None])
                if is_first and after in ([], [None]):  # a point that stands alone is seen as well
                    parts.append(f"M{short(x - 3):g} {self.y(value):g}h6")
                else:
                    parts.append(f"{'M' if is_first else 'L'}{short(x):g} {self.y(value):g}")
        return "".join(parts)

    def chart(
        self,
        title: str,
        named: Mapping[str, str],
        values: Mapping[str, Sequence[float | None]],
        shown: Shown,
        *,
        rects: tuple[Rect, ...] = (),
        lines: tuple[Line, ...] = (),
    ) -> Chart:
        levels = tuple(
            Tick(self.y(level), shown(level) if level else "0")
            for level in ((0, self._most / 2, self._most) if self._most else (0,))
        )
        rows = tuple(
            (start, *(_told(line[place], shown) for line in values.values()))
            for place, start in enumerate(self._starts)
            if any(line[place] for line in values.values())
        )
        return Chart(
            title,
            WIDTH,
            self._height,
            LEFT,
            rects=rects,
            lines=lines,
            levels=levels,
            ticks=self._ticks(),
            legend=tuple(named.items()),
            head=("", *named.values()),
            rows=rows,
        )

    def _ticks(self) -> tuple[Tick, ...]:
        if not self._starts:
            return ()
        end = self._starts[-1] + self._every
        return time_ticks(
            self._starts[0], end, lambda at: LEFT + (at - self._starts[0]) / self._every * self._step
        )


def time_ticks(start: datetime, end: datetime, place: Callable[[datetime], float]) -> tuple[Tick, ...]:
    """At most seven, at round times in UTC, days without their hours."""
    seconds = (end - start).total_seconds()
    step = next((step for step in _STEPS if seconds / step <= _MOST_TICKS), _STEPS[-1] * ceil(seconds / 1e7))
    first = ceil(start.timestamp() / step) * step
    shape = "%b %d" if step >= _DAY else "%H:%M" if seconds <= 2 * _DAY else "%b %d %H:%M"
    if seconds < _STEPS[0]:
        shape = "%H:%M:%S"
    times = [datetime.fromtimestamp(first + number * step, start.tzinfo) for number in range(_MOST_TICKS + 1)]
    return tuple(Tick(short(place(at)), at.strftime(shape), at) for at in times if at <= end)


def _nice(most: float) -> float:
    """The next 1, 2, 4 or 5 times a power of ten, so that half of it is a round number too."""
    if most <= 0:
        return 0
    power = 10.0 ** floor(log10(most))
    return next(step * power for step in (1, 2, 4, 5, 6, 8, 10, 20) if step * power >= most)


def _told(value: float | None, shown: Shown) -> datetime | str:
    return "" if value is None else shown(value)


def short(value: float) -> float:
    """A place, as exact as one can see it."""
    return round(value, 1)
