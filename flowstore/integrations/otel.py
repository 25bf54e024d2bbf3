"""Traces and metrics by OpenTelemetry: an observer for any number of backends. See docs/telemetry.md.

Calls of the storage follow the stable conventions for databases. Tasks and waits have no conventions yet, and
get names that begin with ``flowstore.``. No attribute of a metric is an id or a value, and none of a span
unless it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from time import time_ns
from typing import Any, Final, Literal, NamedTuple

from flowstore import TaskResult, TaskStatus
from flowstore._packages import needed
from flowstore.fields import NO_META, Scalar
from flowstore.integrations._blocks import Around
from flowstore.integrations._telemetry import (
    OPERATION_DURATION,
    Instrument,
    Labels,
    Measuring,
    Metric,
    error_of,
    is_batch,
    operation_of,
)
from flowstore.observing import (
    BlockBegun,
    BlockEnded,
    CallEnded,
    Event,
    WaitBegun,
    WaitEnded,
    WaitOutcome,
    WaitsRechecked,
    WaitSubscribed,
    WaitWoken,
)

with needed("flowstore.integrations.otel", "otel", "opentelemetry-api", "opentelemetry"):
    from opentelemetry import context, metrics, trace
    from opentelemetry.trace import Link, Span, SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SEMCONV: Final = "1.44.0"
"""The version of the semantic conventions that calls of the storage are named by."""
_SCHEMA: Final = f"https://opentelemetry.io/schemas/{SEMCONV}"

TRACEPARENT: Final = "traceparent"
"""Under which name of its ``meta`` a task keeps the trace in which it was submitted."""

Attributes = dict[str, str | int | bool | float]

_PROPAGATOR: Final = TraceContextTextMapPropagator()
_FAILED: Final = frozenset({TaskStatus.FAILED, TaskStatus.RETRYING})
_BAD_ENDS: Final[frozenset[WaitOutcome]] = frozenset({"timeout", "deleted", "expired", "unreadable", "error"})
_MOST_KEPT: Final = 1_000


class OpenTelemetry:
    """Give it to a backend, or to several, as ``observers=[OpenTelemetry()]``.

    ``propagate``: keep the trace of whoever submits a task with it, as ``traceparent`` in its ``meta``; the
    span of each attempt then has a link to it. ``capture_ids``: the ids of tasks and workers are attributes
    of spans. ``record_exceptions``: so are the messages and tracebacks with which blocks fail. ``spans``: of
    "all", of "tasks" and waits but not of calls of the storage, or None. ``metrics``: False for none.
    ``tracer_provider`` and ``meter_provider``: by default the global ones.
    """

    def __init__(
        self,
        *,
        propagate: bool = False,
        capture_ids: bool = False,
        record_exceptions: bool = True,
        spans: Literal["all", "tasks"] | None = "all",
        metrics: bool = True,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        if spans not in ("all", "tasks", None):
            raise ValueError(f"spans: expected 'all', 'tasks' or None, got {spans!r:.80}")
        self._propagate = propagate
        self._measure = Measuring(_Meter(meter_provider)).on_event if metrics else None
        tracer = trace.get_tracer("flowstore", None, tracer_provider, _SCHEMA)
        made = _Spans(tracer, spans == "all", capture_ids, record_exceptions)
        self._trace = None if spans is None else made.on_event

    def on_event(self, event: Event, /) -> None:
        if self._trace is not None:
            self._trace(event)
        if self._measure is not None:
            self._measure(event)

    def on_submit(self, task: TaskResult, /) -> Mapping[str, Scalar]:
        if not self._propagate:
            return NO_META
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)  # nothing, if there is no trace
        parent = carrier.get(TRACEPARENT)
        return NO_META if parent is None else {TRACEPARENT: parent}


class _Block(NamedTuple):
    span: Span
    token: Any


class _Wait:
    """The span of a call that waits, for one task or many."""

    __slots__ = ("count", "open", "outcomes", "span")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.count = self.open = 0
        self.outcomes: set[WaitOutcome] = set()


class _Spans:
    def __init__(
        self, tracer: trace.Tracer, with_calls: bool, capture_ids: bool, record_exceptions: bool
    ) -> None:
        self._tracer = tracer
        self._capture_ids = capture_ids
        self._record_exceptions = record_exceptions
        self._blocks: Around[_Block] = Around("flowstore_otel")
        self._waits: dict[int, _Wait] = {}
        self._takes: dict[type[Event], Callable[[Any], None]] = {
            BlockBegun: self._block_begun,
            BlockEnded: self._block_ended,
            WaitBegun: self._wait_begun,
            WaitSubscribed: lambda event: self._note(event.call, "subscribed"),
            WaitWoken: lambda event: self._note(event.call, "woken", {"flowstore.wake.lag": event.lag}),
            WaitsRechecked: self._rechecked,
            WaitEnded: self._wait_ended,
        }
        if with_calls:
            self._takes[CallEnded] = self._call_ended

    def on_event(self, event: Event) -> None:
        take = self._takes.get(type(event))
        if take is not None:
            take(event)

    def _call_ended(self, event: CallEnded) -> None:
        """In the context of the caller, whose span is the parent."""
        if event.is_background:
            return
        end = time_ns()
        operation, place, error = operation_of(event), event.place, error_of(event)
        about: Attributes = {
            "db.system.name": place.system,
            "db.namespace": event.namespace,
            "db.operation.name": operation,
        }
        if is_batch(event):
            about["db.operation.batch.size"] = event.items
        if place.address is not None:
            about["server.address"] = place.address
        if place.port is not None:
            about["server.port"] = place.port
        if error:
            about["error.type"] = error
        span = self._tracer.start_span(
            f"{operation} {event.namespace}",
            kind=SpanKind.CLIENT,
            attributes=about,
            start_time=end - round(event.seconds * 1e9),
        )
        if error:
            span.set_status(StatusCode.ERROR)
        span.end(end)

    def _block_begun(self, event: BlockBegun) -> None:
        about: Attributes = {"flowstore.namespace": event.namespace, "flowstore.task.retries": event.retries}
        if event.name is not None:
            about["flowstore.task.name"] = event.name
        if self._capture_ids:
            about["flowstore.task.id"] = event.task_id
            ids = {"flowstore.worker.id": event.worker_id, "flowstore.task.parent_id": event.parent_id}
            about.update((name, value) for name, value in ids.items() if value is not None)
        name, links = event.name or "task", _links(event.meta.get(TRACEPARENT))
        span = self._tracer.start_span(name, kind=SpanKind.INTERNAL, attributes=about, links=links)
        self._blocks.enter(event.block, _Block(span, context.attach(trace.set_span_in_context(span))))

    def _block_ended(self, event: BlockEnded) -> None:
        left = self._blocks.leave(event.block)
        if left is None:
            return
        span, _ = left.value
        for _, token in left.over:
            context.detach(token)
        if event.status is not None:
            span.set_attribute("flowstore.task.status", event.status.value)
            span.set_attribute("flowstore.task.is_stored", event.is_stored)
        if event.status in _FAILED:
            span.set_status(StatusCode.ERROR)
            if event.error is not None:
                span.set_attribute("error.type", type(event.error).__name__)
                if self._record_exceptions:
                    span.record_exception(event.error)
        span.end()

    def _wait_begun(self, event: WaitBegun) -> None:
        wait = self._waits.get(event.call)
        if wait is None:
            about: Attributes = {"flowstore.namespace": event.namespace}
            if self._capture_ids:
                about["flowstore.task.id"] = event.task_id
            span = self._tracer.start_span(f"wait {event.namespace}", attributes=about)
            wait = self._waits[event.call] = _Wait(span)
        wait.count += 1
        wait.open += 1

    def _rechecked(self, event: WaitsRechecked) -> None:
        for call in event.calls:
            self._note(call, "rechecked")

    def _note(self, call: int, name: str, about: Attributes | None = None) -> None:
        wait = self._waits.get(call)
        if wait is not None:
            wait.span.add_event(name, about)

    def _wait_ended(self, event: WaitEnded) -> None:
        wait = self._waits.get(event.call)
        if wait is None:
            return
        wait.open -= 1
        wait.outcomes.add(event.outcome)
        if not wait.open:
            del self._waits[event.call]
            _end(wait)


def _end(wait: _Wait) -> None:
    """``wait.outcomes``: of all tasks that it was for; those that went wrong are named first."""
    bad = sorted(wait.outcomes & _BAD_ENDS)
    wait.span.set_attribute("flowstore.wait.outcome", (bad or sorted(wait.outcomes))[0])
    wait.span.set_attribute("flowstore.wait.count", wait.count)
    if bad:
        wait.span.set_attribute("error.type", bad[0])
        wait.span.set_status(StatusCode.ERROR)
    wait.span.end()


def _links(parent: Scalar) -> list[Link]:
    if not isinstance(parent, str):
        return []
    submitter = trace.get_current_span(_PROPAGATOR.extract({TRACEPARENT: parent}, context.Context()))
    return [Link(submitter.get_span_context())] if submitter.get_span_context().is_valid else []


_OF_CALLS: Final = {
    "system": "db.system.name",
    "namespace": "db.namespace",
    "operation": "db.operation.name",
    "error": "error.type",
    "address": "server.address",
    "port": "server.port",
}


class _Meter:
    """The sink of the metrics. That of calls has the name and the attributes of the conventions."""

    def __init__(self, provider: metrics.MeterProvider | None) -> None:
        self._meter = metrics.get_meter("flowstore", "", provider, _SCHEMA)

    def instrument(self, metric: Metric, /) -> Instrument:
        name, about = metric.name, _attributes(metric)
        if metric is OPERATION_DURATION:
            name = "db.client.operation.duration"
        if metric.kind == "histogram":
            histogram = self._meter.create_histogram(
                name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
            )
            return lambda value, labels: histogram.record(value, about(labels))
        totals = _Totals(about)
        if metric.kind == "counter":
            self._meter.create_observable_counter(name, [totals.observed], metric.unit, metric.description)
        else:
            about_it = metric.unit, metric.description
            self._meter.create_observable_up_down_counter(name, [totals.observed], *about_it)
        return totals.add


class _Totals:
    """Of what is counted, by labels, for who collects them: to tell the SDK of each takes far longer."""

    def __init__(self, about: Callable[[Labels], Attributes]) -> None:
        self._about = about
        self._lock = Lock()
        self._totals: dict[Labels, float] = {}

    def add(self, amount: float, labels: Labels) -> None:
        with self._lock:
            self._totals[labels] = self._totals.get(labels, 0) + amount

    def observed(self, options: metrics.CallbackOptions) -> list[metrics.Observation]:
        with self._lock:
            totals = [*self._totals.items()]
        return [metrics.Observation(total, self._about(labels)) for labels, total in totals]


class _Kept(dict[Labels, Attributes]):
    """From the values of labels to attributes, which are as few as there are time series."""

    def __init__(self, names: Labels) -> None:
        super().__init__()
        self._names = names

    def __missing__(self, labels: Labels) -> Attributes:
        if len(self) >= _MOST_KEPT:
            self.clear()
        pairs = [(name, value) for name, value in zip(self._names, labels, strict=True) if value]
        made: Attributes = {name: int(value) if name == "server.port" else value for name, value in pairs}
        self[labels] = made
        return made


def _attributes(metric: Metric) -> Any:
    names = (
        _OF_CALLS if metric is OPERATION_DURATION else {name: f"flowstore.{name}" for name in metric.labels}
    )
    return _Kept(tuple(names[name] for name in metric.labels)).__getitem__
