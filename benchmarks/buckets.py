"""The buckets of a cluster: how even they are, how long one takes to move, and a replica to take over.

A part of ``nox -s bench -- growth``.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, Final

import flowstore
from benchmarks import life
from benchmarks.nodes import Meter, Nodes
from benchmarks.parts import Parts, parts_of
from flowstore import BaseResultBackend, TaskResult
from flowstore.backends.cluster.slots import placing, prefixes, slot_of
from tests.cluster_nodes import Node
from tests.clusters import Cluster
from tests.servers import until
from tests.slot_moves import move_atomically

NAMESPACE: Final = "scale"
BUCKETS: Final = 16
NODE_TIMEOUT: Final = 2_000
"""Milliseconds."""
_AT_ONCE: Final = 100
"""Keys that are moved by one command."""

Figures = dict[str, Any]


def measured(kind: str, records: int, processes: int) -> Figures:
    """On three masters with a replica each, where the namespace is in 16 buckets."""
    cluster = Cluster(kind, 3, 1, node_timeout=NODE_TIMEOUT, needs_all_slots=False)
    nodes = Nodes([node.port for node in cluster.masters])
    try:
        empty = nodes.used_memory()
        asyncio.run(_founded(cluster.url))
        start = datetime.now(UTC) - life.DAY
        life.fill_by_processes(cluster.url, NAMESPACE, start, 0, records, records, processes)
        figures = _evenness(cluster, nodes, records, empty)
        figures |= _moved(kind, cluster)
        return figures | asyncio.run(_failovers(cluster))
    finally:
        nodes.close()
        cluster.stop()


async def _founded(url: str) -> None:
    async with flowstore.connect(url, namespace=NAMESPACE, buckets=BUCKETS, purge_interval=None) as backend:
        await backend.exists("a trip")


def _evenness(cluster: Cluster, nodes: Nodes, records: int, empty: int) -> Figures:
    used = nodes.used_memory() - empty
    parts = [
        parts_of(_client(nodes, cluster, slot_of(prefix)), prefix) for prefix in prefixes(NAMESPACE, BUCKETS)
    ]
    records_of = [of_one.records for of_one in parts]
    bytes_of = [sum(of_one.bytes.values()) for of_one in parts]
    by_node: Counter[int] = Counter()
    for size, prefix in zip(bytes_of, prefixes(NAMESPACE, BUCKETS), strict=True):
        by_node[cluster.owner(slot_of(prefix)).port] += round(size)
    return {
        "bytes a record": used / records,
        "bytes a record, buckets": sum(bytes_of) / records,
        "records of a bucket, most / mean": max(records_of) / statistics.mean(records_of),
        "bytes of a bucket, most / mean": max(bytes_of) / statistics.mean(bytes_of),
        "bytes of a node, most / mean": max(by_node.values()) / statistics.mean(by_node.values()),
        "statistics, bytes a record": sum(of_one.bytes["statistics"] for of_one in parts) / records,
        "largest keys, of their bucket": _shares(parts[0]),
    }


def _client(nodes: Nodes, cluster: Cluster, slot: int) -> Any:
    masters = cluster.masters
    return nodes.clients[masters.index(cluster.owner(slot))]


def _shares(parts: Parts) -> dict[str, float]:
    whole = sum(parts.bytes.values())
    return {name: size / whole for name, size in list(parts.largest.items())[:4]}


def _moved(kind: str, cluster: Cluster) -> Figures:
    """One bucket, key by key, and where servers can do that at once; each to the next master."""
    slot = slot_of(prefixes(NAMESPACE, BUCKETS)[0])
    figures = _key_by_key(cluster, slot)
    if kind == "valkey":
        source = cluster.owner(slot)
        target = _another(cluster, source)
        nodes = Nodes([source.port, target.port])
        with Meter(nodes, 1) as cost:
            move_atomically(range(slot, slot + 1), source, target)
        nodes.close()
        figures |= {"moved at once: s": cost.seconds, "moved at once: CPU s": cost.cpu}
    until(lambda: all(node.owner_of(slot) == cluster.owner(slot).id for node in cluster.up), "all know")
    cluster.wait_until_ok()
    return figures


def _another(cluster: Cluster, node: Node) -> Node:
    masters = cluster.masters
    return masters[(masters.index(node) + 1) % len(masters)]


def _key_by_key(cluster: Cluster, slot: int) -> Figures:
    source = cluster.owner(slot)
    nodes = Nodes([source.port, _another(cluster, source).port])
    move = cluster.move(slot, _another(cluster, source))
    keys, longest = source.call("CLUSTER", "COUNTKEYSINSLOT", slot), 0.0
    with Meter(nodes, 1) as cost:
        move.begin()
        sent = 1
        while sent:
            began = time.perf_counter()
            sent = move.send(_AT_ONCE)
            longest = max(longest, time.perf_counter() - began)
        move.finish()
    nodes.close()
    return {
        "keys of the bucket": keys,
        "moved key by key: s": cost.seconds,
        "moved key by key: CPU s": cost.cpu,
        "moved key by key: longest command s": longest,
    }


async def _failovers(cluster: Cluster) -> Figures:
    """Each master in turn dies: how long until a call to it is answered, and the slowest call elsewhere."""
    taken, elsewhere = [], []
    async with flowstore.connect(
        cluster.url, namespace=NAMESPACE, purge_interval=None, op_timeout=60
    ) as backend:
        for number, master in enumerate(cluster.masters):
            lost, away = _names(cluster, master, f"lost-{number}")
            await backend.store_many([TaskResult.success(one, 1) for one in away[:20]])
            master.kill()
            calls = _Calls(backend)
            others = asyncio.ensure_future(calls.go_on(away))
            began = time.perf_counter()
            await backend.store(lost[0], TaskResult.success(lost[0], 1))
            taken.append(time.perf_counter() - began)
            others.cancel()
            await asyncio.wait([others])
            elsewhere.append(calls.longest)
            master.restart()
            cluster.wait_until_ok()
    return {"failover s": _numbered(taken), "elsewhere, slowest call s": _numbered(elsewhere)}


def _numbered(figures: list[float]) -> dict[str, float]:
    return {f"master {number}": figure for number, figure in enumerate(figures, 1)}


def _names(cluster: Cluster, master: Node, name: str) -> tuple[list[str], list[str]]:
    """Ids in buckets of a master, and ids in those of all others."""
    place = placing(BUCKETS)
    lost = {
        bucket
        for bucket, prefix in enumerate(prefixes(NAMESPACE, BUCKETS))
        if cluster.owner(slot_of(prefix)) is master
    }
    made = [f"{name}-{number}" for number in range(1_000)]
    return [one for one in made if place(one) in lost], [one for one in made if place(one) not in lost]


class _Calls:
    """Stores, one after the other."""

    longest = 0.0

    def __init__(self, backend: BaseResultBackend) -> None:
        self._backend = backend

    async def go_on(self, ids: list[str]) -> None:
        for task_id in cycle(ids):
            began = time.perf_counter()
            await self._backend.store(task_id, TaskResult.success(task_id, 1))
            self.longest = max(self.longest, time.perf_counter() - began)
            await asyncio.sleep(0.02)
