"""The primary that Sentinel names: from a URL to a link that follows it through failovers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    MasterNotFoundError,
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    RedisError,
    ResponseError,
    TimeoutError,
)

from flowstore.backends.redis.client import ENCODE, check_url
from flowstore.backends.redis.client import SCHEMES as PLAIN_SCHEMES
from flowstore.backends.redis.connections import TlsConnection
from flowstore.backends.redis.driver import OWN_NAME, Client, PrimaryConnection, pool_options
from flowstore.backends.redis.link import ClientLink, Way
from flowstore.backends.redis.url_options import fault_of, in_the_drivers_words, is_true, is_truth

_SUFFIX: Final = "+sentinel"
SCHEMES: Final = {f"{scheme}{_SUFFIX}": name for scheme, name in PLAIN_SCHEMES.items() if scheme != "unix"}
"""What the driver calls the way to the primary, by the scheme of a URL."""
_FORM: Final = "redis+sentinel://user:password@host:26379,host2:26379/service/0"

_PORT: Final = 26_379
_LONGEST_ASKED: Final = 1.0
_PATIENCE: Final = 0.8
_URL: Final = re.compile(
    r"(?P<user>.*@)?(?P<places>[^/@]+)/(?P<service>(?![0-9]+(/|$))[A-Za-z0-9._-]+)(?:/(?P<db>[0-9]*))?"
)
_PLACE: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?")
_MISPLACED: Final = ("host", "port", "path")


class _Url(NamedTuple):
    """What stands in one. ``inner``: a URL of the primary, whose host is not known."""

    scheme: str
    places: tuple[tuple[str, int], ...]
    service: str
    inner: str
    own: dict[str, str]


def link_from(url: str, timeout: float, client_name: str) -> SentinelLink:
    """``timeout``: of a call, in seconds. ``client_name``: of its connections, unless ``url`` has another.

    Raises ValueError that shows no more of ``url`` than may be known: the password can be anywhere.
    """
    fault = None
    try:
        found = _parsed(url)
        fault = found if isinstance(found, str) else check_url(found.inner)
        if fault is None and isinstance(found, _Url):
            return _link(found, timeout, client_name)
    except (ValueError, TypeError, AttributeError, RedisError):
        pass  # raised below, so that this error, whose text may have the password, is not its context
    if fault is not None:
        raise ValueError(fault)
    scheme = url.partition("://")[0]
    raise ValueError(f"url: not a usable {scheme}:// URL; expected the form {_FORM}, and {ENCODE}")


def _parsed(url: str) -> _Url | str:
    """What stands in the URL, or what is wrong with an option. Raises ValueError for anything else."""
    scheme, _, rest = url.partition("://")
    where, mark, query = rest.partition("?")
    found = _URL.fullmatch(where)
    if found is None:
        raise ValueError
    own, others = _divided(query)
    fault = _fault(own, others)
    if fault is not None:
        if "@" in query:  # what looks like a name may be part of a password
            raise ValueError
        return fault
    places = tuple(_place(one) for one in found["places"].split(","))
    place = f"{SCHEMES[scheme]}://{found['user'] or ''}primary/{found['db'] or ''}"
    inner = f"{place}{mark}{in_the_drivers_words(others)}" if others else place
    return _Url(scheme, places, found["service"], inner, dict(own))


def _place(text: str) -> tuple[str, int]:
    found = _PLACE.fullmatch(text)
    if found is None or not 0 < int(found["port"] or _PORT) < 2**16:
        raise ValueError
    return found["host"].strip("[]"), int(found["port"] or _PORT)


def _divided(query: str) -> tuple[list[tuple[str, str]], str]:
    """The options about Sentinel, and the rest of the query unchanged."""
    parts = [part.partition("=") for part in query.split("&")]
    own = [(name, unquote_plus(value)) for name, _, value in parts if name in _OWN]
    return own, "&".join("".join(part) for part in parts if part[0] not in _OWN)


def _fault(own: Sequence[tuple[str, str]], others: str) -> str | None:
    for name in _MISPLACED:
        if re.search(rf"(^|&){name}=", others):
            return f"{name}: expected in front of the service, as in {_FORM}"
    return fault_of(own, _OWN)


_OWN: Final[Mapping[str, tuple[Callable[[str], bool], str]]] = {
    "sentinel_username": (bool, "a value"),
    "sentinel_password": (bool, "a value"),
    "sentinel_ssl": (is_truth, "true or false"),
}
"""The options about Sentinel: whether a value can be used, and what is expected."""


def _link(url: _Url, timeout: float, client_name: str) -> SentinelLink:
    options = pool_options(url.inner, timeout, client_name)
    options.pop("host")
    is_tls = options.pop("connection_class", None) is not None
    asked = min(_LONGEST_ASKED, timeout / (2 * len(url.places)))
    sentinels = Sentinels(url.places, asked, **_of_sentinels(url, options))
    make_pool: Any = SentinelConnectionPool
    kind = _TlsConnection if is_tls else SentinelManagedConnection
    pool = make_pool(url.service, sentinels, connection_class=kind, **options)
    where = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in url.places)
    shown = f"{url.scheme}://{where}/{url.service}/{options.get('db', 0)}"
    return SentinelLink(Client.from_pool(pool), sentinels, timeout * _PATIENCE, shown)


def _of_sentinels(url: _Url, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of their connections. With TLS they are verified as the primary is."""
    own = {name: url.own.get(f"sentinel_{name}") for name in ("username", "password")}
    if not is_true(url.own.get("sentinel_ssl", "no")):
        return own
    return {**own, "ssl": True, **{name: options[name] for name in options if name.startswith("ssl_")}}


