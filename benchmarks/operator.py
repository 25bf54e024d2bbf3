"""What the operator's core costs, and how fast it answers: ``python -m benchmarks.operator URL ...``.

First what statistics and error groups add to a store, one by one and by 100 tasks at once, of one name and of
20: with them and without in turns, on the same storage; the medians of the rounds. Then a store of
``--records`` tasks of a day, a tenth of them failed, and what an operator asks of it: pages by submission and
finish, first and in the midst, beside the same range read by the driver alone; counts, statistics, groups,
suggestions, search, facts. The storage must be empty, and is emptied.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, RedisBackend, SQLiteBackend, TaskError, TaskResult
from flowstore.observing import CallEnded, Event

ROUNDS: Final = 9
TASKS: Final = 100
CALLS: Final = 2_000
REPEATED: Final = 15
BATCH: Final = 500
NAMES: Final = 20
GROUPS: Final = 40
START: Final = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=23)
DAY: Final = timedelta(hours=23)
VALUE: Final = {"question": "What is the capital of France?", "answer": "Paris", "score": 0.93, "tokens": 17}
OFF: Final[dict[str, Any]] = {"stats": None, "error_groups": False}

Ask = Callable[[], Awaitable[object]]


class Clock:
    """Of a day that has passed: moved to the time of each batch."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> int:
        return round(self.at.timestamp() * 1_000_000)


def of_result(task_id: str, number: int, names: int) -> list[TaskResult]:
    """A result and nothing around it, as in the tables of all systems."""
    return [TaskResult.success(task_id, VALUE)]


def of_finished(task_id: str, number: int, names: int) -> list[TaskResult]:
    """A task that nobody has stored before, with its name and all its times: what counts most."""
    at = datetime.now(UTC)
    running = TaskResult.running(
        task_id,
        task_name=f"name-{number % names}",
        submitted_at=at - timedelta(milliseconds=number % 50),
        at=at,
    )
    return [TaskResult.success(running, VALUE, at=at + timedelta(milliseconds=number % 400))]


def of_life(task_id: str, number: int, names: int) -> list[TaskResult]:
    """A task that is submitted, begun and ended."""
    at = datetime.now(UTC)
    pending = TaskResult.pending(task_id, task_name=f"name-{number % names}", at=at)
    running = TaskResult.running(pending, at=at + timedelta(milliseconds=number % 50))
    return [
        pending,
        running,
        TaskResult.success(running, VALUE, at=at + timedelta(milliseconds=number % 400)),
    ]


STATES: Final = {"a result": of_result, "a finished task": of_finished, "the life of a task": of_life}


async def stored(backend: BaseResultBackend, prefix: str, states: str, names: int, tasks: int) -> float:
    """Stores a second."""
    count = CALLS if tasks > 1 else CALLS // 8
    made = [STATES[states](f"{prefix}{number}", number, names) for number in range(count)]
    begun = time.perf_counter()

    async def work(first: int) -> None:
        for number in range(first, count, tasks):
            for state in made[number]:
                await backend.store(state.task_id, state)

    await asyncio.gather(*(work(first) for first in range(tasks)))
    return sum(map(len, made)) / (time.perf_counter() - begun)


async def cost(url: str) -> None:
    options: dict[str, dict[str, Any]] = {"with": {}, "without": OFF}
    backends = {name: flowstore.connect(url, namespace=name, **own) for name, own in options.items()}
    for states, names, tasks in product(STATES, (1, NAMES), (TASKS, 1)):
        if names > 1 and (states == "a result" or tasks == 1):
            continue
        rates: dict[str, list[float]] = {name: [] for name in backends}
        for number in range(ROUNDS):
            for name in sorted(backends, reverse=bool(number % 2)):
                prefix = f"{states}/{names}/{tasks}/{number}/"
                rates[name].append(await stored(backends[name], prefix, states, names, tasks))
        on, off = (statistics.median(rates[name]) for name in ("with", "without"))
        how = f"by {tasks} tasks" if tasks > 1 else "one by one"
        of = f", of {names} names" if names > 1 else ""
        print(f"  {states} {how}{of}: {on:,.0f} stores/s with it, {off:,.0f} without: {on / off:.2f}")
    for backend in backends.values():
        await backend.drop_namespace()
        await backend.close()


