"""What the child processes of test_processes.py do."""

from __future__ import annotations

import asyncio
import sys

import flowstore
from flowstore import TaskResult


async def race(url: str, first: int, writers: int) -> None:
    """Finish one task many times at once; print the numbers of the writers that won."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        numbers = range(first, first + writers)
        stored = await asyncio.gather(*(backend.store("t", TaskResult.success("t", n)) for n in numbers))
        print(*(n for n, won in zip(numbers, stored, strict=True) if won), flush=True)


async def finish(url: str, count: int) -> None:
    """Store the results of t0, t1 ... one by one, then delete the task "doomed"."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        for n in range(count):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
        await backend.delete("doomed")


if __name__ == "__main__":
    _, job, url, *numbers = sys.argv
    asyncio.run(race(url, *map(int, numbers)) if job == "race" else finish(url, *map(int, numbers)))
