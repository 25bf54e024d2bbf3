"""The calls of one Redis engine: on few connections, each write carried out once, however often it is sent.

The driver sends a call again when its reply was lost. So a script that writes leaves its answer in the key of
its line, with the number of the call, which rises within the line. Sent again, the call gets that answer; if
it arrives after a later call of its line, it is refused. It only works as a line carries one call at a time.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from hashlib import sha1
from importlib.resources import files
from itertools import count
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from flowstore._trips.lanes import copy_of
from flowstore.backends.redis.client import storage_error
from flowstore.errors import StorageError

_MAX_CONNECTIONS: Final = 10
_LEAST_MEMORY: Final = 60.0


class Line:
    """A connection, or the shared client, that carries one call at a time; and the key of its answers."""

    __slots__ = ("client", "key", "numbers")

    def __init__(self, client: Redis, key: str) -> None:
        self.client = client
        self.key = key
        self.numbers = count(1)


class Calls:
    """Calls of ``client``. With ``owns_client`` each line keeps a connection, which saves a fifth of a call.

    ``timeout``: after how many seconds the caller ends a call, and with it the driver's retries.
    """

    owns_client = False
    refusal: StorageError | None = None
    """What every write raises, where this program may only read."""

    def __init__(self, client: Redis, prefix: str, timeout: float) -> None:
        self._client = client
        self._prefix = prefix
        self._name = f"{prefix}c:{secrets.token_hex(8)}:"
        self._remembered_ms = round(max(_LEAST_MEMORY, 2 * timeout) * 1_000)
        most = client.connection_pool.max_connections - 1  # one listens
        self._slots = asyncio.Semaphore(min(_MAX_CONNECTIONS, most))
        self._lines = map(self._new_line, count())
        self._idle: list[Line] = []

    async def close(self) -> None:
        if self.owns_client:
            for client in (*(line.client for line in self._idle), self._client):
                await client.aclose()

    async def read(self, script: str, *arguments: Any) -> Any:
        """The answer of ``script``. What it writes, if anything, must be harmless when written twice."""
        return await self.guarded(lambda line: self._run(line, script, (self._prefix,), arguments))

    async def write(self, script: str, *arguments: Any) -> Any:
        """The answer of ``script``, which must start with ``begin`` and end with ``answer`` (lib.lua)."""
        if self.refusal is not None:
            raise copy_of(self.refusal)

        def run(line: Line) -> Awaitable[Any]:
            named = (*arguments, self._remembered_ms, next(line.numbers))
            return self._run(line, script, (self._prefix, line.key), named)

        return await self.guarded(run)

    async def guarded(self, call: Callable[[Line], Awaitable[Any]]) -> Any:
        """Make a call of the driver on a free line, and translate its errors. The trip sets the deadline."""
        try:
            async with self._slots:
                line = self._idle.pop() if self._idle else next(self._lines)
                try:
                    return await call(line)
                finally:
                    # Even after a cancellation: should that call still arrive, its number is too low by then.
                    self._idle.append(line)
        except (RedisError, OSError) as error:
            raise storage_error(error, self._prefix) from error

    async def _run(self, line: Line, script: str, keys: tuple[str, ...], arguments: tuple[Any, ...]) -> Any:
        digest, source = _SCRIPTS[script]
        try:
            return await line.client.evalsha(digest, len(keys), *keys, *arguments)
        except NoScriptError:  # not SCRIPT LOAD and a retry: it could be flushed again in between
            return await line.client.eval(source, len(keys), *keys, *arguments)

    def _new_line(self, number: int) -> Line:
        return Line(self._client.client() if self.owns_client else self._client, f"{self._name}{number}")


def _scripts() -> dict[str, tuple[str, str]]:
    """By name, the digest to call a script by and the source to load it from."""
    folder = files(__package__) / "lua"
    library = folder.joinpath("lib.lua").read_text("utf-8")
    names = (
        *("clear", "commit", "count", "fetch", "history", "kept", "names"),
        *("purge", "put", "remove", "report", "scan", "watch"),
    )
    sources = {name: library + folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names}
    return {name: (_digest(source), source) for name, source in sources.items()}


def _digest(source: str) -> str:
    return sha1(source.encode(), usedforsecurity=False).hexdigest()


_SCRIPTS: Final = _scripts()
