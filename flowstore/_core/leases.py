"""Leases: what only one process at a time should do in a namespace.

A lease is an item of the namespace that names its holder and ends by itself, so that a holder that was killed
keeps nobody out for long. It is taken, renewed and released by compare-and-set on the version of the item: of
any number who try at the same time, one gets it, and a holder that was too slow learns that it has lost it.

It saves double work, and nothing may rest on it alone. Clocks differ, and a process that was stopped between
a look and a write can go on when its lease has ended. What is done under a lease must be harmless twice.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from secrets import token_hex
from typing import Any, Final, NamedTuple, Self

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore.engine import NAMESPACE, Item, Section
from flowstore.errors import BackendMisuse, FlowstoreError, StorageError, UnreadableRecord
from flowstore.times import from_micros

LASTS: Final = 30_000_000
"""Microseconds from a renewal until others may take over."""

PREFIX: Final = "lease:"
"""How the keys of leases begin, among those of Section.APP."""
FIELD: Final = "lease"
"""What their values hold."""
_NO_VERSION: Final = 2**53


class Held(NamedTuple):
    """A lease as stored. ``until`` is in microseconds."""

    holder: str
    token: str
    until: int


class Lease:
    """Use as ``async with Lease(...) as lease:``, and call ``lease.renew()`` between steps of a few seconds.

    ``busy`` makes the error that is raised where another has the lease, of its holder and the time at which
    it ends unless it is renewed.
    """

    def __init__(self, core: Core, name: str, busy: Callable[[str, datetime], FlowstoreError]) -> None:
        self._core = core
        # Not among the data, where ``app.data.all`` would show it.
        self._keeping = Keeping(core, Section.APP)
        self._key = f"{PREFIX}{name}"
        self._busy = busy
        self._token = token_hex(8)
        self._version = 0
        self._renewed_at = 0

    async def __aenter__(self) -> Self:
        try:
            await self._take()
        except asyncio.CancelledError:
            await self._look_and_release()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._remove(self._version)
        except asyncio.CancelledError:
            await self._look_and_release()
            raise

    async def _take(self) -> None:
        while True:
            item = await self._standing()
            self._check_free(item)
            if await self._write(item.version if item else 0):
                return

    async def _look_and_release(self) -> None:
        """Remove it if it is ours: a write that was cancelled may be carried out all the same."""
        await self._remove(_NO_VERSION)  # in vain, but behind that write
        with suppress(StorageError, BackendMisuse):
            item = await self._standing()
            held = None if item is None else self._read(item)
            if item is not None and held is not None and held.token == self._token:
                await self._remove(item.version)

    async def _remove(self, version: int) -> None:
        """Whatever goes wrong, it ends by itself."""
        with suppress(StorageError, BackendMisuse):
            await self._keeping.put(NAMESPACE, self._key, None, if_version=version)

    async def renew(self) -> None:
        """Write to the storage if a third of its time is over. Raises ``busy`` if another has taken it."""
        while self._core.clock() - self._renewed_at > LASTS // 3:
            if await self._write(self._version):
                return
            item = await self._standing()
            self._check_free(item)
            self._version = item.version if item else 0

    async def _write(self, version: int) -> bool:
        now = self._core.clock()
        held = Held(f"{socket.gethostname()}:{os.getpid()}", self._token, now + LASTS)
        value = self._keeping.encode(held._asdict(), FIELD)
        outcome = await self._keeping.put(NAMESPACE, self._key, value, if_version=version)
        if outcome.is_applied:
            self._version, self._renewed_at = outcome.version, now
        return outcome.is_applied

    async def _standing(self) -> Item | None:
        found = await self._keeping.kept(NAMESPACE, keys=[self._key])
        return found[0] if found else None

    def _check_free(self, item: Item | None) -> None:
        held = None if item is None else self._read(item)
        if held is None or held.token == self._token:  # also where the answer to an own write was lost
            return
        # One that would last longer is of a clock that was wrong, and might keep everybody out for years.
        left = held.until - self._core.clock()
        if 0 < left <= 2 * LASTS:
            raise self._busy(held.holder, from_micros(held.until))

    def _read(self, item: Item) -> Held | None:
        """None if it cannot be read: then it keeps nobody out."""
        try:
            value: Any = self._keeping.decode(NAMESPACE, item, FIELD)[0]
            holder, token, until = value["holder"], value["token"], value["until"]
        except (UnreadableRecord, KeyError, TypeError):
            return None
        is_ours = type(holder) is str and type(token) is str and type(until) is int
        return Held(holder, token, until) if is_ours else None
