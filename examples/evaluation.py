"""Evaluate what help pop-ups show: how much do the docstrings of Python lose if only their beginning is kept?

The docstrings of the standard library are a dataset. One run keeps the first paragraph of each, another one
the whole text; both are scored by two metrics and compared. The second run is killed in the midst of its work
and resumed: what it had recorded is there, and nothing is done twice. In the end all runs are verified,
written to a file, and the oldest are removed.

    pip install '.[examples]'  # installs rich; nox -s demo -- evaluation does both steps
    python examples/evaluation.py [--db runs.db | --url redis://localhost:6379/0] [--modules 120 | --all]
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import multiprocessing
import os
import re
import secrets
import signal
import sysconfig
import tempfile
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any, TypedDict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

import flowstore
from flowstore import (
    BaseResultBackend,
    InMemoryBackend,
    RetentionPolicy,
    RunningRun,
    StorageError,
    TaskStatus,
    UnknownRun,
)

LIBRARY = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"site-packages", "test", "tests", "idle_test"}
GROUP = "docstrings"
NAMESPACE = "evaluation"
BEGINNING, WHOLE = {"paragraphs": 1}, {"paragraphs": 1_000}
METRICS = {"readability": {"formula": "Flesch reading ease"}, "coverage": {"of": "parameters"}}
POLICY = RetentionPolicy(max_per_group=10)
AT_ONCE = 16
LOOKS_PER_SECOND = 10
WORD = re.compile(r"[A-Za-z][A-Za-z']*")
SENTENCE = re.compile(r"[.!?:](?=\s|$)|\n\s*\n")
SYLLABLE = re.compile(r"[aeiouy]+", re.IGNORECASE)


Scores = dict[str, float]


class Docstring(TypedDict):
    name: str
    text: str
    parameters: list[str]


Rows = Iterable[Docstring] | AsyncIterable[Docstring]
Done = Callable[[], None]


# What is evaluated


def modules(limit: int | None) -> list[Path]:
    found = (path for path in LIBRARY.rglob("*.py") if LEFT_OUT.isdisjoint(path.relative_to(LIBRARY).parts))
    return sorted(found, key=lambda path: (len(path.parts), path))[:limit]


def docstrings(path: Path) -> list[Docstring]:
    """Of the classes and functions of a module, by their full names."""
    found: list[Docstring] = []
    name = ".".join(path.relative_to(LIBRARY).with_suffix("").parts)
    nodes: list[tuple[str, ast.Module | ast.ClassDef]] = [(name, ast.parse(path.read_bytes()))]
    for outer, node in nodes:
        for inner in node.body:
            if not isinstance(inner, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name, given = f"{outer}.{inner.name}", []
            if isinstance(inner, ast.ClassDef):
                nodes.append((name, inner))
            else:
                given = [each.arg for each in inner.args.args if each.arg not in ("self", "cls")]
            if text := ast.get_docstring(inner):
                found.append({"name": name, "text": text, "parameters": given})
    return found


def shortened(text: str, paragraphs: int) -> str:
    """Its first paragraphs, without examples. Raises ValueError if there is nothing to read in them."""
    kept = [each for each in re.split(r"\n\s*\n", text)[:paragraphs] if not each.lstrip().startswith(">>>")]
    if not WORD.search(" ".join(kept)):
        raise ValueError("nothing to read")
    return "\n\n".join(kept)


def readability(text: str) -> float:
    """Flesch reading ease: from 0, hard, to 100, easy."""
    words = WORD.findall(text)
    syllables = sum(max(1, len(SYLLABLE.findall(word))) for word in words)
    sentences = len(SENTENCE.findall(text)) or 1
    score = 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)
    return min(100.0, max(0.0, score))


def coverage(text: str, names: list[str]) -> float:
    """How many percent of the parameters it names."""
    return 100 * len(set(names) & set(re.findall(r"\w+", text))) / len(names)


# The runs


async def work(
    backend: BaseResultBackend, run: RunningRun, rows: Rows | None = None, done: Done = lambda: None
) -> None:
    """One attempt at a run. The first one saves the dataset that all of them read."""
    async with run:
        if rows is not None:
            await backend.runs.datasets.save(run.run_id, rows)
        await shorten_all(backend, run, done)


async def shorten_all(backend: BaseResultBackend, run: RunningRun, done: Done) -> None:
    """A record for each docstring that has none yet: that is all it takes to resume."""
    rows = {row["name"]: row async for row in backend.runs.datasets.load(run.run_id)}
    missing = iter(await run.missing(rows))

    async def shorten_some() -> None:
        for name in missing:
            try:
                text = shortened(rows[name]["text"], run.run.config["paragraphs"])
            except ValueError as error:
                await run.append(None, key=name, status="failed", error=error)
            else:
                await run.append(text, key=name)
            done()

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(shorten_some())


async def work_until_killed(url: str, run_id: str, other_id: str) -> None:
    """In another process, which ends without a word when it has done half of its work."""
    process = multiprocessing.get_context("spawn").Process(target=crash, args=(url, run_id, other_id))
    process.start()
    try:
        await asyncio.to_thread(process.join)
    finally:
        process.kill()
    if process.exitcode != -signal.SIGKILL:
        raise SystemExit(f"the process of {run_id} ended with {process.exitcode}, before it was killed")


def crash(url: str, run_id: str, other_id: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that has started this one
    asyncio.run(work_until_half(url, run_id, other_id))


async def work_until_half(url: str, run_id: str, other_id: str) -> None:
    async with flowstore.connect(url, namespace=NAMESPACE) as backend:
        datasets, number = backend.runs.datasets, count(1)
        total = (await datasets.info(other_id)).rows

        def done() -> None:
            if next(number) >= total / 2:
                os.kill(os.getpid(), signal.SIGKILL)

        run = backend.runs.run(run_id, group=GROUP, config=WHOLE, total=total)
        await work(backend, run, datasets.load(other_id), done)


async def follow(
    backend: BaseResultBackend, run_id: str, work: Coroutine[Any, Any, None], console: Console
) -> None:
    """Show how far it is until ``work`` ends, whichever process does it: the storage counts the records."""
    working = asyncio.create_task(work)
    try:
        with progress_bar(console) as bars:
            await show(backend, run_id, working, bars)
    finally:
        working.cancel()  # after Ctrl-C; it is over otherwise
        await asyncio.wait([working])
    await working


async def show(backend: BaseResultBackend, run_id: str, working: asyncio.Task[None], bars: Progress) -> None:
    bar, is_over = bars.add_task(run_id, total=None), False
    while not is_over:
        is_over = working.done()  # if so, this is the last look
        with suppress(UnknownRun):  # it has not begun yet
            far = await backend.runs.progress(run_id)
            bars.update(bar, completed=far.done, total=far.total)
        await asyncio.wait([working], timeout=1 / LOOKS_PER_SECOND)


def progress_bar(console: Console) -> Progress:
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(elapsed_when_finished=True))
    return Progress(TextColumn("{task.description:22}"), *columns, console=console)


# The evaluations


async def evaluate(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    """Beside the records, whenever somebody likes: the run itself is over."""
    named = {row["name"]: row["parameters"] async for row in backend.runs.datasets.load(run_id)}
    scores: dict[str, Scores] = {metric: {} for metric in METRICS}
    with progress_bar(console) as bars:
        bar = bars.add_task(f"score {run_id}", total=len(named))
        async for record in backend.runs.records(run_id, status="success", as_=str):
            scores["readability"][record.key] = readability(record.value)
            if named[record.key]:
                scores["coverage"][record.key] = coverage(record.value, named[record.key])
            bars.advance(bar)
        for metric, values in scores.items():
            await backend.runs.evaluate_many(run_id, values, eval_id=metric, config=METRICS[metric])
        bars.update(bar, completed=len(named))


async def scores_of(backend: BaseResultBackend, run_id: str, metric: str) -> Scores:
    evaluated = backend.runs.evaluations(run_id, metric, METRICS[metric], as_=float)
    return {each.key: each.value async for each in evaluated}


async def compare(backend: BaseResultBackend, run_ids: list[str], chart: Path, console: Console) -> None:
    runs = [await backend.runs.wait_for(run_id, 0) for run_id in run_ids]
    sizes = [await backend.runs.size(run_id) for run_id in run_ids]
    counts = [(await backend.runs.progress(run_id)).counts for run_id in run_ids]
    table = Table("", *run_ids, title="What is lost with all but the beginning")
    table.add_row("attempts", *(str(run.attempt + 1) for run in runs))
    table.add_row("records", *(str(each[TaskStatus.SUCCESS]) for each in counts))
    table.add_row("failed, as there is nothing to read", *(str(each[TaskStatus.FAILED]) for each in counts))
    table.add_row("KiB", *(f"{size.total / 1024:,.0f}" for size in sizes), end_section=True)
    panels: list[str] = []
    for metric in METRICS:
        scores = [await scores_of(backend, run_id, metric) for run_id in run_ids]
        table.add_row(f"{metric}, mean", *(f"{fmean(each.values() or [0]):.1f}" for each in scores))
        panels.append(panel(metric, scores, len(panels)))
    console.print(table)
    together = (await backend.runs.size(group=GROUP)).payloads / 1024
    console.print(f"The docstrings take {together:,.0f} KiB, which all runs that have them share.")
    await asyncio.to_thread(chart.write_text, drawn(panels, run_ids), "utf-8")
    console.print(f"How the scores are spread is drawn in {chart}", highlight=False)


async def look_after(backend: BaseResultBackend, file: Path, console: Console) -> None:
    """Verify all runs, write them to a file, and remove the oldest."""
    with progress_bar(console) as bars:
        verify, export = bars.add_task("verify", total=None), bars.add_task(f"write {file.name}", total=None)
        verified = await backend.runs.verify(
            progress=lambda done, total: bars.update(verify, completed=done, total=total)
        )
        exported = await backend.runs.archive.export(
            file, group=GROUP, overwrite=True, progress=lambda done: bars.update(export, completed=done)
        )
        bars.update(export, total=exported.records)
    console.print(f"{verified.records} records of all kinds were read again, {verified.found} are damaged.")
    for finding in verified.findings[:10]:
        console.print(f"  {finding.kind} {finding.task_id!r}: {finding.reason}", markup=False)
    outcome = await backend.runs.retention.apply(POLICY, group=GROUP)
    console.print(f"By the policy {outcome.removed} older runs went, and {outcome.kept} stay.")


# The chart

STYLE = """text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 15px }
.paper { fill: #ffffff } .line { stroke: #d0d7de } .a { fill: #0969da } .b { fill: #d4761a }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 }
.paper { fill: #0d1117 } .line { stroke: #3d444d } .a { fill: #4493f8 } .b { fill: #f0983f } }"""
BINS, WIDE, HIGH = 10, 320, 190


def drawn(panels: list[str], run_ids: list[str]) -> str:
    size, parts = 'width="760" height="310"', [*panels]
    for mark, x, run_id in zip("ab", (56, 256), run_ids, strict=True):
        parts.append(f'<rect class="{mark}" x="{x}" y="282" width="12" height="12"/>')
        parts.append(f'<text x="{x + 18}" y="292">{run_id}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 310" {size}>\n<style>{STYLE}</style>\n'
        f'<rect class="paper" {size} rx="8"/>\n{"".join(parts)}\n</svg>\n'
    )


def panel(metric: str, scores: list[Scores], place: int) -> str:
    """How many percent of the docstrings have which score."""
    shares = [histogram(each) for each in scores]
    top = max(1.0, *map(max, shares))
    parts = [f'<text class="title" y="-{HIGH + 18}">{metric}: % of docstrings by score</text>']
    for tick in range(0, int(top) + 1, 10 if top < 60 else 20):
        y = -HIGH * tick / top
        parts.append(f'<line class="line" x2="{WIDE}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="-8" y="{y + 4:.1f}" text-anchor="end">{tick}</text>')
    for mark, each, start in zip("ab", shares, (2, 16), strict=True):
        for number, share in enumerate(each):
            box = f'x="{start + number * WIDE / BINS}" y="{-HIGH * share / top:.1f}" width="13"'
            parts.append(f'<rect class="{mark}" {box} height="{HIGH * share / top:.1f}"/>')
    parts += [f'<text x="{n * WIDE / 100}" y="18" text-anchor="middle">{n}</text>' for n in (0, 50, 100)]
    return f'<g transform="translate({56 + place * 370},246)">{"".join(parts)}</g>\n'


def histogram(scores: Scores) -> list[float]:
    places = [min(BINS - 1, int(score * BINS / 100)) for score in scores.values()]
    return [100 * places.count(place) / max(1, len(places)) for place in range(BINS)]


# The program


async def evaluation(url: str, limit: int | None, chart: Path, console: Console) -> None:
    number = secrets.token_hex(2)
    first, second = f"beginning {number}", f"whole {number}"
    async with flowstore.connect(url, namespace=NAMESPACE) as backend:
        found = await read(modules(limit), console)
        run = backend.runs.run(first, group=GROUP, config=BEGINNING, total=len(found))
        await follow(backend, first, work(backend, run, found), console)
        await follow(backend, second, work_until_killed(url, second, first), console)
        console.print("[red]Killed on purpose[/], as by kill -9, in the midst of its work. Resuming it:")
        run = backend.runs.run(second, resume=True)
        await follow(backend, second, work(backend, run), console)
        for run_id in (first, second):
            await evaluate(backend, run_id, console)
        await compare(backend, [first, second], chart, console)
        await look_after(backend, chart.with_suffix(".jsonl.gz"), console)


async def read(paths: list[Path], console: Console) -> list[Docstring]:
    found: dict[str, Docstring] = {}
    with progress_bar(console) as bars:
        for path in bars.track(paths, description="read modules"):
            found |= {row["name"]: row for row in await asyncio.to_thread(docstrings, path)}
    return [*found.values()]


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    store, size = parser.add_mutually_exclusive_group(), parser.add_mutually_exclusive_group()
    store.add_argument("--url", help="any flowstore URL except memory:// (default: a SQLite file)")
    store.add_argument("--db", help="path of the SQLite file, which is kept (default: a temporary file)")
    size.add_argument("--modules", type=positive, default=120, help="so many modules (default: %(default)s)")
    size.add_argument("--all", action="store_true", help="all modules of the standard library")
    parser.add_argument(
        "--chart", type=Path, default="evaluation.svg", help="beside it .jsonl.gz (default: %(default)s)"
    )
    options = parser.parse_args()
    if options.chart.is_dir() or not options.chart.absolute().parent.is_dir():
        parser.error(f"--chart: {options.chart} cannot be a file")
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(options.db or Path(folder, 'evaluation.db')).absolute()}"
        try:
            if isinstance(flowstore.connect(url), InMemoryBackend):
                parser.error("--url: memory:// ends with its process, and one is killed here on purpose")
        except ValueError as error:
            parser.error(str(error))
        limit = None if options.all else options.modules
        try:
            asyncio.run(evaluation(url, limit, options.chart, Console()))
        except (StorageError, OSError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        except KeyboardInterrupt:
            raise SystemExit(130) from None


if __name__ == "__main__":
    main()
