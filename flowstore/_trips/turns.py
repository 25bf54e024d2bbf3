"""The calls of one id in the order in which they were made, where one of them may take several trips.

A write that has to look at a record of another shard first, its parent or its owner, is on its way for longer
than one that has not, which would overtake it. So whatever changes a record waits for such a write of its id.
Otherwise nothing has to: the trips of a shard are in order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from flowstore._values.facets import is_open
from flowstore.engine import Engine, EngineWrapper, Expiry, Outcome, Report, Standing, Write


class _Turn:
    """Of one id: who has it, and how many others want it."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


class InTurn(EngineWrapper):
    """``inner``, whose long writes are not overtaken by later calls of the same id."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._turns: dict[str, _Turn] = {}

    def abandon(self) -> None:
        self._turns = {}  # those who have them are gone with their loop
        super().abandon()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        ids = {write.entry.id for write in writes if _is_long(write) or write.entry.id in self._turns}
        if not ids:
            return await self.inner.write(writes, now)
        async with self._each(ids):
            return await self.inner.write(writes, now)

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        async with self._each(self._awaited(ids)):
            return await self.inner.remove(ids, now, standing)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        async with self._each(self._awaited([report.id for report in reports])):
            return await self.inner.report(reports, now)

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        async with self._each(self._awaited([expiry.id for expiry in expiries])):
            return await self.inner.expire(expiries, now)

    def _awaited(self, ids: Iterable[str]) -> set[str]:
        """Those of which a long write is on its way."""
        return {task_id for task_id in ids if task_id in self._turns}

    @asynccontextmanager
    async def _each(self, ids: Iterable[str]) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            turns = sorted(ids)  # in one order, or two could wait for each other
            for task_id in turns:  # all at once, so that whoever comes meanwhile is behind this call
                stack.callback(self._leave, task_id, self._turns.setdefault(task_id, _Turn()))
                self._turns[task_id].wanted += 1
            for turn in [self._turns[task_id] for task_id in turns]:
                await stack.enter_async_context(turn.lock)
            yield

    def _leave(self, task_id: str, turn: _Turn) -> None:
        turn.wanted -= 1
        if not turn.wanted and self._turns.get(task_id) is turn:
            del self._turns[task_id]


def _is_long(write: Write) -> bool:
    return write.owner is not None or is_open(write.entry.fixed)
