"""The tasks of the model of docs/scale.md, and how servers are filled with them: their lives, in batches.

A task has an id of 32 digits, one of 20 names and 8 workers, and a result of 568 bytes; it is stored when it
is submitted, when it begins, and when it ends, one in a hundred by an error of 40 kinds. A tenth expires.

``python -m benchmarks.life URL NAMESPACE FIRST STOP STEP`` fills with every STEP-th batch of these numbers.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, TaskError, TaskResult

BATCH: Final = 500
NAMES: Final = 20
WORKERS: Final = 8
ERRORS: Final = 40
FAILS: Final = 100
EXPIRES: Final = 10
ID_BYTES: Final = 32
DAY: Final = timedelta(hours=23)
PER_DAY: Final = 3_000_000
"""How many tasks are stored in a day of the clock."""
TTL: Final = timedelta(days=10)
_PADDING: Final = "x" * 499
VALUE: Final[dict[str, Any]] = {"answer": "Paris", "score": 0.93, "tokens": 17, "padding": _PADDING}


class Clock:
    """Of a day that has passed: moved to the time of each batch."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> int:
        return round(self.at.timestamp() * 1_000_000)


def id_of(number: int) -> str:
    return blake2b(b"%d" % number, digest_size=ID_BYTES // 2).hexdigest()


def life(number: int, at: datetime) -> list[TaskResult]:
    """The three states of a task that ends at ``at``."""
    begun = at - timedelta(milliseconds=number % 400)
    pending = TaskResult.pending(
        id_of(number),
        task_name=f"name-{number % NAMES}",
        submitted_at=begun - timedelta(milliseconds=number % 50),
        at=begun - timedelta(milliseconds=number % 50),
    )
    running = TaskResult.running(pending, worker_id=f"worker-{number % WORKERS}", at=begun)
    if number % FAILS == 3:
        error = TaskError(
            type=f"Error{number // FAILS % ERRORS}", message=f"number {number} failed{_PADDING}"
        )
        return [pending, running, TaskResult.failed(running, error, at=at)]
    return [pending, running, TaskResult.success(running, VALUE, at=at)]


def moment(start: datetime, number: int, per_day: int = PER_DAY) -> datetime:
    return start + DAY * (number / per_day)


def batches(first: int, stop: int) -> Iterator[range]:
    for number in range(first, stop, BATCH):
        yield range(number, min(number + BATCH, stop))


async def store_lives(backend: BaseResultBackend, numbers: range, at: datetime) -> None:
    lives = [life(number, at + timedelta(microseconds=number % 1_000)) for number in numbers]
    for state in range(3):
        lasting = [one[state] for place, one in enumerate(lives) if place % EXPIRES]
        expiring = [one[state] for place, one in enumerate(lives) if not place % EXPIRES]
        ttl = TTL if state == 2 else None
        await asyncio.gather(backend.store_many(lasting), backend.store_many(expiring, ttl=ttl))


async def fill(
    url: str,
    namespace: str,
    start: datetime,
    first: int,
    stop: int,
    *,
    per_day: int = PER_DAY,
    step: int = 1,
    turn: int = 0,
    **options: Any,
) -> None:
    """With tasks ``first`` to ``stop``, or every ``step``-th batch of them."""
    clock = Clock(start)
    async with flowstore.connect(
        url, namespace=namespace, clock=clock, purge_interval=None, op_timeout=120, **options
    ) as backend:
        for numbers in list(batches(first, stop))[turn::step]:
            clock.at = moment(start, numbers[0], per_day)
            await store_lives(backend, numbers, clock.at)


def fill_by_processes(
    url: str, namespace: str, start: datetime, first: int, stop: int, per_day: int, processes: int = 2
) -> None:
    """The same, shared among processes. Raises RuntimeError if one fails."""
    stamp = str(start.timestamp())
    arguments = [url, namespace, stamp, str(first), str(stop), str(per_day), str(processes)]
    running = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.life", *arguments, str(turn)])
        for turn in range(processes)
    ]
    ended = [process.wait() for process in running]
    if any(ended):
        raise RuntimeError(f"the filling of {namespace} has failed")


if __name__ == "__main__":
    _url, _namespace, _stamp, *_numbers = sys.argv[1:]
    _first, _stop, _per_day, _step, _turn = map(int, _numbers)
    _start = datetime.fromtimestamp(float(_stamp), UTC)
    asyncio.run(fill(_url, _namespace, _start, _first, _stop, per_day=_per_day, step=_step, turn=_turn))
