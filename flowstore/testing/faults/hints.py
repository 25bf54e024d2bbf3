"""An engine whose hints are lost, doubled and late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection

from flowstore.engine import Change, Engine, EngineWrapper, Hints


class UnreliableHints(EngineWrapper):
    """``inner``, except for its hints.

    ``lost`` and ``doubled`` are the shares of hints that are lost or come twice, ``delay`` is the longest
    delay in seconds. They are drawn by a random generator with ``seed``.
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
        """The delays after which the next hint arrives: none, one or two."""
        if self._random.random() < self._lost:
            return []
        times = 2 if self._random.random() < self._doubled else 1
        return [self._random.uniform(0, self._delay) for _ in range(times)]


class Mute(EngineWrapper):
    """``inner`` without its hints: a storage that cannot push."""

    async def open(self, hints: Hints) -> None:
        await self.inner.open(_Nobody())


class CutLine(EngineWrapper):
    """``inner`` over a line that can be cut: hints are lost until it is mended, which is told."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.is_cut = False
        self._hints: Hints

    async def open(self, hints: Hints) -> None:
        self._hints = hints
        await self.inner.open(self)

    @property
    def is_waiting(self) -> bool:
        return self._hints.is_waiting

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        if not self.is_cut:
            self._hints.changed(ids, change, at)

    def interrupted(self, error: Exception) -> None:
        self._hints.interrupted(error)

    def look_again(self) -> None:
        self._hints.look_again()

    def cut(self) -> None:
        self.is_cut = True
        self.interrupted(ConnectionError("injected"))

    def mend(self) -> None:
        self.is_cut = False
        self.look_again()


class _Nobody:
    """Hints of nothing to nobody."""

    is_waiting = False

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        pass

    def interrupted(self, error: Exception) -> None:
        pass

    def look_again(self) -> None:
        pass


class _Unreliable:
    """Passes hints on to ``hints``; ``times`` draws the delays of each."""

    def __init__(self, hints: Hints, times: Callable[[], list[float]]) -> None:
        self._hints = hints
        self._times = times

    @property
    def is_waiting(self) -> bool:
        return self._hints.is_waiting

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        for task_id in ids:
            for delay in self._times():
                _after(delay, self._hints.changed, (task_id,), change, at)

    def interrupted(self, error: Exception) -> None:
        self._hints.interrupted(error)

    def look_again(self) -> None:
        # Never lost: it is the sign that others were.
        for delay in self._times() or [0.0]:
            _after(delay, self._hints.look_again)


def _after(delay: float, call: Callable[..., None], *arguments: object) -> None:
    if delay:
        asyncio.get_running_loop().call_later(delay, call, *arguments)
    else:
        call(*arguments)
