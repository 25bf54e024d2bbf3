"""What stores, gets and wake-ups cost the nodes of a cluster, beside one server."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.table import Table

from benchmarks.layouts import Layout
from benchmarks.nodes import Cost, Meter
from flowstore import BaseResultBackend, TaskResult

TASKS: Final = 100
MANY: Final = 500
VALUE: Final = {"question": "What is the capital of France?", "answer": "Paris", "score": 0.93, "tokens": 17}

Costs = dict[str, dict[str, list[Cost]]]
Found = dict[str, dict[str, dict[str, float]]]
Work = Callable[[BaseResultBackend, list[TaskResult], Callable[[], Any]], Awaitable[None]]


def results(prefix: str, count: int) -> list[TaskResult]:
    return [TaskResult.success(f"{prefix}-{n}", VALUE, task_name=f"name-{n % 20}") for n in range(count)]


async def by_tasks(call: Callable[[TaskResult], Awaitable[object]], made: list[TaskResult]) -> None:
    """By a hundred, each of which goes on as soon as its call returns."""

    async def work(first: int) -> None:
        for one in made[first::TASKS]:
            await call(one)

    await asyncio.gather(*map(work, range(TASKS)))


async def stores(backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]) -> None:
    with meter():
        await by_tasks(lambda one: backend.store(one.task_id, one), made)


async def stores_of_many(
    backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]
) -> None:
    with meter():
        for start in range(0, len(made), MANY):
            await backend.store_many(made[start : start + MANY])


async def stores_alone(backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]) -> None:
    with meter():
        for one in made:
            await backend.store(one.task_id, one)


async def gets(backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]) -> None:
    await backend.store_many(made)
    with meter():
        await by_tasks(lambda one: backend.get(one.task_id), made)


async def gets_of_many(backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]) -> None:
    await backend.store_many(made)
    with meter():
        for start in range(0, len(made), MANY):
            await backend.get_many([one.task_id for one in made[start : start + MANY]])


async def wakes(backend: BaseResultBackend, made: list[TaskResult], meter: Callable[[], Any]) -> None:
    """Waits begin, then their tasks are stored by a hundred, and all waits end: the whole of it."""
    with meter():
        waits = [asyncio.ensure_future(backend.wait_for(one.task_id, 60)) for one in made]
        await backend.exists("a trip behind the beginnings of the waits")
        await by_tasks(lambda one: backend.store(one.task_id, one), made)
        await asyncio.gather(*waits)


WORKS: Final[dict[str, tuple[Work, int]]] = {
    "store by 100 tasks": (stores, 1),
    "store_many of 500": (stores_of_many, 1),
    "store, one at a time": (stores_alone, 4),
    "get by 100 tasks": (gets, 1),
    "get_many of 500": (gets_of_many, 1),
    "wait and wake-up": (wakes, 4),
}
"""And by how many the calls are divided, as it takes longer."""


class _Kept:
    """Meters of one work on one layout, whose costs are kept."""

    def __init__(self, layout: Layout, calls: int) -> None:
        self._layout = layout
        self._calls = calls
        self.costs: list[Cost] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with Meter(self._layout.nodes, self._calls) as cost:
            yield
        self.costs.append(cost)


async def measured(layouts: list[Layout], calls: int, rounds: int) -> Costs:
    """By work and name of layout, the costs of each round: rounds of all layouts in turns."""
    costs: Costs = {name: {layout.name: [] for layout in layouts} for name in WORKS}
    backends = {layout.name: layout.connect() for layout in layouts}
    try:
        for round_ in range(rounds + 1):  # the first one to warm up
            for name, (work, part) in WORKS.items():
                count = max(1, calls // part) if round_ else 20
                for layout in layouts:
                    kept = _Kept(layout, count)
                    await work(backends[layout.name], results(f"{round_}{name}", count), kept)
                    costs[name][layout.name] += kept.costs if round_ else []
    finally:
        for backend in backends.values():
            await backend.close()
    return costs


def median(costs: list[Cost], of: Callable[[Cost], float]) -> float:
    return statistics.median(map(of, costs))


COLUMNS: Final[dict[str, Callable[[Cost], float]]] = {
    "server us": lambda cost: 1e6 * cost.cpu,
    "busiest us": lambda cost: 1e6 * cost.busiest,
    "of its share": lambda cost: cost.unfairness,
    "carried/s": lambda cost: 1 / cost.busiest if cost.busiest else 0,
    "sent": lambda cost: cost.sent,
    "reads": lambda cost: cost.reads,
    "across": lambda cost: cost.published,
    "client us": lambda cost: 1e6 * cost.client / cost.calls,
}


def figures(costs: Costs) -> Found:
    return {
        work: {
            layout: {column: median(found, of) for column, of in COLUMNS.items()}
            for layout, found in by_layout.items()
        }
        for work, by_layout in costs.items()
    }


def tables(
    kind: str, found: dict[str, dict[str, dict[str, float]]], fair: dict[str, float]
) -> Iterator[Table]:
    for work, by_layout in found.items():
        table = Table(title=f"{kind}: {work}; each call")
        for column in ("", "fair", *COLUMNS):
            table.add_column(column, justify="right" if column else "left")
        for layout, values in by_layout.items():
            cells = [f"{value:,.0f}" if value >= 100 else f"{value:.3g}" for value in values.values()]
            table.add_row(layout, f"{fair[layout]:.2f}", *cells)
        yield table
