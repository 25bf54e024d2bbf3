"""Outages: while the storage cannot be reached waits go on, and observers know."""

from __future__ import annotations

from time import monotonic

from flowstore._observing.observers import Observers
from flowstore.errors import StorageUnavailable
from flowstore.observing import StorageBack, StorageLost


class Outage:
    """Whether reads fail, and whether hints can come. Observers are told when either begins, and once both
    are over.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._lost: set[str] = set()
        self._since = 0.0
        self.troubles: dict[int, StorageUnavailable] = {}
        """By part of the storage why the last read could not reach it. The cause of a WaitTimeout."""

    def read_failed(self, part: int, error: StorageUnavailable) -> None:
        self.troubles[part] = error
        self._begin("reads", error)

    def read_answered(self, part: int) -> None:
        self.troubles.pop(part, None)
        if not self.troubles:
            self._end("reads")

    def hints_lost(self, error: Exception) -> None:
        self._begin("hints", error)

    def hints_back(self) -> None:
        self._end("hints")

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
