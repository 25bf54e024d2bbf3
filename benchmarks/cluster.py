"""What a cluster costs beside one server: ``nox -s bench -- cluster``.

Processor time of the nodes, calls and messages between nodes, which do not depend on what else the machine
does; times by the clock only where they are compared in turns. ``stores``: stores, gets and wake-ups on one
server and on 1, 3 and 6 masters: what all nodes spend, and the busiest, so how many calls a second they
could carry if each had a core, and how near the busiest is to its share. ``pages``: pages, counts, groups
and series beside one server. ``single``: one server, before there were clusters and now: the same costs, and
the same keys with the same bytes. Every figure is kept in ``--out``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import cluster_pages, cluster_single, cluster_stores
from benchmarks.layouts import layouts
from benchmarks.places import server_of
from tests.servers import SERVER_KINDS

PARTS = ("stores", "pages", "single")


def main(arguments: list[str] | None = None) -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser("python -m benchmarks.cluster", description=first, epilog=rest)
    parser.add_argument("--kind", choices=SERVER_KINDS, action="append")
    parser.add_argument("--part", choices=PARTS, action="append")
    parser.add_argument("--masters", type=int, nargs="+", default=[1, 3, 6])
    parser.add_argument("--buckets", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--calls", type=int, default=4_000, help="stores and gets in a round")
    parser.add_argument("--records", type=int, default=20_000, help="that pages are of")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out"), metavar="FOLDER")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"load average {os.getloadavg()[0]:.2f} on {os.cpu_count()} cores")
    for kind in options.kind or SERVER_KINDS:
        _measure(kind, options, console)
    console.print(f"load average {os.getloadavg()[0]:.2f}")


def _measure(kind: str, options: argparse.Namespace, console: Console) -> None:
    parts = options.part or PARTS
    found: dict[str, Any] = {}
    path = options.out / f"cluster-{kind}.json"
    if {"stores", "pages"} & {*parts}:
        with layouts(kind, options.masters, options.buckets) as made:
            found["server"] = server_of(made[0].url)
            if "stores" in parts:
                costs = asyncio.run(cluster_stores.measured(made, options.calls, options.rounds))
                found["stores"] = cluster_stores.figures(costs)
                fair = {layout.name: layout.fair_share for layout in made}
                for table in cluster_stores.tables(kind, found["stores"], fair):
                    console.print(table)
            if "pages" in parts:
                found["pages"] = asyncio.run(cluster_pages.measured(made, options.records, options.rounds))
                for table in cluster_pages.table(kind, found["pages"]):
                    console.print(table)
    if "single" in parts:
        with cluster_single.checkout(cluster_single.BEFORE) as before:
            found["single"] = cluster_single.compared(kind, before, 3 * options.rounds)
            found["same keys"] = cluster_single.same_keys(kind, before)
            console.print(cluster_single.table(kind, found["single"]))
            console.print(f"{kind}, after the same calls by both: {found['same keys']}")
    path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
