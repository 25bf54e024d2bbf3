"""The backend of a cluster: one namespace over all nodes of a Redis or Valkey Cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

from flowstore._core.options import BackendOptions, is_read_only, op_timeout, recheck_interval
from flowstore._trips.sharding import above_shards
from flowstore._values.arguments import check_int
from flowstore.backends.cluster.engine import ClusterEngine
from flowstore.backends.cluster.namespaces import LEAST_BUCKETS, MOST_BUCKETS
from flowstore.backends.cluster.urls import nodes_from
from flowstore.backends.redis.namespaces import client_name_of
from flowstore.backends.redis.replication import replicas_for
from flowstore.base import BaseResultBackend
from flowstore.text import check_text


class RedisClusterBackend(BaseResultBackend):
    """Results in a Redis (7.0 or later) or Valkey Cluster, divided among all its nodes.

    ``url``: ``redis+cluster://host:port,host:port``, with some nodes to begin with; the others are found.
    ``buckets``: into how many the namespace is divided when it is made, 16 to 4,096, 64 by default. It stays
    so; the number is of the format, and changed by copying. ``wait_replicas``: how many replicas of its node
    must have a write before its call returns; else it raises Unconfirmed. ``connection``: options of
    connections of redis-py that no URL can have, such as a ``credential_provider``, for those to all nodes.

    Results are as durable as the cluster: a failover can lose acknowledged writes.
    """

    def __init__(
        self,
        url: str,
        *,
        buckets: int | None = None,
        wait_replicas: int = 0,
        connection: Mapping[str, Any] | None = None,
        **options: Unpack[BackendOptions],
    ) -> None:
        timeout, recheck = op_timeout(options), recheck_interval(options)
        namespace = check_text("namespace", options.get("namespace", "default"))
        if buckets is not None:
            check_int("buckets", buckets, LEAST_BUCKETS)
            if buckets > MOST_BUCKETS:
                raise ValueError(f"buckets: expected at most {MOST_BUCKETS}, got {buckets}")
        self._wait_replicas = check_int("wait_replicas", wait_replicas, 0)
        nodes = nodes_from(url, timeout, client_name_of(namespace), connection)
        self._url, self._buckets, self._connection, self._shown = url, buckets, connection, nodes.shown
        where = nodes.seeds, nodes.connect, namespace
        engine = ClusterEngine(
            *where,
            timeout,
            recheck,
            buckets,
            read_only=is_read_only(options),
            replicas=replicas_for(wait_replicas, timeout, None),
        )
        super().__init__(above_shards(engine), **options)

    def _beside(self, options: BackendOptions) -> RedisClusterBackend:
        return RedisClusterBackend(
            self._url,
            buckets=self._buckets,
            connection=self._connection,
            wait_replicas=self._wait_replicas,
            **options,
        )

    def __repr__(self) -> str:
        return f"RedisClusterBackend({self._shown!r}, namespace={self.namespace!r})"
