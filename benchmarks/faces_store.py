"""The stores that the faces are measured on: a million tasks of a day, kept between runs."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import redis

import flowstore
from flowstore import TaskError, TaskResult
from tests.servers import PATIENCE, valkey_binary

FRESH: Final = 3 * 3_600
"""A store that is older, in seconds, is made anew: a page that shows the last hours would be empty."""
BATCH: Final = 500
NAMES: Final = 20
GROUPS: Final = 40
DAY: Final = timedelta(hours=23)
VALUE: Final = {"question": "What is the capital of France?", "answer": "Paris", "score": 0.93, "tokens": 17}
FAMILY: Final = "t000000002"
"""The id of a root with 500 steps; other roots have five."""


class Clock:
    """Of a day that has passed: moved to the time of each batch."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> int:
        return round(self.at.timestamp() * 1_000_000)


def task(number: int, at: datetime) -> TaskResult:
    """A tenth failed, of 40 errors; 20 names, 8 workers, 50 labels; one of 60 is a root with five steps."""
    place = number % 60
    parent = FAMILY if 10 < number < 511 else f"t{number - place + 2:09}" if 3 <= place < 8 else None
    running = TaskResult.running(
        f"t{number:09}",
        task_name=f"name-{number % NAMES}",
        worker_id=f"worker-{number % 8}",
        labels=[f"tenant-{number % 50}"],
        parent_id=parent,
        submitted_at=at - timedelta(seconds=number % 90),
        at=at - timedelta(seconds=number % 30),
    )
    if number % 997 == 0:
        return running
    if number % 10 == 3:
        error = TaskError(type=f"Error{number // 10 % GROUPS}", message=f"number {number} failed")
        return TaskResult.failed(running, error, at=at)
    return TaskResult.success(running, VALUE, at=at)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def _fill(url: str, records: int) -> None:
    start = datetime.now(UTC) - DAY
    clock = Clock(start)
    async with flowstore.connect(url, clock=clock, purge_interval=None) as backend:
        for first in range(0, records, BATCH):
            clock.at = start + DAY * (first / records)
            await backend.store_many(
                task(number, clock.at) for number in range(first, min(first + BATCH, records))
            )
        clock.at = datetime.now(UTC)
        for number in range(8):
            await backend.workers.register(f"worker-{number}", host=f"host-{number}", pid=number + 1)


def _filled(url: str, records: int, kept: Path) -> None:
    begun = time.perf_counter()
    asyncio.run(_fill(url, records))
    print(f"  {records:,} tasks stored in {time.perf_counter() - begun:.0f} s, kept as {kept}", flush=True)


def _is_fresh(path: Path) -> bool:
    return path.exists() and time.time() - path.stat().st_mtime < FRESH


@contextmanager
def sqlite_store(folder: Path, records: int) -> Iterator[str]:
    """The URL of the file."""
    path = folder.absolute() / f"faces-{records}.db"
    url, made = f"sqlite:///{path}", path.with_suffix(".made")
    if not _is_fresh(made):
        for old in folder.glob(f"{path.name}*"):
            old.unlink()
        _filled(url, records, path)
        made.touch()
    yield url


@contextmanager
def redis_store(folder: Path, records: int) -> Iterator[str]:
    """The URL of a server of its own, which has loaded its file."""
    path, port = folder.absolute() / f"faces-{records}.rdb", free_port()
    if is_new := not _is_fresh(path):
        path.unlink(missing_ok=True)
    files = ["--dir", str(path.parent), "--dbfilename", path.name, "--save", "", "--appendonly", "no"]
    command = [str(valkey_binary()), "--port", str(port), "--bind", "127.0.0.1", *files]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    url = f"redis://127.0.0.1:{port}/0"
    try:
        _wait_until_loaded(url, process)
        if is_new:
            _filled(url, records, path)
            with redis.Redis.from_url(url, socket_timeout=None) as client:
                client.save()
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_loaded(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10 * PATIENCE
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if not client.info("persistence")["loading"]:
                    return
            except redis.RedisError:
                time.sleep(0.05)
    raise RuntimeError(f"the server on {url} did not get ready")
