"""What flowstore.sync costs: ``python -m benchmarks.without_await URL ...``, such as ``sqlite:///x.db``.

Each call by the asynchronous backend and by the synchronous one, in turns, the median of the rounds; and the
stores of one thread beside those of sixteen at once, of which each stores as many as the one.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import flowstore.sync
from flowstore import TaskResult

ROUNDS, CALLS, THREADS = 7, 1_000, 16
RESULT = TaskResult.success("t", {"rows": 1_000})


async def awaited(url: str) -> tuple[float, float]:
    """Microseconds of a get and of a store."""
    async with flowstore.connect(url) as backend:
        await backend.store("t", RESULT, overwrite=True)
        begun = time.perf_counter()
        for _ in range(CALLS):
            await backend.get("t")
        between = time.perf_counter()
        for _ in range(CALLS):
            await backend.store("t", RESULT, overwrite=True)
        return (between - begun) / CALLS * 1e6, (time.perf_counter() - between) / CALLS * 1e6


def called(url: str) -> tuple[float, float]:
    with flowstore.sync.connect(url) as store:
        store.store("t", RESULT, overwrite=True)
        begun = time.perf_counter()
        for _ in range(CALLS):
            store.get("t")
        between = time.perf_counter()
        for _ in range(CALLS):
            store.store("t", RESULT, overwrite=True)
        return (between - begun) / CALLS * 1e6, (time.perf_counter() - between) / CALLS * 1e6


def in_threads(url: str, count: int) -> float:
    """Seconds until so many threads have stored ``CALLS`` results each."""
    with flowstore.sync.connect(url) as store, ThreadPoolExecutor(count) as pool:
        store.open()
        begun = time.perf_counter()
        list(pool.map(lambda number: _store_all(store, number), range(count)))
        return time.perf_counter() - begun


def _store_all(store: flowstore.sync.ResultBackend, number: int) -> None:
    for n in range(CALLS):
        store.store(f"{number}-{n}", TaskResult.success(f"{number}-{n}", n), overwrite=True)


def median(measure: Callable[[], float], rounds: int) -> float:
    return statistics.median(measure() for _ in range(rounds))


def report(url: str) -> None:
    rounds = [(asyncio.run(awaited(url)), called(url)) for _ in range(ROUNDS)]
    for number, verb in enumerate(("get", "store")):
        plain = statistics.median(asynchronous[number] for asynchronous, _ in rounds)
        here = statistics.median(synchronous[number] for _, synchronous in rounds)
        print(f"{verb}: {plain:.0f} us awaited, {here:.0f} us called, {here - plain:+.0f}")
    one, many = median(lambda: in_threads(url, 1), 3), median(lambda: in_threads(url, THREADS), 3)
    print(f"{THREADS} threads take {many / one:.1f} times as long as one")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(each)
        report(each)
