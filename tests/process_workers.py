"""What the child processes of test_processes.py do."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any

import flowstore
from flowstore import Operation, OperationBusy, RetentionBusy, RetentionOutcome, RetentionPolicy, TaskResult
from flowstore.testing.clock import ManualClock
from flowstore.testing.faults import EngineFaults
from flowstore.testing.insides import wrap_engine


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


async def count_for_days(url: str, first: int) -> None:
    """Let one task after the other end, and purge, on a clock that is seven hours farther each time."""
    clock = ManualClock()
    async with flowstore.connect(url, clock=clock) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        for n in count(first):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name=f"n{n % 3}"))
            clock.advance(7 * 3_600)
            await backend.purge_expired()


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


async def fail_and_finish(url: str, first: int) -> None:
    """Take many tasks through all states, many at once, until somebody kills the process."""
    errors = (TimeoutError(f"no answer after {first} s"), ValueError("empty"))
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        print("begun", flush=True)
        numbers = count(first)

        async def work() -> None:
            for n in numbers:
                task = TaskResult.pending(f"t{n % 1_000}", task_name=f"n{n % 7}", retries=n // 1_000 % 50)
                await backend.store(task.task_id, task)
                await backend.store(task.task_id, TaskResult.running(task))
                if n % 3 == 0:
                    await backend.store(task.task_id, TaskResult.retrying(task, errors[n % 2]))
                elif n % 3 == 1:
                    await backend.store(task.task_id, TaskResult.failed(task, errors[n % 2]))
                else:
                    await backend.store(task.task_id, TaskResult.success(task, n))

        await asyncio.gather(*(work() for _ in range(20)))


class _Stopping(EngineFaults):
    """Once so many calls were carried out: says so, and never returns."""

    calls_left = 0

    async def _call(self, verb: str, call: Callable[[], Any]) -> Any:
        answer = await super()._call(verb, call)
        self.calls_left -= 1
        if self.calls_left == 0:
            print("stopped", flush=True)
            await asyncio.Event().wait()
        return answer


async def act(url: str, operation: int, calls: int) -> None:
    """Resume an operation, stop after so many calls, and print of what the host is told."""
    stopping: list[_Stopping] = []

    def wrapped(engine: Any) -> _Stopping:
        stopping.append(_Stopping(engine))
        return stopping[0]

    backend = flowstore.connect(url, purge_interval=None)
    wrap_engine(backend, wrapped)
    backend.actions.on_requeue(lambda tasks: print("told", *(task.task_id for task in tasks), flush=True))
    async with backend:
        stopping[0].calls_left = calls
        print("ready", flush=True)
        sys.stdin.readline()
        await backend.actions.resume(str(operation))
        print("done", flush=True)


async def act_all(url: str, operation: int) -> None:
    """Resume an operation; print how many were done, or that another process is at it."""
    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            print((await backend.actions.resume(str(operation))).done, flush=True)
        except OperationBusy:
            print("busy", flush=True)


async def act_in_steps(url: str, operation: int) -> None:
    """Resume an operation; after each step print how many are done, and wait for a line."""

    def stop(done: Operation) -> None:
        print(done.done, flush=True)
        sys.stdin.readline()

    async with flowstore.connect(url) as backend:
        print("ready", flush=True)
        sys.stdin.readline()
        print((await backend.actions.resume(str(operation), progress=stop)).state, flush=True)


if __name__ == "__main__":
    _, job, url, *numbers = sys.argv
    jobs: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
        "race": race,
        "take": take,
        "finish": finish,
        "live": live,
        "retain": retain,
        "retain-all": retain_all,
        "fail-and-finish": fail_and_finish,
        "count-for-days": count_for_days,
        "act": act,
        "act-all": act_all,
        "act-in-steps": act_in_steps,
    }
    asyncio.run(jobs[job](url, *(int(each) if each.isdecimal() else each for each in numbers)))
