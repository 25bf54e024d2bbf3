"""How a server grows with the number of records: ``nox -s bench -- growth``.

A server of each kind is filled with the tasks of the model of docs/scale.md, ever more of them. At each size:
bytes by what they are for, beside those of the model; the server's processor for stores at the newest end and
of any time, for pages, counts and a series; and the largest keys. Then how fast it is verified, how fast what
has expired goes, how long the server takes to write and load its file, and a replica to have it all; at last
how fast it is cleared. Besides, on a cluster of three masters, how even its buckets are, how long one takes
to move to another node, and a replica to take over; and what statistics take. All is kept in ``--out``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

import flowstore
from benchmarks import buckets, hours, life
from benchmarks.model import predicted
from benchmarks.nodes import Meter, Nodes
from benchmarks.parts import Parts, parts_of
from benchmarks.places import server_of
from flowstore import BaseResultBackend
from tests.servers import SERVER_KINDS, start_server, until

NAMESPACE: Final = "scale"
PREFIX: Final = f"flowstore:{{{NAMESPACE}}}:"
REPEATED: Final = 30
LONE: Final = 300
BATCHES: Final = 6
PURGED: Final = 50_000

_OPTIONS: Final = (
    *("--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"),
    *("--slowlog-max-len", "0"),  # entries of which are longer than some of what is measured
)

Figures = dict[str, Any]
Ask = Callable[[], Awaitable[object]]


def emptied(url: str, nodes: Nodes) -> int:
    """The bytes that a server uses without records, once it has all the scripts."""
    asyncio.run(life.fill(url, "warm", datetime.now(UTC), 0, life.BATCH))

    async def drop() -> None:
        async with flowstore.connect(url, namespace="warm", purge_interval=None) as backend:
            await backend.drop_namespace()

    asyncio.run(drop())
    return nodes.used_memory()


class Growth:
    """One server, which is filled step by step. ``last``: the largest size, ``start``: the first moment."""

    def __init__(self, kind: str, last: int) -> None:
        self.kind = kind
        self.server = start_server(kind, *_OPTIONS)
        self.nodes = Nodes([self.server.port])
        self.client = self.nodes.clients[0]
        self.empty = emptied(self.server.url, self.nodes)
        self.start = datetime.now(UTC) - life.DAY
        self.last = last
        self.per_day = life.PER_DAY
        self.filled = self.extra = 0

    @property
    def name(self) -> str:
        return server_of(self.server.url)

    def close(self) -> None:
        self.nodes.close()
        self.server.stop()

    def open(self, clock: Callable[[], int], **options: Any) -> BaseResultBackend:
        return flowstore.connect(
            self.server.url, namespace=NAMESPACE, clock=clock, purge_interval=None, op_timeout=120, **options
        )

    def clock(self) -> life.Clock:
        return life.Clock(life.moment(self.start, self.filled, self.per_day))

    def steps(self, size: int, processes: int, most_moved: int) -> Iterator[Figures]:
        """What is measured at a size, one after the other."""
        yield self.fill(size, processes)
        memory, parts = self.memory()
        yield memory | beside_model(self.kind, memory, parts)
        yield asyncio.run(self.stores())
        yield asyncio.run(self.reads())
        if size <= most_moved:
            yield self.saved() | self.followed(self.kind)
        if size == self.last:
            yield asyncio.run(self.expired())
            yield asyncio.run(self.verified())
            yield asyncio.run(self.cleared())

    def fill(self, size: int, processes: int) -> Figures:
        with Meter(self.nodes, 3 * (size - self.filled)) as cost:
            life.fill_by_processes(
                *(self.server.url, NAMESPACE, self.start, self.filled, size), self.per_day, processes
            )
        self.filled = size
        return {"fill s": cost.seconds, "fill: server us a store": 1e6 * cost.cpu}

    def memory(self) -> tuple[Figures, Parts]:
        parts = parts_of(self.client, PREFIX)
        used = self.nodes.used_memory() - self.empty
        each = {part: size / parts.records for part, size in sorted(parts.bytes.items())}
        each["table of keys"] = (used - sum(parts.bytes.values())) / parts.records
        facts = self.client.info("memory")
        return {
            "records": parts.records,
            "keys": sum(parts.keys.values()),
            "bytes a record": used / parts.records,
            "resident bytes a record": facts["used_memory_rss"] / parts.records,
            "parts": each,
            "entries": dict(sorted(parts.entries.items(), key=lambda one: -one[1])[:12]),
            "largest": parts.largest,
        }, parts

    async def stores(self) -> Figures:
        """Server us a store: the lives of new tasks in batches, each store alone, and of any time."""
        figures: Figures = {}
        clock = self.clock()
        async with self.open(clock) as backend:
            await backend.get("warm")
            for name, is_new in (("newest", True), ("of any time", False)):
                numbers = [self._reserved(life.BATCH) for _ in range(BATCHES)]
                with Meter(self.nodes, 3 * life.BATCH * BATCHES) as cost:
                    for some in numbers:
                        if is_new:
                            await life.store_lives(backend, some, clock.at)
                        else:
                            await self._store_anywhere(backend, some)
                figures[f"store, batches, {name}: server us"] = 1e6 * cost.cpu
            numbers = [self._reserved(LONE)]
            with Meter(self.nodes, 3 * LONE) as cost:
                for number in numbers[0]:
                    for state in life.life(number, clock.at):
                        await backend.store(state.task_id, state)
            figures["store, alone: server us"] = 1e6 * cost.cpu
        return figures

    def _reserved(self, count: int) -> range:
        """Numbers of tasks that nobody has stored."""
        first = 10**12 + self.extra
        self.extra += count
        return range(first, first + count)

    async def _store_anywhere(self, backend: BaseResultBackend, numbers: range) -> None:
        """Each of its own moment of the past."""
        span = life.DAY * (self.filled / self.per_day)
        lives = [life.life(number, self.start + span * random.random()) for number in numbers]
        for state in range(3):
            await backend.store_many([one[state] for one in lives])

    async def reads(self) -> Figures:
        clock = self.clock()
        span = life.DAY * (self.filled / self.per_day)
        middle = self.start + span / 2
        async with self.open(clock) as backend:
            asked: dict[str, Ask] = {
                "get": lambda: backend.get(life.id_of(self.filled // 2)),
                "page": lambda: backend.page("success"),
                "page in the midst": lambda: backend.page("success", until=middle),
                "page of a name": lambda: backend.page("success", name="name-4"),
                "page of the failed by finish": lambda: backend.page("failed", order="finished"),
                "page of a worker and a name": lambda: backend.page(
                    "success", worker_id="worker-4", name="name-4"
                ),
                "count of all": backend.count_by_status,
                "count of a name": lambda: backend.count_by_status(name="name-4"),
                "count of a name, half of the time": lambda: backend.count_by_status(
                    name="name-4", until=middle
                ),
                "series of 24 h": lambda: backend.stats.series(since=clock.at - timedelta(hours=24)),
                "error groups": backend.errors.groups,
                "history, the last 50": lambda: backend.history.page(limit=50),
            }
            return {name: await self._asked(ask) for name, ask in asked.items()}

    async def _asked(self, ask: Ask) -> Figures:
        await ask()
        with Meter(self.nodes, REPEATED) as cost:
            for _ in range(REPEATED):
                await ask()
        return {"server us": 1e6 * cost.cpu, "client us": 1e6 * cost.client / REPEATED, "trips": cost.reads}

    async def verified(self) -> Figures:
        async with self.open(self.clock()) as backend:
            with Meter(self.nodes, 1) as cost:
                found = await backend.integrity.verify()
        return {
            "verify: records": found.records,
            "verify: found": found.found,
            "verify: records/s by the clock": found.records / cost.seconds,
            "verify: server us a record": 1e6 * cost.cpu / found.records,
            "verify: client us a record": 1e6 * cost.client / found.records,
        }

    async def expired(self) -> Figures:
        """After all with a ttl are over: what a purge takes, and what stores take that remove two each."""
        late = life.Clock(datetime.now(UTC) + life.TTL + timedelta(hours=1))
        figures: Figures = {"expired": self.client.zcard(f"{PREFIX}x")}
        async with self.open(late) as backend:
            with Meter(self.nodes, 1) as cost:
                numbers = self._reserved(life.BATCH)
                before = self.client.zcard(f"{PREFIX}x")
                await backend.store_many([life.life(number, late.at)[0] for number in numbers])
            gone = before - self.client.zcard(f"{PREFIX}x")
            figures["removed by each store"] = gone / life.BATCH
            figures["store that removes: server us"] = 1e6 * cost.cpu / life.BATCH
            removed, most = 0, min(PURGED, self.client.zcard(f"{PREFIX}x"))
            with Meter(self.nodes, 1) as cost:
                while removed < most and (step := await backend.purge_expired(1_000)):
                    removed += step
        figures["purge: server us a record"] = 1e6 * cost.cpu / removed
        figures["purge: records/s by the clock"] = removed / cost.seconds
        return figures

    async def cleared(self) -> Figures:
        async with self.open(self.clock()) as backend:
            with Meter(self.nodes, 1) as cost:
                removed = await backend.clear()
        left = self.nodes.used_memory() - self.empty
        return {
            "clear: server us a record": 1e6 * cost.cpu / removed,
            "clear: records/s by the clock": removed / cost.seconds,
            "clear: bytes left": left,
        }

    def saved(self) -> Figures:
        """How long the file takes to be written and loaded, and a replica to have all of it."""
        began = time.perf_counter()
        self.client.save()
        figures: Figures = {"save s": time.perf_counter() - began}
        file = self.server.folder / "dump.rdb"
        figures["file bytes a record"] = file.stat().st_size / (self.filled + self.extra)
        began = time.perf_counter()
        call: Any = self.client.execute_command
        call("DEBUG", "RELOAD", "NOSAVE")
        figures["load s"] = time.perf_counter() - began
        file.unlink()
        return figures

    def followed(self, kind: str) -> Figures:
        """With the replica beside it on the same two processors."""
        replica = start_server(kind)
        try:
            began = time.perf_counter()
            replica.call("REPLICAOF", "127.0.0.1", self.server.port)
            until(lambda: replica.is_synced_with(self.server.port), "the replica has it all", 900)
            return {"full sync s": time.perf_counter() - began}
        finally:
            replica.stop()


def table(name: str, sizes: dict[int, Figures]) -> Table:
    made = Table(title=name)
    made.add_column("")
    for size in sizes:
        made.add_column(f"{size:,}", justify="right")
    rows: dict[str, dict[int, str]] = {}
    for size, figures in sizes.items():
        for label, value in flat(figures):
            rows.setdefault(label, {})[size] = value
    for label, cells in rows.items():
        made.add_row(label, *(cells.get(size, "") for size in sizes))
    return made


def flat(figures: Figures, before: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in figures.items():
        label = f"{before}{name}"
        if isinstance(value, dict):
            found += flat(value, f"{label}: ")
        else:
            found.append((label, f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"))
    return found


def beside_model(kind: str, figures: Figures, parts: Parts) -> Figures:
    """Measured bytes a record in times of what the model says."""
    said = predicted(kind, parts.records)
    ratios = {
        part: measured / said[part]
        for part, measured in {**figures["parts"], "all": figures["bytes a record"]}.items()
        if said.get(part, 0) >= 1
    }
    return {"of the model": ratios}


def grow(kind: str, options: argparse.Namespace, console: Console) -> None:
    found: dict[int, Figures] = {}
    path = options.out / f"growth-{kind}.json"
    with closing(Growth(kind, options.records[-1])) as growth:
        title = growth.name
        for size in options.records:
            figures = found[size] = {}
            for step in growth.steps(size, options.processes, options.most_moved):
                figures |= step
                path.write_text(json.dumps({"server": title, "sizes": found}, indent=1))
    console.print(table(title, found))


def divide(kind: str, options: argparse.Namespace, console: Console) -> None:
    figures = buckets.measured(kind, options.divided, options.processes)
    (options.out / f"buckets-{kind}.json").write_text(json.dumps(figures, indent=1))
    title = f"{kind}, three masters, {buckets.BUCKETS} buckets"
    console.print(table(title, {options.divided: figures}))


def count(kind: str, options: argparse.Namespace, console: Console) -> None:
    figures = hours.measured(kind)
    (options.out / f"hours-{kind}.json").write_text(json.dumps(figures, indent=1))
    console.print(table(f"{kind}, statistics of a name", {24: figures}))


_PARTS: Final = {"server": grow, "buckets": divide, "statistics": count}


def main(arguments: list[str] | None = None) -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser("python -m benchmarks.growth", description=first, epilog=rest)
    parser.add_argument("--records", type=int, nargs="+", default=[100_000, 1_000_000, 3_000_000])
    parser.add_argument("--divided", type=int, default=200_000, help="records on the cluster")
    parser.add_argument("--kind", choices=SERVER_KINDS, action="append")
    parser.add_argument("--part", choices=list(_PARTS), action="append")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--most-moved", type=int, default=1_000_000, help="with a file and a replica up to")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    for kind in options.kind or SERVER_KINDS:
        for part in options.part or _PARTS:
            _PARTS[part](kind, options, console)
    console.print(f"load average {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
