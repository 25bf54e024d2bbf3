"""A small task queue: worker processes parse every source file of this Python installation.

The producer and its workers share one SQLite file (or, with --url, a Redis database) and nothing else.
Workers claim pending tasks with a compare-and-set. A few files that are not Python are included, so that
some tasks fail.

    pip install '.[redis,examples]'  # for --url, and rich; nox -s demo does both steps
    python examples/quickstart.py [--url redis://localhost:6379/0] [--db results.db] [--limit 200]
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import multiprocessing
import os
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

import flowstore
from flowstore import BaseResultBackend, TaskResult, TaskStatus, VersionConflict

LIBRARY = Path(sysconfig.get_path("stdlib"))
WORKERS = 2
NOT_PYTHON = 45
STOP = "stop the workers"


def parse(path: str) -> dict[str, int]:
    """The task itself: count what one source file defines. Raises SyntaxError or UnicodeDecodeError."""
    source = Path(path).read_text("utf-8")
    nodes = list(ast.walk(ast.parse(source, path)))
    return {
        "lines": source.count("\n"),
        "functions": sum(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in nodes),
        "classes": sum(isinstance(node, ast.ClassDef) for node in nodes),
    }


async def work(url: str, worker_id: str) -> None:
    """Claim and run pending tasks, a page at a time, until the producer stores STOP."""
    async with flowstore.connect(url, namespace="quickstart") as backend:
        stop = asyncio.ensure_future(backend.wait_for(STOP))
        try:
            while not stop.done():
                page = await backend.page(TaskStatus.PENDING, name="parse", limit=20, newest_first=False)
                for task in page.items:
                    await run(backend, task, worker_id)
                if not page.items:
                    await asyncio.wait([stop], timeout=0.05)
        finally:
            stop.cancel()


async def run(backend: BaseResultBackend, task: TaskResult, worker_id: str) -> None:
    running = TaskResult.running(task, worker_id=worker_id)
    try:
        await backend.store(task.task_id, running, if_version=task.version)
    except VersionConflict:
        return  # another worker has claimed it
    try:
        outcome = TaskResult.success(running, parse(*running.args))
    except (SyntaxError, ValueError) as error:
        outcome = TaskResult.failed(running, error)
    await backend.store(task.task_id, outcome)


def files(limit: int | None) -> list[Path]:
    """The source files of the standard library, and some files there that are not Python."""
    everything = [path for path in sorted(LIBRARY.rglob("*")) if "site-packages" not in path.parts]
    sources = [path for path in everything if path.suffix == ".py" and path.is_file()]
    others = [
        path for path in everything if path.suffix in (".so", ".pyc", ".txt", ".exe") and path.is_file()
    ]
    return [*islice(others, NOT_PYTHON), *islice(sources, limit)]


async def produce(url: str, limit: int | None, console: Console) -> None:
    async with flowstore.connect(url, namespace="quickstart") as backend:
        await backend.clear()
        tasks = [TaskResult.pending(str(path), task_name="parse", args=(str(path),)) for path in files(limit)]
        with workers(url):
            await backend.store_many(tasks)
            finished = await collect(backend, [task.task_id for task in tasks])
            await backend.store(STOP, TaskResult.success(STOP))
        show_largest(finished, console)
        await show_failed(backend, console)


@contextmanager
def workers(url: str) -> Iterator[None]:
    """Run worker processes during the block; none outlives it."""
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=start_worker, args=(url, f"worker-{n}"), daemon=True) for n in range(WORKERS)
    ]
    for process in started:
        process.start()
    try:
        yield
        for process in started:
            process.join()
    finally:
        for process in started:
            process.terminate()


def start_worker(url: str, worker_id: str) -> None:
    with suppress(KeyboardInterrupt):
        asyncio.run(work(url, worker_id))


async def collect(backend: BaseResultBackend, task_ids: list[str]) -> list[TaskResult]:
    finished = []
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn()) as progress:
        bar = progress.add_task("parsing", total=len(task_ids))
        async for result in backend.as_completed(task_ids, timeout=300, raise_first=True):
            finished.append(result)
            progress.advance(bar)
    return finished


def show_largest(finished: list[TaskResult], console: Console) -> None:
    table = Table("file", "lines", "functions", "classes", "worker", title="The largest files")
    largest = sorted((task for task in finished if task.is_success), key=lambda task: -task.unwrap()["lines"])
    for task in largest[:8]:
        counts = [str(task.unwrap()[column]) for column in ("lines", "functions", "classes")]
        table.add_row(short(task), *counts, task.worker_id)
    console.print(table)


def short(task: TaskResult) -> str:
    return os.path.relpath(task.task_id, LIBRARY)


async def show_failed(backend: BaseResultBackend, console: Console) -> None:
    counts = await backend.count_by_status()
    console.print(
        f"{counts[TaskStatus.SUCCESS] - 1} parsed, {counts[TaskStatus.FAILED]} failed. Those that failed:"
    )
    cursor, number = None, 0
    while True:
        page = await backend.page(TaskStatus.FAILED, limit=20, cursor=cursor, load_result=False)
        number, cursor = number + 1, page.next_cursor
        console.print(f"page {number}: {len(page.items)} tasks")
        for task in page.items[:3]:
            error = task.error.type if task.error else "no error"
            console.print(f"  {short(task)}: {error}", markup=False, highlight=False)
        if cursor is None:
            break
    if page.items and page.items[-1].error:
        error_of_last = page.items[-1].error
        console.print(f"\nThe last failure: {error_of_last.type}: {error_of_last.message}", markup=False)
        console.print(error_of_last.traceback or "", markup=False, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="any flowstore URL except memory:// (default: a SQLite file)")
    parser.add_argument("--db", help="path of the SQLite file, which is kept (default: a temporary file)")
    parser.add_argument("--limit", type=int, help="parse at most this many source files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(options.db or Path(folder, "quickstart.db")).absolute()
        try:
            asyncio.run(produce(options.url or f"sqlite:///{path}", options.limit, Console()))
        except KeyboardInterrupt:
            raise SystemExit("stopped") from None


if __name__ == "__main__":
    main()
