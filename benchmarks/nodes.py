"""What servers have used and done: processor time, commands, reads, messages across the bus of a cluster.

Processor time and counts do not depend on what else the machine does, unlike the time by the clock.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import redis

_CALLS: Final = ("evalsha", "eval", "mget")
"""The commands of which there is one for each call of a storage; within scripts there are none of them."""


@dataclass
class Spent:
    """By one node. ``cpu`` in seconds, of all its threads, with the kernel's part.

    ``calls``: scripts and reads of records. ``reads``: how often something has come from clients; what was
    written at once comes at once. ``published``: messages for subscribers that went to other nodes.
    """

    cpu: float = 0.0
    calls: int = 0
    reads: int = 0
    published: int = 0

    def __sub__(self, other: Self) -> Spent:
        return Spent(
            self.cpu - other.cpu,
            self.calls - other.calls,
            self.reads - other.reads,
            self.published - other.published,
        )


class Nodes:
    """The servers at these ports of this machine."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.clients = [redis.Redis(port=port, socket_timeout=None, protocol=2) for port in ports]
        self._pids = [client.info("server")["process_id"] for client in self.clients]
        self._is_cluster = bool(self.clients[0].info("cluster")["cluster_enabled"])
        self._looks: Counter[redis.Redis] = Counter()

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def now(self) -> list[Spent]:
        return [self._of(*one) for one in zip(self.clients, self._pids, strict=True)]

    def _of(self, client: redis.Redis, pid: int) -> Spent:
        stats: dict[str, Any] = client.info("commandstats")
        calls = sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in _CALLS)
        return Spent(cpu_of(pid), calls, self._reads(client), self._published(client))

    def _reads(self, client: redis.Redis) -> int:
        """Without those of this class: two for each look, three in a cluster."""
        self._looks[client] += 1
        own = self._looks[client] * (3 if self._is_cluster else 2)
        return int(client.info("stats")["total_reads_processed"]) - own

    def _published(self, client: redis.Redis) -> int:
        if not self._is_cluster:
            return 0
        call: Any = client.execute_command
        facts = dict(line.split(":", 1) for line in call("CLUSTER", "INFO").decode().split())
        kinds = ("publish", "publishshard")
        return sum(int(facts.get(f"cluster_stats_messages_{kind}_sent", 0)) for kind in kinds)

    def used_memory(self) -> int:
        """Bytes, without what there is for clients and replicas that come and go."""
        facts = [client.info("memory") for client in self.clients]
        passing = ("mem_clients_normal", "mem_clients_slaves", "mem_replication_backlog")
        return sum(of["used_memory"] - sum(of.get(name, 0) for name in passing) for of in facts)


def cpu_of(pid: int) -> float:
    """Seconds of a core that a process has used, to the nanosecond where the kernel tells."""
    paths = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in paths) / 1e9


@dataclass
class Cost:
    """Of a number of calls, each: seconds of the client's processor, by the clock, and what nodes spent."""

    calls: int
    client: float = 0.0
    seconds: float = 0.0
    nodes: list[Spent] = field(default_factory=list)

    @property
    def cpu(self) -> float:
        """Seconds of all nodes for one call."""
        return sum(node.cpu for node in self.nodes) / self.calls

    @property
    def busiest(self) -> float:
        """Seconds of the node that has spent most, for one call."""
        return max(node.cpu for node in self.nodes) / self.calls

    @property
    def unfairness(self) -> float:
        """What the busiest node has spent, in times of its share."""
        return self.busiest * len(self.nodes) / self.cpu if self.cpu else 0.0

    @property
    def sent(self) -> float:
        """Calls of storages for one call."""
        return sum(node.calls for node in self.nodes) / self.calls

    @property
    def reads(self) -> float:
        return sum(node.reads for node in self.nodes) / self.calls

    @property
    def most_reads(self) -> float:
        """Of the node that was written to most often: trips, where each follows an answer to the last."""
        return max(node.reads for node in self.nodes) / self.calls

    @property
    def published(self) -> float:
        return sum(node.published for node in self.nodes) / self.calls


class Meter:
    """``with Meter(nodes, calls) as cost: ...``"""

    def __init__(self, nodes: Nodes, calls: int) -> None:
        self._nodes = nodes
        self._cost = Cost(calls)

    def __enter__(self) -> Cost:
        self._before = self._nodes.now()
        self._cost.client, self._cost.seconds = time.process_time(), time.perf_counter()
        return self._cost

    def __exit__(self, *_: object) -> None:
        self._cost.seconds = time.perf_counter() - self._cost.seconds
        self._cost.client = time.process_time() - self._cost.client
        after = self._nodes.now()
        self._cost.nodes = [now - then for now, then in zip(after, self._before, strict=True)]
