"""Outages: while the storage cannot be reached waits go on, and are read again after growing pauses."""

from __future__ import annotations

import asyncio
from time import monotonic

from flowstore._observing.observers import Observers
from flowstore._trips.patience import Pauses
from flowstore.errors import StorageUnavailable
from flowstore.observing import StorageBack, StorageLost


class Outage:
    """Whether reads fail, and whether hints can come. Observers are told when either begins, and once both
    are over.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._pauses = Pauses()
        self._lost: set[str] = set()
        self._since = 0.0
        self.trouble: StorageUnavailable | None = None
        """Why the last read could not reach the storage, else None. The cause of a WaitTimeout."""

    def read_failed(self, error: StorageUnavailable) -> None:
        self.trouble = error
        self._begin("reads", error)

    def read_answered(self) -> None:
        self.trouble = None
        self.start_again()
        self._end("reads")

    def hints_lost(self, error: Exception) -> None:
        self._begin("hints", error)

    def hints_back(self) -> None:
        self._end("hints")

    def start_again(self) -> None:
        """Let the next pause be a short one."""
        self._pauses.reset()

    async def pause(self) -> None:
        await asyncio.sleep(self._pauses.next())

    def _begin(self, part: str, error: Exception) -> None:
        is_new = not self._lost
        self._lost.add(part)
        if is_new:
            self._since = monotonic()
            self._observers.tell(StorageLost(self._observers.namespace, error))

    def _end(self, part: str) -> None:
        if part in self._lost:
            self._lost.discard(part)
            if not self._lost:
                self._observers.tell(StorageBack(self._observers.namespace, monotonic() - self._since))
