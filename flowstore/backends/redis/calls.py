"""The calls of one Redis engine: on few connections, each write carried out once, however often it is sent.

The driver sends a call again when its reply was lost. So a script that writes leaves its answer in the key of
its line, with the number of the call, which rises within the line. Sent again, the call gets that answer; if
it arrives after a later call of its line, it is refused. It only works as a line carries one call at a time.

A write that was given up, cancelled or without an answer, may still be on its way when its caller makes the
next one, which may take another line. So its line is fenced off first: no write leaves before the server has
refused for good whatever was given up before.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from itertools import count
from typing import Any, Final

from redis.exceptions import NoScriptError, RedisError, ResponseError

from flowstore._trips.lanes import copy_of
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.driver import text_of
from flowstore.backends.redis.format import Value, after
from flowstore.backends.redis.link import Link, Way
from flowstore.backends.redis.replication import Confirming, Replicas
from flowstore.errors import StorageError

Call = Callable[..., Awaitable[Any]]

_MOST_LINES: Final = 10
_LEAST_MEMORY: Final = 60.0
_MOST_BODY_BYTES: Final = 2**30  # longer than any that a server keeps
_TOO_LATE: Final = "comes too late"


class Line:
    """A way that carries one call at a time, and the key of its answers."""

    __slots__ = ("call", "confirming", "key", "numbers", "way", "write")

    def __init__(self, way: Way, key: str, replicas: Replicas | None) -> None:
        self.way = way
        self.call = way.call
        self.confirming = None if replicas is None else Confirming(way, replicas)
        self.write = self.call if self.confirming is None else self.confirming.call
        self.key = key
        self.numbers = count(1)


class Calls:
    """Calls on ``link``. ``timeout``: after how many seconds a caller ends a call, and so all retries.

    ``replicas``: which must have each write before it returns; None: none has to.
    """

    refusal: StorageError | None = None
    """What every write raises, where this program may only read."""

    def __init__(self, link: Link, prefix: str, timeout: float, replicas: Replicas | None = None) -> None:
        self._link = link
        self._replicas = replicas
        self._prefix = prefix
        self._timeout = timeout
        self._remembered_ms = round(max(_LEAST_MEMORY, 2 * timeout) * 1_000)
        self._slots = asyncio.Semaphore(min(_MOST_LINES, link.most_ways))
        self._idle: list[Line] = []
        self._lines: list[Line] = []
        """All of them, idle or not."""
        self._unfenced: dict[str, int] = {}
        """The lines whose last write was given up, by key: lower numbers than these must be refused."""

    async def close(self) -> None:
        """Close its connections. What is called later opens them again."""
        for line in self._idle:
            await line.way.close()
        await self._link.close()

    def abandoned(self) -> Calls:
        """Calls that may follow in another loop, as that of these is closed.

        What was in flight there has no caller left, but may still arrive: it is fenced off like a write that
        was given up.
        """
        heirs = Calls(self._link, self._prefix, self._timeout, self._replicas)
        heirs._unfenced.update(self._unfenced)
        for line in self._lines:
            line.way.sever()
            if line not in self._idle:
                heirs._unfenced[line.key] = next(line.numbers)
        return heirs

    async def command(self, *command: str | bytes | int) -> Any:
        """The answer to one command. What it writes, if anything, must be harmless when written twice."""
        return await self._unordered(lambda call: call(*command))

    async def read(self, script: str, *arguments: str | bytes | int) -> Any:
        """The answer of ``script``. What it writes, if anything, must be harmless when written twice."""
        keys = (self._prefix, f"{self._prefix}format")
        return await self._unordered(lambda call: self._run(call, script, keys, arguments))

    async def records(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> Sequence[Value]:
        """The records of at most PER_CALL ids, as ``entry_of`` takes them."""
        if with_body and max_body is None:  # cheaper than a script that returns the whole value anyway
            values: list[Value] = await self.command(*self.read_of(ids))
            return values[:-1]
        most = min(max_body or 0, _MOST_BODY_BYTES) if with_body else "head"
        found: list[Value] = await self.read("heads", most, *ids)
        return found

    def read_of(self, ids: Sequence[str]) -> tuple[str, ...]:
        """The command that reads records whole, and behind them one key that is there.

        Where a slot is moving a key that is not there may be on the other side: a call that has one of each
        is told so, and tried again.
        """
        return "MGET", *(f"{self._prefix}r:{one}" for one in ids), f"{self._prefix}format"

    def run_of(self, script: str) -> tuple[str | int, ...]:
        """How the command begins that ``read`` sends. The server may have to be told the script first."""
        digest, _ = _SCRIPTS[self._link.publishes][script]
        return "EVALSHA", digest, 2, self._prefix, f"{self._prefix}format"

    def check_writable(self) -> None:
        if self.refusal is not None:
            raise copy_of(self.refusal)

    async def write(self, script: str, now: int, *arguments: str | bytes | int) -> Any:
        """The answer of ``script``, which begins with line.lua.

        Raises Unconfirmed where it was carried out, and too few replicas have told that they have it.
        """
        self.check_writable()

        async def run(line: Line) -> Any:
            named = (self._remembered_ms, now, after(now), *arguments)
            try:
                return await self._write(line, script, named)
            except ResponseError as error:
                if _TOO_LATE not in text_of(error):
                    raise
            # Nobody waits for a call that is late. So somebody else wrote a higher number to the key of the
            # line: with this key none of its calls would succeed any more.
            line.key = self._new_key()
            return await self._write(line, script, named)

        return await self._guarded(run)

    async def _write(self, line: Line, script: str, arguments: tuple[Any, ...]) -> Any:
        if self._unfenced:
            await self._fence(line)
        try:
            numbered = (next(line.numbers), *arguments)
            answer = await self._run(line.write, script, (self._prefix, line.key), numbered)
        except BaseException:
            # Errors of the server as well: they may be the answer to a call sent again, whose first copy is
            # still on its way.
            self._unfenced[line.key] = next(line.numbers)
            raise
        self._unfenced.pop(line.key, None)  # the number of this call is a fence as well
        if line.confirming is not None:
            line.confirming.check()
        return answer

    async def confirm(self) -> None:
        """Return once the replicas have all that was written before, given up or not. Raises Unconfirmed."""
        if self._replicas is None:
            return

        async def run(line: Line) -> None:
            assert line.confirming is not None
            await self._fence(line)
            await line.write("SET", self._new_key(), "", "PX", 1)  # as WAIT counts from a write
            line.confirming.check()

        await self._guarded(run)

    async def _unordered(self, call: Callable[[Call], Awaitable[Any]]) -> Any:
        """Make a call that needs no line of its own: at once, where the link can carry any number."""
        if self._link.call is None:
            return await self._guarded(lambda line: call(line.call))
        try:
            return await call(self._link.call)
        except (RedisError, OSError) as error:
            raise storage_error(error, self._prefix) from error

    async def _guarded(self, call: Callable[[Line], Awaitable[Any]]) -> Any:
        """Make a call of the driver on a free line, and translate its errors. The trip sets the deadline."""
        try:
            async with self._slots:
                line = self._idle.pop() if self._idle else self._new_line()
                try:
                    return await call(line)
                finally:
                    self._idle.append(line)
        except (RedisError, OSError) as error:
            raise storage_error(error, self._prefix) from error

    async def _fence(self, line: Line) -> None:
        """Let no write that was given up arrive behind the next one, on ``line``."""
        fences = {key: number for key, number in self._unfenced.items() if key != line.key}
        if fences:
            keys, numbers = (self._prefix, *fences), (self._remembered_ms, *fences.values())
            await self._run(line.call, "fence", keys, numbers)
        for key, number in fences.items():
            if self._unfenced.get(key) == number:
                del self._unfenced[key]

    async def _run(
        self,
        call: Call,
        script: str,
        keys: tuple[str, ...],
        arguments: tuple[Any, ...],
    ) -> Any:
        digest, source = _SCRIPTS[self._link.publishes][script]
        try:
            return await call("EVALSHA", digest, len(keys), *keys, *arguments)
        except NoScriptError:  # not SCRIPT LOAD and a retry: it could be flushed again in between
            return await call("EVAL", source, len(keys), *keys, *arguments)

    def _new_line(self) -> Line:
        line = Line(self._link.way(), self._new_key(), self._replicas)
        self._lines.append(line)
        return line

    def _new_key(self) -> str:
        return f"{self._prefix}c:{secrets.token_hex(8)}"


_PARTS: Final = {
    "commit": ("line", "answer", "tally", "alone", "record", "telling", "removal", "commit"),
    "remove": ("full", "line", "answer", "record", "telling", "removal", "remove"),
    "purge": ("full", "line", "answer", "record", "telling", "removal", "fold", "purge"),
    "mend": ("full", "line", "answer", "record", "telling", "removal", "mend"),
    "drop": ("full", "line", "answer", "drop"),
    "report": ("line", "answer", "record", "telling", "expiry", "report"),
    "expire": ("line", "answer", "record", "telling", "expiry", "expire"),
    "put": ("line", "answer", "record", "put"),
    "audit": ("record", "audit"),
    **{
        name: (name,)
        for name in (
            *("blocks", "counts", "facets", "facts", "fence", "forget", "groups", "heads", "items"),
            *("matches", "migrate", "moves", "ranges", "read_old", "series", "totals", "watch"),
        )
    },
}
"""The files that each script consists of, in the folder lua: as each call pays for all that it has."""


def _scripts() -> dict[str, dict[str, tuple[str, str]]]:
    """By the command that tells others, and by name: the digest to call a script by, and its source."""
    folder = files(__package__) / "lua"
    texts = {
        name: "".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
        for name, parts in _PARTS.items()
    }
    return {
        command: {name: _script(text.replace("'PUBLISH'", f"'{command}'")) for name, text in texts.items()}
        for command in ("PUBLISH", "SPUBLISH")
    }


def _script(source: str) -> tuple[str, str]:
    return _digest(source), source


def _digest(source: str) -> str:
    return sha1(source.encode(), usedforsecurity=False).hexdigest()


_SCRIPTS: Final = _scripts()
