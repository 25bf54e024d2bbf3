"""What is asked of all buckets of a cluster, beside one server: pages, counts, groups, statistics."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.table import Table

from benchmarks import life
from benchmarks.layouts import Layout
from benchmarks.nodes import Meter
from flowstore import BaseResultBackend

REPEATED: Final = 20

Ask = Callable[[], Awaitable[object]]
Found = dict[str, dict[str, dict[str, float]]]


async def filled(layout: Layout, records: int, start: datetime) -> None:
    """With lives of a day, a tenth of them without an end."""
    named = {"buckets": layout.buckets} if layout.buckets else {}
    await life.fill(layout.url, layout.namespace, start, 0, records, per_day=records, **named)


async def asks(backend: BaseResultBackend, start: datetime) -> dict[str, Ask]:
    """``deep``: after twenty pages, by its cursor."""
    page = await backend.page("success")
    for _ in range(19):
        page = await backend.page("success", cursor=page.next_cursor)
    deep = page.next_cursor
    since = start + life.DAY - timedelta(hours=24)
    return {
        "page of 50, first": lambda: backend.page("success"),
        "page of 50, deep": lambda: backend.page("success", cursor=deep),
        "page of 50, by name": lambda: backend.page("success", name="name-4"),
        "page of 50, by name and worker": lambda: backend.page(
            "success", name="name-4", worker_id="worker-4"
        ),
        "page of 50, without values": lambda: backend.page("success", load_result=False),
        "page of 50, failed by finish": lambda: backend.page("failed", order="finished"),
        "count of all": backend.count_by_status,
        "count of a name": lambda: backend.count_by_status(name="name-4"),
        "count of a name, capped": lambda: backend.count_by_status(name="name-4", at_most=300),
        "error groups": backend.errors.groups,
        "series of 24 h": lambda: backend.stats.series(since=since),
        "total of 24 h": lambda: backend.stats.total(since=since),
        "history, last 50": lambda: backend.history.page(limit=50),
    }


async def measured(layouts: list[Layout], records: int, rounds: int, repeated: int = REPEATED) -> Found:
    """Each question to all layouts in turns; medians of the rounds."""
    start = datetime.now(UTC) - life.DAY
    clock = life.Clock(start + life.DAY)
    for layout in layouts:
        await filled(layout, records, start)
    backends = {layout.name: layout.connect(clock=clock) for layout in layouts}
    asked = {name: await asks(backend, start) for name, backend in backends.items()}
    found: dict[str, dict[str, dict[str, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    try:
        for _ in range(rounds):
            for question in asked[layouts[0].name]:
                for layout in layouts:
                    ask = asked[layout.name][question]
                    for column, value in (await _asked(layout, ask, repeated)).items():
                        found[question][layout.name][column].append(value)
    finally:
        for backend in backends.values():
            await backend.close()
    return {
        question: {
            layout: {column: statistics.median(values) for column, values in columns.items()}
            for layout, columns in by_layout.items()
        }
        for question, by_layout in found.items()
    }


async def _asked(layout: Layout, ask: Ask, repeated: int) -> dict[str, float]:
    await ask()
    times = []
    with Meter(layout.nodes, repeated) as cost:
        for _ in range(repeated):
            began = time.perf_counter()
            await ask()
            times.append(time.perf_counter() - began)
    return {
        "p50 ms": 1e3 * statistics.median(times),
        "client ms": 1e3 * cost.client / repeated,
        "server ms": 1e3 * cost.cpu,
        "busiest ms": 1e3 * cost.busiest,
        "sent": cost.sent,
        "reads": cost.reads,
        "of one": cost.most_reads,
    }


def table(kind: str, found: Found) -> Iterator[Table]:
    for question, by_layout in found.items():
        made = Table(title=f"{kind}: {question}")
        base = next(iter(by_layout.values()))
        columns = list(base)
        for column in ("", *columns, "x p50", "x client", "x server"):
            made.add_column(column, justify="right" if column else "left")
        for layout, values in by_layout.items():
            ratios = [values[column] / base[column] for column in ("p50 ms", "client ms", "server ms")]
            made.add_row(
                layout,
                *(f"{values[column]:.3g}" for column in columns),
                *(f"{ratio:.2f}" for ratio in ratios),
            )
        yield made
