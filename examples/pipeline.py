"""Watch a workflow while it runs: find source files, parse each of them, summarise; then show a timeline.

Each step is a block inside ``backend.track``, so all of them are tasks of one family. The view reads
everything from the backend, and could just as well be a separate program.

    pip install '.[examples]'  # installs rich; nox -s demo -- pipeline does both steps
    python examples/pipeline.py [--url memory://] [--files 500]
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import io
import itertools
import multiprocessing
import secrets
import signal
import sysconfig
import tempfile
import tokenize
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import flowstore
from flowstore import BaseResultBackend, StorageError, TaskResult, TaskStatus, Transition

LIBRARY = Path(sysconfig.get_path("stdlib"))
LEFT_OUT = {"site-packages", "test", "tests"}
NOT_PYTHON = 2
AT_ONCE = 2
LOOKS_PER_SECOND = 8
SHOWN = 10
WIDTH = 24
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


async def report(backend: BaseResultBackend, run_id: str, limit: int, pool: ProcessPoolExecutor) -> None:
    """The root task. Blocks that are tracked inside it become its family."""
    async with backend.track(run_id, name="source report") as run:
        async with backend.track(f"{run_id}/discover", name="discover") as found:
            paths = await asyncio.to_thread(discover, limit)
            found.result = len(paths)
        await parse_all(backend, f"{run_id}/parse", paths, pool)
        async with backend.track(f"{run_id}/summarise", name="summarise") as summary:
            summary.result = await summarise(backend, f"{run_id}/parse")
        run.result = summary.result


async def parse_all(
    backend: BaseResultBackend, step_id: str, paths: list[Path], pool: ProcessPoolExecutor
) -> None:
    """One child per file. All are stored as pending first, so that a view can show the total."""
    slots, parsed = asyncio.Semaphore(AT_ONCE), itertools.count(1)

    async def parse_one(task_id: str, path: Path) -> None:
        with suppress(SyntaxError, UnicodeDecodeError):  # stored as failed; the other files go on
            async with slots, backend.track(task_id) as file:
                file.result = await asyncio.get_running_loop().run_in_executor(pool, parse, path)
        await step.progress(next(parsed), len(paths), path.name)

    files = {f"{step_id}/{path.relative_to(LIBRARY)}": path for path in paths}
    async with backend.track(step_id, name="parse") as step:
        try:
            await backend.store_many(
                TaskResult.pending(task_id, task_name="parse file", parent_id=step_id) for task_id in files
            )
            async with asyncio.TaskGroup() as group:
                for task_id, path in files.items():
                    group.create_task(parse_one(task_id, path))
        finally:
            await cancel_pending(backend, step_id)


async def cancel_pending(backend: BaseResultBackend, step_id: str) -> None:
    """Files that have not started when their step ends, by Ctrl-C for example, never will."""
    left = [file async for file in backend.iter_by_status(TaskStatus.PENDING, parent_id=step_id)]
    await backend.store_many([TaskResult.cancelled(file) for file in left])


def discover(limit: int) -> list[Path]:
    """Source files of the standard library, and a few that are not Python, so that some tasks fail."""
    sources = sorted(
        (path for path in LIBRARY.rglob("*.py") if LEFT_OUT.isdisjoint(path.relative_to(LIBRARY).parts)),
        key=lambda path: (len(path.parts), path),
    )
    others = [*sorted(LIBRARY.glob("__pycache__/*.pyc")), *sorted(LIBRARY.glob("lib-dynload/*.so"))]
    return [*others[:NOT_PYTHON], *sources[:limit]]


def parse(path: Path) -> dict[str, int]:
    """Runs in another process. Raises SyntaxError or UnicodeDecodeError."""
    source = path.read_text("utf-8")
    nodes = Counter(type(node) for node in ast.walk(ast.parse(source)))
    tokens = Counter(token.type for token in tokenize.generate_tokens(io.StringIO(source).readline))
    return {
        "lines": source.count("\n"),
        "comments": tokens[tokenize.COMMENT],
        "functions": nodes[ast.FunctionDef] + nodes[ast.AsyncFunctionDef],
        "classes": nodes[ast.ClassDef],
    }


async def summarise(backend: BaseResultBackend, step_id: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    async for file in backend.families.children(step_id):
        if file.is_success:
            total.update(files=1, **file.unwrap())
    return dict(total)


# The view


@asynccontextmanager
async def shown(backend: BaseResultBackend, run_id: str, console: Console) -> AsyncIterator[None]:
    """Redraw the run during the block, and once more when it has ended, by Ctrl-C too."""
    with Live(console=console, auto_refresh=False) as live:
        try:
            async with asyncio.TaskGroup() as group:
                drawing = group.create_task(draw_changes(backend, run_id, live))
                yield
                drawing.cancel()
        finally:
            live.update(await look(backend, run_id), refresh=True)
    console.line()


async def draw_changes(backend: BaseResultBackend, run_id: str, live: Live) -> None:
    """Redraw when tasks change status, at most LOOKS_PER_SECOND times per second."""
    async for _ in backend.watch_status():
        live.update(await look(backend, run_id), refresh=True)
        await asyncio.sleep(1 / LOOKS_PER_SECOND)


async def look(backend: BaseResultBackend, run_id: str) -> Group:
    """The run at this moment. Tree and counts are made from one page, so they agree."""
    page = await backend.page(root_id=run_id, limit=10_000, newest_first=False, load_result=False)
    return Group(tree(page.items), progress(page.items))


def tree(tasks: list[TaskResult]) -> Tree:
    """Each task below its parent. Of many siblings, those that are running or have failed come first."""
    children: dict[str | None, list[TaskResult]] = {}
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


def label(task: TaskResult) -> Text:
    took = task.started_at and task.finished_at and f"{seconds(task.started_at, task.finished_at):6.3f} s"
    error = task.error.type if task.error else ""
    far = f"{task.progress.done:g}/{task.progress.total:g} " if task.progress and task.progress.total else ""
    status = (f"{task.status:10}", COLOURS[task.status])
    return Text.assemble(status, f"{name(task)}  {far}", took or "", f"  {error}", no_wrap=True)


def progress(tasks: list[TaskResult]) -> Table:
    counts = Counter(task.status for task in tasks)
    done = sum(count for status, count in counts.items() if status.is_finished)
    shown = [f"[{COLOURS[status]}]{counts[status]} {status}[/]" for status in TaskStatus if counts[status]]
    line = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=max(1, len(tasks)), completed=done, width=WIDTH)
    line.add_row(bar, f"{done}/{len(tasks)}", *shown)
    return line


# After the run


async def show_timeline(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    """When the tasks that took longest were running, from the history."""
    tasks = {task.task_id: task async for task in backend.iter_by_status(root_id=run_id, load_result=False)}
    stretches: dict[str, list[Transition]] = {}
    async for step in backend.history.iter(start=tasks[run_id].started_at):
        if step.task_id in tasks and step.status is not TaskStatus.PENDING:
            stretches.setdefault(step.task_id, []).append(step)
    begin, end = stretches[run_id][0].at, stretches[run_id][-1].at
    rows = sorted(stretches, key=lambda task_id: stretches[task_id][0].at - stretches[task_id][-1].at)
    timeline = Table("task", "from", "for", "", title=f"{run_id}: the tasks that took longest")
    timeline.columns[0].no_wrap = True
    for task_id in sorted(rows[:SHOWN], key=lambda task_id: stretches[task_id][0].at):
        first, last = stretches[task_id][0].at, stretches[task_id][-1].at
        share = WIDTH / max(seconds(begin, end), 1e-6)
        offset, length = int(share * seconds(begin, first)), max(1, round(share * seconds(first, last)))
        bar = Text(" " * offset + "#" * length, COLOURS[tasks[task_id].status])
        times = (f"{seconds(begin, first):.3f} s", f"{seconds(first, last):.3f} s")
        timeline.add_row(name(tasks[task_id]), *times, bar)
    console.print(timeline)


async def show_outcome(backend: BaseResultBackend, run_id: str, console: Console) -> None:
    workflow = await backend.workflows.get(run_id)
    assert workflow is not None
    console.print(f"{workflow.root.task_name}: {workflow.root.unwrap()}")
    async for task in backend.iter_by_status(TaskStatus.FAILED, root_id=run_id, load_result=False):
        error = task.error
        reason = f"{error.type}: {error.message}" if error else "no error"
        console.print(f"{name(task)} failed with {reason}", markup=False, highlight=False, soft_wrap=True)
        for step in await backend.history.of(task.task_id):
            console.print(f"  {step.at:%H:%M:%S.%f}  {step.status}", highlight=False)


def name(task: TaskResult) -> str:
    return task.task_id.removeprefix(f"{task.parent_id}/")


def seconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds()


# The program


async def run(backend: BaseResultBackend, limit: int, pool: ProcessPoolExecutor) -> None:
    run_id, console = f"report {secrets.token_hex(3)}", Console()
    async with backend:
        async with shown(backend, run_id, console):
            await report(backend, run_id, limit, pool)
        await show_timeline(backend, run_id, console)
        await show_outcome(backend, run_id, console)
        console.print("Workflows here:", *await backend.workflows.types())


def processes() -> ProcessPoolExecutor:
    """Started while Ctrl-C is ignored, so that they ignore it too: this process shuts them down."""
    pool = ProcessPoolExecutor(AT_ONCE, multiprocessing.get_context("spawn"))
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    for _ in range(AT_ONCE):
        pool.submit(int)
    signal.signal(signal.SIGINT, handler)
    return pool


def positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="any flowstore URL (default: a SQLite file in a temporary folder)")
    parser.add_argument(
        "--files", type=positive, default=500, help="parse at most this many (default: %(default)s)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            backend = flowstore.connect(
                options.url or f"sqlite:///{folder}/pipeline.db", namespace="pipeline"
            )
        except ValueError as error:
            parser.error(str(error))
        try:
            with processes() as pool:
                asyncio.run(run(backend, options.files, pool))
        except StorageError as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        except KeyboardInterrupt:
            raise SystemExit(130) from None


if __name__ == "__main__":
    main()
