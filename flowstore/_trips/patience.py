"""Riding out trouble: a call that is made again until the storage takes it, or patience ends.

Only what is safe to repeat may be called like this: the call must find out by itself whether the one before
was carried out after all, though its answer was lost.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from flowstore._trips.deadlines import in_time
from flowstore.errors import StorageFull, StorageUnavailable

T = TypeVar("T")

_RIDDEN_OUT: Final = (StorageUnavailable, StorageFull)
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Pauses:
    """How long to wait before trying again: longer each time, and jittered, or all would come at once."""

    def __init__(self) -> None:
        self._next = _FIRST_PAUSE

    def reset(self) -> None:
        self._next = _FIRST_PAUSE

    def next(self) -> float:
        """Seconds."""
        pause, self._next = self._next, min(2 * self._next, _LONGEST_PAUSE)
        return pause * random.uniform(0.5, 1.0)


async def patiently(call: Callable[[], Awaitable[T]], patience: float, op_timeout: float) -> T:
    """What ``call`` returns, made again for ``patience`` seconds if the storage is full or out of reach.

    Raises the last trouble. The first call has ``op_timeout`` seconds, the others share what is left of
    ``patience``.
    """
    clock = asyncio.get_running_loop().time
    end = clock() + patience
    try:
        return await in_time(call(), op_timeout)
    except _RIDDEN_OUT:
        pauses = Pauses()
        pause = pauses.next()
        if clock() + pause >= end:
            raise
        return await _again(call, end, pauses, pause)


async def _again(call: Callable[[], Awaitable[T]], end: float, pauses: Pauses, pause: float) -> T:
    clock = asyncio.get_running_loop().time
    while True:
        await asyncio.sleep(pause)
        try:
            return await in_time(call(), end - clock())
        except _RIDDEN_OUT:
            pause = pauses.next()
            if clock() + pause >= end:
                raise
