"""A server by itself before there were clusters and now: what each call costs, in turns, and its keys."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis
from rich.table import Table

from benchmarks.nodes import Meter, Nodes
from benchmarks.running import ROOT
from tests.servers import Server, start_server

BEFORE: Final = "cd144cc"
"""The last commit before clusters, Sentinel, replicas and TLS."""
_CHILD: Final = ROOT / "benchmarks" / "single_child.py"
WORKS: Final = {"store": 400, "get": 400, "stores": 4_000, "gets": 4_000, "page": 60, "count": 200}
_PASSING: Final = (b"c:", b"w:")
"""Keys of connections and waits, which expire by themselves."""

Ratios = dict[str, dict[str, float]]


@contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """The tree of a commit, in a folder of its own for a while."""
    with tempfile.TemporaryDirectory(prefix="flowstore-before-") as folder:
        packed = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit, "flowstore"], capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", folder], input=packed.stdout, check=True)
        yield Path(folder)


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", str(_CHILD), *arguments]


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree)}


class Version:
    """A process with one version of flowstore."""

    def __init__(self, tree: Path, url: str, namespace: str) -> None:
        self._process = subprocess.Popen(
            _command(url, namespace),
            env=_environment(tree),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._said()

    def run(self, work: str, calls: int) -> dict[str, float]:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{work} {calls}\n")
        self._process.stdin.flush()
        return self._said()

    def stop(self) -> None:
        self._process.communicate()

    def _said(self) -> dict[str, float]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the version has ended with {self._process.wait()}")
        said: dict[str, float] = json.loads(line)
        return said


class _Sent:
    """Commands that a server has carried out, and the bytes that were sent to it, for one call."""

    commands = bytes = 0.0

    def __init__(self, client: redis.Redis, calls: int) -> None:
        self._client = client
        self._calls = calls

    def __enter__(self) -> _Sent:
        self._own = [there - here for here, there in zip(self._now(), self._now(), strict=True)]
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        spent = [now - then for now, then in zip(self._now(), self._before, strict=True)]
        self.commands, self.bytes = (
            (one - own) / self._calls for one, own in zip(spent, self._own, strict=True)
        )

    def _now(self) -> tuple[float, float]:
        stats: dict[str, Any] = self._client.info("commandstats")
        return (
            sum(of["calls"] for of in stats.values()),
            self._client.info("stats")["total_net_input_bytes"],
        )


def compared(kind: str, before: Path, rounds: int) -> Ratios:
    """By work, for one call: microseconds of server and client, commands, those of scripts among them, and
    bytes sent to the server: before, and the median of the ratios of turns.
    """
    server = start_server(kind)
    nodes = Nodes([server.port])
    trees = {"before": before, "now": ROOT}
    versions = {name: Version(tree, server.url, name.ljust(6, "-")) for name, tree in trees.items()}
    spent: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    try:
        for round_ in range(rounds):
            for work, calls in WORKS.items():
                for name in sorted(versions, reverse=bool(round_ % 2)):
                    with Meter(nodes, calls) as cost, _Sent(nodes.clients[0], calls) as sent:
                        said = versions[name].run(work, calls)
                    spent[work, name, "server us"].append(1e6 * cost.cpu)
                    spent[work, name, "client us"].append(1e6 * said["client"])
                    spent[work, name, "commands"].append(sent.commands)
                    spent[work, name, "bytes"].append(sent.bytes)
    finally:
        for version in versions.values():
            version.stop()
        nodes.close()
        server.stop()
    return {work: _ratios(work, spent) for work in WORKS}


def _ratios(work: str, spent: dict[tuple[str, str, str], list[float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for what in ("server us", "client us", "commands", "bytes"):
        before, now = (spent[work, name, what] for name in ("before", "now"))
        found[what] = statistics.median(before)
        found[f"{what}, ratio"] = statistics.median(
            one / other for one, other in zip(now, before, strict=True)
        )
    return found


def same_keys(kind: str, before: Path) -> dict[str, int]:
    """After the same script by both versions: the keys, how many there are only in one, how many differ."""
    stored = [_stored(kind, tree) for tree in (before, ROOT)]
    both = stored[0].keys() & stored[1].keys()
    return {
        "keys": len(stored[0]),
        "in one alone": len(stored[0].keys() ^ stored[1].keys()),
        "other bytes": sum(stored[0][key] != stored[1][key] for key in both),
    }


def _stored(kind: str, tree: Path) -> dict[bytes, bytes]:
    server: Server = start_server(kind)
    try:
        command = _command(server.url, "same", "--same-tokens")
        subprocess.run(command, env=_environment(tree), check=True)
        with redis.Redis(port=server.port, protocol=2) as client:
            keys = [key for key in client.scan_iter(count=1_000) if not _is_passing(key)]
            return {key: client.dump(key) or b"" for key in keys}
    finally:
        server.stop()


def _is_passing(key: bytes) -> bool:
    return key.partition(b"}:")[2].startswith(_PASSING)


def table(kind: str, ratios: Ratios) -> Table:
    made = Table(title=f"{kind} by itself: {BEFORE} and now")
    made.add_column("call")
    for column in next(iter(ratios.values())):
        made.add_column(column, justify="right")
    for work, values in ratios.items():
        cells = [
            f"{value:.2f}" if name.endswith("ratio") else f"{value:.3g}" for name, value in values.items()
        ]
        made.add_row(work, *cells)
    return made
