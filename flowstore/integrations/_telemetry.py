"""What a process measures of its backends, whoever collects it: events become values of named metrics.

The metrics are here, once, with their units and labels. A sink makes instruments of them, of OpenTelemetry or
of Prometheus. No label has an id or a value of a task in it, so there are few time series however many tasks
there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, NamedTuple, Protocol

from flowstore.observing import (
    BatchEnded,
    CallEnded,
    Event,
    OutcomeLate,
    OutcomeLost,
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

Kind = Literal["counter", "gauge", "histogram"]
"""A gauge goes up and down by what is added to it; a histogram is given values."""

Labels = tuple[str, ...]
Instrument = Callable[[float, Labels], None]


class Metric(NamedTuple):
    """``labels``: the names of the labels. ``unit``: in UCUM, as OpenTelemetry has it, such as "s"."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: Labels = ("namespace",)
    buckets: tuple[float, ...] = ()


_CALLS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
"""Those of the conventions of OpenTelemetry for calls of databases."""
_WAITS: Final = (*_CALLS, 60.0, 300.0, 1800.0, 3600.0)
_SIZES: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
_QUEUES: Final = (0.0, *_SIZES, 1000.0, 5000.0)

OPERATION_DURATION: Final = Metric(
    "flowstore.operation.duration",
    "histogram",
    "s",
    "Calls of the storage; those that write and share a round trip are one, and it takes what that does",
    ("system", "namespace", "operation", "error", "address", "port"),
    _CALLS,
)
WAIT_ACTIVE: Final = Metric("flowstore.wait.active", "gauge", "{wait}", "Waits for results in progress")
WAIT_DURATION: Final = Metric(
    *("flowstore.wait.duration", "histogram", "s", "Waits for results, by how they ended"),
    labels=("namespace", "outcome"),
    buckets=_WAITS,
)
WAKE_LAG: Final = Metric(
    "flowstore.wake.lag",
    "histogram",
    "s",
    "From the store of an outcome until who has waited for it goes on, by the clocks of both",
    buckets=_CALLS,
)
BATCH_SIZE: Final = Metric(
    *("flowstore.commit.batch.size", "histogram", "{item}", "What is written in one round trip"),
    buckets=_SIZES,
)
COMMIT_QUEUE: Final = Metric(
    "flowstore.commit.queue",
    "histogram",
    "{call}",
    "Calls that are left waiting when a round trip that writes begins",
    buckets=_QUEUES,
)
RECHECK_COUNT: Final = Metric(
    *("flowstore.recheck.count", "counter", "{record}", "Awaited records that were read as it was time")
)
RECHECK_FOUND: Final = Metric(
    "flowstore.recheck.found", "counter", "{wait}", "Waits that a re-check has ended, as no hint had come"
)
RECONNECT_COUNT: Final = Metric(
    *("flowstore.reconnect.count", "counter", "{outage}", "Outages of the storage, or its hints, that ended")
)
WATCH_ACTIVE: Final = Metric(
    *("flowstore.watch.active", "gauge", "{watch}", "Iterations over changes in progress"),
    labels=("namespace", "kind"),
)
LATE_WRITE_COUNT: Final = Metric(
    "flowstore.late_write.count",
    "counter",
    "{write}",
    "Writes that were not applied: a newer or finished record stood (stage), another write was faster "
    "(version), the outcome of a block was discarded (late) or could not be stored (lost)",
    labels=("namespace", "reason"),
)
CORRUPT_COUNT: Final = Metric(
    *("flowstore.corrupt.count", "counter", "{record}", "Times that a record could not be read")
)
PURGE_COUNT: Final = Metric(
    *("flowstore.purge.count", "counter", "{record}", "Expired records that were removed")
)

METRICS: Final = (
    OPERATION_DURATION,
    WAIT_ACTIVE,
    WAIT_DURATION,
    WAKE_LAG,
    BATCH_SIZE,
    COMMIT_QUEUE,
    RECHECK_COUNT,
    RECHECK_FOUND,
    RECONNECT_COUNT,
    WATCH_ACTIVE,
    LATE_WRITE_COUNT,
    CORRUPT_COUNT,
    PURGE_COUNT,
)


