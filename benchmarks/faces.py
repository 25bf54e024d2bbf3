"""How fast the page of an operator and the command line are: ``nox -s bench -- faces``.

A store of ``--records`` tasks of a day is made on SQLite and on Redis, and kept for three hours. The page is
served from a process of its own. Then, of each page: the time of the server for 30 requests one by one, and
that of its processor, which does not grow with what else the machine does; the round trips to Redis one after
the other, and all that were made; the bytes of a first view, compressed, with style and script.
Then 100 live tabs while another process changes tasks; a writer as fast as it can, with and without load on
the page in turns; and how long the command line takes to start. The targets stand beside what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

from rich.console import Console
from rich.table import Table

from benchmarks.faces_load import tabs_cost, writers_cost
from benchmarks.faces_store import FAMILY, NAMES, free_port, redis_store, sqlite_store
from flowstore import TaskError

REPEATED: Final = 30
STARTS: Final = 10
TASK: Final = "t000500003"
_ASSET: Final = re.compile(r"""(?:href|src)="([^"]*/?static/[^"]+)\"""")
ERROR: Final = TaskError(type="Error1", message="number 13 failed").fingerprint

PAGES: Final = {
    "overview, 24 h": "",
    "overview, 90 d": "?window=90d",
    "tasks": "tasks",
    "tasks, failed": "tasks?q=status%3Afailed",
    "tasks, 12 h back": "tasks?q=submitted%3A%3E12h",
    "tasks, by name": "tasks?q=name%3Aname-4",
    "tasks, by label and name": "tasks?q=name%3Aname-4+label%3Atenant-4",
    "tasks, by worker": "tasks?q=worker%3Aworker-3",
    "tasks, by error": f"tasks?q=error%3A{ERROR}",
    "tasks, by finish": "tasks?q=status%3Afailed+sort%3A-finished",
    "tasks, text": "tasks?q=status%3Afailed+%22number+999993%22",
    "task": f"tasks/{TASK}",
    "task with 500 steps": f"tasks/{FAMILY}",
    "runs": "runs",
    "run of 501 tasks": f"runs/{FAMILY}",
    "errors": "errors",
    "error": f"errors/{ERROR}",
    "names": "names",
    "name": "names/name-4",
    "workers": "workers",
    "worker": "workers/worker-3",
    "operations": "operations",
    "system": "system",
}
MOST_MS: Final = {"task": 20.0}
MOST_TRIPS: Final = 4
MOST_BYTES: Final = 60_000


class Server(NamedTuple):
    port: int
    pid: int


class Looked(NamedTuple):
    """Of one page: milliseconds of the server and of its processor, trips, bytes of a first view, its status.

    ``rounds``: trips to Redis one after the other; ``sent``: all that were made, many of them at once.
    """

    median: float
    p95: float
    processor: float
    rounds: int
    sent: int
    size: int
    status: int


@contextmanager
def served(store: str) -> Iterator[Server]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "benchmarks.faces_app:app", "--port", str(port)]
    options = ["--no-access-log", "--log-level", "warning"]
    process = subprocess.Popen([*command, *options], env={**os.environ, "FACES_STORE": store})
    try:
        _wait_until_open(port, process)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=30).request("GET", "/healthz")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the page did not get ready")


