"""OpenTelemetry, with its own SDK: the spans and metrics of tasks, waits and calls of the storage."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from opentelemetry.semconv.metrics import db_metrics
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import SpanKind, StatusCode

import flowstore
import flowstore.sync
from flowstore import StorageUnavailable, TaskResult, WaitTimeout
from flowstore.integrations import otel
from flowstore.integrations._telemetry import METRICS, OPERATION_DURATION
from flowstore.integrations.otel import OpenTelemetry
from flowstore.observing import (
    BlockEnded,
    CallEnded,
    OutcomeLost,
    RecheckFound,
    RecordUnreadable,
    StorageBack,
    WaitEnded,
    WaitsRechecked,
    WaitSubscribed,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.leaving import unavailable
from flowstore.testing.contract.observing import Notes
from flowstore.testing.insides import replaced_verb

SYSTEMS = {"memory": "memory", "sqlite": "sqlite", "redis": "redis"}


class Lab:
    """Providers of the SDK that keep what they are given, apart from those of other tests."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers, self.meters = TracerProvider(), MeterProvider([self._reader])
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracers.get_tracer("of the program")

    def observer(self, **options: Any) -> OpenTelemetry:
        return OpenTelemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def spans(self, kind: SpanKind | None = None, name: str | None = None) -> list[ReadableSpan]:
        """Those that have ended, in this order."""
        ended = self._exporter.get_finished_spans()
        return [span for span in ended if kind in (None, span.kind) and name in (None, span.name)]

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric."""
        data = self._reader.get_metrics_data()
        resources = [] if data is None else data.resource_metrics
        found = (metric for each in resources for scope in each.scope_metrics for metric in scope.metrics)
        return {metric.name: [*metric.data.data_points] for metric in found}

    def close(self) -> None:
        self.tracers.shutdown()
        self.meters.shutdown()


@pytest.fixture
def lab() -> Iterator[Lab]:
    made = Lab()
    yield made
    made.close()


def about(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


async def test_calls_of_the_storage(lab: Lab, url: str) -> None:
    """Each is a span by the conventions for databases, a child of the caller's, and has taken its time."""
    async with flowstore.connect(url, namespace="shop", observers=[lab.observer()]) as backend:
        with lab.tracer.start_as_current_span("request") as request:
            await backend.store("t1", TaskResult.success("t1", 1))
            await backend.store_many(TaskResult.success(f"u{n}") for n in range(3))
            await backend.get_many(["t1", "u1"])
    spans = lab.spans(SpanKind.CLIENT)
    assert [span.name for span in spans] == ["write shop", "BATCH write shop", "read shop"]
    for span in spans:
        assert parent_of(span) == request.get_span_context().span_id
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0 < span.end_time - span.start_time < 30e9
        assert about(span)[db_attributes.DB_SYSTEM_NAME] == SYSTEMS[url.partition(":")[0]]
        assert about(span)[db_attributes.DB_NAMESPACE] == "shop"
        assert isinstance(about(span).get(server_attributes.SERVER_PORT, 1), int)
        is_server = url.startswith("redis")
        assert (server_attributes.SERVER_ADDRESS in about(span)) is is_server
        assert span.instrumentation_scope is not None
        assert span.instrumentation_scope.schema_url == f"https://opentelemetry.io/schemas/{otel.SEMCONV}"
    operations = [about(span)[db_attributes.DB_OPERATION_NAME] for span in spans]
    assert operations == ["write", "BATCH write", "read"]
    sizes = [about(span).get(db_attributes.DB_OPERATION_BATCH_SIZE) for span in spans]
    assert sizes == [None, 3, None]  # the two ids of a read are operands, as of MGET


def test_the_version_of_the_conventions() -> None:
    assert f"https://opentelemetry.io/schemas/{otel.SEMCONV}" in {schema.value for schema in Schemas}


