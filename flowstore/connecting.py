"""From a URL to a backend."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import unquote

from flowstore.backends.memory import InMemoryBackend
from flowstore.backends.redis import RedisBackend
from flowstore.backends.sqlite import SQLiteBackend
from flowstore.base import BaseResultBackend

_FORMS: Final = "memory://, sqlite:///file.db, redis://host:port/db, rediss://..., unix:///path/to.sock"


def connect(url: str, **options: Any) -> BaseResultBackend:
    """The backend that ``url`` names; it opens with ``async with`` or at its first call.

    ``sqlite:///file.db`` is relative to the working directory, ``sqlite:////var/file.db`` absolute.
    ``options`` go to the backend's constructor: those of BackendOptions, ``namespace``, and its own.
    Raises ValueError for a URL of another form.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, rest = url.partition("://")
    if separator and scheme in ("redis", "rediss", "unix"):
        return RedisBackend(url, **options)
    if scheme == "sqlite" and rest.startswith("/") and len(rest) > 1:
        return SQLiteBackend(unquote(rest[1:]), **options)
    if url == "memory://":
        return InMemoryBackend(**options)
    raise ValueError(f"url: scheme {scheme[:20]!r} in this form is not known; expected one of {_FORMS}")
