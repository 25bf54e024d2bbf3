"""A client of redis-py from a URL, of which nothing secret is ever shown; and its errors, translated."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import redis.exceptions as driver
from redis import DriverInfo
from redis.asyncio import ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
)

_SCHEMES: Final = {
    "redis": "redis",
    "rediss": "rediss",
    "valkey": "redis",
    "valkeys": "rediss",
    "unix": "unix",
}
"""What the driver calls each."""
_OPTION: Final = re.compile(r"[a-z_]{1,40}")  # anything else may be a part of a password
_RETRIES: Final = 3
_DRIVER: Final = DriverInfo()  # else read from disk for each connection
_REFUSED: Final = (
    driver.AuthenticationError,
    driver.AuthorizationError,
    driver.AuthenticationWrongNumberOfArgsError,
    driver.NoPermissionError,
)
_KINDS: Final[dict[str, type[StorageError]]] = {
    "OOM": StorageFull,
    "WRONGTYPE": CorruptStore,
    **dict.fromkeys(("NOPERM", "ACL failure in script", "user executing the script can't"), AccessDenied),
    **dict.fromkeys(("READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"), StorageUnavailable),
    **dict.fromkeys(("LOADING", "BUSY", "CLUSTERDOWN", "TRYAGAIN"), StorageUnavailable),
}
"""What servers begin an error with, or the texts into which they wrap one that a script met."""
_KIND: Final = re.compile(rf"\b({'|'.join(_KINDS)})\b")


class _Client(Redis):
    """When forgotten, its connections end by themselves; the driver's own way needs a running loop."""

    def __del__(self, *_: object) -> None:
        pass


def client_from(url: str, timeout: float) -> tuple[Redis, str]:
    """A client, and where it connects to. No more of ``url`` is shown: a password may be anywhere in it.

    Its calls have no time-out of their own: one costs 20 to 30 us, and a trip has one already.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"url: expected a URL beginning with {'://, '.join(_SCHEMES)}://")
    unknown = None
    try:
        unknown = _check_url(url)
        pool = ConnectionPool.from_url(
            f"{_SCHEMES[scheme]}://{rest}",
            socket_timeout=None,
            socket_connect_timeout=timeout,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), _RETRIES),
            driver_info=_DRIVER,
        )
        return _Client.from_pool(pool), _location(scheme, pool.connection_class(**pool.connection_kwargs))
    except (ValueError, TypeError, AttributeError, driver.RedisError):
        pass  # raised below, where this error and its text are no context of the new one
    if unknown is not None:
        raise ValueError(f"{unknown}: is an option neither of flowstore nor of redis-py")
    advice = "check host, port, database and options, and percent-encode @ : / ? # % in a password"
    raise ValueError(f"url: not a usable {scheme}:// URL; {advice}")


def _check_url(url: str) -> str | None:
    """Raise ValueError for what the driver would drop or take for something else, such as half a password.

    Returns the name of an option that the driver does not know, where it can only be a name.
    """
    parts = urlsplit(url)
    url.encode()
    names = [name for name, _ in parse_qsl(parts.query, strict_parsing=True)] if parts.query else []
    where = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    form = r"/.+" if parts.scheme == "unix" else r"[^/]*(/[0-9]*)?"
    if "#" in url or not re.fullmatch(form, where):
        raise ValueError
    told = [] if "@" in parts.query else filter(_OPTION.fullmatch, names)
    return next((name for name in told if name not in _options_of_the_driver()), None)


@cache
def _options_of_the_driver() -> frozenset[str]:
    """Names that a URL may have in its query."""
    makers = (*SSLConnection.__mro__[:-1], *UnixDomainSocketConnection.__mro__[:-1], ConnectionPool)
    return frozenset(name for maker in makers for name in inspect.signature(maker).parameters)


def _location(scheme: str, connection: Any) -> str:
    if scheme == "unix":
        return f"unix://{connection.path}?db={connection.db}"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{scheme}://{host}:{connection.port}/{connection.db}"


def storage_error(error: Exception, prefix: str) -> StorageError:
    """What the driver's ``error`` means; ``prefix`` is that of the keys in use."""
    if isinstance(error, (driver.TimeoutError, TimeoutError)):
        return StorageTimeout(f"Redis did not answer in time: {error}")
    kind = _kind(error)
    text = f"Redis: {_text(error)}"
    if kind is AccessDenied:
        rules = f"~{prefix}* &{prefix}inbox:* +@read +@write +@scripting +@pubsub +@connection"
        text += f"; flowstore needs a user with the ACL rules {rules}"
    return kind(text)


def _text(error: Exception) -> str:
    """As the server put it: the driver cuts off the codes that it knows."""
    return f"{getattr(error, 'status_code', None) or ''} {error}".strip()


def _kind(error: Exception) -> type[StorageError]:
    if isinstance(error, _REFUSED):
        return AccessDenied
    if isinstance(error, (driver.ConnectionError, OSError)):
        return StorageUnavailable
    found = _KIND.search(_text(error))
    return _KINDS[found[0]] if found else StorageError
