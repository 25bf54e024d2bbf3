"""A workflow that is watched while it runs: find source files, parse each, sum up; then what took how long.

Each step is a block under ``backend.track``, and so a task of one family. The view knows of it only what
the backend tells, and could as well be a program of its own.

    python examples/pipeline.py [--url memory://] [--files 150]
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import itertools
import secrets
import sysconfig
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import flowstore
from flowstore import BaseResultBackend, TaskResult, TaskStatus, Transition

LIBRARY = Path(sysconfig.get_path("stdlib"))
MAX_BYTES = 30_000  # ast.parse lets nothing else run while it works, so the files are small
NOT_PYTHON = 2
AT_ONCE = 4
LOOKS_PER_SECOND = 8
SHOWN = 12
WIDTH = 36
COLOURS = {
    TaskStatus.PENDING: "dim",
    TaskStatus.RUNNING: "yellow",
    TaskStatus.RETRYING: "yellow",
    TaskStatus.SUCCESS: "green",
    TaskStatus.FAILED: "red",
    TaskStatus.CANCELLED: "magenta",
}
INTEREST = [
    TaskStatus.RUNNING,
    TaskStatus.RETRYING,
    TaskStatus.FAILED,
    TaskStatus.CANCELLED,
    TaskStatus.SUCCESS,
    TaskStatus.PENDING,
]


# The workflow


async def report(backend: BaseResultBackend, run_id: str, limit: int) -> None:
    """The root task. What is tracked inside of it becomes its family."""
    async with backend.track(run_id, name="source report") as run:
        async with backend.track(f"{run_id}/discover", name="discover") as found:
            paths = await asyncio.to_thread(discover, limit)
            found.result = len(paths)
        await parse_all(backend, f"{run_id}/parse", paths)
        async with backend.track(f"{run_id}/summarise", name="summarise") as summary:
            summary.result = await summarise(backend, f"{run_id}/parse")
        run.result = summary.result


async def parse_all(backend: BaseResultBackend, step_id: str, paths: list[Path]) -> None:
    """One child for each file. All are stored as pending first, so that a view knows how many there are."""
    async with backend.track(step_id, name="parse") as step:
        files = [
            TaskResult[Any].pending(f"{step_id}/{path.name}", task_name="parse file", parent_id=step_id)
            for path in paths
        ]
        await backend.store_many(files)
        slots, parsed = asyncio.Semaphore(AT_ONCE), itertools.count(1)

        async def parse_one(file: TaskResult[Any], path: Path) -> None:
            await parse_file(backend, file.task_id, path, slots)
            await step.progress(next(parsed), len(paths), path.name)

        async with asyncio.TaskGroup() as group:
            for file, path in zip(files, paths, strict=True):
                group.create_task(parse_one(file, path))


async def parse_file(backend: BaseResultBackend, task_id: str, path: Path, slots: asyncio.Semaphore) -> None:
    with suppress(SyntaxError, ValueError):  # the backend has it; the other files go on
        async with slots, backend.track(task_id) as file:
            file.result = await asyncio.to_thread(parse, path)


def discover(limit: int) -> list[Path]:
    """Source files of the standard library, and a few that are no Python, so that some tasks fail."""
    sources = (path for path in sorted(LIBRARY.glob("*.py")) if path.stat().st_size < MAX_BYTES)
    others = [*sorted(LIBRARY.glob("__pycache__/*.pyc")), *sorted(LIBRARY.glob("lib-dynload/*.so"))]
    return [*itertools.islice(sources, limit), *itertools.islice(others, NOT_PYTHON)]


def parse(path: Path) -> dict[str, int]:
    """Raises SyntaxError or UnicodeDecodeError."""
    source = path.read_text("utf-8")
    kinds = Counter(type(node) for node in ast.walk(ast.parse(source)))
    functions = kinds[ast.FunctionDef] + kinds[ast.AsyncFunctionDef]
    return {"lines": source.count("\n"), "functions": functions, "classes": kinds[ast.ClassDef]}


async def summarise(backend: BaseResultBackend, step_id: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    async for file in backend.children(step_id):
        if file.is_success:
            total.update(files=1, **file.unwrap())
    return dict(total)


# The view


class Look(NamedTuple):
    """What is known of a run at one moment."""

    tasks: list[TaskResult[Any]]
    counts: dict[TaskStatus, int]


async def looks(backend: BaseResultBackend, run_id: str) -> AsyncIterator[Look]:
    """The run after each change, but not too often for an eye, until its root task is finished."""
    has_changed = asyncio.Event()

    async def hear_of_all() -> None:
        async for _ in backend.watch_status():
            has_changed.set()

    async def hear_of_the_root() -> None:
        async for _ in backend.watch(run_id):  # ends with it
            has_changed.set()

    hearing, ending = asyncio.ensure_future(hear_of_all()), asyncio.ensure_future(hear_of_the_root())
    try:
        while not ending.done():
            await has_changed.wait()
            has_changed.clear()
            yield await look(backend, run_id)
            await asyncio.sleep(1 / LOOKS_PER_SECOND)
        yield await look(backend, run_id)
    finally:
        hearing.cancel()
        ending.cancel()
        await asyncio.wait([hearing, ending])


async def look(backend: BaseResultBackend, run_id: str) -> Look:
    """A run here has less than 1,000 tasks."""
    page = await backend.page(root_id=run_id, limit=1_000, newest_first=False, load_result=False)
    return Look(page.items, await backend.count_by_status(root_id=run_id))


async def show(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    with Live(console=console, auto_refresh=False) as live:
        async for seen in looks(backend, run_id):
            live.update(Group(tree(seen.tasks), progress(seen.counts)), refresh=True)


def tree(tasks: list[TaskResult[Any]]) -> Tree:
    """Each task below its parent; where there are many, those that run or failed rather than the others."""
    children: dict[str | None, list[TaskResult[Any]]] = {}
    for task in tasks:
        children.setdefault(task.parent_id, []).append(task)
    drawn = Tree("", hide_root=True)
    parents: list[tuple[str | None, Tree]] = [(None, drawn)]
    for parent_id, branch in parents:
        below = children.get(parent_id, [])
        if len(below) > SHOWN:
            below = sorted(below, key=lambda task: INTEREST.index(task.status))
        parents += [(task.task_id, branch.add(label(task))) for task in below[:SHOWN]]
        if len(below) > SHOWN:
            branch.add(Text(f"and {len(below) - SHOWN} more", "dim"))
    return drawn


def label(task: TaskResult[Any]) -> Text:
    took = task.started_at and task.finished_at and f"{seconds(task.started_at, task.finished_at):6.3f} s"
    error = task.error.type if task.error else ""
    far = f"{task.progress.done:g}/{task.progress.total:g} " if task.progress and task.progress.total else ""
    return Text.assemble(
        (f"{task.status:10}", COLOURS[task.status]), f"{name(task)}  {far}", took or "", f"  {error}"
    )


def progress(counts: dict[TaskStatus, int]) -> Table:
    done, total = sum(counts[status] for status in TaskStatus if status.is_finished), sum(counts.values())
    shown = [f"[{COLOURS[status]}]{count} {status}[/]" for status, count in counts.items() if count]
    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(total=max(1, total), completed=done, width=40), f"{done}/{total}", *shown)
    return line


# What is left behind


async def show_timeline(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    """When each task of the run was running, by its history; of the files those that took longest."""
    tasks = {task.task_id: task async for task in backend.iter_by_status(root_id=run_id, load_result=False)}
    stretches: dict[str, list[Transition]] = {}
    async for batch in backend.iter_history(start=tasks[run_id].started_at):
        for step in batch:
            if step.task_id in tasks and step.status is not TaskStatus.PENDING:
                stretches.setdefault(step.task_id, []).append(step)
    begin, end = stretches[run_id][0].at, stretches[run_id][-1].at
    rows = sorted(stretches, key=lambda task_id: stretches[task_id][0].at - stretches[task_id][-1].at)
    timeline = Table("task", "from", "for", "", title=f"{run_id}: the tasks that took longest")
    for task_id in sorted(rows[:SHOWN], key=lambda task_id: stretches[task_id][0].at):
        first, last = stretches[task_id][0].at, stretches[task_id][-1].at
        share = WIDTH / max(seconds(begin, end), 1e-6)
        offset, length = int(share * seconds(begin, first)), max(1, round(share * seconds(first, last)))
        bar = Text(" " * offset + "#" * length, COLOURS[tasks[task_id].status])
        times = (f"{seconds(begin, first):.3f} s", f"{seconds(first, last):.3f} s")
        timeline.add_row(name(tasks[task_id]), *times, bar)
    console.print(timeline)


async def show_outcome(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    workflow = await backend.workflow(run_id)
    assert workflow is not None
    console.print(f"{workflow.root.task_name}: {workflow.root.unwrap()}")
    console.print("A file that failed, from pending to its end:")
    async for task in backend.iter_by_status(TaskStatus.FAILED, root_id=run_id, load_result=False):
        for step in await backend.history(task.task_id):
            console.print(f"  {step.at:%H:%M:%S.%f}  {step.status}", highlight=False)
        break


def name(task: TaskResult[Any]) -> str:
    return task.task_id.rpartition("/")[2]


def seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


async def run(url: str, limit: int, console: Console) -> None:
    run_id = f"report {secrets.token_hex(3)}"
    async with flowstore.connect(url, namespace="pipeline") as backend:
        async with asyncio.TaskGroup() as group:
            group.create_task(report(backend, run_id, limit))
            group.create_task(show(backend, run_id, console))
        await show_timeline(backend, run_id, console)
        await show_outcome(backend, run_id, console)
        console.print("Workflows here:", *await backend.workflow_types())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="any flowstore URL; by default a SQLite file in a temporary folder")
    parser.add_argument("--files", type=int, default=150, help="parse so many files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            asyncio.run(run(options.url or f"sqlite:///{folder}/pipeline.db", options.files, Console()))
        except KeyboardInterrupt:
            raise SystemExit("stopped") from None


if __name__ == "__main__":
    main()
