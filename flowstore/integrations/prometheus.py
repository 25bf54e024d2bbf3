"""Metrics for Prometheus: of whole stores from one scrape, and of this process. See docs/prometheus.md.

``python -m flowstore.integrations.prometheus dashboard`` prints a dashboard for Grafana, ``... rules`` rules
for alerts; ``... serve URL`` exports a store without any other program.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from typing import Final

from flowstore._packages import needed
from flowstore.integrations._telemetry import Instrument, Labels, Measuring, Metric

with needed("flowstore.integrations.prometheus", "prometheus", "prometheus-client", "prometheus_client"):
    import prometheus_client as client
    from prometheus_client.registry import CollectorRegistry

    from flowstore.integrations._prometheus_stores import StoreCollector, StoreMetrics

__all__ = ["PORT", "ProcessMetrics", "StoreCollector", "StoreMetrics", "dashboard", "main", "rules"]

PORT: Final = 9464
"""That of ``serve``: what exporters of OpenTelemetry use by default."""


class ProcessMetrics(Measuring):
    """What this process measures: give it to its backends, as ``observers=[ProcessMetrics()]``.

    One for all backends of a process, as a ``registry`` takes each metric only once. Several processes that
    share a directory, as prometheus_client has it, are added up.
    """

    def __init__(self, registry: CollectorRegistry = client.REGISTRY) -> None:
        super().__init__(_Sink(registry))


class _Sink:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def instrument(self, metric: Metric, /) -> Instrument:
        name = metric.name.replace(".", "_") + ("_seconds" if metric.unit == "s" else "")
        text, labels, registry = metric.description, metric.labels, self._registry
        if metric.kind == "counter":
            counter = client.Counter(name, text, labels, registry=registry)
            return _by_labels(lambda values: counter.labels(*values).inc)
        if metric.kind == "gauge":
            gauge = client.Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")
            return _by_labels(lambda values: gauge.labels(*values).inc)
        histogram = client.Histogram(name, text, labels, registry=registry, buckets=metric.buckets)
        return _by_labels(lambda values: histogram.labels(*values).observe)


def _by_labels(make: Callable[[Labels], Callable[[float], None]]) -> Instrument:
    """``labels`` of prometheus_client takes a lock and more time than what follows it."""
    known: dict[Labels, Callable[[float], None]] = {}

    def take(value: float, labels: Labels) -> None:
        (known.get(labels) or known.setdefault(labels, make(labels)))(value)

    return take


def _packaged(name: str) -> str:
    return files(__package__).joinpath("_prometheus", name).read_text("utf-8")


def dashboard() -> str:
    """The dashboard, as JSON that Grafana imports."""
    return _packaged("dashboard.json")


def rules() -> str:
    """Rules for alerts, as YAML for ``rule_files`` of Prometheus."""
    return _packaged("rules.yml")


def _serve(url: str | None, host: str, port: int) -> None:
    registry = CollectorRegistry()
    registry.register(StoreCollector(*([url] if url else [])))
    server, _ = client.start_http_server(port, host, registry)
    print(f"serving http://{host}:{server.server_port}/metrics", file=sys.stderr, flush=True)
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m flowstore.integrations.prometheus")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("dashboard", help="print the dashboard for Grafana")
    commands.add_parser("rules", help="print the rules for alerts")
    serve = commands.add_parser("serve", help="export the metrics of a store until it is interrupted")
    serve.add_argument("url", nargs="?", help="by default that of FLOWSTORE_URL")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args(arguments)
    if given.command == "serve":
        _serve(given.url, given.host, given.port)
    else:
        sys.stdout.write(dashboard() if given.command == "dashboard" else rules())


if __name__ == "__main__":
    main()
