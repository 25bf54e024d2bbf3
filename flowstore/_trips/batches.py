"""Round trips that write, timed and counted for those who observe; the engine of others has none of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Final, TypeVar

from flowstore.engine import (
    Engine,
    EngineWrapper,
    Expiry,
    Outcome,
    Put,
    Report,
    Standing,
    TellBatch,
    Write,
)

T = TypeVar("T")

TIMED: Final = frozenset({"write", "remove", "report", "expire", "put"})


class TimedBatches(EngineWrapper):
    """Below the lanes, where each call is a trip. ``queued``: how many calls are left waiting for theirs."""

    def __init__(self, inner: Engine, tell: TellBatch, queued: Callable[[], int]) -> None:
        super().__init__(inner)
        self._tell = tell
        self._queued = queued

    async def _timed(self, verb: str, items: int, trip: Awaitable[T]) -> T:
        queued, began = self._queued(), perf_counter()
        failure: BaseException | None = None
        try:
            return await trip
        except BaseException as error:
            failure = error
            raise
        finally:
            self._tell(verb, items, queued, perf_counter() - began, failure)
            del failure  # breaks the cycle: the error's traceback holds this frame

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self._timed("write", len(writes), self.inner.write(writes, now))

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await self._timed("remove", len(ids), self.inner.remove(ids, now, standing))

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self._timed("report", len(reports), self.inner.report(reports, now))

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        return await self._timed("expire", len(expiries), self.inner.expire(expiries, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return await self._timed("put", len(puts), self.inner.put(puts, now))
