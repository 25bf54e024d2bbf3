"""From a URL to a backend, and to the apps that its storage has."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import unquote

from flowstore.apps import AppInfo
from flowstore.backends.memory import InMemoryBackend
from flowstore.backends.redis import RedisBackend
from flowstore.backends.sqlite import SQLiteBackend
from flowstore.base import BaseResultBackend

_FORMS: Final = "memory://, sqlite:///file.db, redis://host:port/db, rediss://..., unix:///path/to.sock"
_SCHEME: Final = re.compile(r"[a-z]{1,20}")  # anything else may be a part of a password


def connect(url: str, **options: Any) -> BaseResultBackend:
    """The backend that ``url`` names; it opens with ``async with`` or at its first call.

    ``sqlite:///file.db`` is relative to the working directory, ``sqlite:////var/file.db`` absolute; what
    is special in URLs, as ``?``, is percent-encoded in it.
    ``options`` go to the backend's constructor: those of BackendOptions, ``namespace``, and its own.
    Raises ValueError for a URL of another form.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("redis", "rediss", "unix"):
        return RedisBackend(url, **options)
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        if mark := re.search("[?#]", rest):
            raise ValueError(
                f"url: {mark[0]!r} in {url!r} begins no option, as those are arguments of connect; "
                f"in the name of a file write %{ord(mark[0]):X}"
            )
        return SQLiteBackend(unquote(rest[1:]), **options)
    if url == "memory://":
        return InMemoryBackend(**options)
    named = f"scheme {scheme!r} in this form" if separator and _SCHEME.fullmatch(scheme) else "this form"
    raise ValueError(f"url: {named} is not known; expected one of {_FORMS}")


async def discover_apps(url: str, **options: Any) -> list[AppInfo]:
    """What the apps of a storage say of themselves, in the order of their namespaces.

    Each namespace is an app; one that never said anything has the info {}. The one that ``options`` name,
    or else "default", is always among them; memory:// has no other. ``options`` are those of ``connect``.
    """
    async with connect(url, **options) as backend:
        namespaces = await backend.namespaces()
    apps = []
    for namespace in namespaces:
        async with connect(url, **{**options, "namespace": namespace}) as backend:
            app = await backend.app_info()
        apps.append(app or AppInfo(namespace=namespace, info={}, registered_at=None))
    return apps
