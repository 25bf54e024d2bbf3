"""Concurrent calls share trips to the storage: what is asked for during a trip leaves together in the next.

There is no timer, so a call that comes alone leaves at once. Writes keep the order in which they were
asked for, since one trip of writes is under way at a time; reads have a lane of their own.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from copy import copy
from typing import Any, Final, TypeVar, cast

from flowstore.engine import Commit, Engine, Hints, Outcome, Purged, Query, Row
from flowstore.errors import StorageError, StorageTimeout, StorageUnavailable

T = TypeVar("T")
Verb = Callable[[list[Any]], Coroutine[Any, Any, Sequence[Any]]]

MAX_ITEMS: Final = 500
MAX_TRIP_BYTES: Final = 4 * 2**20
MAX_QUEUED_BYTES: Final = 32 * 2**20
_ITEM_BYTES: Final = 256  # about what an item weighs beyond its payload


class _Call:
    """What one caller asked for: items for one trip, and where their answers go."""

    __slots__ = ("answer", "deadline", "items", "size", "verb")

    def __init__(self, verb: Verb, items: Sequence[Any], size: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.verb = verb
        self.items = items
        self.size = size
        self.deadline = loop.time() + timeout
        self.answer: asyncio.Future[Sequence[Any]] = loop.create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class _Lane:
    """Calls in the order of asking, of which at most one trip is under way."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self.bytes_per_answer = 0
        """What the answers of the last trip weighed: how much the next will bring is not known before."""
        self._driver: asyncio.Task[None] | None = None

    async def call(self, verb: Verb, items: Sequence[Any], size: int = 0) -> Any:
        """The answers of ``verb`` to ``items``, in order. ``size``: what the items weigh, in bytes."""
        call = _Call(verb, items, size + _ITEM_BYTES * len(items), self._timeout)
        self._queue.append(call)
        self._queued_bytes += call.size
        if self._driver is None:
            self._driver = asyncio.get_running_loop().create_task(self._drive())
        return await call.answer

    async def room(self) -> None:
        """Return when the queue is short enough for another call; first come, first let in, one at a time."""
        if self._queued_bytes < MAX_QUEUED_BYTES and not self._turns:
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._turns.append(turn)
        try:
            await turn
        finally:
            self._turns.remove(turn)
            loop.call_soon(self._let_in)

    async def drained(self) -> None:
        """Return when no trip is under way and none is asked for."""
        while self._driver is not None:
            await asyncio.wait([self._driver])

    def _let_in(self) -> None:
        if self._turns and self._queued_bytes < MAX_QUEUED_BYTES and not self._turns[0].done():
            self._turns[0].set_result(None)

    async def _drive(self) -> None:
        trip: list[_Call] = []
        try:
            while trip := self._take():
                self._let_in()
                await self._deliver(trip)
        except BaseException:
            self._give_up(trip, StorageError("interrupted; whether the call was carried out is unknown"))
            raise
        finally:
            self._driver = None

    def _take(self) -> list[_Call]:
        """The first call, and those right behind it with the same verb while they fit in one trip."""
        trip: list[_Call] = []
        items = size = 0
        most = min(MAX_ITEMS, MAX_TRIP_BYTES // max(1, self.bytes_per_answer))
        now = asyncio.get_running_loop().time()
        while self._queue:
            call = self._queue[0]
            items += len(call.items)
            size += call.size
            if trip and (call.verb != trip[0].verb or items > most or size > MAX_TRIP_BYTES):
                break
            self._queue.popleft()
            self._queued_bytes -= call.size
            if call.answer.done():  # its caller was cancelled
                continue
            if call.deadline <= now:
                call.fail(StorageTimeout(f"the storage did not come to this call within {self._timeout:g} s"))
                continue
            trip.append(call)
        return trip

    async def _deliver(self, trip: list[_Call]) -> None:
        """Make the trip. One that fails is made again in halves, so that a bad item fails alone."""
        try:
            answers = await self._answers(trip)
        except StorageUnavailable as error:
            self._give_up(trip, error)
        except Exception as error:
            if len(trip) == 1:
                trip[0].fail(error)
                return
            middle = len(trip) // 2
            await self._deliver(trip[:middle])
            await self._deliver(trip[middle:])
        else:
            start = 0
            for call in trip:
                end = start + len(call.items)
                if not call.answer.done():
                    call.answer.set_result(answers[start:end])
                start = end

    async def _answers(self, trip: list[_Call]) -> Sequence[Any]:
        items = [item for call in trip for item in call.items]
        async with in_time(trip[0].deadline, self._timeout):
            return await trip[0].verb(items)

    def _give_up(self, trip: list[_Call], error: Exception) -> None:
        """Whoever waits behind a trip that did not reach the storage has waited as long, and would again."""
        calls = [*trip, *self._queue]
        self._queue.clear()
        self._queued_bytes = 0
        for call in calls:
            if not call.answer.done():
                call.answer.set_exception(_another(error))
        for turn in self._turns:
            if not turn.done():
                turn.set_exception(_another(error))


def _another(error: Exception) -> Exception:
    """An equal error for one more caller; each collects a traceback of its own."""
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin


@asynccontextmanager
async def in_time(deadline: float, timeout: float) -> AsyncIterator[None]:
    """Raise StorageTimeout at ``deadline``, on the clock of the loop."""
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise StorageTimeout(f"the storage did not answer within {timeout:g} s") from error


class SharedTrips(Engine):
    """An engine whose writes share trips, and whose reads do. Each call ends within ``timeout`` seconds.

    A trip carries at most 500 items and about 4 MiB. One that fails for another reason than an
    unreachable storage is made again in halves: a bad item fails its own call only. A cancelled
    caller leaves its trip alone. While 32 MiB of writes are queued, ``room`` holds up the next.
    """

    def __init__(self, engine: Engine, timeout: float) -> None:
        self._engine = engine
        self._timeout = timeout
        self._writes = _Lane(timeout)
        self._reads = _Lane(timeout)
        self._now = 0

    async def open(self, hints: Hints) -> None:
        await self._engine.open(hints)

    async def close(self) -> None:
        await self._writes.drained()
        await self._reads.drained()
        await self._engine.close()

    async def room(self) -> None:
        await self._writes.room()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        self._now = max(self._now, now)
        size = sum(len(commit.head) + len(commit.body) for commit in commits)
        return cast("list[Outcome]", await self._writes.call(self._commit, commits, size))

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        self._now = max(self._now, now)
        return cast("list[bool]", await self._writes.call(self._remove, ids))

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        verb = self._fetch if with_body else self._fetch_heads
        return cast("list[Row | None]", await self._reads.call(verb, ids))

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await self._alone(self._engine.watch(ids))

    async def scan(self, query: Query, now: int) -> list[Row]:
        return await self._alone(self._engine.scan(query, now))

    async def count(self) -> dict[str, int]:
        return await self._alone(self._engine.count())

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self._alone(self._engine.purge(limit, now, everything=everything))

    async def _alone(self, verb: Awaitable[T]) -> T:
        async with in_time(asyncio.get_running_loop().time() + self._timeout, self._timeout):
            return await verb

    async def _commit(self, commits: list[Commit]) -> list[Outcome]:
        return await self._engine.commit(commits, self._now)

    async def _remove(self, ids: list[str]) -> list[bool]:
        return await self._engine.remove(ids, self._now)

    async def _fetch(self, ids: list[str]) -> list[Row | None]:
        rows = await self._engine.fetch(ids)
        self._reads.bytes_per_answer = sum(len(row.body or b"") for row in rows if row) // len(ids)
        return rows

    async def _fetch_heads(self, ids: list[str]) -> list[Row | None]:
        return await self._engine.fetch(ids, with_body=False)
