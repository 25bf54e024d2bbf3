"""Reports of progress: of those made while one is being sent, only the newest is sent next.

A worker may report in a tight loop, faster than any storage writes, and only the newest report matters. So
there is no queue: a report replaces the one that waits, and all whose reports it replaced share its outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from flowstore._trips.lanes import copy_of

Send = Callable[[bytes], Awaitable[bool]]


class _Subject:
    """The reports on one subject: how many were made, and how many of them are covered by what was sent."""

    __slots__ = ("error", "is_applied", "lock", "made", "newest", "sent", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0
        self.made = 0
        self.newest = b""
        self.sent = 0
        self.is_applied = False
        self.error: Exception | None = None

    async def is_sent(self, number: int, send: Send) -> bool:
        """Whether report ``number``, or a newer one, was applied."""
        async with self.lock:
            if self.sent < number:
                # Before the await: reports made during the send are newer than what is sent.
                covered, self.error = self.made, None
                try:
                    self.is_applied = await send(self.newest)
                except Exception as error:
                    self.error = error  # also that of the others it covers: they would meet it again
                self.sent = covered  # not when cancelled: the next in line then sends for all
            if self.error is not None:
                raise copy_of(self.error)
            return self.is_applied


class Reports:
    """The subjects that are being reported on. One that nobody uses any more is forgotten."""

    def __init__(self) -> None:
        self._subjects: dict[Hashable, _Subject] = {}

    async def make(self, subject: Hashable, report: bytes, send: Send) -> bool:
        """Whether ``report``, or one made later on the same subject, was applied."""
        reports = self._subjects.get(subject)
        if reports is None:
            reports = self._subjects[subject] = _Subject()
        reports.users += 1
        reports.made += 1
        reports.newest = report
        try:
            return await reports.is_sent(reports.made, send)
        finally:
            reports.users -= 1
            if not reports.users:
                del self._subjects[subject]
