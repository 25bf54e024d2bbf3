"""What was read of stores as families of prometheus_client. No label is an id, a worker or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.utils import floatToGoString

from flowstore.integrations._store_metrics import BOUNDS, Histogram, Named, Reading, Scraped

__all__ = ["Family", "families_of"]

_BOUNDS: Final[list[str]] = [floatToGoString(bound) for bound in BOUNDS]  # type: ignore[no-untyped-call]


def families_of(scraped: Sequence[Scraped]) -> list[Family]:
    return [*_of_scrapes(scraped), *_of_stores(scraped), *_of_names(scraped)]


def _gauge(name: str, description: str, *labels: str) -> Any:
    return GaugeMetricFamily(f"flowstore_{name}", description, labels=["namespace", *labels])


def _of_scrapes(scraped: Sequence[Scraped]) -> Iterator[Family]:
    up = _gauge("store_up", "Whether the store could be read")
    failures = CounterMetricFamily(
        *("flowstore_scrape_errors", "Times that it could not, in this process"), labels=["namespace"]
    )
    for one in scraped:
        up.add_metric([one.namespace], float(one.reading is not None))
        failures.add_metric([one.namespace], one.failures)
    yield up
    yield failures


def _of_stores(scraped: Sequence[Scraped]) -> Iterator[Family]:
    tasks = _gauge("tasks", "Tasks that are stored", "status")
    pending = _gauge("oldest_pending_seconds", "Since when the oldest pending task was submitted, 0 for none")
    workers = _gauge("workers", "Workers that are registered", "state")
    errors = _gauge("errors_open", "Groups of errors that are open")
    size = _gauge("store_bytes", "Of the namespace, where the storage tells: of the file that it is in")
    for namespace, reading in _read(scraped):
        facts, at = reading.facts, [namespace]
        for status, number in facts.counts.items():
            tasks.add_metric([namespace, status.value], number)
        oldest = facts.oldest_pending
        waited = 0.0 if oldest is None else (facts.at - oldest.submitted_at).total_seconds()
        pending.add_metric(at, max(0.0, waited))
        if facts.workers is not None and facts.silent_workers is not None:
            workers.add_metric([namespace, "alive"], facts.workers - facts.silent_workers)
            workers.add_metric([namespace, "silent"], facts.silent_workers)
        errors.add_metric(at, reading.open_errors)
        if facts.size is not None:
            size.add_metric(at, facts.size)
    yield from (tasks, pending, workers, errors, size)


def _of_names(scraped: Sequence[Scraped]) -> Iterator[Family]:
    labels = ["namespace", "name"]
    transitions = CounterMetricFamily(
        "flowstore_task_transitions",
        "What became of tasks, since ever: submitted, requeued, retrying, and how they ended",
        labels=[*labels, "status"],
    )
    for namespace, reading in _read(scraped):
        for one in reading.named:
            for status, number in one.transitions.items():
                transitions.add_metric([namespace, one.name, status], number)
    yield transitions
    wait = "How long tasks that ended in their first attempt had waited for their start"
    yield _histograms("flowstore_task_wait_seconds", wait, scraped, lambda one: one.wait)
    run = "How long the last attempt of tasks ran that ended"
    yield _histograms("flowstore_task_run_seconds", run, scraped, lambda one: one.run)


def _histograms(
    name: str, description: str, scraped: Sequence[Scraped], of: Callable[[Named], Histogram]
) -> Family:
    family = HistogramMetricFamily(name, description, labels=["namespace", "name"])
    for namespace, reading in _read(scraped):
        for one in reading.named:
            found = of(one)
            buckets = [*zip(_BOUNDS, found.counts, strict=True), ("+Inf", found.total)]
            family.add_metric([namespace, one.name], buckets, found.sum)
    return family


def _read(scraped: Sequence[Scraped]) -> Iterator[tuple[str, Reading]]:
    return ((one.namespace, one.reading) for one in scraped if one.reading is not None)