def task(number: int, at: datetime) -> TaskResult:
    """A tenth failed, of 40 errors; 20 names, 8 workers, 50 labels."""
    running = TaskResult.running(
        f"t{number:09}",
        task_name=f"name-{number % NAMES}",
        worker_id=f"worker-{number % 8}",
        labels=[f"tenant-{number % 50}"],
        submitted_at=at - timedelta(seconds=number % 90),
        at=at - timedelta(seconds=number % 30),
    )
    if number % 10 == 3:
        error = TaskError(type=f"Error{number // 10 % GROUPS}", message=f"number {number} failed")
        return TaskResult.failed(running, error, at=at)
    return TaskResult.success(running, VALUE, at=at)


async def filled(url: str, records: int) -> None:
    clock = Clock()
    begun = time.perf_counter()
    async with flowstore.connect(url, namespace="scale", clock=clock) as backend:
        for start in range(0, records, BATCH):
            clock.at = START + DAY * (start / records)
            numbers = range(start, min(start + BATCH, records))
            await backend.store_many(task(number, clock.at) for number in numbers)
            if start * 24 // records != (start + BATCH) * 24 // records:
                await backend.purge_expired()  # an open backend does so by itself, and more often
    print(f"  {records:,} tasks stored in {time.perf_counter() - begun:.0f} s")


class Trips:
    """Round trips to a Redis server, as it has counted them; 0 elsewhere."""

    def __init__(self, url: str) -> None:
        self._client: Any = None
        if url.startswith(("redis", "valkey")):
            from redis import Redis

            self._client = Redis.from_url(url)

    def count(self) -> int:
        if self._client is None:
            return 0
        stats = self._client.info("commandstats")
        own = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_mget", "cmdstat_get")
        return sum(stats[name]["calls"] for name in own if name in stats)


class Scans:
    """Observes how long the storage took for its last listing."""

    seconds = 0.0

    def on_event(self, event: Event) -> None:
        if isinstance(event, CallEnded) and event.verb == "scan":
            self.seconds = event.seconds


async def measured(
    name: str,
    ask: Ask,
    trips: Trips,
    scans: Scans | None = None,
    bare: Callable[[], object] | None = None,
) -> None:
    """``bare``: reads the same range by the driver alone, and decodes nothing."""
    await ask()
    times: list[float] = []
    ratios: list[float] = []
    made = 0
    for _ in range(REPEATED):
        before, begun = trips.count(), time.perf_counter()
        await ask()
        times.append(time.perf_counter() - begun)
        made = trips.count() - before
        if scans is not None and bare is not None:
            begun = time.perf_counter()
            bare()
            ratios.append(scans.seconds / (time.perf_counter() - begun))
    said = f"  {name}: {statistics.median(times) * 1e3:.2f} ms"
    said += f", {made} trips" if made else ""
    print(said + (f", its listing {statistics.median(ratios):.1f} x the driver alone" if ratios else ""))


