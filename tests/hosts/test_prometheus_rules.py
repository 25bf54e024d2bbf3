"""The dashboard and the alerts that are shipped ask for metrics that are told, and are valid.

Where promtool and prometheus are on PATH (``nox -s prometheus``), they check the rules, run their unit tests,
check what is told, scrape it, and answer all queries.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

import flowstore.sync
from flowstore import TaskResult
from flowstore.integrations.prometheus import ProcessMetrics, StoreCollector, dashboard, rules

UNIT_TESTS = Path(__file__).with_name("prometheus_rules_test.yml")
PROMTOOL = shutil.which("promtool")
ALERTS = [
    "FlowstoreTasksFail",
    "FlowstoreTasksWait",
    "FlowstoreWorkersSilent",
    "FlowstoreWaitsWakeLate",
    "FlowstoreStoreUnreachable",
]

SOURCE = {"type": "prometheus", "uid": "${datasource}"}

needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not on PATH: nox -s prometheus, or apt-get install prometheus"
)


def told() -> str:
    """All metrics, with something counted in most of them."""
    registry = CollectorRegistry()
    observer = ProcessMetrics(registry)
    with flowstore.sync.connect("memory://", observers=[observer]) as store:
        with store.track("t", name="mail"):
            pass
        store.wait_for("t")
        registry.register(StoreCollector(store))
        return prometheus_client.generate_latest(registry).decode()


@pytest.fixture(scope="module")
def labels_of() -> dict[str, set[str]]:
    """By the name of each series that may be told, the labels that it has, as far as that is known."""
    text, found = told(), dict[str, set[str]]()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        suffixes = ["_bucket", "_count", "_sum"] if kind == "histogram" else [""]
        for suffix in suffixes:
            lines = re.findall(rf"^{name}{suffix}{{(.*)}} \S+$", text, re.M)
            found[name + suffix] = {label for line in lines for label in re.findall(r'(\w+)="', line)}
    return found


def panels() -> Iterator[Any]:
    yield from json.loads(dashboard())["panels"]


def queries() -> dict[str, str]:
    """All queries, by what they are for; the variables of the dashboard filled in."""
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in panels()
        for target in panel.get("targets", [])
    }
    filled = {"$__rate_interval": "5m", "$namespace": ".*", "$name": ".*"}
    for variable, value in filled.items():
        found = {name: query.replace(variable, value) for name, query in found.items()}
    return found | alerts()


def alerts() -> dict[str, str]:
    text = re.sub(r"expr: \|\n", "expr: ", rules())
    found = re.findall(r"- alert: (\w+)\n\s+expr: (.*?)\n\s+for: ", text, re.S)
    return {name: " ".join(query.split()) for name, query in found}


def test_each_query_asks_for_what_is_told(labels_of: dict[str, set[str]]) -> None:
    """By the names of metrics, and the labels that they are selected by."""
    found = queries()
    assert len(found) > 30
    for title, query in found.items():
        selected = re.findall(r"\b(flowstore_\w+)(?:\{([^}]*)\})?", query)
        assert selected, title
        for name, selectors in selected:
            assert name in labels_of, f"{title}: {name} is not told"
            wanted = set(re.findall(r"(\w+)[=!]", selectors))
            assert not labels_of[name] or wanted <= labels_of[name], f"{title}: {wanted}"


def test_all_that_is_told_is_shown(labels_of: dict[str, set[str]]) -> None:
    """By a panel or an alert: histograms by one of their series."""
    asked = " ".join(queries().values())
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in labels_of if not name.endswith("_created")}
    assert {name for name in names if name not in asked} == set()


def test_the_dashboard_can_be_imported() -> None:
    """As Grafana has it: ids, places that do not overlap, sources that are variables, titles."""
    shown = json.loads(dashboard())
    assert shown["id"] is None
    assert shown["uid"] == "flowstore"
    assert shown["schemaVersion"] >= 36
    variables = {one["name"]: one for one in shown["templating"]["list"]}
    assert list(variables) == ["datasource", "namespace", "name"]
    ids = [panel["id"] for panel in panels()]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] in ("row", "stat", "timeseries")
        for target in panel.get("targets", []):
            assert (
                target["datasource"] == panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            )


def test_there_are_five_alerts() -> None:
    """Each with a summary, a description and a severity."""
    assert list(alerts()) == ALERTS
    for word in ("summary:", "description:", "severity:"):
        assert rules().count(word) == len(ALERTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(rules(), "utf-8")
    shutil.copy(UNIT_TESTS, tmp_path / "tests.yml")
    return tmp_path


@needs_promtool
@pytest.mark.parametrize("command", ["check rules rules.yml", "test rules tests.yml"])
def test_promtool_finds_nothing_wrong(folder: Path, command: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *command.split()], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_promtool_understands_what_is_told() -> None:
    """And has no advice, but for the names that end as OpenTelemetry has them."""
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=told(), capture_output=True, text=True)
    advice = [line for line in (done.stdout + done.stderr).splitlines() if "_created" not in line]
    assert advice == []


@contextmanager
def exporter(url: str) -> Iterator[int]:
    """The port of a process that measures itself and tells of its store, in which something has happened."""
    registry = CollectorRegistry()
    with flowstore.sync.connect(url, observers=[ProcessMetrics(registry)]) as store:
        with suppress(OSError), store.track("failed", name="mail"):
            raise OSError
        with store.track("done", name="mail"):
            pass
        store.wait_for("done")
        store.store("late", TaskResult.pending("late", task_name="mail"))
        store.workers.register("w")
        registry.register(StoreCollector(store, kept_for=0))
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Callable[[str], Any]]:
    """Asks a Prometheus that scrapes this port, with the rules; it returns ``data`` of its answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = f"""
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: [rules.yml]
scrape_configs:
  - job_name: flowstore
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
"""
    (folder / "prometheus.yml").write_text(config, "utf-8")
    options = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    listen = f"--web.listen-address=127.0.0.1:{port}"

    def ask(what: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{what}") as answer:
            return json.load(answer)["data"]

    log: Any = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(["prometheus", *options, listen], cwd=folder, **log) as process:
        try:
            yield ask
        finally:
            process.terminate()


def is_of_store(query: str) -> bool:
    told_of_stores = tuple(family.name for family in StoreCollector("memory://").describe())
    return all(name.startswith(told_of_stores) for name in re.findall(r"flowstore_\w+", query))


@needs_promtool
def test_prometheus_answers_each_query(folder: Path) -> None:
    """None is refused, and those of the dashboard about the store find something; it evaluates the rules."""
    with exporter(f"sqlite:///{folder}/x.db") as port, prometheus(folder, port) as ask:
        scraped = quote("count_over_time(flowstore_store_up[1m])")
        patience = time.monotonic() + 30
        while time.monotonic() < patience:
            with suppress(OSError):
                if any(float(one["value"][1]) > 3 for one in ask(f"query?query={scraped}")["result"]):
                    break
        for title, query in queries().items():
            answer = ask(f"query?query={quote(query)}")["result"]
            assert answer or title in ALERTS or not is_of_store(query), title
        [rules_of] = ask("rules")["groups"]
        assert [rule["name"] for rule in rules_of["rules"]] == ALERTS
        assert {rule["health"] for rule in rules_of["rules"]} == {"ok"}
        [target] = ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
