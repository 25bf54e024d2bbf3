"""What has expired goes away by itself: an open backend purges now and then.

A timer, and not a task that sleeps: a task would be reported as destroyed where a program ends without close.
The timer knows its purger only weakly, so that it keeps nothing alive that nobody uses any more.

All processes of a store do it, each in its own time. Two that purge at once remove what each of them finds,
so there is no need to agree who does it; and where nothing has expired, a look is all it costs.
"""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Awaitable, Callable
from typing import Final

from flowstore._observing.observers import Observers
from flowstore._trips.background import in_background
from flowstore.engine import Purged
from flowstore.observing import PurgeFailed, RecordsPurged

_SHORTEST_PAUSE: Final = 0.01

BACKGROUND_STEP: Final = 200
"""How many records one step removes at most: while it does, the storage may serve nobody else."""


class Purger:
    """Calls ``purge`` every ``interval`` seconds, give or take a half, until nothing is left; None: never.

    A failure is told to the observers, and met again or not the next time.
    """

    def __init__(
        self, purge: Callable[[], Awaitable[Purged]], interval: float | None, observers: Observers
    ) -> None:
        self._purge = purge
        self._interval = interval
        self._observers = observers
        self._timer: asyncio.TimerHandle | None = None
        self._purging: asyncio.Task[None] | None = None
        self._is_failing = False

    def start(self) -> None:
        if self._interval is not None:
            # Jittered, or all processes that began together would purge at the same moments for ever.
            delay = self._interval * random.uniform(0.5, 1.5)
            self._timer = asyncio.get_running_loop().call_later(delay, _ring, weakref.ref(self))

    async def close(self) -> None:
        """Stop, also in the midst of it."""
        self._interval = None
        if self._timer is not None:
            self._timer.cancel()
        if self._purging is not None:
            self._purging.cancel()
            await asyncio.wait([self._purging])

    def ring(self) -> None:
        self._purging = in_background(self._purge_all())
        self._purging.add_done_callback(self._purged)

    async def _purge_all(self) -> None:
        try:
            count = await self._purge_steps()
        except Exception as error:
            failed = PurgeFailed(self._observers.namespace, error, self._is_failing)
            self._is_failing = True
            self._observers.tell(failed)
        else:
            self._is_failing = False
            if count:
                self._observers.tell(RecordsPurged(self._observers.namespace, count))

    async def _purge_steps(self) -> int:
        clock = asyncio.get_running_loop().time
        count = 0
        while True:
            began = clock()
            step = await self._purge()
            count += step.expired
            if step.is_done:
                return count
            # As long as the step took: the others get at least half of the storage.
            await asyncio.sleep(max(_SHORTEST_PAUSE, clock() - began))

    def _purged(self, purging: asyncio.Task[None]) -> None:
        self._purging = None
        if not purging.cancelled():
            self.start()


def _ring(purger: weakref.ref[Purger]) -> None:
    living = purger()
    if living is not None:
        living.ring()
