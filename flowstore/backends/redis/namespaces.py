"""Namespaces of a database: their keys, formats and the register of all of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from string import ascii_letters, digits, punctuation
from typing import Any, Final
from urllib.parse import quote, unquote

from flowstore._trips.read_only import read_only_refusal, too_old
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import FORMAT
from flowstore.errors import CorruptStore, SchemaTooNew, StorageError, StorageFull, StorageUnavailable

REGISTER: Final = "flowstore::namespaces"
"""A set of all namespaces; outside of each of them, so that it may be forbidden to the user."""

IS_WHOLE: Final = ""
"""In the register when all namespaces are that were there before it."""
_KEYS_PER_SCAN: Final = 5_000
_IS_FORMAT_KEY: Final = re.compile(rb"flowstore:\{(?:[^{}%]|%[0-9A-F]{2})*\}:format").fullmatch
"""Stricter than the pattern of SCAN: the key of a record may end like that as well, if its id does. Nor is it
that of a bucket, whose name has another ``%``.
"""
FORMATS: Final = re.compile(rb"(\d{1,9})(?: (\d{1,9}) (\d{1,9}))?")
_DIVIDED: Final = re.compile(rb"\d{1,9} (\d{2,4})")
OLDEST: Final = 2
_PLAIN: Final = (ascii_letters + digits + punctuation).replace("%", "")


def escaped(namespace: str) -> str:
    """As it stands in a hash tag."""
    return namespace.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")


def prefix_of(namespace: str) -> str:
    """The prefix of all keys of a namespace, which share a hash tag."""
    return f"flowstore:{{{escaped(namespace)}}}:"


def client_name_of(namespace: str) -> str:
    """The name of the connections of a backend, in which a server allows printable ASCII without spaces."""
    return f"flowstore:{quote(namespace, safe=_PLAIN)}"


def pattern_of(prefix: str) -> str:
    """The prefix as the beginning of a pattern, in which it stands for itself."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix)


class Namespace:
    """A namespace, its prefix, and the key that says its format. ``prefix``: if its keys have another one."""

    def __init__(self, name: str, prefix: str | None = None) -> None:
        self.name = name
        self.prefix = prefix or prefix_of(name)
        self.is_founded = False
        """Whether it is there. Once it was dropped, the next write founds it anew."""
        self._key = f"{self.prefix}format"

    async def enter(self, calls: Calls, *, read_only: bool = False) -> StorageError | None:
        """What ``open`` does and returns, when the engine is opened."""
        return await self.open(calls, read_only=read_only)

    async def open(self, calls: Calls, *, read_only: bool = False) -> StorageError | None:
        """Found or check the namespace; returns what every write shall raise, if it may only be read.

        ``read_only``: look at it and write nothing; where nobody has founded it, it is empty. Raises
        AccessDenied if it would have to be migrated.
        """
        if read_only:
            return await self._look(calls)
        full = None
        try:
            await calls.command("SET", self._key, FORMAT, "NX")
        except StorageFull as error:  # what is stored already can still be read, and deleted
            full = error
        found = await calls.command("GET", self._key)
        if found is None and full is not None:
            raise full
        reason = refusal(self._key, found)
        if found and int(found.split()[0]) == OLDEST:
            from flowstore.backends.redis.migration import migrate  # what no other store needs

            await migrate(calls, self.prefix)
        if reason is None and full is None:
            await self._register(calls)
        self.is_founded = True
        return reason

    async def _look(self, calls: Calls) -> StorageError:
        found = await calls.command("GET", self._key)
        if found is None:
            return read_only_refusal()
        reason = refusal(self._key, found)
        if (number := int(found.split()[0])) < FORMAT:
            raise too_old(self._key, number, FORMAT)
        self.is_founded = True
        return reason or read_only_refusal()

    async def leave(self, calls: Calls) -> None:
        """Take a namespace that was dropped out of the register."""
        try:
            await calls.command("SREM", REGISTER, self.name)
        except StorageUnavailable:
            raise
        except StorageError:
            pass  # it could not be registered either
        finally:
            self.is_founded = False

    async def _register(self, calls: Calls) -> None:
        with suppress(StorageError):  # forbidden, full, or in a slot of another node: it is not needed
            if not await calls.command("SISMEMBER", REGISTER, self.name):
                await calls.command("SADD", REGISTER, self.name)

    async def all_of_them(self, calls: Calls) -> list[str]:
        """As the register says, once it is whole; before, and where it is forbidden, as keys show."""
        with suppress(StorageError, UnicodeDecodeError):
            names: set[str] = {name.decode() for name in await calls.command("SMEMBERS", REGISTER)}
            if IS_WHOLE in names:
                return sorted({self.name, *names} - {IS_WHOLE})
        names = await scanned(calls.command)
        if calls.refusal is None:
            with suppress(StorageError):
                await calls.command("SADD", REGISTER, *names, IS_WHOLE)
        return sorted({self.name, *names})


async def scanned(command: Callable[..., Awaitable[Any]]) -> set[str]:
    """The namespaces whose keys are on one server, found in bounded trips."""
    names: set[str] = set()
    cursor = 0
    while True:
        options = ("MATCH", "flowstore:{*}:format", "COUNT", _KEYS_PER_SCAN)
        cursor, keys = await command("SCAN", cursor, *options)
        names.update(map(_namespace_of, filter(_IS_FORMAT_KEY, keys)))
        if not int(cursor):
            return names


def refusal(where: str, found: bytes | None) -> SchemaTooNew | None:
    """Why a namespace may only be read by this program; None where it may be written as well.

    ``found``: the number of its format, and where they are others the oldest formats whose programs may still
    write and read it. Raises SchemaTooNew where it may not even be read, CorruptStore for anything else.
    """
    numbers = FORMATS.fullmatch(found or b"")
    if numbers is None and (divided := _DIVIDED.fullmatch(found or b"")):
        buckets = int(divided[1])
        raise CorruptStore(f"{where} is of a namespace in {buckets} buckets: open it with redis+cluster://")
    if numbers is None:
        raise CorruptStore(f"{where} holds {found!r}, expected the number of a format")
    number = int(numbers[1])
    oldest_writer, oldest_reader = int(numbers[2] or number), int(numbers[3] or number)
    if number < OLDEST:
        raise CorruptStore(f"{where} holds {number}, a format from before the first release")
    if oldest_reader > FORMAT:
        raise SchemaTooNew(where, number, FORMAT)
    return SchemaTooNew(where, number, FORMAT, is_readable=True) if oldest_writer > FORMAT else None


def _namespace_of(format_key: bytes) -> str:
    return unquote(format_key.decode()[len("flowstore:{") : -len("}:format")], errors="strict")