def sqlite_range(path: Path, facet: str, status: int, sort: int) -> Callable[[], object]:
    """The 50 records of one range of an index, as the driver reads them."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    statement = (
        "SELECT task.* FROM facet JOIN task ON task.task = facet.task WHERE facet.ns = "
        "(SELECT ns FROM namespace WHERE name = 'scale') AND facet.facet = ? AND facet.status = ? "
        "AND facet.sort >= ? ORDER BY facet.sort LIMIT 51"
    )
    return lambda: connection.execute(statement, (facet, status, sort)).fetchall()


def redis_range(url: str, index: str, sort: int) -> Callable[[], object]:
    from redis import Redis

    client = Redis.from_url(url)
    prefix = "flowstore:{scale}:"
    low = b"[" + (sort + 2**63).to_bytes(8, "big")

    def read() -> object:
        entries: Any = client.zrangebylex(f"{prefix}i:{index}", low, b"+", 0, 51)
        return client.mget([prefix.encode() + b"r:" + entry[8:] for entry in entries])

    return read


async def pages(backend: BaseResultBackend, url: str, trips: Trips, scans: Scans) -> None:
    middle = START + DAY / 2
    group = (await backend.errors.groups(limit=1))[0].id
    statuses = {"success": 3, "failed": 4}
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("success", "", {}),
        ("failed", "", {}),
        ("failed", "~", {"order": "finished"}),
        ("failed", f"error:{group}", {"error": group}),
        ("failed", f"~error:{group}", {"error": group, "order": "finished"}),
        ("success", "run:name-4", {"name": "name-4"}),
        ("success", "worker:worker-4", {"worker_id": "worker-4"}),
        ("success", "label:tenant-4", {"label": "tenant-4"}),
        ("success", "worker:worker-4", {"worker_id": "worker-4", "label": "tenant-4"}),
    ]
    for status, facet, filters in asked:
        for where, until in (("first", None), ("in the midst", middle)):
            sort = -(2**63) if until is None else -round(until.timestamp() * 1_000_000)
            bare = None
            if len(filters.keys() - {"order"}) > 1:
                pass  # what is tested on the way the driver alone does not do
            elif isinstance(backend, SQLiteBackend):
                bare = sqlite_range(backend.path, facet, statuses[status], sort)
            elif isinstance(backend, RedisBackend):
                bare = redis_range(url, f"{status}:{facet}", sort)
            said = ", ".join([status, *(f"{key}={value}" for key, value in filters.items())])

            async def ask(
                status: Any = status, until: datetime | None = until, filters: dict[str, Any] = filters
            ) -> object:
                return await backend.page(status, until=until, **filters)

            await measured(f"page of {said}; {where}", ask, trips, scans, bare)


async def answers(backend: BaseResultBackend, trips: Trips) -> None:
    day = START - timedelta(hours=1)
    asked: dict[str, Ask] = {
        "count of all": backend.count_by_status,
        "count of a name, capped": lambda: backend.count_by_status(name="name-4", at_most=10_000),
        "count of the failed since 12 h, by finish": lambda: backend.count_by_status(
            "failed", order="finished", since=START + DAY / 2, at_most=10_000
        ),
        "count of a name and a label, capped": lambda: backend.count_by_status(
            name="name-4", label="tenant-4", at_most=10_000
        ),
        "total of a day": lambda: backend.stats.total(since=day),
        "series of a day by the hour": lambda: backend.stats.series(since=day),
        "series of a day by 10 minutes": lambda: backend.stats.series(every=timedelta(minutes=10)),
        "by name of a day": lambda: backend.stats.by("name", since=day),
        "groups": backend.errors.groups,
        "groups, with those of a day counted": lambda: backend.errors.groups(since=day),
        "occurrences of a group": lambda: _occurrences(backend),
        "names to filter by": lambda: backend.facets.names("name"),
        "search: status, name and text that is rare": lambda: backend.search(
            'status:failed name:name-3 "number 500003"', limit=1
        ),
        "search: failed, by finish": lambda: backend.search("status:failed sort:-finished"),
        "history, what happened last": lambda: backend.history.page(limit=50),
        "facts": backend.facts,
    }
    for name, ask in asked.items():
        await measured(name, ask, trips)


async def _occurrences(backend: BaseResultBackend) -> object:
    [group] = await backend.errors.groups(limit=1)
    return await backend.errors.occurrences(group.id)


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("urls", nargs="+")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--scale-only", action="store_true", help="without what statistics cost a store")
    options = parser.parse_args()
    for url in options.urls:
        print(url.partition("://")[0])
        if not options.scale_only:
            await cost(url)
        if url.startswith("memory") or not options.records:
            continue
        await filled(url, options.records)
        trips, scans = Trips(url), Scans()
        async with flowstore.connect(url, namespace="scale", observers=[scans]) as backend:
            await pages(backend, url, trips, scans)
            await answers(backend, trips)
            await backend.drop_namespace()


if __name__ == "__main__":
    asyncio.run(main())
