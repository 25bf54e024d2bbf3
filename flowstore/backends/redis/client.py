"""A redis-py client from a URL, no secret of which is ever shown; and the driver's errors, translated."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.client import Pipeline

from flowstore.backends.redis.connections import advice, told
from flowstore.backends.redis.driver import new_client, text_of
from flowstore.backends.redis.url_options import fault_in, in_the_drivers_words
from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
)
from flowstore.observing import Place

SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
"""The name that the driver has for each."""
ENCODE: Final = "percent-encode @ : / ? # % in a password"
_REFUSED: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
    exceptions.AuthenticationWrongNumberOfArgsError,
    exceptions.NoPermissionError,
)
_KINDS: Final[dict[str, type[StorageError]]] = {
    "OOM": StorageFull,
    "WRONGTYPE": CorruptStore,
    **dict.fromkeys(("NOPERM", "ACL failure in script", "user executing the script can't"), AccessDenied),
    **dict.fromkeys(("READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"), StorageUnavailable),
    **dict.fromkeys(("LOADING", "BUSY", "CLUSTERDOWN", "TRYAGAIN"), StorageUnavailable),
}
"""How the errors of servers begin, or the text around an error that a script ran into."""
_KIND: Final = re.compile(rf"\b({'|'.join(_KINDS)})\b")


def client_from(url: object, timeout: float, client_name: str) -> tuple[Redis, str]:
    """A client, and where it connects to. No more of ``url`` may be shown: the password can be anywhere.

    ``client_name``: of its connections, unless ``url`` has another one.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise ValueError(
            f"url: expected a URL beginning with {'://, '.join(SCHEMES)}:// or redis+sentinel://"
        )
    fault = None
    try:
        fault = check_url(url)
        if fault is None:
            place, mark, query = f"{SCHEMES[scheme]}://{rest}".partition("?")
            client = new_client(f"{place}{mark}{in_the_drivers_words(query)}", timeout, client_name)
            pool = client.connection_pool
            return client, _location(scheme, pool.connection_class(**pool.connection_kwargs))
    except (ValueError, TypeError, AttributeError, exceptions.RedisError):
        pass  # raised below, so that this error, whose text may have the password, is not its context
    if fault is not None:
        raise ValueError(fault)
    advice = f"check host, port, database and options, and {ENCODE}"
    raise ValueError(f"url: not a usable {scheme}:// URL; {advice}")


def check_url(url: str) -> str | None:
    """Raise ValueError for what the driver would drop or misread, such as half a password.

    Returns what is wrong with an option, provided that its name can only be a name.
    """
    parts = urlsplit(url)
    url.encode()
    fault = fault_in(SCHEMES[parts.scheme], parts.query)
    where = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    form = r"/.+" if parts.scheme == "unix" else r"[^/]*(/[0-9]*)?"
    if "#" in url or not re.fullmatch(form, where):
        raise ValueError
    return fault


def _location(scheme: str, connection: Any) -> str:
    if scheme == "unix":
        return f"unix://{connection.path}?db={connection.db}"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{scheme}://{host}:{connection.port}/{connection.db}"


def place_of(client: Redis) -> Place:
    """Where it connects to; with Sentinel no more than that it is a Redis, as that changes."""
    options = client.connection_pool.connection_kwargs
    path, host = options.get("path"), options.get("host")
    if path is not None or host is None:
        return Place("redis", path)
    return Place("redis", host, options.get("port", 6379))


def check_connections(named: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError for options of connections with which results would not be bytes, or not UTF-8."""
    if options.get("decode_responses"):
        raise ValueError(f"{named}: expected decode_responses=False, results are bytes")
    if not _is_utf_8(options.get("encoding", "utf-8")):
        raise ValueError(f"{named}: expected encoding='utf-8'")


def _is_utf_8(encoding: str) -> bool:
    try:
        return codecs.lookup(encoding).name == "utf-8"
    except LookupError:
        return False


def check_client(client: object) -> Redis:
    """The client, if it is one of redis-py that can be awaited; else TypeError says what to pass instead.

    Those of another kind fail late, some of them after they have written: the errors of valkey-py are none
    that redis-py has, and what a synchronous client returns cannot be awaited.
    """
    if not isinstance(client, Redis) or isinstance(client, Pipeline):
        raise TypeError(f"client: expected redis.asyncio.Redis, got {_kind_and_advice(client)}")
    if not isinstance(client.connection_pool, ConnectionPool):
        raise TypeError("client: expected one with a pool of redis.asyncio")
    return client


_ADVICE: Final = (
    ("Pipeline", "pass the client that it was made of"),
    ("RedisCluster", "use RedisClusterBackend, which has connections of its own"),
    ("Sentinel", "pass what its master_for() returns"),
    ("ConnectionPool", "pass redis.asyncio.Redis(connection_pool=...), with a pool of redis.asyncio"),
    ("Redis", "it is synchronous: make one of redis.asyncio with the same arguments"),
)
"""What to pass instead, by a class of redis-py that the client is of."""


def _kind_and_advice(client: object) -> str:
    kind = client if isinstance(client, type) else type(client)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    of_package: dict[str, set[str]] = {}
    for base in kind.__mro__:
        of_package.setdefault(base.__module__.partition(".")[0], set()).add(base.__name__)
    if kind is client:
        return f"the class {name}; pass an object"
    if isinstance(client, str):
        return f"{name}; a URL is passed as url="
    if "valkey" in of_package:
        return f"{name}; redis-py's client can be used with Valkey as well, and so can url='valkey://...'"
    known = of_package.get("redis", set())
    return next((f"{name}; {advice}" for base, advice in _ADVICE if base in known), name)


def storage_error(error: Exception, prefix: str) -> StorageError:
    """The flowstore error for the driver's. ``prefix``: of the keys, for the advice on ACL rules."""
    error = told(error)
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return StorageTimeout(f"Redis did not answer in time: {error}{advice(str(error))}")
    kind = _kind(error)
    text = f"Redis: {text_of(error)}"
    text += advice(text)
    if isinstance(error, exceptions.MovedError):
        text += "; this server is a node of a cluster: connect to it with redis+cluster://"
    if kind is AccessDenied:
        # Without resetchannels Redis 6.2 refuses the channel: there a new user has all of them.
        rules = f"~{prefix}* resetchannels &{prefix}inbox:* +@read +@write +@scripting +@pubsub +@connection"
        text += f"; flowstore needs a user with the ACL rules {rules}"
    return kind(text)


def _kind(error: Exception) -> type[StorageError]:
    if isinstance(error, _REFUSED):
        return AccessDenied
    if isinstance(error, (exceptions.ConnectionError, OSError)):
        return StorageUnavailable
    found = _KIND.search(text_of(error))
    return _KINDS[found[0]] if found else StorageError
