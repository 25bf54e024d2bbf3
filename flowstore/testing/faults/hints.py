"""An engine whose hints get lost, come twice and come late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable

from flowstore.engine import Change, Engine, EngineWrapper, Hints


class UnreliableHints(EngineWrapper):
    """``inner`` as it is, but for what it reports to its waiters.

    Of each hint, by a random generator with ``seed``: ``lost`` and ``doubled`` are the shares that get
    lost and that come twice, ``delay`` the most seconds by which one comes late.
    """

    def __init__(
        self, inner: Engine, seed: int, *, lost: float = 0.3, doubled: float = 0.3, delay: float = 0.02
    ) -> None:
        super().__init__(inner)
        self._random = random.Random(seed)
        self._lost = lost
        self._doubled = doubled
        self._delay = delay

    async def open(self, hints: Hints) -> None:
        await self.inner.open(_Unreliable(hints, self._times))

    def _times(self) -> list[float]:
        """In how many seconds, and so how often, the next hint comes."""
        if self._random.random() < self._lost:
            return []
        times = 2 if self._random.random() < self._doubled else 1
        return [self._random.uniform(0, self._delay) for _ in range(times)]


class _Unreliable:
    """Hints on their way to ``hints``; ``times`` draws when and how often each arrives."""

    def __init__(self, hints: Hints, times: Callable[[], list[float]]) -> None:
        self._hints = hints
        self._times = times

    @property
    def is_waiting(self) -> bool:
        return self._hints.is_waiting

    def changed(self, ids: Iterable[str], change: Change) -> None:
        for task_id in ids:
            for delay in self._times():
                asyncio.get_running_loop().call_later(delay, self._hints.changed, (task_id,), change)

    def look_again(self) -> None:
        # it says that something was lost: lost itself, it would be a lie
        for delay in self._times() or [0.0]:
            asyncio.get_running_loop().call_later(delay, self._hints.look_again)
