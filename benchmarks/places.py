"""Where the systems keep their results: a server or file that is new for each run, or a given one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import redis

from benchmarks.peers.base import Storage
from tests.servers import Server, valkey_binary


class Places(Protocol):
    storages: tuple[Storage, ...]
    """Those that there are places on; systems on another storage do not take part."""
    most_at_once: int

    @contextmanager
    def fresh(self, storage: Storage) -> Iterator[str]:
        """The location, for ``Peer``, of an empty storage; what is in it is gone afterwards."""


class OwnPlaces:
    """A Valkey server of its own for each run, and a file in a new folder, within ``folder`` if given."""

    most_at_once = 6

    def __init__(self, *storages: Storage, folder: str | None = None) -> None:
        self.storages = storages
        self._folder = folder

    @contextmanager
    def fresh(self, storage: Storage) -> Iterator[str]:
        match storage:
            case "redis":
                server = Server(valkey_binary())
                try:
                    yield server.url
                finally:
                    server.stop()
            case "sqlite":
                with tempfile.TemporaryDirectory(prefix="bench-", dir=self._folder) as folder:
                    yield str(Path(folder, "results.db"))
            case "memory":
                yield ""


class GivenRedis:
    """One database, which is emptied after each run, and was therefore found empty before it."""

    storages: tuple[Storage, ...] = ("redis",)
    most_at_once = 1

    def __init__(self, url: str) -> None:
        self._url = url
        self._refuse_unless_empty()

    @contextmanager
    def fresh(self, storage: Storage) -> Iterator[str]:
        self._refuse_unless_empty()
        try:
            yield self._url
        finally:
            with redis.Redis.from_url(self._url) as client:
                client.flushdb()

    def _refuse_unless_empty(self) -> None:
        with redis.Redis.from_url(self._url) as client:
            if keys := client.dbsize():
                raise ValueError(
                    f"the database holds {keys} keys, and a run empties it: give one that is empty,"
                    " and that nobody else uses"
                )


def places(backend: str | None) -> Places:
    """From the option ``--backend``. Raises ValueError or redis.RedisError when it cannot be used."""
    if backend is None:
        return OwnPlaces("redis", "sqlite", "memory")
    if backend.startswith("redis://"):
        return GivenRedis(backend)
    if backend == "memory://":
        return OwnPlaces("memory")
    if "://" in backend and not backend.startswith("sqlite:///"):
        raise ValueError(f"{backend!r} is none of redis://..., sqlite:///FOLDER, FOLDER, memory://")
    folder = backend.removeprefix("sqlite:///")
    if not os.path.isdir(folder):
        raise ValueError(f"{folder!r} is not a folder; each run makes a SQLite file of its own in it")
    return OwnPlaces("sqlite", folder=os.path.abspath(folder))


def through(url: str, port: int) -> str:
    """The same Redis URL, at a port of this machine."""
    parts = urlsplit(url)
    credentials, at, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{credentials}{at}127.0.0.1:{port}").geturl()


def server_of(url: str) -> str:
    """Name and version of a server."""
    with redis.Redis.from_url(url) as client:
        about = client.info("server")
    if "valkey_version" in about:
        return f"Valkey {about['valkey_version']}"
    return f"Redis {about['redis_version']}"
