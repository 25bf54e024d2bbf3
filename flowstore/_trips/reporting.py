"""Reports that overtake one another: of those made while one is under way only the newest is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable

from flowstore._trips.lanes import another

Send = Callable[[bytes], Awaitable[bool]]


class _Subject:
    """The reports on one subject: how many were made, and up to which they are sent."""

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
                covered, self.error = self.made, None
                try:
                    self.is_applied = await send(self.newest)
                except Exception as error:
                    self.error = error
                self.sent = covered
            if self.error is not None:
                raise another(self.error)
            return self.is_applied


class Reports:
    """Remembers nothing of a subject that nobody reports on."""

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
