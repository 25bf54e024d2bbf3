"""A clock under control, for tests in which time passes."""

from __future__ import annotations

from datetime import datetime

from flowstore.testing.support import START


class ManualClock:
    """A clock that only moves when told to. Pass it to a backend as ``clock=``."""

    def __init__(self, start: datetime = START) -> None:
        self._micros = int(start.timestamp()) * 1_000_000

    def __call__(self) -> int:
        return self._micros

    def advance(self, seconds: float) -> None:
        self._micros += round(seconds * 1_000_000)
