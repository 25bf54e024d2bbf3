"""URLs of clusters: several nodes to begin with, and the options of all connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from flowstore.backends.cluster.router import Address
from flowstore.backends.redis.client import SCHEMES as PLAIN_SCHEMES
from flowstore.backends.redis.client import check_connections, client_from
from flowstore.backends.redis.driver import NodeConnection

SCHEMES: Final = {f"{scheme}+cluster": name for scheme, name in PLAIN_SCHEMES.items() if scheme != "unix"}
_CONNECTING: Final = 2.0
"""Seconds that it may take to connect to a node before another one is asked."""


class Nodes(NamedTuple):
    """The nodes that a URL names, how to connect to any, and what may be shown of it."""

    seeds: list[Address]
    connect: Callable[..., NodeConnection]
    shown: str


def nodes_from(url: str, timeout: float, client_name: str, connection: Mapping[str, Any] | None) -> Nodes:
    """Raises ValueError for a URL that cannot be used, without a word of what may be a password."""
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(f"url: expected a URL beginning with {'://, '.join(SCHEMES)}://")
    place, mark, query = rest.partition("?")
    user, at, hosts = place.rpartition("@")
    places = hosts.removesuffix("/").split(",")
    if "/" in hosts.removesuffix("/"):
        raise ValueError(
            "url: a cluster has no databases but 0; expected host:port,host:port after the scheme"
        )
    if not all(places):
        raise ValueError("url: expected host:port,host:port after the scheme, got an empty name of a host")
    clients = [
        client_from(f"{SCHEMES[scheme]}://{user}{at}{each}{mark}{query}", timeout, client_name)[0]
        for each in places
    ]
    pools = [client.connection_pool for client in clients]
    if any(pool.connection_kwargs.get("db") for pool in pools):
        raise ValueError("db: a cluster has no databases but 0")
    seeds = [
        Address(pool.connection_kwargs.get("host", "localhost"), pool.connection_kwargs.get("port", 6379))
        for pool in pools
    ]
    given = dict(connection or {})
    check_connections("url, connection", pools[0].connection_kwargs | given)

    def connect(address: Address, **options: Any) -> NodeConnection:
        where = {"host": address.host, "port": address.port}
        limits = {"socket_connect_timeout": min(_CONNECTING, timeout)}
        return NodeConnection(pools[0], **limits | given | where | options)

    return Nodes(seeds, connect, f"{scheme}://{','.join(map(str, seeds))}")
