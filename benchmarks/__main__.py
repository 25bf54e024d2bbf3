"""flowstore side by side with its peers and with the bare storage: nox -s bench [-- --full].

Each work of each system runs in a process of its own on an empty storage, round after round. Tables go to
the terminal, every number and two charts into a folder.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import redis
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.environment import environment, machine
from benchmarks.peers import PEERS
from benchmarks.places import Places, places, server_of
from benchmarks.plan import PLANS, Measure
from benchmarks.report import show
from benchmarks.results import Results
from benchmarks.running import Runner, output_of
from benchmarks.systems import SYSTEMS, storage


def parser() -> argparse.ArgumentParser:
    first, _, rest = (__doc__ or "").partition("\n\n")
    arguments = argparse.ArgumentParser("python -m benchmarks", description=first, epilog=rest)
    add = arguments.add_argument
    add("--full", action="store_true", help="every system in every work, more rounds: about 40 minutes")
    add("--peer", action="append", metavar="NAME", help="only peers whose name begins so; may be repeated")
    add("--work", action="append", metavar="NAME", help="only this work of the plan; may be repeated")
    add(
        "--backend",
        metavar="URL",
        help="only systems on this storage: redis://HOST:PORT/DB, sqlite:///FOLDER or memory://. The database"
        " must be empty, and nobody else may use it: it is refused unless empty, before each run, and EMPTIED"
        " AFTER each run. In the folder only new folders are made, and removed again. Without it, each run"
        " starts a server of its own, and files are in the folder for temporary files",
    )
    add(
        "--python",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="the interpreter for systems whose name begins so, as some cannot be installed together; may be"
        " repeated, the last that fits holds",
    )
    add("--out", type=Path, default=Path("benchmarks/out"), metavar="FOLDER", help="default: benchmarks/out")
    add("--docs", action="store_true", help="draw the charts into docs/ as well, for the README")
    add("--show", type=Path, metavar="FILE", help="measure nothing: show and draw what is in this JSON file")
    return arguments


def beginning(begins: list[str] | None, names: list[str], what: str) -> list[str]:
    """The names that begin with one of these; all of them when none is given. ValueError when none does."""
    if begins is None:
        return names
    for begin in begins:
        if not any(name.startswith(begin) for name in names):
            raise ValueError(f"no {what} is called {begin!r}: there are {', '.join(names)}")
    return [name for name in names if name.startswith(tuple(begins))]


def chosen(options: argparse.Namespace, there: Places) -> list[Measure]:
    """The plan, without what was not asked for. Limits and flowstore stay, or there would be no ratio."""
    plan = PLANS["full" if options.full else "quick"]
    names = beginning(options.work, [measure.name for measure in plan], "work")
    peers = beginning(options.peer, list(PEERS), "peer")
    systems = {name for name in SYSTEMS if name in peers or name not in PEERS}
    measures = []
    for measure in plan:
        left = tuple(name for name in measure.systems if name in systems and storage(name) in there.storages)
        if measure.name in names and left:
            measures.append(replace(measure, systems=left))
    return measures


def interpreters(given: list[str]) -> dict[str, str]:
    """From NAME=PATH to the interpreter of each system that has one of its own."""
    found: dict[str, str] = {}  # absolute, as children have a folder of their own; not resolved out of a venv
    for name, _, path in (each.partition("=") for each in given):
        if not Path(path).is_file():
            raise ValueError(f"--python {name}={path}: there is no such file")
        found |= dict.fromkeys(beginning([name], list(SYSTEMS), "system"), str(Path(path).absolute()))
    return found


async def measured(
    plan: str, measures: list[Measure], there: Places, pythons: dict[str, str], file: Path
) -> Results:
    """Kept in ``file`` after each run, so that an interrupted one leaves what it found."""
    began = time.monotonic()
    systems = list(dict.fromkeys(system for measure in measures for system in measure.systems))
    results = Results(plan, datetime.now(UTC).isoformat(timespec="seconds"), {}, [], {"": environment()})
    for system in systems:
        if system in pythons:
            output, _ = await output_of([pythons[system], "-m", "benchmarks.environment"])
            results.environments[system] = json.loads(output)
    with there.fresh(there.storages[0]) as location:
        folder = str(Path(location).parent) if there.storages[0] == "sqlite" else tempfile.gettempdir()
        results.machine = machine(folder)
        if there.storages[0] == "redis":
            results.servers.append(server_of(location))
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("")
        runner = Runner(there, pythons, lambda description: progress.update(task, description=description))
        results.runs += await runner.check(systems)
        unfit = {run.system: run.error for run in results.runs if run.error}
        async for run in runner.measure(measures, unfit):
            results.runs.append(run)
            results.seconds = round(time.monotonic() - began, 1)
            results.save(file)
    return results


def draw(results: Results, folders: list[Path]) -> str:
    """Says what was drawn, or why nothing was."""
    try:
        from benchmarks.charts import draw_all
    except ModuleNotFoundError as error:
        return f"No charts: {error}"
    drawn = ", ".join(str(path) for folder in folders for path in draw_all(results, folder))
    return f"Charts: {drawn or 'none of what was measured'}"


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.show:
        results = Results.load(options.show)
    else:
        try:
            there = places(options.backend)
            measures = chosen(options, there)
            pythons = interpreters(options.python)
        except (ValueError, redis.RedisError) as error:
            parser().error(str(error))
        plan, file = "full" if options.full else "quick", options.out / "benchmark.json"
        results = asyncio.run(measured(plan, measures, there, pythons, file))
    console = Console(width=None if sys.stdout.isatty() else 120)
    show(results, console)
    console.print(draw(results, [options.out, *([Path("docs")] if options.docs else [])]))


if __name__ == "__main__":
    main()
