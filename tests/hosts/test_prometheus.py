"""Metrics of whole stores for Prometheus, as its own client parses them, and those of a process."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, parser
from prometheus_client.openmetrics import parser as openmetrics

import flowstore
import flowstore.sync
from flowstore import BaseResultBackend, Observer, TaskResult
from flowstore.integrations._telemetry import METRICS
from flowstore.integrations.prometheus import ProcessMetrics, StoreCollector, StoreMetrics, main
from flowstore.observing import CallEnded, Event, WaitSubscribed
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.faults import Proxy
from flowstore.times import from_micros

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str, how: Any = openmetrics) -> Samples:
    """By name and labels. The parser raises for what is not valid."""
    found = how.text_fd_to_metric_families(io.StringIO(text))
    return {
        (one.name, frozenset(one.labels.items())): one.value for family in found for one in family.samples
    }


def of(found: Samples, metric: str, /, **labels: str) -> float:
    """The one sample with these labels, whatever namespace it is of; raises if there are others."""
    wanted = labels.items()
    [value] = [n for (named, at), n in found.items() if named == f"flowstore_{metric}" and wanted <= at]
    return value


async def scraped(metrics: StoreMetrics) -> Samples:
    text, media_type = await metrics.text(OPENMETRICS)
    assert media_type.startswith("application/openmetrics-text")
    return samples(text.decode())


async def some_tasks(backend: BaseResultBackend) -> None:
    """Two mails that arrive, one that fails, one that waits, and one without a name; and two workers."""
    for n in range(3):
        try:
            async with backend.track(f"secret-{n}", name="mail", worker_id="worker-7"):
                if n == 2:
                    raise OSError("no route to 10.0.0.7")
        except OSError:
            pass
    await backend.store("secret-3", TaskResult.pending("secret-3", task_name="mail"))
    await backend.store("secret-4", TaskResult.success("secret-4"))
    for worker_id in ("worker-7", "worker-8"):
        await backend.workers.register(worker_id)


async def test_what_is_told_of_a_store(url: str) -> None:
    """Each number, in both formats; and nothing that a task or worker is known by, nor an error."""
    async with flowstore.connect(url, namespace="shop") as backend:
        await some_tasks(backend)
        metrics = StoreMetrics(backend)
        found = await scraped(metrics)
        assert of(found, "store_up", namespace="shop") == 1
        assert of(found, "scrape_errors_total") == 0
        stored = {"pending": 1, "running": 0, "retrying": 0, "success": 3, "failed": 1, "cancelled": 0}
        assert {status: of(found, "tasks", status=status) for status in stored} == stored
        ends = {"submitted": 4, "success": 2, "failed": 1, "cancelled": 0, "requeued": 0, "retrying": 0}
        told = {one: of(found, "task_transitions_total", name="mail", status=one) for one in ends}
        assert told == ends
        assert of(found, "task_transitions_total", name="", status="success") == 1
        for kind in ("run", "wait"):
            assert of(found, f"task_{kind}_seconds_count", name="mail") == 3
            assert of(found, f"task_{kind}_seconds_bucket", name="mail", le="+Inf") == 3
            assert of(found, f"task_{kind}_seconds_bucket", name="mail", le="67108.864") == 3
        assert 0 <= of(found, "oldest_pending_seconds") < 60
        assert of(found, "workers", state="alive") == 2
        assert of(found, "workers", state="silent") == 0
        assert of(found, "errors_open") == 1
        sizes = [value for (name, _), value in found.items() if name == "flowstore_store_bytes"]
        assert all(size > 0 for size in sizes)
        assert len(sizes) == (0 if url == "memory://" else 1)
        plain, media_type = await metrics.text()
        assert media_type.startswith("text/plain")
        assert samples(plain.decode(), parser) == found
        for never in ("secret", "worker-", "OSError", "10.0.0.7"):
            assert never not in plain.decode()


def durations(found: Samples) -> dict[str, list[float]]:
    """Of each histogram the numbers of its buckets in the order of their bounds."""
    buckets: dict[str, list[tuple[float, float]]] = {}
    for (name, labels), value in found.items():
        rest, le = dict(labels), dict(labels).get("le")
        if le is not None:
            del rest["le"]
            buckets.setdefault(f"{name} {sorted(rest.items())}", []).append((float(le), value))
    return {name: [value for _, value in sorted(of_one)] for name, of_one in buckets.items()}


async def test_histograms_are_those_of_the_statistics(url: str) -> None:
    """A task counts in each bucket that its time fits in; the sum is known to 9 percent."""
    clock = ManualClock()
    async with flowstore.connect(url, clock=clock) as backend:
        seconds = [0.0005, 0.003, 0.2, 1.0, 30.0, 3_000.0, 200_000.0]
        for n, lasts in enumerate(seconds):
            began = from_micros(clock())
            running = TaskResult.running(f"t{n}", at=began, submitted_at=began)
            clock.advance(lasts)
            await backend.store(f"t{n}", TaskResult.success(running, at=from_micros(clock())))
        found = await scraped(StoreMetrics(backend))
        for bound, number in {
            "0.001": 1,
            "0.004": 2,
            "0.256": 3,
            "1.024": 4,
            "67108.864": 6,
            "+Inf": 7,
        }.items():
            assert of(found, "task_run_seconds_bucket", le=bound) == number
        assert of(found, "task_run_seconds_sum") == pytest.approx(sum(seconds), rel=0.09)
        for numbers in durations(found).values():
            assert len(numbers) == 15
            assert numbers == sorted(numbers)


async def test_no_counter_ever_falls(url: str) -> None:
    """Though hours are dropped, and other names become the busiest, beyond those that are told by name."""
    clock = ManualClock()
    async with flowstore.connect(url, clock=clock, purge_interval=None) as backend:
        last: Samples = {}
        for step, name in enumerate(["b", "other", "a", "c", "c", "d", "a", "c", "e", "b"]):
            for n in range(1 + step):
                task = TaskResult.success(f"{step}.{n}", task_name=name)
                await backend.store(task.task_id, task)
            clock.advance(40 * 86_400)
            await backend.purge_expired()
            found = await scraped(StoreMetrics(backend, names=3))
            counters = {key: value for key, value in found.items() if is_counter(key[0])}
            assert last.keys() <= counters.keys()
            assert all(counters[key] >= before for key, before in last.items())
            assert sum(n for (_, at), n in counters.items() if ("status", "success") in at) == sum(
                range(1, step + 2)
            )
            last = counters
        names = {dict(at)["name"] for _, at in last if "name" in dict(at)}
        assert names == {"a", "b", "other"}
        assert of(last, "task_transitions_total", name="a", status="success") == 3 + 7


class Calls:
    """The verbs of all calls of the storage."""

    def __init__(self) -> None:
        self.verbs: list[str] = []

    def on_event(self, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.verbs.append(event.verb)


async def test_names_are_read_last(url: str) -> None:
    """A name that was counted in between would be told as one of the others once, and these fall then."""
    calls = Calls()
    async with flowstore.connect(url, observers=[calls]) as backend:
        await backend.store("t", TaskResult.success("t", task_name="mail"))
        metrics = StoreMetrics(backend, kept_for=0)
        for _ in range(5):
            calls.verbs.clear()
            await metrics.text()
            assert [verb for verb in calls.verbs if verb in ("series", "totals")] == [
                "series",
                "totals",
                "series",
            ]


def is_counter(name: str) -> bool:
    return name.endswith(("_total", "_bucket", "_count", "_sum"))


async def test_scrapers_share_a_reading(url: str) -> None:
    """Those that come at once, or soon after; and it takes few round trips, however many names there are."""
    async with flowstore.connect(url) as backend:
        await backend.store_many(TaskResult.success(f"t{n}", task_name=f"n{n}") for n in range(90))
        metrics = StoreMetrics(backend, kept_for=60)
        trips = count_trips(backend)
        texts = await asyncio.gather(*(metrics.text(accept) for accept in (OPENMETRICS, OPENMETRICS, "")))
        assert texts[0] == texts[1]
        await backend.store("late", TaskResult.success("late"))
        assert await metrics.text(OPENMETRICS) == texts[0]
        assert sum(trips.values()) - trips["write"] <= 14, trips
        assert of(await scraped(StoreMetrics(backend, kept_for=0)), "tasks", status="success") == 91


async def test_a_store_that_does_not_answer(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is told as down in time, once in the log, and the others are told; when it is back, so it is."""
    parts = urlsplit(redis_url)
    assert parts.hostname is not None
    assert parts.port is not None
    async with Proxy(parts.hostname, parts.port) as proxy, flowstore.connect("memory://") as sound:
        through = parts._replace(netloc=f"127.0.0.1:{proxy.port}").geturl()
        async with flowstore.connect(through, namespace="far") as backend:
            await some_tasks(backend)
            metrics = StoreMetrics(backend, sound, kept_for=0, timeout=0.3)
            assert of(await scraped(metrics), "store_up", namespace="far") == 1
            proxy.delay = 60.0
            for n in (1, 2):
                began = time.monotonic()
                found = await scraped(metrics)
                assert time.monotonic() - began < 2
                assert of(found, "store_up", namespace="far") == 0
                assert of(found, "store_up", namespace="default") == 1
                assert of(found, "scrape_errors_total", namespace="far") == n
                namespaces = {dict(at)["namespace"] for name, at in found if name == "flowstore_tasks"}
                assert namespaces == {"default"}
            assert [record.message for record in caplog.records if "prometheus" in record.name] == [
                "the metrics of far cannot be read: TimeoutError()"
            ]
            proxy.delay = 0.0
            proxy.cut()
            async with asyncio.timeout(20):
                while of(await scraped(metrics), "store_up", namespace="far") == 0:
                    pass
            assert of(await scraped(metrics), "errors_open", namespace="far") == 1


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "sqlite:////no/such/folder/x.db"])
async def test_a_store_that_was_never_there(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    metrics = StoreMetrics(url, timeout=2.0)
    found = await scraped(metrics)
    assert {name for name, _ in found} == {"flowstore_store_up", "flowstore_scrape_errors_total"}
    assert of(found, "store_up") == 0
    await metrics.close()


async def test_as_an_asgi_application(tmp_path: Path) -> None:
    """It negotiates, compresses, and closes what is its own when it is shut down."""
    url = f"sqlite:///{tmp_path}/x.db"
    async with flowstore.connect(url) as backend:
        await some_tasks(backend)
    registry = CollectorRegistry()
    ProcessMetrics(registry)
    metrics = StoreMetrics(url, registry=registry)
    transport = httpx.ASGITransport(metrics)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.get("/metrics", headers={"accept": OPENMETRICS, "accept-encoding": "gzip"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert answer.headers["content-encoding"] == "gzip"
        assert of(samples(answer.text), "tasks", status="failed") == 1
        assert "# TYPE flowstore_wait_active gauge" in answer.text
        plain = await http.get("/metrics", headers={"accept": "*/*", "accept-encoding": "identity"})
        assert plain.headers["content-type"].startswith("text/plain")
        assert int(plain.headers["content-length"]) == len(plain.content)
        head = await http.head("/metrics", headers={"accept-encoding": "identity"})
        assert (head.status_code, head.content) == (200, b"")
        refused = await http.post("/metrics")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
    sent: list[Any] = []
    told = iter(["startup", "shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": f"lifespan.{next(told)}"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    await metrics({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert of(await scraped(StoreMetrics(metrics._stores[0].backend, timeout=2)), "store_up") == 0  # closed


async def test_a_backend_that_was_given_stays_open(url: str) -> None:
    async with flowstore.connect(url) as backend:
        await StoreMetrics(backend).close()
        assert await backend.count_by_status()


def test_as_a_collector(url: str) -> None:
    """For programs without asyncio. It looks at no store before it is asked to."""
    with flowstore.sync.connect(url, namespace="shop") as store:
        with store.track("t", name="mail"):
            pass
        registry = CollectorRegistry()
        collector = StoreCollector(store, kept_for=0)
        registry.register(collector)
        found = samples(prometheus_client.generate_latest(registry).decode(), parser)
        assert of(found, "task_run_seconds_count", name="mail", namespace="shop") == 1
        assert of(found, "store_up") == 1
        store.store("u", TaskResult.failed("u", OSError(), task_name="mail"))
        found = samples(prometheus_client.generate_latest(registry).decode(), parser)
        assert of(found, "task_transitions_total", name="mail", status="failed") == 1
        collector.close()
        assert store.exists("t")


def test_a_collector_of_a_store_that_is_not_there(caplog: pytest.LogCaptureFixture) -> None:
    """It is registered all the same, and tells in time that it is down."""
    registry = CollectorRegistry()
    collector = StoreCollector("redis://127.0.0.1:1/0")
    registry.register(collector)
    began = time.monotonic()
    found = samples(prometheus_client.generate_latest(registry).decode(), parser)
    assert time.monotonic() - began < 15
    assert of(found, "store_up") == 0
    assert len(caplog.records) == 1
    collector.close()


async def test_what_a_process_measures(url: str) -> None:
    """By the names and units of all metrics, none with an id as a label."""
    registry, notes = CollectorRegistry(), Subscribed()
    observers: list[Observer] = [ProcessMetrics(registry), notes]
    async with flowstore.connect(url, observers=observers, namespace="shop") as backend:
        waiting = asyncio.ensure_future(backend.wait_for("secret", timeout=10))
        await notes.is_subscribed.wait()
        assert registry.get_sample_value("flowstore_wait_active", {"namespace": "shop"}) == 1
        await backend.store("secret", TaskResult.success("secret"))
        await backend.store("secret", TaskResult.failed("secret", OSError()))
        await waiting
    text = prometheus_client.generate_latest(registry).decode()
    found = samples(text, parser)
    assert of(found, "wait_active") == 0
    assert of(found, "wait_duration_seconds_count", outcome="success") == 1
    assert of(found, "wake_lag_seconds_count") == 1
    assert of(found, "late_write_count_total", reason="stage") == 1
    calls = [n for (name, at), n in found.items() if name == "flowstore_operation_duration_seconds_count"]
    assert sum(calls) >= 3
    assert "secret" not in text
    names = {metric.name.replace(".", "_") for metric in METRICS}
    assert {name.removesuffix("_seconds").removesuffix("_total") for name in families(text)} == names


class Subscribed:
    def __init__(self) -> None:
        self.is_subscribed = asyncio.Event()

    def on_event(self, event: Event, /) -> None:
        if isinstance(event, WaitSubscribed):
            self.is_subscribed.set()


def families(text: str) -> set[str]:
    found = re.findall(r"^# TYPE (\S+) (?!gauge$)|^# TYPE (\S+(?<!_created)) gauge$", text, re.M)
    return {one or other for one, other in found}


FORKED = """
import os, sys
import flowstore.sync
from flowstore.integrations.prometheus import ProcessMetrics
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

store = flowstore.sync.connect("memory://", observers=[ProcessMetrics()])
for n in range(2):
    if os.fork() == 0:
        with store.track(f"t{n}"):
            pass
        os._exit(0)
    os.wait()
registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.write(generate_latest(registry).decode())
"""


def test_forked_processes_are_added_up(tmp_path: Path) -> None:
    """In the multiprocess mode of prometheus_client, each measures for itself."""
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", FORKED], env=environment, capture_output=True, text=True)
    assert told.stderr == ""
    calls = {"operation": "write", "error": ""}
    assert of(samples(told.stdout, parser), "operation_duration_seconds_count", **calls) == 4


@pytest.mark.parametrize("command", ["dashboard", "rules"])
def test_what_is_shipped_is_printed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([command])
    kept = Path(flowstore.__file__).parent / "integrations" / "_prometheus"
    [file] = kept.glob(f"{command}.*")
    assert capsys.readouterr().out == file.read_text("utf-8")


@contextmanager
def running(*command: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process of this Python, and its first line."""
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen([sys.executable, *command], **pipes) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline()
        finally:
            process.kill()


async def test_a_fleet_from_one_scrape(tmp_path: Path) -> None:
    """An exporter of its own tells of a worker that works, is killed with -9, and is swept."""
    url = f"sqlite:///{tmp_path}/x.db"
    async with flowstore.connect(url) as backend:
        with (
            running(str(Path(__file__).with_name("prometheus_worker.py")), url) as (worker, line),
            running("-m", EXPORTER, "serve", url, "--port", "0") as (exporter, address),
        ):
            assert line == "running\n"
            where = address.split()[-1]
            found = await asyncio.to_thread(fetched, where)
            assert of(found, "workers", state="alive") == of(found, "tasks", status="running") == 1
            worker.kill()
            await asyncio.to_thread(worker.wait)
            metrics = StoreMetrics(backend, silent_after=0.3, kept_for=0)
            async with asyncio.timeout(20):
                while of(await scraped(metrics), "workers", state="silent") == 0:
                    pass
            swept = await backend.workers.sweep(silent_after=0.3, silent="fail")
            assert swept.failed == ["t"]
            async with asyncio.timeout(20):
                while of(found, "workers", state="alive"):
                    found = await asyncio.to_thread(fetched, where)
            assert of(found, "task_transitions_total", name="grind", status="failed") == 1
            exporter.send_signal(signal.SIGINT)
            assert await asyncio.to_thread(exporter.wait) == 0


EXPORTER = "flowstore.integrations.prometheus"


def fetched(address: str) -> Samples:
    request = urllib.request.Request(address, headers={"accept": OPENMETRICS})
    with urllib.request.urlopen(request) as answer:
        return samples(answer.read().decode())
