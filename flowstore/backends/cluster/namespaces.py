"""A namespace in buckets: how many there are, and the register of all namespaces of a cluster."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

from redis.exceptions import RedisError

from flowstore._trips.read_only import read_only_refusal
from flowstore.backends.cluster.router import Router
from flowstore.backends.cluster.slots import slot_of
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.format import FORMAT
from flowstore.backends.redis.namespaces import FORMATS, IS_WHOLE, REGISTER, Namespace, prefix_of, scanned
from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

DEFAULT_BUCKETS: Final = 64
LEAST_BUCKETS: Final = 16
MOST_BUCKETS: Final = 4_096
_REMEMBERED_MS: Final = 86_400_000
"""For how long the number of buckets of a namespace stands that was dropped."""
_DIVIDED: Final = re.compile(rb"(\d{1,9}) (\d{1,9})")


class DividedNamespace:
    """What the cluster knows of a namespace: that it is there, and in how many buckets.

    ``wanted``: in how many it is made; None: in as many as it has, or DEFAULT_BUCKETS.
    """

    def __init__(self, router: Router, name: str, wanted: int | None, *, read_only: bool = False) -> None:
        self.name = name
        self._router = router
        self._wanted = wanted
        self._is_read_only = read_only
        self._prefix = prefix_of(name)
        self._key = f"{self._prefix}format"
        self.is_founded = False
        self.format: int | None = None
        """As it was last seen; buckets have none until they are written to."""

    async def open(self) -> int:
        """Found or check it; returns in how many buckets it is.

        Raises ValueError if it is in another number of them than is wanted, CorruptStore if it is in none,
        and SchemaTooNew.
        """
        full = None
        try:
            await self._call("SET", self._key, f"{FORMAT} {self._wanted or DEFAULT_BUCKETS}", "NX")
        except StorageFull as error:  # what is stored already can still be read, and deleted
            full = error
        found = await self._call("GET", self._key)
        if found is None and full is not None:
            raise full
        buckets = self._buckets(found)
        if full is None:
            await self._call("PERSIST", self._key)  # it may have been dropped
            await self._register()
        self.is_founded = True
        return buckets

    async def look(self) -> int | None:
        """In how many buckets it is; None if nobody has founded it. Raises what ``open`` raises."""
        found = await self._call("GET", self._key)
        return None if found is None else self._buckets(found)

    async def found(self) -> None:
        """Found it anew if it was dropped."""
        if not self.is_founded:
            await self.open()

    async def leave(self) -> None:
        """Forget a namespace that was dropped.

        But for its number of buckets: whoever has it open still stores into as many, and would be alone with
        that if the next one who founds it chose another number.
        """
        self.is_founded = False
        await self._call("PEXPIRE", self._key, _REMEMBERED_MS)
        try:
            await self._call("SREM", REGISTER, self.name)
        except StorageUnavailable:
            raise
        except StorageError:
            pass  # it could not be registered either

    async def all_of_them(self) -> list[str]:
        """As the register says, once it is whole; before, and where it is forbidden, as all nodes show."""
        with suppress(StorageError, UnicodeDecodeError):
            names: set[str] = {name.decode() for name in await self._call("SMEMBERS", REGISTER)}
            if IS_WHOLE in names:
                return sorted({self.name, *names} - {IS_WHOLE})
        found: set[str] = set()
        for address in self._router.owners:
            found |= await self._translated(scanned(partial(self._router.call_at, address)))
        names = {name for name in found if not await self._is_dropped(name)} | {self.name}
        if not self._is_read_only:
            with suppress(StorageError):
                await self._call("SADD", REGISTER, *names, IS_WHOLE)
        return sorted(names)

    async def _is_dropped(self, name: str) -> bool:
        """Whether only the number of its buckets is left."""
        with suppress(AccessDenied):  # who may not ask has all of them
            return bool(await self._call("PTTL", f"{prefix_of(name)}format") >= 0)
        return False

    async def _register(self) -> None:
        with suppress(StorageError):  # forbidden, or full: it is not needed
            if not await self._call("SISMEMBER", REGISTER, self.name):
                await self._call("SADD", REGISTER, self.name)

    async def _call(self, command: str, key: str, *arguments: str | int) -> Any:
        return await self._translated(self._router.call(slot_of(key), command, key, *arguments))

    async def _translated(self, call: Awaitable[Any]) -> Any:
        try:
            return await call
        except (RedisError, OSError) as error:
            raise storage_error(error, self._prefix) from error

    def _buckets(self, found: bytes | None) -> int:
        numbers = _DIVIDED.fullmatch(found or b"")
        if numbers is None and FORMATS.fullmatch(found or b""):
            raise CorruptStore(
                f"{self._key} is of a namespace that is not in buckets: open it with a URL of its server, or "
                "copy it to another namespace"
            )
        if numbers is None:
            raise CorruptStore(
                f"{self._key} holds {found!r}, expected the numbers of a format and of buckets"
            )
        number, buckets = int(numbers[1]), int(numbers[2])
        self.format = number
        if number > FORMAT:
            raise SchemaTooNew(self._key, number, FORMAT)
        if not LEAST_BUCKETS <= buckets <= MOST_BUCKETS:
            raise CorruptStore(
                f"{self._key} holds {found!r}, expected {LEAST_BUCKETS} to {MOST_BUCKETS} buckets"
            )
        if self._wanted not in (None, buckets):
            raise ValueError(
                f"buckets: the namespace {self.name!r} is in {buckets} buckets, got {self._wanted}; leave it "
                "out, or copy the namespace to another one"
            )
        return buckets


class Bucket(Namespace):
    """One bucket of a namespace, which for its engine is a namespace: with a format, and in no register.

    It is founded by the first write, not when it is opened: so a program can start while a node is down.
    """

    def __init__(self, name: str, prefix: str, found: Callable[[], Awaitable[None]]) -> None:
        super().__init__(name, prefix)
        self._found = found

    is_left = False
    """Whether it was dropped, and nobody has stored in it meanwhile."""

    async def leave(self, calls: Calls) -> None:
        self.is_founded, self.is_left = False, True

    async def open(self, calls: Calls, *, read_only: bool = False) -> StorageError | None:
        self.is_left = False
        return await super().open(calls, read_only=read_only)

    async def enter(self, calls: Calls, *, read_only: bool = False) -> StorageError | None:
        return read_only_refusal() if read_only else None

    async def _register(self, calls: Calls) -> None:
        await self._found()
