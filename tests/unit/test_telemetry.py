"""What is measured of the events of a backend, whoever collects it."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import pytest

from flowstore import StorageUnavailable, TaskResult, TaskStatus
from flowstore.errors import CorruptRecord
from flowstore.integrations._telemetry import METRICS, Instrument, Labels, Measuring, Metric
from flowstore.observing import (
    BatchEnded,
    BlockBegun,
    CallEnded,
    Event,
    OutcomeLate,
    OutcomeLost,
    Place,
    RecheckFound,
    RecordsPurged,
    RecordUnreadable,
    StorageBack,
    TaskStored,
    VersionLost,
    WaitBegun,
    WaitEnded,
    WaitsRechecked,
    WaitWoken,
    WatchBegun,
    WatchEnded,
)


class Sums:
    """A sink that adds up."""

    def __init__(self) -> None:
        self.values: Counter[tuple[str, Labels]] = Counter()

    def instrument(self, metric: Metric) -> Instrument:
        def take(value: float, labels: Labels) -> None:
            assert len(labels) == len(metric.labels)
            self.values[metric.name.removeprefix("flowstore."), labels] += value  # type: ignore[assignment]  # float

        return take


@pytest.mark.parametrize(
    ("events", "measured"),
    [
        ([WaitBegun("n", "t", 1)], {("wait.active", ("n",)): 1}),
        (
            [WaitBegun("n", "t", 1), WaitEnded("n", "t", "timeout", 2.5, 1)],
            {("wait.active", ("n",)): 0, ("wait.duration", ("n", "timeout")): 2.5},
        ),
        ([WaitWoken("n", "t", 1, 0.25)], {("wake.lag", ("n",)): 0.25}),
        ([WaitsRechecked("n", 7, frozenset())], {("recheck.count", ("n",)): 7}),
        ([RecheckFound("n", "t")], {("recheck.found", ("n",)): 1}),
        ([StorageBack("n", 3.0)], {("reconnect.count", ("n",)): 1}),
        (
            [WatchBegun("n", "task"), WatchBegun("n", "changes"), WatchEnded("n", "changes", 1.0)],
            {("watch.active", ("n", "task")): 1, ("watch.active", ("n", "changes")): 0},
        ),
        (
            [BatchEnded("n", "write", 5, 3, 0.1, None, Place("sqlite"))],
            {
                ("commit.batch.size", ("n",)): 5,
                ("commit.queue", ("n",)): 3,
                ("operation.duration", ("sqlite", "n", "BATCH write", "", "", "")): 0.1,
            },
        ),
        (
            [
                TaskStored("n", "t", TaskStatus.SUCCESS, 0, None, True),
                TaskStored("n", "t", TaskStatus.SUCCESS, 0, None, False),
                VersionLost("n", "t"),
                OutcomeLate("n", "t", 0, TaskResult.success("t")),
                OutcomeLost("n", "t", ValueError()),
            ],
            {("late_write.count", ("n", reason)): 1 for reason in ("stage", "version", "late", "lost")},
        ),
        ([RecordUnreadable("n", "t", CorruptRecord("t", "no"))], {("corrupt.count", ("n",)): 1}),
        ([RecordsPurged("n", 9)], {("purge.count", ("n",)): 9}),
        (
            [CallEnded("n", "write", 3, 0.5, None, Place("redis", "db", 6379))],
            {("operation.duration", ("redis", "n", "BATCH write", "", "db", "6379")): 0.5},
        ),
        (
            [CallEnded("n", "read", 3, 0.5, StorageUnavailable("gone"), Place("sqlite"))],
            {("operation.duration", ("sqlite", "n", "read", "StorageUnavailable", "", "")): 0.5},
        ),
        ([CallEnded("n", "write", 1, 0.5, None, Place("sqlite"), is_shared=True)], {}),
        (
            [CallEnded("n", "write", 1, 0.5, StorageUnavailable("gone"), Place("sqlite"), is_shared=True)],
            {("operation.duration", ("sqlite", "n", "write", "StorageUnavailable", "", "")): 0.5},
        ),
        (
            [BatchEnded("n", "write", 5, 0, 0.1, StorageUnavailable("gone"), Place("sqlite"))],
            {("commit.batch.size", ("n",)): 5, ("commit.queue", ("n",)): 0},
        ),
        ([BlockBegun("n", "t", 1, None, 0)], {}),
    ],
    ids=lambda value: type(value[0]).__name__ if isinstance(value, list) else "",
)
def test_events(events: list[Event], measured: dict[tuple[str, Labels], float]) -> None:
    """Each counts once, with the labels of its metric and no other."""
    sums = Sums()
    measuring = Measuring(sums)
    for event in events:
        measuring.on_event(event)
    assert sums.values == measured


def test_a_caller_who_leaves_is_an_error_of_that_name() -> None:
    sums = Sums()
    Measuring(sums).on_event(CallEnded("n", "watch", 1, 0.5, asyncio.CancelledError()))
    assert sums.values == {("operation.duration", ("unknown", "n", "watch", "CancelledError", "", "")): 0.5}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_metrics(metric: Metric) -> None:
    """Their names and labels are fit for both worlds, and no label is an id."""
    assert re.fullmatch(r"flowstore(\.[a-z_]+)+", metric.name)
    assert all(re.fullmatch("[a-z]+", label) for label in metric.labels)
    assert not {"id", "task", "worker", "name"} & {*metric.labels}
    assert bool(metric.buckets) is (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(metric.buckets)
    assert not metric.description.endswith(".")
