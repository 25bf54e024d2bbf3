"""Who may try next to write over what stands, and when all calls in flight have ended.

To look and then to write over what was seen fails whenever somebody else was faster. Where many try that with
one id, most of them would fail again and again, and whoever comes anew would overtake those who wait. So
within a process they take turns, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from flowstore.errors import BackendClosed


class Turns:
    """A queue for each id, in each event loop: what waits in a loop that is closed holds up nobody."""

    def __init__(self) -> None:
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Queue]] = WeakKeyDictionary()

    @asynccontextmanager
    async def turn(self, id: str, patience: float) -> AsyncIterator[None]:
        """For as long as the block runs, no other block of this id runs; at most ``patience`` is waited.

        After that the block runs all the same: in an outage those before it may all wait for their deadlines.
        """
        queues = self._queues.setdefault(asyncio.get_running_loop(), {})
        queue = queues.setdefault(id, _Queue())
        queue.users += 1
        try:
            async with queue.place(patience):
                yield
        finally:
            queue.users -= 1
            if not queue.users:
                del queues[id]


_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class Attempts:
    """Of one call, in its turn: other processes may be faster again and again, but not for ever."""

    def __init__(self, patience: float) -> None:
        self._until = time.monotonic() + patience
        self._pause = 0.0

    async def another(self) -> bool:
        """Whether there is time for another attempt, after a moment that is of another length elsewhere."""
        await asyncio.sleep(random.uniform(0, self._pause))
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        return time.monotonic() < self._until


class _Queue:
    def __init__(self) -> None:
        self.users = 0
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def place(self, patience: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(patience):
                await self._lock.acquire()
        except TimeoutError:
            yield
            return
        try:
            yield
        finally:
            self._lock.release()


class Calls:
    """Counts the calls that are in flight."""

    def __init__(self) -> None:
        self._count = 0
        self._is_ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._last: asyncio.Future[None] | None = None

    def check_open(self) -> None:
        if self._is_ended:
            raise BackendClosed("the manager is closed")

    def begin(self) -> None:
        self.check_open()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and self._loop.is_closed():  # what was in flight there never ends
                self._count = 0
            self._loop = loop
        self._count += 1

    def leave(self) -> None:
        self._count = max(0, self._count - 1)  # what a closed loop has left may end at any time later
        if not self._count and self._last is not None and not self._last.done():
            self._last.set_result(None)

    async def end(self) -> None:
        """Refuse new ones from now on, and return when the others have ended."""
        self._is_ended = True
        loop = asyncio.get_running_loop()
        if self._count and loop is self._loop:
            if self._last is None or self._last.done():
                self._last = loop.create_future()
            await asyncio.shield(self._last)
