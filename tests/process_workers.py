"""What the child processes of test_processes.py do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import flowstore
from flowstore import RetentionBusy, RetentionOutcome, RetentionPolicy, TaskResult


async def race(url: str, first: int, writers: int) -> None:
    """Finish one task many times at once; print the numbers of the writers that won."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        numbers = range(first, first + writers)
        stored = await asyncio.gather(*(backend.store("t", TaskResult.success("t", n)) for n in numbers))
        print(*(n for n, won in zip(numbers, stored, strict=True) if won), flush=True)


async def take(url: str, first: int, takers: int) -> None:
    """Take one task many times at once; print the number of each taker that has it."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        taken = await asyncio.gather(*(backend.take("t") for _ in range(takers)))
        print(*(first + n for n, result in enumerate(taken) if result is not None), flush=True)


async def finish(url: str, count: int) -> None:
    """Store the results of t0, t1 ... one by one, then delete the task "doomed"."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(count):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
        await backend.delete("doomed")


async def live(url: str, prefix: str, count: int) -> None:
    """Let so many tasks live at once: pending, running, and then a success."""

    async def one(task_id: str) -> None:
        for make in (TaskResult.pending, TaskResult.running, TaskResult.success):
            await backend.store(task_id, make(task_id, task_name="n"))

    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        await asyncio.gather(*(one(f"{prefix}{n}") for n in range(count)))


async def retain(url: str, most: int) -> None:
    """Apply a policy; after the first step print how many went, and do nothing until another line comes."""

    def stop(outcome: RetentionOutcome) -> None:
        print(outcome.removed, flush=True)
        sys.stdin.readline()

    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        await backend.retention.apply(RetentionPolicy(max_per_group=most), progress=stop)


async def retain_all(url: str, most: int) -> None:
    """Apply a policy; print how many went, or that another process is at it."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            print((await backend.retention.apply(RetentionPolicy(max_per_group=most))).removed, flush=True)
        except RetentionBusy:
            print("busy", flush=True)


if __name__ == "__main__":
    _, job, url, *numbers = sys.argv
    jobs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "race": race,
        "take": take,
        "finish": finish,
        "live": live,
        "retain": retain,
        "retain-all": retain_all,
    }
    asyncio.run(jobs[job](url, *(int(each) if each.isdecimal() else each for each in numbers)))
