"""The Redis backend: results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

import codecs
from typing import Unpack

from redis.asyncio import ConnectionPool, Redis

from flowstore._core.options import BackendOptions, is_read_only, op_timeout, recheck_interval
from flowstore._trips.shared import SharedTrips
from flowstore.backends.redis.client import check_client, client_from
from flowstore.backends.redis.engine import RedisEngine
from flowstore.backends.redis.link import ClientLink
from flowstore.backends.redis.namespaces import Namespace, client_name_of
from flowstore.base import BaseResultBackend
from flowstore.text import check_text


class RedisBackend(BaseResultBackend):
    """Results in one Redis (6.2 or later) or Valkey database, under one hash tag for each namespace.

    Give either a ``url`` (redis, rediss, valkey, valkeys or unix) or a ``client``, which must not decode
    responses. The backend closes a client that it made, never one that it was given. Results are as durable
    as the server: a failover can lose acknowledged writes.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | None = None,
        **options: Unpack[BackendOptions],
    ) -> None:
        if (url is None) == (client is None):
            raise TypeError("url, client: expected exactly one of them")
        timeout, recheck = op_timeout(options), recheck_interval(options)
        namespace = check_text("namespace", options.get("namespace", "default"))
        self._shown = "client=..."
        self._url, self._client = url, client
        if url is not None:
            client, where = client_from(url, timeout, client_name_of(namespace))
            self._shown = repr(where)
        client = check_client(client)
        _check_pool(client.connection_pool)
        link = ClientLink(client, is_owned=url is not None)
        how = timeout, recheck
        engine = RedisEngine(link, Namespace(namespace), *how, read_only=is_read_only(options))
        super().__init__(SharedTrips(engine, timeout, write_lanes=2), **options)

    def _beside(self, options: BackendOptions) -> RedisBackend:
        return RedisBackend(self._url, client=self._client, **options)

    def __repr__(self) -> str:
        return f"RedisBackend({self._shown}, namespace={self.namespace!r})"


def _check_pool(pool: ConnectionPool) -> None:
    options = pool.connection_kwargs
    if options.get("decode_responses"):
        raise ValueError("url, client: expected decode_responses=False, results are bytes")
    if not _is_utf_8(options.get("encoding", "utf-8")):
        raise ValueError("url, client: expected encoding='utf-8'")
    if pool.max_connections < 2:
        raise ValueError("url, client: expected max_connections of at least 2, as one connection listens")


def _is_utf_8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False
