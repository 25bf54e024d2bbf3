"""The charts of the README, by matplotlib: dark on a white card, so that they read on any page."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.plan import GROWTH, LONE_LIMITS, PLANS
from benchmarks.report import Row, rows_of, short
from benchmarks.results import Results
from benchmarks.systems import KINDS, kind, storage

mpl.rcParams |= {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6",
    "svg.hashsalt": "flowstore",  # the same numbers make the same file
}

COLORS = {"limit": "#c4c9cf", "flowstore": "#1f6feb", "peer": "#7d8590"}
PANELS = (
    ("throughput", "stores at once", "Stores a second, 100 tasks"),
    ("throughput", "gets at once", "Gets a second, 100 tasks"),
    ("latency", "p50", "Wake-up by a store, p50, ms"),
)
STORAGES = {"redis": "Redis", "sqlite": "SQLite"}


def draw_all(results: Results, folder: Path) -> Iterator[Path]:
    """One file for each chart that there are numbers for."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, canvas in (("benchmark", comparison(results)), ("growth", growth(results))):
        if canvas is not None:
            path = folder / f"{name}.svg"
            canvas.savefig(path, facecolor="white", metadata={"Date": None})
            yield path


def _canvas(height: float) -> Canvas:
    return Canvas(figsize=(11, height), layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08))


def comparison(results: Results) -> Canvas | None:
    """For each storage a line of three panels. A system keeps its place in all of a line."""
    columns = [_rows(results, measure, number) for measure, number, _ in PANELS]
    lines = {there: names for there in STORAGES if (names := _order(columns, there))}
    if not lines:
        return None
    count = sum(map(len, lines.values()))
    canvas = _canvas(1.0 + 0.6 * len(lines) + 0.21 * count)
    heights = [len(names) for names in lines.values()]
    grid = canvas.subplots(len(lines), len(PANELS), squeeze=False, height_ratios=heights, sharex="col")
    for line, (there, names) in zip(grid, lines.items(), strict=True):
        for panel, rows, (_, _, title) in zip(line, columns, PANELS, strict=True):
            _bars(panel, names, rows)
            panel.set_title(f"{STORAGES[there]}: {title}", fontsize=9, loc="left", weight="bold")
            panel.set_yticks([])
        _name_bars(line[0], names, f" ({there})")
    for panel, rows, (_, _, title) in zip(grid[-1], columns, PANELS, strict=True):
        medians = [row.median for row in rows.values() if not row.error]
        panel.set_xlim(min(medians, default=1) / 2, max(medians, default=1) * 6)  # room for the numbers
        better = "less" if title.endswith("ms") else "more"
        panel.set_xlabel(f"{better} is better, logarithmic", color="#57606a")
    return canvas


def _rows(results: Results, measure: str, number: str) -> dict[str, Row]:
    for planned in PLANS[results.plan]:
        for figure in planned.figures:
            if (planned.name, figure.number) == (measure, number):
                rows = rows_of(results.runs, planned, figure)
                return {row.system: row for row in rows if storage(row.system) in STORAGES}
    return {}


def _order(columns: list[dict[str, Row]], there: str) -> list[str]:
    """Limit, flowstore, peers; the peers as in the first column, where the best comes first."""
    names = [name for name in dict.fromkeys(chain(*columns)) if storage(name) == there]
    return sorted(
        (name for name in names if name not in LONE_LIMITS), key=lambda name: KINDS.index(kind(name))
    )


def _bars(panel: Axes, names: list[str], rows: dict[str, Row]) -> None:
    panel.set_xscale("log")
    panel.set_ylim(len(names) - 0.4, -0.6)
    for at, name in enumerate(names):
        row = rows.get(name, Row(name, (), "not measured"))
        weight = "bold" if kind(name) == "flowstore" else "normal"
        if row.error:
            said = f" {row.error.partition(':')[0]}"
            panel.text(0, at, said, transform=panel.get_yaxis_transform(), va="center", style="italic")
            continue
        hatch = "////" if kind(name) == "limit" else None
        panel.barh(at, row.median, color=COLORS[kind(name)], hatch=hatch, edgecolor="white", height=0.74)
        panel.annotate(f" {short(row.median)}", (row.median, at), va="center", weight=weight)


def _name_bars(panel: Axes, names: list[str], suffix: str) -> None:
    panel.set_yticks(range(len(names)), [name.removesuffix(suffix) for name in names])
    panel.tick_params(axis="y", length=0)
    for label, name in zip(panel.get_yticklabels(), names, strict=True):
        if kind(name) == "flowstore":
            label.set(color=COLORS["flowstore"], weight="bold")


def growth(results: Results) -> Canvas | None:
    """flowstore with ever more results there; flat is what it should be."""
    measures = [measure for measure in PLANS[results.plan] if measure.work == "growth"]
    if not any(run.measure == measure.name for run in results.runs for measure in measures):
        return None
    canvas = _canvas(2.9)
    for panel, figure in zip(canvas.subplots(1, len(GROWTH)), GROWTH, strict=True):
        lines: dict[str, list[tuple[int, float]]] = {}
        for measure in measures:
            for row in rows_of(results.runs, measure, figure):
                if not row.error:
                    lines.setdefault(row.system, []).append((measure.options["results"], row.median))
        if not lines:
            continue
        for (name, points), marker in zip(lines.items(), "os", strict=False):
            panel.plot(*zip(*points, strict=True), marker=marker, label=STORAGES[storage(name)])
        panel.set_xscale("log")
        panel.set_ylim(0, 1.15 * max(value for points in lines.values() for _, value in points))
        panel.yaxis.set_major_formatter("{x:,g}")
        panel.set_title(figure.title, fontsize=9, loc="left", weight="bold")
        panel.set_xlabel("results there")
    panel.legend(frameon=False)
    return canvas