async def test_calls_that_fail(lab: Lab, url: str) -> None:
    """They have the type of the error, without its text."""
    async with flowstore.connect(url, observers=[lab.observer()]) as backend:
        with replaced_verb(backend, "read", unavailable, in_storage=True), pytest.raises(StorageUnavailable):
            await backend.get("t")
    [span] = lab.spans(SpanKind.CLIENT)
    assert about(span)[error_attributes.ERROR_TYPE] == "StorageUnavailable"
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)
    assert not span.events


async def test_tasks(lab: Lab, url: str) -> None:
    """Each attempt is a span; blocks inside, spans of the program and calls are its children."""
    async with flowstore.connect(url, observers=[lab.observer()]) as backend:
        with lab.tracer.start_as_current_span("worker") as worker:
            async with backend.track("t1", name="report"):
                with lab.tracer.start_as_current_span("query"):
                    pass
                async with backend.track("t2", name="page"):
                    pass
            assert trace.get_current_span() is worker
        with pytest.raises(ValueError, match="secret"):
            async with backend.track("t3"):
                raise ValueError("secret")
    query, page, report, failed = (lab.spans(name=name)[0] for name in ("query", "page", "report", "task"))
    assert parent_of(report) == worker.get_span_context().span_id
    assert parent_of(query) == parent_of(page) == id_of(report)
    assert parent_of(failed) is None
    assert about(report) == {
        "flowstore.namespace": "default",
        "flowstore.task.name": "report",
        "flowstore.task.retries": 0,
        "flowstore.task.status": "success",
        "flowstore.task.is_stored": True,
    }
    assert (report.kind, report.status.status_code) == (SpanKind.INTERNAL, StatusCode.UNSET)
    assert about(failed)["flowstore.task.status"] == "failed"
    assert (failed.status.status_code, about(failed)["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert [event.name for event in failed.events] == ["exception"]
    outcomes = [
        span for span in lab.spans(SpanKind.CLIENT, "write default") if parent_of(span) == id_of(page)
    ]
    assert len(outcomes) == 1


async def test_links_to_who_submitted(lab: Lab, url: str) -> None:
    """Each attempt is linked to the submitter's span, in another trace, and is no child of it."""
    async with flowstore.connect(url, observers=[lab.observer(propagate=True)]) as backend:
        with lab.tracer.start_as_current_span("submit") as submit:
            await backend.store("t1", TaskResult.pending("t1", task_name="mail"))
        await backend.store("t2", TaskResult.pending("t2"))  # outside of any trace
        stored = await backend.get("t1")
        for outcome in ("retry", "done"):
            async with backend.track("t1") as task:
                if outcome == "retry":
                    task.retry(ValueError())
        async with backend.track("t2"):
            pass
    at = submit.get_span_context()
    assert stored is not None
    assert stored.meta == {"traceparent": f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}"}
    first, second = lab.spans(name="mail")
    for span in (first, second):
        assert [link.context for link in span.links] == [
            trace.SpanContext(at.trace_id, at.span_id, True, at.trace_flags)
        ]
        assert span.parent is None
        assert span.context is not None
        assert span.context.trace_id != at.trace_id
    assert [about(span)["flowstore.task.retries"] for span in (first, second)] == [0, 1]
    assert first.status.status_code is StatusCode.ERROR
    [other] = lab.spans(name="task")
    assert not other.links


@pytest.mark.parametrize("value", ["garbage", "00-0-0-00", 7, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_traceparent_of_the_program(lab: Lab, value: Any) -> None:
    """It is never replaced, and one that is none is no link."""
    async with flowstore.connect("memory://", observers=[lab.observer(propagate=True)]) as backend:
        with lab.tracer.start_as_current_span("submit"):
            await backend.store("t", TaskResult.pending("t", meta={"traceparent": value}))
        async with backend.track("t"):
            pass
        stored = await backend.get("t")
    assert stored is not None
    assert stored.meta == {"traceparent": value}
    assert not lab.spans(name="task")[0].links


async def test_nothing_is_kept_unless_it_is_asked_for(lab: Lab) -> None:
    async with flowstore.connect("memory://", observers=[lab.observer()]) as backend:
        with lab.tracer.start_as_current_span("submit"):
            await backend.store("t", TaskResult.pending("t"))
        stored = await backend.get("t")
    assert stored is not None
    assert not stored.meta


SUBMITTER = """
import sys
import flowstore.sync
from flowstore import TaskResult
from flowstore.integrations.otel import OpenTelemetry
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

provider = TracerProvider()
observer = OpenTelemetry(propagate=True, tracer_provider=provider)
with flowstore.sync.connect(sys.argv[1], observers=[observer]) as store:
    with provider.get_tracer("web").start_as_current_span("request") as span:
        store.store("t", TaskResult.pending("t", task_name="mail"))
    print(span.get_span_context().span_id)
    print(store.wait_for("t", 30).unwrap())
"""


async def test_a_submitter_in_another_process(lab: Lab, tmp_path: Any) -> None:
    """A program without asyncio submits a task in its own trace, and waits for it."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", SUBMITTER, url), stdout=subprocess.PIPE
    )
    async with flowstore.connect(url, observers=[lab.observer(propagate=True)]) as backend:
        async with aclosing(backend.watch("t")) as states:
            await anext(states)
        async with backend.track("t") as task:
            task.result = "done"
        output, _ = await program.communicate()
    span_id, result = output.decode().split()
    assert (program.returncode, result) == (0, "done")
    [link] = lab.spans(name="mail")[0].links
    assert link.context.span_id == int(span_id)


async def test_waits(lab: Lab, url: str) -> None:
    """One span, with what has happened in the meantime, and no other for the reads behind it."""
    notes = Notes()
    async with flowstore.connect(
        url, observers=[lab.observer(), notes], recheck_interval=0.05, purge_interval=None
    ) as backend:
        with lab.tracer.start_as_current_span("request") as request:
            wait = asyncio.ensure_future(backend.wait_for("t", 30))
            await notes.next(WaitSubscribed)
            await notes.next(WaitsRechecked)
        await backend.store("t", TaskResult.success("t"))
        await wait
        with pytest.raises(WaitTimeout):
            await backend.wait_for("never", 0.01)
    done, late = lab.spans(name="wait default")
    assert done.kind is SpanKind.INTERNAL
    assert parent_of(done) == request.get_span_context().span_id
    events = [event.name for event in done.events]
    assert events[0] == "subscribed"
    assert events[-1] == "woken"
    assert {*events[1:-1]} == {"rechecked"}
    assert about(done) == {
        "flowstore.namespace": "default",
        "flowstore.wait.outcome": "success",
        "flowstore.wait.count": 1,
    }
    assert about(late)["flowstore.wait.outcome"] == "timeout"
    assert late.status.status_code is StatusCode.ERROR
    assert [span.name for span in lab.spans(SpanKind.CLIENT)] == ["write default"]


async def test_waits_for_many_are_one_span(lab: Lab) -> None:
    """With how many tasks it was for."""
    async with flowstore.connect("memory://", observers=[lab.observer()]) as backend:
        await backend.store_many(TaskResult.success(f"t{n}") for n in range(50))
        await backend.wait_for_many([f"t{n}" for n in range(50)], 30)
    [span] = lab.spans(name="wait default")
    assert about(span)["flowstore.wait.count"] == 50


async def test_heartbeats_and_watches_are_no_spans(lab: Lab) -> None:
    """Only what a caller has asked for: a worker registers and deregisters."""
    notes = Notes()
    async with (
        flowstore.connect("memory://", observers=[lab.observer(), notes]) as backend,
        backend.worker("w", every=0.01),
        aclosing(backend.watch("t")) as states,
    ):
        await backend.store("t", TaskResult.success("t"))
        await anext(states)
        before = len(lab.spans())
        while sum(event.is_background and event.verb == "put" for event in notes.of(CallEnded)) < 3:
            await notes.next(CallEnded, len(notes.of(CallEnded)) + 1)
        assert len(lab.spans()) == before
    assert {span.name for span in lab.spans()} == {"put default", "write default"}


@pytest.mark.parametrize("capture_ids", [False, True])
async def test_ids_are_for_spans_and_asked_for(lab: Lab, url: str, capture_ids: bool) -> None:
    """No attribute of a metric has an id, a name of a worker or a value; spans have ids on request."""
    notes = Notes()
    observer = lab.observer(capture_ids=capture_ids, propagate=True)
    async with flowstore.connect(url, observers=[observer, notes]) as backend:
        await backend.store("secret-id", TaskResult.pending("secret-id", args=("secret-arg",)))
        wait = asyncio.ensure_future(backend.wait_for("secret-id", 30))
        await notes.next(WaitSubscribed)
        async with backend.track("secret-id", worker_id="secret-worker", labels=["secret-label"]) as task:
            async with backend.track("secret-child"):
                pass
            task.result = "secret-result"
        await wait
    attributes = [about(span) for span in lab.spans()]
    attributes += [dict(event.attributes or {}) for span in lab.spans() for event in span.events]
    values = {value for each in attributes for value in each.values()}
    found = {str(value) for value in values if "secret" in str(value)}
    assert found == ({"secret-id", "secret-worker", "secret-child"} if capture_ids else set())
    assert not any("secret" in str(span.name) for span in lab.spans())
    points = lab.points()
    assert points
    assert not any("secret" in str(point.attributes) for each in points.values() for point in each)


async def test_metrics(lab: Lab, redis_url: str) -> None:
    """Each metric has its values, with the attributes that it says; sums come down when things end."""
    observer, notes, clock = lab.observer(spans=None), Notes(), ManualClock()
    async with flowstore.connect(
        redis_url, observers=[observer, notes], clock=clock, recheck_interval=0.05, purge_interval=None
    ) as backend:
        waits = [asyncio.ensure_future(backend.wait_for(name, 30)) for name in ("a", "b")]
        await notes.next(WaitSubscribed, 2)
        states = backend.watch("c")
        await backend.store_many(TaskResult.pending(name) for name in "cdefghij")
        await anext(states)
        await notes.next(WaitsRechecked)
        points = lab.points()
        assert [point.value for point in points["flowstore.wait.active"]] == [2]
        assert [point.value for point in points["flowstore.watch.active"]] == [1]
        assert points["flowstore.watch.active"][0].attributes == {
            "flowstore.namespace": "default",
            "flowstore.kind": "task",
        }
        await backend.store("a", TaskResult.success("a"))
        await backend.store("a", TaskResult.success("a"))  # too late
        await backend.store("b", TaskResult.success("b"))
        await asyncio.gather(*waits)
        await states.aclose()
        await backend.store("old", TaskResult.success("old"), ttl=5)
        clock.advance(5)
        await backend.purge_expired()
    for event in (
        StorageBack("default", 1.0),
        RecheckFound("default", "a"),
        RecordUnreadable("default", "a", flowstore.CorruptRecord("a", "no")),
        OutcomeLost("default", "a", ValueError()),
    ):
        observer.on_event(event)
    points = lab.points()
    assert points.keys() == {
        db_metrics.DB_CLIENT_OPERATION_DURATION if metric is OPERATION_DURATION else metric.name
        for metric in METRICS
    }
    assert [point.value for point in points["flowstore.wait.active"]] == [0]
    assert [point.value for point in points["flowstore.watch.active"]] == [0]
    [durations] = points["flowstore.wait.duration"]
    assert (durations.count, durations.attributes["flowstore.outcome"]) == (2, "success")
    assert [point.count for point in points["flowstore.wake.lag"]] == [2]
    late = {
        point.attributes["flowstore.reason"]: point.value for point in points["flowstore.late_write.count"]
    }
    assert late == {"stage": 1, "lost": 1}
    calls = points[db_metrics.DB_CLIENT_OPERATION_DURATION]
    assert {tuple(point.explicit_bounds) for point in calls} == {
        (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    }
    operations = {point.attributes[db_attributes.DB_OPERATION_NAME] for point in calls}
    assert operations >= {"write", "BATCH write", "watch", "purge"}
    assert not lab.spans()


def test_threads(lab: Lab, url: str) -> None:
    """flowstore.sync: the block is around the code of its thread, and of no other."""

    def work(name: str) -> None:
        with store.track(name, name=name), lab.tracer.start_as_current_span(f"{name}.query"):
            pass

    with (
        flowstore.sync.connect(url, observers=[lab.observer()]) as store,
        lab.tracer.start_as_current_span("all"),
    ):
        work("a")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(work, ["b", "c"]))
        assert trace.get_current_span().is_recording()
    spans = {span.name: span for span in lab.spans(SpanKind.INTERNAL)}
    for name in ("a", "b", "c"):
        assert parent_of(spans[f"{name}.query"]) == id_of(spans[name])
        assert about(spans[name])["flowstore.task.status"] == "success"
    assert parent_of(spans["a"]) == id_of(spans["all"])
    assert parent_of(spans["b"]) is None


async def test_spans_of_tasks_alone(lab: Lab, url: str) -> None:
    """Without those of the calls behind them; each call is still measured."""
    async with flowstore.connect(url, observers=[lab.observer(spans="tasks")]) as backend:
        async with backend.track("t"):
            pass
        await backend.wait_for("t", 30)
    assert [span.name for span in lab.spans()] == ["task", "wait default"]
    assert db_metrics.DB_CLIENT_OPERATION_DURATION in lab.points()


def test_bad_spans() -> None:
    with pytest.raises(ValueError, match=r"^spans: expected 'all', 'tasks' or None, got 'some'"):
        OpenTelemetry(spans="some")  # type: ignore[arg-type]


async def test_one_observer_of_several_backends(lab: Lab, tmp_path: Any) -> None:
    """Each call tells of which storage it is."""
    observer = lab.observer()
    urls = ["memory://", f"sqlite:///{tmp_path / 'x.db'}"]
    for url in urls:
        async with flowstore.connect(url, observers=[observer]) as backend:
            await backend.exists("t")
    spans = lab.spans(SpanKind.CLIENT)
    assert [about(span)[db_attributes.DB_SYSTEM_NAME] for span in spans] == ["memory", "sqlite"]


async def test_blocks_that_cross(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Blocks of generators end in any order, and in other contexts; all of their spans end, quietly."""
    notes = Notes()

    async def steps(name: str) -> AsyncGenerator[None, None]:
        async with backend.track(name, name=name):
            yield

    async with flowstore.connect("memory://", observers=[lab.observer(), notes]) as backend:
        first, second = steps("first"), steps("second")
        await anext(first)
        await anext(second)
        await anext(first, None)
        await anext(second, None)
        assert not trace.get_current_span().get_span_context().is_valid
        walks = {name: steps(name) for name in ("a", "b", "c")}
        for walk in walks.values():
            await anext(walk)
        await walks["a"].aclose()
        await asyncio.create_task(closed(walks["b"]))
        await anext(walks["c"], None)
        await notes.next(BlockEnded, 5)
        await backend.wait_for_many(["a", "b"], 30)
    assert {"a", "b", "c"} <= {span.name for span in lab.spans()}
    assert not caplog.records


async def closed(walk: AsyncGenerator[None, None]) -> None:
    await walk.aclose()


async def test_without_an_sdk(url: str) -> None:
    """Where a program has configured nothing, nothing is recorded, and everything works."""
    async with flowstore.connect(url, observers=[OpenTelemetry(propagate=True)]) as backend:
        await backend.store("t", TaskResult.pending("t"))
        async with backend.track("t") as task:
            task.result = 1
        stored = await backend.wait_for("t", 30)
    assert stored.unwrap() == 1
    assert not stored.meta


def test_waits_of_others_are_none_of_its_business(lab: Lab) -> None:
    """An end without a beginning, as of a wait that began before, is passed over."""
    observer = lab.observer()
    observer.on_event(WaitEnded("default", "t", "success", 1.0, 7))
    observer.on_event(BlockEnded("default", "t", 7, None, False, None))
    assert not lab.spans()
