"""What a cluster is compared with, and clusters: servers that are there for the whole benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import flowstore
from benchmarks.nodes import Nodes
from flowstore import BaseResultBackend
from flowstore.backends.cluster.slots import prefixes, slot_of
from tests.clusters import Cluster
from tests.servers import start_server


@dataclass(frozen=True)
class Layout:
    """One server, with ``masters`` 0, or a cluster; ``buckets``: of the namespace, 0 on one server."""

    name: str
    url: str
    nodes: Nodes
    masters: int
    buckets: int
    cluster: Cluster | None = None

    @property
    def namespace(self) -> str:
        return f"in-{self.buckets}" if self.buckets else "whole"

    def connect(self, namespace: str | None = None, **options: Any) -> BaseResultBackend:
        named = {"namespace": namespace or self.namespace, "op_timeout": 60, **options}
        if self.buckets:
            named["buckets"] = self.buckets
        return flowstore.connect(self.url, purge_interval=None, **named)

    @property
    def fair_share(self) -> float:
        """The buckets of the node that has most, in times of an equal share."""
        if self.cluster is None:
            return 1.0
        owners = [
            next(at for at, node in enumerate(self.cluster.nodes) if _owns(node.slots, slot_of(prefix)))
            for prefix in prefixes(self.namespace, self.buckets)
        ]
        return max(map(owners.count, owners)) * self.masters / self.buckets


def _owns(ranges: Sequence[str], slot: int) -> bool:
    ends = [one.partition("-")[::2] for one in ranges]
    return any(int(low) <= slot <= int(high or low) for low, high in ends)


@contextmanager
def layouts(kind: str, masters: Sequence[int], buckets: Sequence[int]) -> Iterator[list[Layout]]:
    """A server by itself, and clusters of so many masters, each with namespaces in so many buckets."""
    with ExitStack() as stack:
        server = start_server(kind)
        stack.callback(server.stop)
        nodes = Nodes([server.port])
        stack.callback(nodes.close)
        made = [Layout("one server", server.url, nodes, 0, 0)]
        for number in masters:
            cluster = Cluster(kind, number)
            stack.callback(cluster.stop)
            nodes = Nodes([node.port for node in cluster.nodes])
            stack.callback(nodes.close)
            for divided in buckets:
                name = f"{number} master{'s' * (number > 1)}, B={divided}"
                made.append(Layout(name, cluster.url, nodes, number, divided, cluster))
        yield made