class Sink(Protocol):
    """Where the values go. Several threads may use an instrument at the same time."""

    def instrument(self, metric: Metric, /) -> Instrument:
        """Called once for each of METRICS. The instrument takes an amount or a value, and the values of
        ``metric.labels`` in their order, "" for one that is not known. Its amount is negative for what ends.
        """


class Measuring:
    """An observer, of any number of backends, that measures into ``sink``."""

    def __init__(self, sink: Sink) -> None:
        made = {metric.name: sink.instrument(metric) for metric in METRICS}
        self._takes: Mapping[type[Event], Callable[[Any], None]] = _takes(lambda metric: made[metric.name])

    def on_event(self, event: Event, /) -> None:
        take = self._takes.get(type(event))
        if take is not None:
            take(event)


def _takes(made: Callable[[Metric], Instrument]) -> Mapping[type[Event], Callable[[Any], None]]:
    """What becomes of each kind of event."""
    wait_active, watch_active, late = made(WAIT_ACTIVE), made(WATCH_ACTIVE), made(LATE_WRITE_COUNT)
    wait_duration, batch_size, queue = made(WAIT_DURATION), made(BATCH_SIZE), made(COMMIT_QUEUE)

    def one(metric: Metric) -> Callable[[Event], None]:
        count = made(metric)
        return lambda event: count(1, (event.namespace,))

    def taken(metric: Metric, field: str) -> Callable[[Event], None]:
        take = made(metric)
        return lambda event: take(getattr(event, field), (event.namespace,))

    def wait_ended(event: WaitEnded) -> None:
        wait_active(-1, (event.namespace,))
        wait_duration(event.seconds, (event.namespace, event.outcome))

    duration = _durations(made(OPERATION_DURATION))

    def call_ended(event: CallEnded) -> None:
        if event.error is not None or not event.is_shared:
            duration(event)

    def batch_ended(event: BatchEnded) -> None:
        if event.error is None:  # each of the calls that share it is told of an error, and counted for it
            duration(event)
        batch_size(event.items, (event.namespace,))
        queue(event.queued, (event.namespace,))

    def stored(event: TaskStored) -> None:
        if not event.is_applied:
            late(1, (event.namespace, "stage"))

    return {
        CallEnded: call_ended,
        WaitBegun: one(WAIT_ACTIVE),
        WaitEnded: wait_ended,
        WaitWoken: taken(WAKE_LAG, "lag"),
        BatchEnded: batch_ended,
        WaitsRechecked: taken(RECHECK_COUNT, "count"),
        RecheckFound: one(RECHECK_FOUND),
        StorageBack: one(RECONNECT_COUNT),
        WatchBegun: lambda event: watch_active(1, (event.namespace, event.kind)),
        WatchEnded: lambda event: watch_active(-1, (event.namespace, event.kind)),
        TaskStored: stored,
        VersionLost: lambda event: late(1, (event.namespace, "version")),
        OutcomeLate: lambda event: late(1, (event.namespace, "late")),
        OutcomeLost: lambda event: late(1, (event.namespace, "lost")),
        RecordUnreadable: one(CORRUPT_COUNT),
        RecordsPurged: taken(PURGE_COUNT, "count"),
    }


def _durations(take: Instrument) -> Callable[[CallEnded | BatchEnded], None]:
    def duration(event: CallEnded | BatchEnded) -> None:
        place = event.place
        port = "" if place.port is None else str(place.port)
        where = place.address or "", port
        take(event.seconds, (place.system, event.namespace, operation_of(event), error_of(event), *where))

    return duration


_BATCHES: Final = frozenset({"write", "put", "report", "expire", "count", "items", "tallies"})
"""Verbs whose items are operations of their own; those of others are operands, like the keys of an MGET."""


def is_batch(event: CallEnded | BatchEnded) -> bool:
    """Whether it is a batch in the terms of OpenTelemetry: of several operations, or of none."""
    return event.items != 1 and event.verb in _BATCHES


def operation_of(event: CallEnded | BatchEnded) -> str:
    """The ``db.operation.name`` of the conventions."""
    return f"BATCH {event.verb}" if is_batch(event) else event.verb


def error_of(event: CallEnded | BatchEnded) -> str:
    """The ``error.type`` of the conventions; "" if there was none."""
    return "" if event.error is None else type(event.error).__name__
