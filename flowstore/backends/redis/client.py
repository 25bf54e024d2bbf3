"""A redis-py client from a URL, no secret of which is ever shown; and the driver's errors, translated."""

from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis, SSLConnection, UnixDomainSocketConnection

from flowstore.backends.redis.driver import new_client, text_of
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
"""The name that the driver has for each."""
_OPTION: Final = re.compile(r"[a-z_]{1,40}")  # anything else may be part of a password
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


def client_from(url: str, timeout: float) -> tuple[Redis, str]:
    """A client, and where it connects to. No more of ``url`` may be shown: the password can be anywhere."""
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"url: expected a URL beginning with {'://, '.join(_SCHEMES)}://")
    unknown = None
    try:
        unknown = _check_url(url)
        client = new_client(f"{_SCHEMES[scheme]}://{rest}", timeout)
        pool = client.connection_pool
        return client, _location(scheme, pool.connection_class(**pool.connection_kwargs))
    except (ValueError, TypeError, AttributeError, exceptions.RedisError):
        pass  # raised below, so that this error, whose text may have the password, is not its context
    if unknown is not None:
        raise ValueError(f"{unknown}: unknown option, neither of flowstore nor of redis-py")
    advice = "check host, port, database and options, and percent-encode @ : / ? # % in a password"
    raise ValueError(f"url: not a usable {scheme}:// URL; {advice}")


def _check_url(url: str) -> str | None:
    """Raise ValueError for what the driver would drop or misread, such as half a password.

    Returns the name of an option that the driver does not know, provided it can only be a name.
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
    """The names that the query of a URL may use."""
    makers = (*SSLConnection.__mro__[:-1], *UnixDomainSocketConnection.__mro__[:-1], ConnectionPool)
    return frozenset(name for maker in makers for name in inspect.signature(maker).parameters)


def _location(scheme: str, connection: Any) -> str:
    if scheme == "unix":
        return f"unix://{connection.path}?db={connection.db}"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{scheme}://{host}:{connection.port}/{connection.db}"


def storage_error(error: Exception, prefix: str) -> StorageError:
    """The flowstore error for the driver's. ``prefix``: of the keys, for the advice on ACL rules."""
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return StorageTimeout(f"Redis did not answer in time: {error}")
    kind = _kind(error)
    text = f"Redis: {text_of(error)}"
    if kind is AccessDenied:
        rules = f"~{prefix}* &{prefix}inbox:* +@read +@write +@scripting +@pubsub +@connection"
        text += f"; flowstore needs a user with the ACL rules {rules}"
    return kind(text)


def _kind(error: Exception) -> type[StorageError]:
    if isinstance(error, _REFUSED):
        return AccessDenied
    if isinstance(error, (exceptions.ConnectionError, OSError)):
        return StorageUnavailable
    found = _KIND.search(text_of(error))
    return _KINDS[found[0]] if found else StorageError
