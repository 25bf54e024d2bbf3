"""Writes that return once so many replicas have them, or raise Unconfirmed.

WAIT says how many replicas have received what its connection had written before, in their memory. A server
that is asked to wait for more than there are, or that are too far behind, answers when its time is up: the
write stands by then, and nothing takes it back.

**How long.** A call may find another one on its way, and has to wait for it and for itself within
``op_timeout``. So a wait takes at most a third of that. What comes later ends as any call that is late does.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from flowstore.backends.redis.link import Way
from flowstore.errors import Unconfirmed

_SHARE: Final = 1 / 3


class Replicas(NamedTuple):
    """How many replicas have to confirm a write, and for how many milliseconds it is waited for them."""

    wanted: int
    ms: int


def replicas_for(count: int, timeout: float, socket_timeout: float | None) -> Replicas | None:
    """None for a ``count`` of 0. ``timeout``: of a call; ``socket_timeout``: when the driver gives up."""
    if not count:
        return None
    seconds = timeout * _SHARE if socket_timeout is None else min(timeout * _SHARE, socket_timeout / 2)
    return Replicas(count, max(1, round(seconds * 1_000)))  # 0 would be for ever


class Confirming:
    """Writes on one way, one at a time, and whether the last of them was confirmed."""

    __slots__ = ("_confirmed", "_replicas", "_way")

    def __init__(self, way: Way, replicas: Replicas) -> None:
        self._way = way
        self._replicas = replicas
        self._confirmed = 0

    async def call(self, *command: str | bytes | int) -> Any:
        wanted, ms = self._replicas
        answer, self._confirmed = await self._way.call_confirmed(wanted, ms, *command)
        return answer

    def check(self) -> None:
        """Raise Unconfirmed if too few replicas have what ``call`` has written."""
        wanted, ms = self._replicas
        if self._confirmed < wanted:
            raise Unconfirmed(wanted, self._confirmed, ms / 1_000)
