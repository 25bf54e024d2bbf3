"""An operator's day: what failed last night, why, how often, and what to do about it.

A shop sends mails, makes invoices and renders reports. In the night its mail server went away, and one kind
of report has a bug. In the morning the operator looks at the store, finds both errors among thousands of
tasks, has the mails sent again once the server is back, takes the error for mended, and sees who did what.

    pip install '.[examples]'  # installs rich; nox -s demo -- operator_day does both steps
    python examples/operator_day.py [--db day.db | --url redis://localhost:6379/0] [--tasks 2000]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

import flowstore
from flowstore import BaseResultBackend, ErrorGroup, TaskChange, TaskResult, TaskStats

NAMES = ("mail.send", "mail.send", "mail.send", "invoice.make", "report.render")
BARS = " ▁▂▃▄▅▆▇█"


class MailServer:
    """It refuses everybody while it is down."""

    is_up = True

    def send(self, number: int) -> str:
        if not self.is_up:
            raise ConnectionRefusedError(f"no answer from smtp.example.org:25 after {2 + number % 3} s")
        return f"message {number}"


class Clock:
    """Microseconds since the epoch. The night passes as fast as its tasks can be stored, the day as usual."""

    def __init__(self) -> None:
        self._ahead = -12 * 3_600 * 1_000_000

    def __call__(self) -> int:
        return time.time_ns() // 1_000 + self._ahead

    def pass_by(self, seconds: float) -> None:
        self._ahead = min(0, self._ahead + round(seconds * 1_000_000))

    def now(self) -> datetime:
        return datetime.fromtimestamp(self() / 1_000_000, UTC)


def work(name: str, number: int, mails: MailServer) -> object:
    """What the workers of the shop do for a task."""
    if name == "mail.send":
        return mails.send(number)
    if name == "report.render" and number % 7 == 0:
        raise ValueError(f"page {number} of 'monthly-{number}.pdf' is empty")
    return {"number": number}


async def night(backend: BaseResultBackend, clock: Clock, mails: MailServer, tasks: int) -> None:
    """Twelve hours of tasks; from one till two the mail server is down."""
    for number in range(tasks):
        mails.is_up = not 5 / 12 <= number / tasks < 6 / 12
        clock.pass_by(12 * 3_600 / tasks)
        name = NAMES[number % len(NAMES)]
        submitted = clock.now() - timedelta(seconds=random.expovariate(1))
        task = TaskResult.running(
            f"{name}-{number}",
            at=clock.now(),
            submitted_at=submitted,
            task_name=name,
            args=(number,),
            labels=["nightly"] if name.startswith("report") else [],
            worker_id=f"worker-{number % 3}",
        )
        ended = clock.now() + timedelta(seconds=random.expovariate(2 if name == "mail.send" else 0.2))
        try:
            done = TaskResult.success(task, work(name, number, mails), at=ended)
        except Exception as error:
            done = TaskResult.failed(task, error, at=ended)
        await backend.store(task.task_id, done)
    mails.is_up = True


@contextmanager
def heading(console: Console, text: str) -> Iterator[None]:
    console.print(f"\n[bold]{text}[/bold]")
    yield


async def look(backend: BaseResultBackend, console: Console) -> list[ErrorGroup]:
    """The state of the store, the night in numbers, and the errors; those that are open."""
    with heading(console, "The store"):
        facts = await backend.facts()
        counts = ", ".join(f"{number:,} {status}" for status, number in facts.counts.items() if number)
        console.print(f"{facts.backend}: {counts}")
        for warning in facts.warnings:
            console.print(f"[yellow]{warning.code}[/yellow]: {warning.problem}")
    with heading(console, "The night"):
        rows = await backend.stats.by("name", since=datetime.now(UTC) - timedelta(hours=12))
        console.print(await table_of(backend, rows))
    with heading(console, "What failed, the same error once"):
        groups = await backend.errors.groups("open", since=datetime.now(UTC) - timedelta(hours=13))
        for group in groups:
            names = ", ".join(group.names or ())
            console.print(f"{group.id[:6]} {group.recent:5} x {group.type}: {group.message} ({names})")
    with heading(console, "What failed last"):
        page = await backend.page("failed", order="finished", limit=3, load_result=False)
        for task in page.items:
            error = task.error.message if task.error else ""
            console.print(f"{task.finished_at:%H:%M:%S} {task.task_id} {error}")
    return groups


async def table_of(backend: BaseResultBackend, rows: list[TaskStats]) -> Table:
    table = Table("name", box=None)
    for column in ("done", "failed", "wait p95", "run p50", "run p95"):
        table.add_column(column, justify="right")
    table.add_column("failures by hour", no_wrap=True)
    for row in rows:
        hours = await backend.stats.series(row.name, since=row.start, until=row.end)
        rate = f"{row.failed:,} ({row.failure_rate or 0:.0%})"
        times = [row.wait.percentile(0.95), row.run.percentile(0.5), row.run.percentile(0.95)]
        shown = [f"{seconds:.2g} s" if seconds is not None else "" for seconds in times]
        table.add_row(row.name, f"{row.ended:,}", rate, *shown, bars([hour.failed for hour in hours]))
    return table


def bars(numbers: list[int]) -> str:
    most = max(numbers, default=0) or 1
    return "".join(BARS[-(-number * (len(BARS) - 1) // most)] for number in numbers)


async def mend(backend: BaseResultBackend, console: Console, group: ErrorGroup) -> None:
    """Have all tasks of the group run again, and take its error for mended."""
    query = f"error:{group.id} status:failed"
    queue: asyncio.Queue[str] = asyncio.Queue()

    @backend.actions.on_requeue
    async def dispatch(tasks: list[TaskResult]) -> None:
        for task in tasks:
            queue.put_nowait(task.task_id)

    with heading(console, f"Again: {query}"):
        preview = await backend.actions.apply("requeue", query)
        console.print(f"{preview.count} tasks would be requeued, such as {preview.samples[0].task_id}")
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch(backend, preview.count))
        workers = [tasks.create_task(run_again(backend, queue)) for _ in range(4)]
        operation = await backend.actions.apply(
            "requeue", query, dry_run=False, by="ada", reason="the mail server is back"
        )
        console.print(f"operation {operation.id}: {operation.done} requeued")
        succeeded = await watching
        for worker in workers:
            worker.cancel()
    console.print(f"{succeeded} of them have succeeded")
    await backend.errors.resolve(group.id, by="ada", reason="the mail server is back")


async def watch(backend: BaseResultBackend, number: int) -> int:
    """How many mails were sent, once so many tasks have ended."""
    succeeded = ended = 0
    async with aclosing(backend.watch_changes("name:mail.send status:success,failed")) as changes:
        async for change in changes:
            if isinstance(change, TaskChange):
                ended += 1
                succeeded += change.status == "success"
            if ended == number:
                break
    return succeeded


async def run_again(backend: BaseResultBackend, queue: asyncio.Queue[str]) -> None:
    mails = MailServer()
    while True:
        task_id = await queue.get()
        async with backend.track(task_id) as tracked:
            task = await backend.get(task_id)
            assert task is not None
            tracked.result = mails.send(task.args[0])


async def ask(backend: BaseResultBackend, console: Console) -> None:
    """A customer calls: where is the report for July?"""
    query = 'label:nightly status:failed sort:-finished "monthly-"'
    with heading(console, f"A question: {query}"):
        found = await backend.search(query, limit=3)
        for task in found.items:
            console.print(task.task_id, task.error.message if task.error else "")
        console.print(f"looked at {found.looked_at:,} tasks")


async def close_the_day(backend: BaseResultBackend, console: Console) -> None:
    with heading(console, "Who did what"):
        for operation in await backend.actions.all():
            console.print(
                f"{operation.id} {operation.by} {operation.action.name} {operation.done}: "
                f"{operation.action.reason}"
            )
        for group in await backend.errors.groups():
            console.print(f"{group.id[:6]} {group.state:8} {group.total:5} x {group.type}")


async def day(url: str, tasks: int, console: Console) -> None:
    clock, mails = Clock(), MailServer()
    async with flowstore.connect(url, namespace="shop", clock=clock) as shop:
        await night(shop, clock, mails, tasks)
    async with flowstore.connect(url, namespace="shop") as backend:
        groups = await look(backend, console)
        refused = next(group for group in groups if group.type == "ConnectionRefusedError")
        await mend(backend, console, refused)
        await ask(backend, console)
        await close_the_day(backend, console)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--db", type=Path, help="a file that stays (default: one that is removed)")
    where.add_argument("--url", help="another storage, such as redis://localhost:6379/0")
    parser.add_argument("--tasks", type=int, default=2_000, help="how many tasks the night has")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="flowstore-") as folder:
        url = options.url or f"sqlite:///{options.db or Path(folder) / 'day.db'}"
        asyncio.run(day(url, options.tasks, Console()))


if __name__ == "__main__":
    main()