class _TlsConnection(SentinelManagedSSLConnection, TlsConnection):
    """With TLS, and what ours says of it."""


class Sentinels(Sentinel):
    """The driver's, whose errors show no password, and which keeps no connection: it is seldom asked.

    ``within``: how many seconds each of them has for an answer.
    """

    sentinels: list[Redis]

    def __init__(self, places: Sequence[tuple[str, int]], within: float, **options: Any) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self._within = within
        once = Retry(NoBackoff(), 0)
        timeouts: dict[str, Any] = {"socket_timeout": None, "socket_connect_timeout": within}
        self.sentinels = [
            Client(host=host, port=port, retry=once, protocol=2, **timeouts, **OWN_NAME, **options)
            for host, port in places
        ]

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Host and port of the primary. The sentinel that has answered is asked first the next time.

        Raises MasterNotFoundError while there is none, AuthenticationError if no sentinel lets this user in,
        ResponseError if those that answer do not know the service.
        """
        told: list[str] = []
        errors: list[Exception] = []
        is_known = False
        for number, sentinel in enumerate(self.sentinels):
            try:
                async with asyncio.timeout(self._within):  # the driver's would leave tasks behind
                    masters: Any = await sentinel.sentinel_masters()
            except (ConnectionError, TimeoutError, OSError, ResponseError) as error:
                told.append(f"{_where(sentinel)}: {error or 'no answer'}")
                errors.append(error)
                continue
            finally:
                await _let_go(sentinel)
            state = masters.get(service_name)
            if state is not None and self.check_master_state(state, service_name):
                self.sentinels[0], self.sentinels[number] = sentinel, self.sentinels[0]
                return state["ip"], state["port"]
            is_known = is_known or state is not None
            told.append(f"{_where(sentinel)}: {'it is down' if state else 'no such service'}")
        raise _not_found(service_name, told, errors, is_known)


def _not_found(service: str, told: list[str], errors: list[Exception], is_known: bool) -> Exception:
    text = f"Sentinel names no primary of {service!r} ({'; '.join(told)})"
    if len(errors) == len(told) and all(_is_refusal(error) for error in errors):
        return AuthenticationError(text)
    return MasterNotFoundError(text) if errors or is_known else ResponseError(text)


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, AuthenticationError | ResponseError)


def _where(sentinel: Redis) -> str:
    options = sentinel.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


async def _let_go(sentinel: Redis) -> None:
    pool: Any = sentinel.connection_pool
    for connection in pool._available_connections:
        await connection.disconnect(nowait=True)


class SentinelLink(ClientLink):
    """A client of the primary, as ``sentinels`` name it. ``patience``: seconds that a failover may take.

    While it lasts, a call is made again and again, until its time is nearly up.
    """

    def __init__(self, client: Redis, sentinels: Sentinels, patience: float, shown: str) -> None:
        super().__init__(client, is_owned=True)
        self._clients += sentinels.sentinels
        self._patience = patience
        self.shown = shown

    def way(self) -> Way:
        return PrimaryConnection(self.pool, self._patience)
