"""One version of flowstore, whichever can be imported: it works as it is told, and says what it costs.

It is a script, as an older flowstore has no such module: ``python -P single_child.py URL NAMESPACE``.
Each line is a work and a number of calls; the answer is JSON: seconds of this process for one call. With
``--same-tokens`` it stores a little of everything, with a clock and tokens that are the same each time.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

_tokens = count(1)
if sys.argv[3:] == ["--same-tokens"]:
    secrets.token_hex = lambda nbytes=None: f"{next(_tokens):0{2 * (nbytes or 8)}x}"

import flowstore  # noqa: E402
from flowstore import BaseResultBackend, TaskResult  # noqa: E402

VALUE = {"question": "What is the capital of France?", "answer": "Paris", "score": 0.93, "tokens": 17}
MOMENT = 1_795_608_000_000_000
TASKS = 100

_number = count()


def results(calls: int) -> list[TaskResult]:
    return [
        TaskResult.success(f"task-{next(_number)}", VALUE, task_name=f"name-{at % 20}") for at in range(calls)
    ]


async def by_tasks(call: Callable[[TaskResult], Awaitable[object]], made: list[TaskResult]) -> None:
    async def work(first: int) -> None:
        for one in made[first::TASKS]:
            await call(one)

    await asyncio.gather(*map(work, range(TASKS)))


class Works:
    def __init__(self, backend: BaseResultBackend) -> None:
        self._backend = backend
        self._stored: list[TaskResult] = []

    async def store(self, made: list[TaskResult]) -> None:
        for one in made:
            await self._backend.store(one.task_id, one)

    async def get(self, made: list[TaskResult]) -> None:
        for at in range(len(made)):
            await self._backend.get(f"task-{at}")

    async def stores(self, made: list[TaskResult]) -> None:
        await by_tasks(lambda one: self._backend.store(one.task_id, one), made)

    async def gets(self, made: list[TaskResult]) -> None:
        ids = iter(range(len(made)))
        await by_tasks(lambda one: self._backend.get(f"task-{next(ids)}"), made)

    async def page(self, made: list[TaskResult]) -> None:
        for _ in made:
            await self._backend.page("success")

    async def count(self, made: list[TaskResult]) -> None:
        for _ in made:
            await self._backend.count_by_status()


async def script(url: str, namespace: str) -> None:
    """Lives, families, labels, errors, progress, data, expiry, deletion: what a namespace has keys for."""
    moments = count(MOMENT, 1_000)
    backend = flowstore.connect(url, namespace=namespace, clock=lambda: next(moments), purge_interval=None)
    async with backend:
        at: Any = TaskResult.success("x", 1, submitted_at=None).finished_at
        at = at.fromtimestamp(MOMENT / 1e6, at.tzinfo)
        for number in range(60):
            pending = TaskResult.pending(
                f"task-{number}",
                task_name=f"name-{number % 3}",
                labels=[f"label-{number % 4}"],
                parent_id=f"task-{number // 4}" if number % 4 else None,
                at=at,
            )
            running = TaskResult.running(pending, worker_id=f"worker-{number % 2}", at=at)
            await backend.store(pending.task_id, pending)
            await backend.store(running.task_id, running)
            await backend.set_progress(running.task_id, number, 60, "half")
            if number % 7 == 3:
                ended = TaskResult.failed(running, ValueError(f"number {number}"), at=at)
            else:
                ended = TaskResult.success(running, VALUE, at=at)
            await backend.store(ended.task_id, ended, ttl=None if number % 5 else 3_600)
            if number % 6 == 0:
                await backend.data.set(ended.task_id, "key", VALUE)
        await backend.store_many(
            [TaskResult.success(f"many-{number}", VALUE, submitted_at=at, at=at) for number in range(300)]
        )
        for number in range(0, 300, 7):
            await backend.delete(f"many-{number}")
        await backend.expire("many-1", 60)


async def main(url: str, namespace: str) -> None:
    async with flowstore.connect(url, namespace=namespace, purge_interval=None) as backend:
        works = Works(backend)
        await works.stores(results(2_000))
        print("{}", flush=True)
        for line in iter(sys.stdin.readline, ""):
            work, calls = line.split()
            made = results(int(calls))
            used, began = time.process_time(), time.perf_counter()
            await getattr(works, work)(made)
            used, began = time.process_time() - used, time.perf_counter() - began
            print(json.dumps({"client": used / len(made), "seconds": began / len(made)}), flush=True)


if __name__ == "__main__":
    asyncio.run((script if sys.argv[3:] else main)(*sys.argv[1:3]))
