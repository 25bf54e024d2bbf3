"""A store that is always the same, commands run on it, and what they are expected to print."""

from __future__ import annotations

import asyncio
import io
import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import flowstore
from flowstore import TaskResult
from flowstore.cli import run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
"""When the store is looked at."""
GOLDEN = Path(__file__).parent / "golden"
WRITES = os.environ.get("FLOWSTORE_GOLDEN") == "write"


class Ran(NamedTuple):
    """How a command has ended, and what it has printed."""

    code: int
    out: str
    err: str


def invoke(*arguments: str, url: str = "", stdin: str = "", **environment: str) -> Ran:
    """Run one command in this process, with no other settings than these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWSTORE_")}
    variables = {**kept, "FLOWSTORE_URL": url, "XDG_CONFIG_HOME": "/nonexistent", **environment}
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, variables, clear=True),
        patch("sys.stdin", io.StringIO(stdin)),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        code = run(arguments)
    return Ran(code, out.getvalue(), err.getvalue())


def golden(name: str, ran: Ran, replace: Mapping[str, str] | None = None) -> None:
    """Compare with tests/cli/golden/NAME.txt; FLOWSTORE_GOLDEN=write writes it, to be looked at.

    ``replace``: what differs from run to run, such as the name of a file, and what stands for it.
    """
    err = re.sub(r"--cursor \S+", "--cursor CURSOR", ran.err)
    text = f"{ran.out}--- stderr\n{err}--- exit {ran.code}\n"
    for changing, constant in (replace or {}).items():
        text = text.replace(changing, constant)
    path = GOLDEN / f"{name}.txt"
    if WRITES:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    assert path.is_file(), f"{path} is missing: FLOWSTORE_GOLDEN=write makes it"
    assert text == path.read_text("utf-8")


def seed(url: str, namespace: str = "default", now: datetime = NOW) -> None:
    """Tasks of a small shop, stored in the two hours before ``now``."""
    asyncio.run(_seed(url, namespace, now))


async def _seed(url: str, namespace: str, now: datetime) -> None:
    clock = Clock(now)
    async with flowstore.connect(url, namespace=namespace, clock=clock) as backend:

        async def put(task: TaskResult, minutes: float) -> TaskResult:
            clock.at = now - timedelta(minutes=minutes)
            await backend.store(task.task_id, task)
            return task

        def ago(minutes: float) -> datetime:
            return now - timedelta(minutes=minutes)

        root = await put(TaskResult.pending("nightly", task_name="nightly", at=ago(119)), 119)
        root = await put(TaskResult.running(root, worker_id="w1", at=ago(118)), 118)
        for n in range(6):
            begun = 110 - 15 * n
            name = "report.render" if n % 3 == 2 else "mail.send"
            task = TaskResult.pending(
                f"task-{n}",
                task_name=name,
                args=(n,),
                kwargs={"to": f"user{n}@example.org"},
                labels={"eu" if n % 2 else "us"},
                parent_id="nightly" if n < 3 else None,
                at=ago(begun),
            )
            task = await put(task, begun)
            if n == 5:
                break
            task = await put(
                TaskResult.running(task, worker_id=f"w{n % 2 + 1}", at=ago(begun - 1)), begun - 1
            )
            if n == 4:
                continue
            if n % 2:
                error = TimeoutError(f"smtp{n}.example.org timed out")
                task = await put(TaskResult.retrying(task, error), begun - 2)
                task = await put(
                    TaskResult.running(task, worker_id="w2", at=ago(begun - 3), retries=1), begun - 3
                )
                await put(TaskResult.failed(task, error, at=ago(begun - 3.5)), begun - 3.5)
            else:
                await put(
                    TaskResult.success(task, {"rows": n, "pages": (1, 2)}, at=ago(begun - 2)), begun - 2
                )
        await backend.data.set("nightly", "page", 3)


def damage(url: str, task_id: str) -> None:
    """Change a record of a SQLite file so that it can no longer be read."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as raw, raw:
        changed = raw.execute("UPDATE task SET head = '{\"error\":[' WHERE id = ?", (task_id,))
        assert changed.rowcount == 1


class Clock:
    """Says what time it is for a backend; ``at`` is set by whoever stores."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> int:
        return round(self.at.timestamp() * 1_000_000)
