"""From the runs to tables: medians, spread, and ratios to the limit and to the best peer."""

from __future__ import annotations

import ast
import statistics
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers.base import Storage
from benchmarks.plan import PLANS, Figure, Measure
from benchmarks.results import Results, Run
from benchmarks.systems import KINDS, SYSTEMS, kind, storage

GENERAL_NOTES = (
    "Each number is the median of the rounds, with the lowest and highest of them; each run is a process of"
    " its own on an empty storage. Ratios are quotients of medians, to the best limit on the same storage, to"
    " the best peer there, and to the best peer on Redis or SQLite.",
    "Synchronous libraries are called in 100 threads, so at most 100 wait at a time.",
    "redis-py 8 opens at most 100 connections by default. A library that takes one for each call or waiter,"
    " and was made before that, is given the old default.",
    "Where a system polls, the store comes at any moment of its interval, else up to 20 ms after the wait.",
)


MARKED_GROWTH = 3
"""A call that takes more than so many times as long is marked. Less may be noise, or the depth of a tree."""
TOO_FEW = "too few tries: a p99 takes 100"


@dataclass(frozen=True)
class Row:
    """One figure of one system, over all rounds."""

    system: str
    values: tuple[float, ...]
    error: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)


def rows_of(runs: Iterable[Run], measure: Measure, figure: Figure) -> list[Row]:
    """By storage; there the limits, flowstore and the peers, best first, and last what has no number."""
    by_system: dict[str, list[Run]] = {}
    for run in runs:
        if run.measure == measure.name:
            by_system.setdefault(run.system, []).append(run)
    rows = [_row(system, found, figure) for system, found in by_system.items()]

    def order(row: Row) -> tuple[int, int, bool, float]:
        place = ("redis", "sqlite", "memory").index(storage(row.system)), KINDS.index(kind(row.system))
        if row.error:
            return (*place, True, 0.0)
        return (*place, False, -row.median if figure.is_higher_better else row.median)

    return sorted(rows, key=order)


def _row(system: str, runs: list[Run], figure: Figure) -> Row:
    errors = [run.error for run in runs if run.error]
    values = tuple(run.numbers[figure.number] for run in runs if figure.number in run.numbers)
    return Row(system, values, errors[0] if errors else "" if values else TOO_FEW)


def best(rows: Iterable[Row], figure: Figure, of: str, *on: Storage) -> float | None:
    """The best median of a kind of systems on some storages. None when none has a number."""
    medians = [
        row.median for row in rows if not row.error and kind(row.system) == of and storage(row.system) in on
    ]
    return max(medians, default=None) if figure.is_higher_better else min(medians, default=None)


def references(row: Row, rows: list[Row], figure: Figure) -> tuple[float | None, ...]:
    """What the ratios are to: limit and best peer on the same storage, best peer on any that is shared.

    Memory is compared with memory only: keeping a reference is another thing than storing.
    """
    there = storage(row.system)
    shared: tuple[Storage, ...] = () if there == "memory" else ("redis", "sqlite")
    return (
        best(rows, figure, "limit", there),
        best(rows, figure, "peer", there),
        best(rows, figure, "peer", *shared),
    )


def ratio(row: Row, reference: float | None) -> float | None:
    """How many times the reference. None where that says nothing."""
    return row.median / reference if not row.error and reference else None


def table(rows: list[Row], measure: Measure, figure: Figure) -> Table:
    better = "more is better" if figure.is_higher_better else "less is better"
    shown = Table(
        title=f"{measure.name}: {figure.title} ({better})", title_justify="left", title_style="bold"
    )
    shown.add_column("system", no_wrap=True)
    for heading in ("median", "lowest-highest", "x limit", "x best peer there", "x best peer"):
        shown.add_column(heading, justify="right")
    for number, row in enumerate(rows):
        cells = ["", "", "", ""]
        if not row.error:
            ratios = [ratio(row, reference) for reference in references(row, rows, figure)]
            spread = f"{short(min(row.values))}-{short(max(row.values))}"
            cells = [spread, *("" if found is None else f"{found:.2f}" for found in ratios)]
        is_last_there = number + 1 < len(rows) and storage(rows[number + 1].system) != storage(row.system)
        shown.add_row(
            row.system,
            row.error.partition(":")[0] if row.error else short(row.median),
            *cells,
            style="bold green" if kind(row.system) == "flowstore" else "dim" if row.error else None,
            end_section=is_last_there,
        )
    return shown


