"""When tasks ran, side by side: a chart with a row for each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple

from flowstore import Transition
from flowstore._faces.showing import lasting
from flowstore.web.charts import BOTTOM, RIGHT, TOP, WIDTH, Chart, Label, Rect, short, time_ticks


class Span(NamedTuple):
    """A time of a row in a gantt. ``kind``: its class, as a rule a status. ``title``: what is told of it."""

    start: datetime
    end: datetime
    kind: str
    title: str


def spans_of(steps: Sequence[Transition], now: datetime, *, is_finished: bool) -> list[Span]:
    """The states of a task, of its transitions; the last one goes on up to now unless it is finished."""
    changes = [step for step in steps if step.event is None]
    spans = []
    for step, following in zip(changes, [*changes[1:], None], strict=True):
        open_end = step.at if is_finished else max(now, step.at)
        end = open_end if following is None else following.at
        if end > step.at:
            spans.append(Span(step.at, end, step.status, f"{step.status}, try {step.retries + 1}"))
    return spans


class Row(NamedTuple):
    """A row of a gantt. ``href``: where its label leads to; empty: nowhere.

    ``is_waiting``: it is there while others are, as a parent is, and does nothing itself.
    """

    label: str
    href: str
    spans: Sequence[Span]
    is_waiting: bool = False


_ROW: Final = 20
_LABELS: Final = 190
_MOST_LABEL: Final = 28
_CUT: Final = 14.0


def gantt(title: str, rows: Sequence[Row], *, hides_idle: bool = False) -> Chart:
    """A row for each task, with its times, from the first to the last of all.

    ``hides_idle``: where nothing was done for long, the time is cut out, and a gap with its length is shown.
    The table has when each span began and how long it took.
    """
    spans = [span for row in rows for span in row.spans]
    height = _ROW * len(rows) + TOP + BOTTOM
    labels = tuple(
        Label(TOP + _ROW * (place + 0.7), _cut(row.label), row.href) for place, row in enumerate(rows)
    )
    if not spans:
        return Chart(title, WIDTH, height, _LABELS, labels=labels)
    whole = (min(span.start for span in spans), max(span.end for span in spans))
    doing = [span for row in rows if not row.is_waiting for span in row.spans if span.kind != "pending"]
    busy = _busy(doing, whole) if hides_idle and doing else [whole]
    left = _LABELS if any(row.label for row in rows) else 0
    scale = _Scale(busy, left)
    rects = [
        Rect(
            x := scale.x(span.start),
            TOP + _ROW * place + 4,
            short(max(2.0, scale.x(span.end) - x)),
            _ROW - 8,
            span.kind,
            span.title,
        )
        for place, row in enumerate(rows)
        for span in row.spans
    ]
    rects += [
        Rect(
            scale.x(ended) + 4,
            TOP,
            6,
            height - TOP - BOTTOM,
            "idle",
            f"idle {lasting(idle.total_seconds())}",
        )
        for (_, ended), (began, _) in pairwise(busy)
        if (idle := began - ended)
    ]
    kinds = dict.fromkeys(span.kind for span in spans)
    return Chart(
        title,
        WIDTH,
        height,
        left,
        rects=tuple(rects),
        ticks=() if len(busy) > 1 else time_ticks(*busy[0], scale.x),
        labels=labels,
        legend=tuple((kind, kind) for kind in kinds),
        head=("", "task", "status", "lasted"),
        rows=tuple(
            (span.start, row.label, span.kind, lasting((span.end - span.start).total_seconds()))
            for row in rows
            for span in row.spans
        ),
    )


class _Scale:
    """From times to places, without the times between the intervals that are shown."""

    def __init__(self, shown: Sequence[tuple[datetime, datetime]], left: float) -> None:
        self._shown = shown
        self._left = left
        total = sum((end - start).total_seconds() for start, end in shown) or 1.0
        self._by_second = (WIDTH - left - RIGHT - _CUT * (len(shown) - 1)) / total

    def x(self, at: datetime) -> float:
        x: float = self._left
        for start, end in self._shown:
            if at <= end:
                return short(x + max(0.0, (at - start).total_seconds()) * self._by_second)
            x += (end - start).total_seconds() * self._by_second + _CUT
        return short(x - _CUT)


def _busy(spans: Sequence[Span], whole: tuple[datetime, datetime]) -> list[tuple[datetime, datetime]]:
    """When anything was done; breaks shorter than a twentieth of that are no breaks. At most 12 of them.

    The first begins, and the last ends, with the ``whole`` time.
    """
    joined: list[tuple[datetime, datetime]] = []
    for span in sorted(spans):
        if joined and span.start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(joined[-1][1], span.end)
        else:
            joined.append((span.start, span.end))
    least = sum((end - start for start, end in joined), timedelta()) / 20
    breaks = sorted(
        ((after[0] - before[1], place) for place, (before, after) in enumerate(pairwise(joined))),
        reverse=True,
    )
    cut = sorted(place for length, place in breaks[:12] if length > least)
    edges = [0, *(place + 1 for place in cut), len(joined)]
    busy = [(joined[low][0], joined[high - 1][1]) for low, high in pairwise(edges)]
    busy[0] = whole[0], busy[0][1]
    busy[-1] = busy[-1][0], whole[1]
    return busy


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LABEL else text[: _MOST_LABEL - 1] + "…"
