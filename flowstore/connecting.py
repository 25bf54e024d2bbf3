"""From a URL to a backend, and to the apps in its storage."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, Unpack
from urllib.parse import parse_qsl, unquote

from flowstore._core.options import BackendOptions
from flowstore.base import BaseResultBackend

if TYPE_CHECKING:
    from flowstore.features.app import AppInfo

ENVIRONMENT: Final = "FLOWSTORE_URL"

_FORMS: Final = (
    "memory://, sqlite:///file.db, redis://host:port/db, rediss://..., valkey://..., valkeys://..., "
    "unix:///path/to.sock, redis+cluster://host:port,host:port, rediss+cluster://..., valkey+cluster://..., "
    "valkeys+cluster://..., redis+sentinel://host:port,host:port/service/db"
)
_SCHEME: Final = re.compile(r"[a-z+]{1,20}")  # anything else may be part of a password
_REMOTE: Final = ("redis", "rediss", "valkey", "valkeys")
_SERVERS: Final = (*_REMOTE, *(f"{scheme}+sentinel" for scheme in _REMOTE), "unix")
_CLUSTERS: Final = tuple(f"{scheme}+cluster" for scheme in _REMOTE)
_WORDS: Final = {"true": True, "false": False}


class ConnectOptions(BackendOptions, total=False):
    """Those of every backend, and those that a SQLite, Redis, cluster or memory backend has of its own."""

    durability: Literal["full", "normal"]
    mode: int | None
    max_results: int | None
    buckets: int | None
    wait_replicas: int


def connect(url: str | None = None, **options: Unpack[ConnectOptions]) -> BaseResultBackend:
    """The backend that ``url`` names. It opens with ``async with`` or at its first call.

    ``url`` None: the environment variable FLOWSTORE_URL. ``sqlite:///file.db`` is relative to the working
    directory, ``sqlite:////var/file.db`` is absolute. Special characters of URLs, such as ``?``, are
    percent-encoded.

    Options with plain values may be given in the URL, as in ``sqlite:///x.db?durability=normal&ttl=3600``:
    seconds and counts as numbers, ``none`` for None, ``history`` as ``true`` or ``false``, ``mode`` in octal.
    An argument takes precedence over the URL. Other names in the URL of a server are options of redis-py.

    Raises ValueError for a URL of another form, ValueError or TypeError naming an option that is unknown or
    of the wrong type, MissingPackage if the package for this kind of storage is not installed.
    """
    name = ENVIRONMENT if url is None else "url"
    url = _given(url)
    scheme, separator, rest = url.partition("://")
    place, _, query = url.partition("?")
    if separator and scheme in _SERVERS:
        from flowstore.backends.redis import RedisBackend

        own, others = _divided(query)
        return RedisBackend(f"{place}?{others}" if others else place, **_joined(own, options))
    if separator and scheme in _CLUSTERS:
        from flowstore.backends.cluster import RedisClusterBackend

        own, others = _divided(query)
        return RedisClusterBackend(f"{place}?{others}" if others else place, **_joined(own, options))
    if scheme == "sqlite" and re.match("/[^?#]", rest):
        if "#" in rest:
            raise ValueError(f"url: '#' in {url!r} has no meaning; in the name of a file write %23")
        from flowstore.backends.sqlite import SQLiteBackend

        return SQLiteBackend(unquote(place[len("sqlite:///") :]), **_joined(_all_own(query), options))
    if place == "memory://":
        from flowstore.backends.memory import InMemoryBackend

        return InMemoryBackend(**_joined(_all_own(query), options))
    named = f"scheme {scheme!r} in this form" if separator and _SCHEME.fullmatch(scheme) else "this form"
    raise ValueError(f"{name}: {named} is not known; expected one of {_FORMS}")


async def discover_apps(url: str | None = None, **options: Unpack[ConnectOptions]) -> list[AppInfo]:
    """The apps of a storage, in the order of their namespaces. The arguments are those of ``connect``.

    Each namespace is an app; one that was never registered has the info {}. The namespace in ``options``, or
    else "default", is always among them; memory:// has no other.
    """
    from flowstore.features.app import AppInfo  # not loaded for connect

    async with connect(url, **options) as backend:
        namespaces = await backend.app.namespaces()
    apps = []
    for namespace in namespaces:
        of_app: ConnectOptions = {**options, "namespace": namespace}
        async with connect(url, **of_app) as backend:
            app = await backend.app.info()
        apps.append(app or AppInfo(namespace=namespace, info={}, registered_at=None))
    return apps


def _given(url: str | None) -> str:
    if url is None:
        url = os.environ.get(ENVIRONMENT)
        if not url:
            raise ValueError(
                f"url: expected a URL, as the environment variable {ENVIRONMENT} is not set, or empty"
            )
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    return url


def _truth(text: str) -> bool:
    return _WORDS[text]


def _octal(text: str) -> int:
    return int(text, 8)


PLAIN_OPTIONS: Final[Mapping[str, Callable[[str], object]]] = {
    "namespace": str,
    "ttl": float,
    "failure_ttl": float,
    "unfinished_ttl": float,
    "raw": _truth,
    "max_result_bytes": int,
    "compress_over": int,
    "recheck_interval": float,
    "op_timeout": float,
    "purge_interval": float,
    "history": _truth,
    "history_limit": int,
    "stats": str,
    "error_groups": _truth,
    "read_only": _truth,
    "durability": str,
    "mode": _octal,
    "max_results": int,
    "buckets": int,
    "wait_replicas": int,
}
"""The options that may be given in a URL, and the functions that parse them."""
_EXPECTED: Final[Mapping[Callable[[str], object], str]] = {
    int: "an int",
    float: "a number of seconds",
    _octal: "octal digits such as 660",
}
_TAKE_NONE: Final = frozenset(
    {
        *("ttl", "failure_ttl", "unfinished_ttl", "purge_interval"),
        *("history_limit", "compress_over", "stats", "mode", "max_results", "buckets"),
    }
)


def _divided(query: str) -> tuple[dict[str, Any], str]:
    """The options of flowstore in ``query``, and the rest of it unchanged: it may be part of a password."""
    parts = query.split("&") if query else []
    own = [part for part in parts if part.partition("=")[0] in PLAIN_OPTIONS]
    if any("@" in part for part in own):  # perhaps the end of a password with a '?' in it
        raise ValueError("url: percent-encode @ in an option, and ? in a password")
    return _all_own("&".join(own)), "&".join(part for part in parts if part not in own)


def _all_own(query: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise ValueError("url: expected options after '?' as in name=value&name=value") from None
    options: dict[str, Any] = {}
    for name, text in pairs:
        if name not in PLAIN_OPTIONS:
            known = ", ".join(PLAIN_OPTIONS)
            raise ValueError(f"{name}: unknown option in this URL; expected one of {known}")
        if name in options:
            raise ValueError(f"{name}: given twice in the URL")
        options[name] = _value(name, text)
    return options


def _value(name: str, text: str) -> object:
    if name in _TAKE_NONE and text == "none":
        return None
    try:
        return PLAIN_OPTIONS[name](text)
    except (ValueError, KeyError):
        expected = _EXPECTED.get(PLAIN_OPTIONS[name], "true or false")
        raise ValueError(f"{name}: expected {expected} in the URL, got {text!r}") from None


def _joined(own: dict[str, Any], options: ConnectOptions) -> Any:
    """Not checked here: the backend's constructor names the options that it does not know."""
    return {**own, **options}
