"""Reads of many results in portions by weight: what they hold is only known once they are here.

A read that may bring a thousand results of some bytes may as well bring a thousand of some megabytes, and a
process that reads ahead so much runs out of memory before it has handed out the first. So the first portion
is small, the next ones grow as long as they were light, and heavy ones make the next one small at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from flowstore._values.compression import plain_size
from flowstore.engine import Entry

_FIRST: Final = 32
_MOST: Final = 1_000
_MOST_BYTES: Final = 4 * 2**20
_TRIPS_PER_SIZE: Final = 8
"""After how many reads in a row that met their deadline the most that is asked for is doubled again."""


class Portions:
    """How many ids the next read may ask for: ``size``."""

    def __init__(self) -> None:
        self.size = _FIRST
        self._most = _MOST
        self._in_time = 0

    def answered(self, entries: Iterable[Entry | None]) -> None:
        weights = [_weight(entry.body) for entry in entries if entry is not None and entry.body is not None]
        average = sum(weights) // max(1, len(weights))
        self._in_time += 1
        if self._in_time % _TRIPS_PER_SIZE == 0:
            self._most = min(2 * self._most, _MOST)
        self.size = min(4 * self.size, self._most, max(1, _MOST_BYTES // max(1, average)))

    def timed_out(self, asked: int) -> None:
        """Perhaps there were too many for one trip."""
        self.size = self._most = max(1, asked // 2)
        self._in_time = 0


def _weight(body: bytes) -> int:
    """What it takes once it is read. Storages in memory keep objects, which are small."""
    return plain_size(body) if isinstance(body, bytes) else len(body)
