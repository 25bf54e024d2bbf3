"""The charts of the documents, by matplotlib: dark on a white card, so that they read on any page.

Bars start at zero on a linear axis, so that their lengths are in the ratio of the numbers. What would not fit
beside the others on such an axis is named below it with its number.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.peers.base import Storage
from benchmarks.plan import GROWTH, LONE_LIMITS, PLANS
from benchmarks.report import Row, rows_of, short
from benchmarks.results import Results
from benchmarks.systems import kind, storage

mpl.rcParams |= {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#9aa0a6",
    "svg.hashsalt": "flowstore",  # the same numbers make the same file
}

COLORS = {"limit": "#c4c9cf", "flowstore": "#1f6feb", "peer": "#7d8590"}
GREY: Final = "#57606a"
STORAGES: dict[Storage, str] = {"redis": "Redis", "sqlite": "SQLite"}
BARE: dict[Storage, str] = {"redis": "bare redis-py", "sqlite": "bare sqlite3"}
PEERS_SHOWN: Final = 5


class Panel(NamedTuple):
    measure: str
    number: str
    storage: Storage
    title: str
    axis: str


PANELS: Final = (
    Panel("throughput", "stores at once", "redis", "Stores per second, Redis", "100 tasks, more is better"),
    Panel(
        "throughput",
        "stores at once",
        "sqlite",
        "Stores per second, SQLite, durable",
        "100 tasks, more is better",
    ),
    Panel("latency", "p50", "redis", "Wake-up in another process, Redis", "p50 in ms, less is better"),
)


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
    """flowstore between the bare storage and its best peers, one panel for each of PANELS with numbers."""
    panels = [(panel, rows) for panel in PANELS if (rows := _rows(results, panel))]
    if not panels:
        return None
    canvas = _canvas(2.9)
    for axes, (panel, rows) in zip(canvas.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        peers = [row for row in rows if kind(row.system) == "peer"]
        _bars(axes, [row for row in rows if row not in peers[PEERS_SHOWN:]])
        axes.set_title(panel.title, fontsize=9, loc="left", weight="bold")
        axes.set_xlabel("\n".join((panel.axis, _left_out(peers[PEERS_SHOWN:]))), color=GREY, fontsize=8)
    return canvas


def _rows(results: Results, panel: Panel) -> list[Row]:
    """Those that have a number, in the order of ``rows_of``: the limit, flowstore, the peers, best first."""
    for planned in PLANS[results.plan]:
        for figure in planned.figures:
            if (planned.name, figure.number) == (panel.measure, panel.number):
                return [
                    row
                    for row in rows_of(results.runs, planned, figure)
                    if storage(row.system) == panel.storage
                    and not row.error
                    and row.system not in LONE_LIMITS
                ]
    return []


def _bars(axes: Axes, rows: list[Row]) -> None:
    for at, row in enumerate(rows):
        of = kind(row.system)
        look: dict[str, Any] = {"hatch": "////", "edgecolor": "white"} if of == "limit" else {}
        axes.barh(at, row.median, color=COLORS[of], height=0.74, **look)
        weight = "bold" if of == "flowstore" else "normal"
        axes.annotate(f" {short(row.median)}", (row.median, at), va="center", weight=weight)
    axes.set_xlim(0, 1.2 * max(row.median for row in rows))  # room for the numbers
    axes.set_ylim(PEERS_SHOWN + 1.6, -0.6)
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.locator_params(axis="x", nbins=4)
    axes.set_yticks(range(len(rows)), [_name(row.system) for row in rows])
    axes.tick_params(axis="y", length=0)
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if kind(row.system) == "flowstore":
            label.set(color=COLORS["flowstore"], weight="bold")


def _name(system: str) -> str:
    return BARE[storage(system)] if kind(system) == "limit" else system.partition(" (")[0]


def _left_out(peers: list[Row]) -> str:
    named = ", ".join(f"{_name(row.system)}\N{NO-BREAK SPACE}{short(row.median)}" for row in peers)
    return textwrap.fill(f"not drawn: {named}", 48, break_on_hyphens=False) if named else ""


def growth(results: Results) -> Canvas | None:
    """flowstore with ever more results stored; flat is what it should be. Points: one axis is logarithmic."""
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
        panel.set_xlabel("results stored")
    panel.legend(frameon=False)
    return canvas
