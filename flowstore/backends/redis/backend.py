"""The Redis backend: results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

from typing import Unpack

from redis.asyncio import ConnectionPool, Redis

from flowstore._core.options import BackendOptions, is_read_only, op_timeout, recheck_interval
from flowstore._trips.shared import SharedTrips
from flowstore._values.arguments import check_int
from flowstore.backends.redis import sentinel
from flowstore.backends.redis.client import check_client, check_connections, client_from
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.link import ClientLink
from flowstore.backends.redis.namespaces import Namespace, client_name_of
from flowstore.backends.redis.replication import replicas_for
from flowstore.base import BaseResultBackend
from flowstore.text import check_text


class RedisBackend(BaseResultBackend):
    """Results in one Redis (6.2 or later) or Valkey database, under one hash tag for each namespace.

    Give either a ``url`` (redis, rediss, valkey, valkeys or unix; the first four with ``+sentinel`` behind
    for a primary that Sentinel names) or a ``client``, which must not decode responses. The backend closes
    a client that it made, never one that it was given. Results are as durable as the server: a failover can
    lose acknowledged writes. ``wait_replicas``: how many replicas must have a write before its call returns;
    one that too few have confirmed after a third of ``op_timeout`` raises Unconfirmed (0: none is asked).
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | None = None,
        wait_replicas: int = 0,
        **options: Unpack[BackendOptions],
    ) -> None:
        if (url is None) == (client is None):
            raise TypeError("url, client: expected exactly one of them")
        timeout, recheck = op_timeout(options), recheck_interval(options)
        namespace = check_text("namespace", options.get("namespace", "default"))
        self._url, self._client = url, client
        self._wait_replicas = check_int("wait_replicas", wait_replicas, 0)
        link, self._shown = _reached(url, client, timeout, client_name_of(namespace))
        _check_pool(link.pool)
        engine = RedisEngine(
            link,
            Namespace(namespace),
            timeout,
            recheck,
            read_only=is_read_only(options),
            replicas=replicas_for(wait_replicas, timeout, link.pool.connection_kwargs.get("socket_timeout")),
        )
        super().__init__(SharedTrips(engine, timeout, write_lanes=2), **options)

    def _beside(self, options: BackendOptions) -> RedisBackend:
        return RedisBackend(self._url, client=self._client, wait_replicas=self._wait_replicas, **options)

    def __repr__(self) -> str:
        return f"RedisBackend({self._shown}, namespace={self.namespace!r})"


def _reached(url: object, client: object, timeout: float, client_name: str) -> tuple[ClientLink, str]:
    """The way to the server, and how it is shown."""
    if url is None:
        return ClientLink(check_client(client)), "client=..."
    if isinstance(url, str) and url.partition("://")[0] in sentinel.SCHEMES:
        link = sentinel.link_from(url, timeout, client_name)
        return link, repr(link.shown)
    made, where = client_from(url, timeout, client_name)
    return ClientLink(made, is_owned=True), repr(where)


def _check_pool(pool: ConnectionPool) -> None:
    check_connections("url, client", pool.connection_kwargs)
    if pool.max_connections < 2:
        raise ValueError("url, client: expected max_connections of at least 2, as one connection listens")
