"""The timer that makes up for lost hints, and what it finds: now and then, all awaited ids are read again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Final

from flowstore._observing.observers import Observers
from flowstore.observing import RecheckFound

_LATE: Final = 1.0
"""After how many seconds a hint does not count as being on its way any more."""


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


class Missed:
    """What a re-check has found although no hint had come, nor comes within a second.

    A hint may be on its way while its change is found already, so nothing is told before that second is over.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._asked: set[str] = set()
        self._found: dict[str, asyncio.TimerHandle] = {}

    @property
    def is_expecting(self) -> bool:
        """Whether a hint would still tell that it was only late."""
        return bool(self._found)

    def ask(self, ids: Iterable[str]) -> None:
        """These are read again for no other reason than that it is time."""
        self._asked = set(ids)

    def hinted(self, task_id: str) -> None:
        if self._asked or self._found:
            self._asked.discard(task_id)
            self._forget(task_id)

    def answered(self, task_id: str, *, is_over: bool) -> None:
        """The id was read, and its wait ``is_over`` thereby."""
        if task_id in self._asked:
            self._asked.discard(task_id)
            if is_over:
                self._forget(task_id)
                late = asyncio.get_running_loop().call_later(_LATE, self._tell, task_id)
                self._found[task_id] = late

    def stop_asking(self) -> None:
        """Hints may have been lost for a reason that is known: what is found now says nothing."""
        self._asked = set()

    def close(self) -> None:
        self.stop_asking()
        for task_id in list(self._found):
            self._forget(task_id)

    def _forget(self, task_id: str) -> None:
        if (late := self._found.pop(task_id, None)) is not None:
            late.cancel()

    def _tell(self, task_id: str) -> None:
        del self._found[task_id]
        self._observers.tell(RecheckFound(self._observers.namespace, task_id))
