"""What telemetry costs: ``python -m benchmarks.telemetry URL ...``, such as ``sqlite:///x.db``.

A hundred tasks of asyncio store results, and in a second work submit tasks, run and await them. Each work is
done without observers and with those of OpenTelemetry in turns, a namespace each, and compared with the turn
without that was next to it: by the clock, and by the processor time of this process, which other programs on
the machine disturb less. Spans go to the SDK's batch processor, whose exporter drops them.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from secrets import token_hex
from typing import Any, Final

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased

import flowstore
from flowstore import BaseResultBackend, TaskResult
from flowstore.integrations.otel import OpenTelemetry
from flowstore.observing import Observer

AT_ONCE: Final = 100
_RUN: Final = token_hex(4)
"""Another one each time: what a former run has left would make this one store what is finished already."""
_NUMBERS: Final = count()


class Dropping(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        assert all(isinstance(span, ReadableSpan) for span in spans)
        return SpanExportResult.SUCCESS


def observer(sampler: Sampler | None = None, **options: Any) -> Observer:
    tracers, meters = TracerProvider(sampler=sampler), MeterProvider([InMemoryMetricReader()])
    tracers.add_span_processor(BatchSpanProcessor(Dropping()))
    return OpenTelemetry(tracer_provider=tracers, meter_provider=meters, **options)


VARIANTS: Final[Mapping[str, Callable[[], list[Observer]]]] = {
    "metrics": lambda: [observer(spans=None)],
    "metrics, traces of tasks and waits": lambda: [observer(spans="tasks", propagate=True)],
    "metrics, a tenth of the traces": lambda: [observer(ParentBased(TraceIdRatioBased(0.1)))],
    "metrics, all traces": lambda: [observer(propagate=True)],
}


async def store(backend: BaseResultBackend, task_id: str) -> None:
    await backend.store(task_id, TaskResult.success(task_id, {"rows": 1_000}))


async def run(backend: BaseResultBackend, task_id: str) -> None:
    await backend.store(task_id, TaskResult.pending(task_id, task_name="report"))
    wait = asyncio.create_task(backend.wait_for(task_id, 60))
    async with backend.track(task_id) as task:
        task.result = {"rows": 1_000}
    await wait


WORKS: Final[Mapping[str, Callable[[BaseResultBackend, str], Awaitable[None]]]] = {
    "stores": store,
    "tasks": run,
}


async def seconds(url: str, work: str, observers: list[Observer], each: int) -> tuple[float, float]:
    """By the clock and of the processor."""

    async def many(name: int) -> None:
        for n in range(each):
            await WORKS[work](backend, f"{name}-{n}")

    namespace = f"bench-{_RUN}-{next(_NUMBERS)}"
    async with flowstore.connect(url, namespace=namespace, observers=observers) as backend:
        gc.collect()
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*map(many, range(AT_ONCE)))
        took = time.perf_counter() - began, time.process_time() - used
        await backend.clear()
        return took


def compare(url: str, work: str, rounds: int, each: int) -> None:
    made = {name: make() for name, make in VARIANTS.items()}
    plain: list[float] = []
    ratios: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, observers in made.items():
            without = asyncio.run(seconds(url, work, [], each))
            with_it = asyncio.run(seconds(url, work, observers, each))
            ratios[name].append((without[0] / with_it[0], without[1] / with_it[1]))
            plain.append(AT_ONCE * each / without[0])
    print(f"  {work} a second without: {statistics.median(plain):,.0f}")
    for name, found in ratios.items():
        clock, processor = (statistics.median(each) for each in zip(*found, strict=True))
        print(f"  with {name}: x {clock:.3f}, by the processor x {processor:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m benchmarks.telemetry", description=(__doc__ or "")[:72])
    parser.add_argument("urls", nargs="+", metavar="URL")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--each", type=int, default=20, help="how often each of the hundred tasks does it")
    options = parser.parse_args()
    for place in options.urls:
        print(place.partition(":")[0])
        for name in WORKS:
            compare(place, name, options.rounds, options.each)
