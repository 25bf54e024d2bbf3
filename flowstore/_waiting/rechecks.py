"""The timer that makes up for lost hints: now and then, all awaited ids are read again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class Recheck:
    """Calls ``look_again`` every ``interval`` seconds, give or take a quarter, while it is started."""

    def __init__(self, interval: float, look_again: Callable[[], None]) -> None:
        self._interval = interval
        self._look_again = look_again
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_started(self) -> bool:
        return self._timer is not None

    def start(self) -> None:
        if self._timer is None:
            # Jittered, or all processes that began together would ask at the same moments for ever.
            delay = self._interval * random.uniform(0.75, 1.25)
            self._timer = asyncio.get_running_loop().call_later(delay, self._ring)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        self.start()
        self._look_again()
