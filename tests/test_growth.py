"""What each call costs with a thousand tasks and with five thousand, in steps of the storage, not in time.

The calls are those of the benchmark, which shows their times with up to 100,000 tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final

from benchmarks.calls import CASES, CLEAR, FILTERS, Case, Filled, fill
from flowstore import (
    BaseResultBackend,
    Found,
    InMemoryBackend,
    Page,
    RedisBackend,
    SQLiteBackend,
    Workflow,
)
from flowstore.testing.calls import CALLS
from flowstore.testing.insides import storage_of
from tests.test_redis import commands

FEW, MANY = 1_000, 5_000
SEVERAL: Final = {"count_by_status, worker_id and name", "workers.sweep"}
"""What costs more with each task that it counts, or that is retrying."""
NOT_MEASURED: Final = {"drop_namespace", "integrity.verify", "integrity.findings"}
BY_ONE: Final = {f"count_by_status, {name}" for name in FILTERS.keys() - {"any", "status"}}

Measure = Callable[[Callable[[], Awaitable[object]]], Awaitable[tuple[object, int]]]
"""From a call to what it returned, and its cost."""


def shape(found: object) -> object:
    """How much it is."""
    if isinstance(found, Page | Found):
        return len(found.items)
    if isinstance(found, Workflow):
        return len(found.tasks.items)
    return len(found) if isinstance(found, list | dict) else isinstance(found, int) and found


@contextmanager
def traced(count: Callable[[], None]) -> Iterator[None]:
    """Each line of Python, and each further turn of a loop on one line."""

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            count()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


class Counter:
    def __init__(self) -> None:
        self.steps = 0

    def count(self) -> None:
        self.steps += 1


async def lines(call: Callable[[], Awaitable[object]]) -> tuple[object, int]:
    counter = Counter()
    with traced(counter.count):
        found = await call()
    return found, counter.steps


def instructions(backend: BaseResultBackend) -> Measure:
    """Of SQLite's virtual machine: those at which it looks whether to go on, so each turn of a loop."""
    counter = Counter()

    async def measure(call: Callable[[], Awaitable[object]]) -> tuple[object, int]:
        for connection in storage_of(backend)._connections:
            await connection.run(lambda raw: raw.set_progress_handler(counter.count, 1))
        before = counter.steps
        found = await call()
        return found, counter.steps - before

    return measure


def commands_and_bytes(client: Any) -> Measure:
    """Of the server: commands, those within scripts included, and what it sends, in units of 100 bytes."""

    async def measure(call: Callable[[], Awaitable[object]]) -> tuple[object, int]:
        sent = client.info("stats")["total_net_output_bytes"]
        before = commands(client)
        found = await call()
        done = sum(commands(client).values()) - sum(before.values())
        return found, done + (client.info("stats")["total_net_output_bytes"] - sent) // 100

    return measure


async def cost(filled: Filled, case: Case, measure: Measure) -> tuple[object, int]:
    """The shape of what it returns, and the lower cost of two calls: another task may work beside one."""
    costs = []
    for _ in range(3):  # the first may sort or load what others changed
        prepared = None if case.prepare is None else await case.prepare(filled)
        found, steps = await measure(partial(case.call, filled, prepared))
        costs.append(steps)
    return shape(found), min(costs[1:])


async def grown(few: BaseResultBackend, many: BaseResultBackend, *measures: Measure) -> set[str]:
    """The calls that cost clearly more with many tasks, though they return as much."""
    found = set()
    async with AsyncExitStack() as stack:
        filled = [await fill(few, FEW), await fill(many, MANY)]
        for each in filled:
            await stack.enter_async_context(each.closing)
        for name, case in CASES.items():
            (small, steps), (large, more) = [
                await cost(each, case, measure) for each, measure in zip(filled, measures, strict=True)
            ]
            assert small == large, name
            if more > 2 * steps + 20:
                found.add(name)
    return found


# A purge would be counted as part of the call that it comes beside: purge_interval=None.


async def test_in_memory() -> None:
    """Nothing grows, but for counting by several filters."""
    async with InMemoryBackend(purge_interval=None) as few, InMemoryBackend(purge_interval=None) as many:
        assert await grown(few, many, lines, lines) == SEVERAL


async def test_on_sqlite(tmp_path: Path) -> None:
    """Nothing grows, but for counting by filters."""
    async with (
        SQLiteBackend(tmp_path / "few.db", purge_interval=None) as few,
        SQLiteBackend(tmp_path / "many.db", purge_interval=None) as many,
    ):
        assert await grown(few, many, instructions(few), instructions(many)) == BY_ONE | SEVERAL


async def test_on_redis(redis_url: str, client: Any) -> None:
    """Nothing grows; counting by several filters does within commands, which are not more for that."""
    async with (
        RedisBackend(redis_url, namespace="few", purge_interval=None) as few,
        RedisBackend(redis_url, purge_interval=None) as many,
    ):
        measure = commands_and_bytes(client)
        assert await grown(few, many, measure, measure) == SEVERAL - {"count_by_status, worker_id and name"}


def test_all_calls_are_there() -> None:
    """A new one belongs into the benchmark as well, and so into the tests above.

    But for what is little but clear, and what reads everything there is.
    """
    measured = {name.partition(",")[0] for name in (*CASES, CLEAR)}
    assert measured == {name.partition(",")[0] for name in CALLS} - {
        "drop_namespace",
        "integrity.verify",
        "integrity.findings",
    }