class Visitor:
    """Asks for pages over one connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path: str) -> tuple[int, bytes]:
        headers = {"Accept": "text/html", "Accept-Encoding": "gzip"}
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def last(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.get("/-/last")[1])
        return found

    def look(self, path: str) -> Looked:
        status, body = self.get(path)
        for _ in range(2):
            self.get(path)
        made = []
        for _ in range(REPEATED):
            self.get(path)
            made.append(self.last())
        times = sorted(each["seconds"] * 1e3 for each in made)
        processor, rounds, sent = (
            statistics.median(each[what] for each in made) for what in ("processor", "rounds", "sent")
        )
        p95 = times[round(0.95 * (len(times) - 1))]
        size = self.first_view(path, body)
        return Looked(statistics.median(times), p95, processor * 1e3, int(rounds), int(sent), size, status)

    def first_view(self, path: str, body: bytes) -> int:
        """With all that the page loads at once."""
        text = (gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body).decode()
        assets = {_absolute(path, asset) for asset in _ASSET.findall(text)}
        return sum(map(_compressed, [body, *(self.get(asset)[1] for asset in sorted(assets))]))


def _absolute(path: str, link: str) -> str:
    return urlsplit(urljoin(f"http://host{path}", link)).path


def _compressed(body: bytes) -> int:
    return len(body) if body.startswith(b"\x1f\x8b") else len(gzip.compress(body, 6))


def pages_table(storage: str, server: Server) -> Table:
    visitor = Visitor(server.port)
    table = Table(title=f"{storage}: pages, {REPEATED} requests each")
    for heading in (
        "page",
        "median ms",
        "p95 ms",
        "CPU ms",
        "target ms",
        "trips",
        "sent",
        "first view B",
        "misses",
    ):
        table.add_column(heading, justify="left" if heading == "page" else "right")
    for name, path in PAGES.items():
        looked = visitor.look(f"/{path}")
        most = MOST_MS.get(name, 50.0)
        misses = [
            *(["time"] if looked.median > most else []),
            *(["trips"] if looked.rounds > MOST_TRIPS else []),
            *(["bytes"] if looked.size > MOST_BYTES else []),
            *([f"status {looked.status}"] if looked.status != 200 else []),
        ]
        table.add_row(
            name,
            f"{looked.median:.1f}",
            f"{looked.p95:.1f}",
            f"{looked.processor:.1f}",
            f"{most:.0f}",
            *((str(looked.rounds), str(looked.sent)) if storage == "redis" else ("", "")),
            f"{looked.size:,}",
            ", ".join(misses),
        )
    return table


def starts(store: str) -> Table:
    """The fastest of ten, as others use the machine, too."""
    table = Table(title=f"command line, the best of {STARTS}")
    for heading in ("command", "ms", "target ms"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    for arguments, most in ((["--help"], 150), (["ls"], 250), (["ls", "status:failed"], 250)):
        command = [sys.executable, "-m", "flowstore", *arguments]
        times = []
        for _ in range(STARTS):
            begun = time.perf_counter()
            done = subprocess.run(
                command, env={**os.environ, "FLOWSTORE_URL": store}, capture_output=True, check=False
            )
            times.append((time.perf_counter() - begun) * 1e3)
            if done.returncode:
                raise RuntimeError(f"{command} has ended with {done.returncode}: {done.stderr.decode()}")
        table.add_row("flowstore " + " ".join(arguments), f"{min(times):.0f}", str(most))
    return table


def load_table(storage: str, figures: dict[str, tuple[str, str]]) -> Table:
    table = Table(title=f"{storage}: load")
    for heading in ("what", "measured", "target"):
        table.add_column(heading)
    for name, (measured, target) in figures.items():
        table.add_row(name, measured, target)
    return table


def main(arguments: list[str] | None = None) -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser("python -m benchmarks.faces", description=first, epilog=rest)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--storage", choices=["sqlite", "redis"], action="append")
    parser.add_argument("--part", choices=["pages", "tabs", "writers", "starts"], action="append")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long tabs are watched")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    parts = options.part or ["pages", "tabs", "writers", "starts"]
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(
        f"{options.records:,} tasks; load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores"
    )
    for storage in options.storage or ["sqlite", "redis"]:
        store = {"sqlite": sqlite_store, "redis": redis_store}[storage]
        with store(options.out, options.records) as url:
            _measure(console, storage, url, parts, options.seconds)
    console.print(f"load average {os.getloadavg()[0]:.2f}; {NAMES} names")


def _measure(console: Console, storage: str, url: str, parts: list[str], seconds: float) -> None:
    figures: dict[str, tuple[str, str]] = {}
    if {"pages", "tabs", "writers"} & {*parts}:
        with served(url) as server:
            if "pages" in parts:
                console.print(pages_table(storage, server))
            if "tabs" in parts:
                figures |= asyncio.run(tabs_cost(url, server.port, server.pid, seconds))
            if "writers" in parts:
                figures |= writers_cost(url, server.port)
    if figures:
        console.print(load_table(storage, figures))
    if "starts" in parts:
        console.print(starts(url))


if __name__ == "__main__":
    main()