def short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def show(results: Results, console: Console) -> None:
    """All tables, why numbers are missing, and what to know about each system."""
    measures = PLANS[results.plan]
    for measure in measures:
        if measure.work == "calls":
            continue  # one figure for each call: shown side by side, below
        rows: list[Row] = []
        for figure in measure.figures:
            found = rows_of(results.runs, measure, figure)
            if found:
                console.print(table(found, measure, figure))
            rows += found
        for line in (*reasons(rows), *exceptions(measure, rows)):
            console.print(line, style="dim", highlight=False)
    for shown in call_tables(results.runs, [measure for measure in measures if measure.work == "calls"]):
        console.print(shown)
    names = dict.fromkeys(run.system for run in results.runs)
    for note in (*GENERAL_NOTES, *notes(names), versions(results, names), about(results)):
        console.print(textwrap.fill(note, 108, subsequent_indent="  "), highlight=False, markup=False)


def call_tables(runs: Iterable[Run], measures: Sequence[Measure]) -> Iterator[Table]:
    """For each system one table: its calls with ever more tasks, and how many times as long each took."""
    by_system: dict[str, dict[str, Run]] = {}
    for run in runs:
        by_system.setdefault(run.system, {})[run.measure] = run
    for system, found in by_system.items():
        measured = [measure for measure in measures if measure.name in found]
        if not measured:
            continue
        shown = Table(
            title=f"{system}: ms of each call with so many tasks, and x from the fewest to the most",
            title_justify="left",
            title_style="bold",
        )
        shown.add_column("call", no_wrap=True)
        for measure in measured:
            shown.add_column(f"{measure.options['tasks']:,}", justify="right")
        shown.add_column("x", justify="right")
        for figure in measured[0].figures:
            values = [found[measure.name].numbers.get(figure.number) for measure in measured]
            cells = ["" if value is None else short(value) for value in values]
            grown = growth(values)
            is_marked = grown is not None and grown > MARKED_GROWTH
            mark = "" if grown is None else f"{'> ' if is_marked else ''}{grown:.1f}"
            shown.add_row(figure.number, *cells, mark, style="bold yellow" if is_marked else None)
        errors = {found[measure.name].error: measure.name for measure in measured}
        shown.caption = "; ".join(f"{name}: {error}" for error, name in errors.items() if error)
        yield shown


def growth(values: Sequence[float | None]) -> float | None:
    """The last in times the first. None where there are not two."""
    first, last = values[0], values[-1]
    return last / first if len(values) > 1 and first and last is not None else None


def reasons(rows: Iterable[Row]) -> Iterator[str]:
    """Why there are no numbers, each reason with those that it is of."""
    systems: dict[str, list[str]] = {}
    for row in rows:
        if row.error:
            systems.setdefault(textwrap.shorten(row.error, 150), []).append(row.system)
    for error, names in systems.items():
        yield f"  {', '.join(dict.fromkeys(names))}: {error}"


def exceptions(measure: Measure, rows: Iterable[Row]) -> Iterator[str]:
    """What was asked of all, and of whom something else."""
    if names := dict.fromkeys(row.system for row in rows):
        yield f"  {measure.rounds} rounds, {_listed(measure.options)}"
        for name in names:
            if own := measure.options_of.get(name):
                yield f"  {name}: {_listed(own)}"


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:,}" for name, value in options.items())


def notes(systems: Iterable[str]) -> Iterator[str]:
    """What the adapter of each peer says of its defaults: how it waits, what it keeps and how safely.

    Its docstring is read, not its module imported, which takes the system installed.
    """
    modules = dict.fromkeys(SYSTEMS[name].partition(":")[0] for name in systems if kind(name) == "peer")
    for module in modules:
        spec = find_spec(module)
        assert spec is not None
        assert spec.origin is not None
        said = ast.get_docstring(ast.parse(Path(spec.origin).read_text())) or ""
        yield f"{module.rpartition('.')[2]}: {' '.join(said.partition(chr(10) * 2)[2].split())}"


def versions(results: Results, systems: Iterable[str]) -> str:
    found = dict.fromkeys(
        f"{name.split(' (')[0]} {version}"
        for name in ("redis", "aiosqlite", *systems)
        if (version := results.version(name))
    )
    return f"Versions: {', '.join(found)}."


def about(results: Results) -> str:
    environment, machine = results.environments[""], results.machine
    return (
        f"{results.plan}, {results.date}, {results.seconds:.0f} s; Python {environment['python']}, SQLite"
        f" {environment['sqlite']} on {machine['file system']}, {', '.join(results.servers) or 'no server'};"
        f" {machine['cpus']} CPUs, {machine['processor']}, {machine['system']}."
    )
