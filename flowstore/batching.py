"""Concurrent calls share trips to the storage: what is asked for during a trip leaves together in the next.

No call waits for others to join it, so one that comes alone leaves at once. Writes of one id keep the
order in which they were asked for: they share a lane, where one trip is under way at a time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from copy import copy
from itertools import chain
from typing import Any, Final, cast

from flowstore.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.deadlines import Deadline, in_time, no_answer
from flowstore.engine import ANYWHERE, Commit, Engine, Hints, Outcome, Purged, Query, Row, Where
from flowstore.errors import (
    AccessDenied,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
)

Verb = Callable[[list[Any], int], Coroutine[Any, Any, Sequence[Any]]]

MAX_ITEMS: Final = 500
MAX_TRIP_BYTES: Final = 4 * 2**20
MAX_QUEUED_BYTES: Final = 32 * 2**20
_ITEM_BYTES: Final = 256  # about what an item weighs beyond its payload


class _Call:
    """What one caller asked for: items for one trip, and where their answers go."""

    __slots__ = ("answer", "deadline", "items", "now", "size", "verb")

    def __init__(self, verb: Verb, items: Sequence[Any], size: int, now: int, timeout: float) -> None:
        loop = asyncio.get_running_loop()
        self.verb = verb
        self.items = items
        self.size = size
        self.now = now
        self.deadline = loop.time() + timeout
        self.answer: asyncio.Future[Sequence[Any]] = loop.create_future()

    def fail(self, error: Exception) -> None:
        if not self.answer.done() and not self.is_forsaken:
            self.answer.set_exception(error)

    @property
    def is_forsaken(self) -> bool:
        """Whether its event loop was closed under it, so that nobody can wait for the answer."""
        return self.answer.get_loop().is_closed()


class _Lane:
    """Calls in the order of asking, of which at most one trip is under way."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._deadline = Deadline()
        self._queue: deque[_Call] = deque()
        self._queued_bytes = 0
        self._turns: deque[asyncio.Future[None]] = deque()
        self.bytes_per_answer = 0
        """What the answers of the last trip weighed: how much the next will bring is not known before."""
        self._driver: asyncio.Task[None] | None = None

    def submit(
        self, verb: Verb, items: Sequence[Any], size: int = 0, now: int = 0
    ) -> asyncio.Future[Sequence[Any]]:
        """The answers of ``verb`` to ``items``, in order. ``size``: what the items weigh, in bytes.

        A trip happens at the latest ``now`` of its calls.
        """
        call = _Call(verb, items, size + _ITEM_BYTES * len(items), now, self._timeout)
        self._queue.append(call)
        self._queued_bytes += call.size
        self._start()
        return call.answer

    def _start(self) -> None:
        if self._queue and self._driver is None:
            self._driver = asyncio.get_running_loop().create_task(self._drive())
            self._driver.add_done_callback(self._ended)

    def _ended(self, driver: asyncio.Task[None]) -> None:
        self._driver = None
        if driver.cancelled():  # perhaps before its first step
            self._give_up([], StorageError("interrupted before it was carried out"))
        self._start()

    @property
    def has_room(self) -> bool:
        return self._queued_bytes < MAX_QUEUED_BYTES and not self._turns

    async def room(self) -> None:
        """Return when the queue is short enough for another call; first come, first let in, one at a time."""
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
        self._deadline.stop()

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

    def _take(self) -> list[_Call]:
        """The first call, and those right behind it with the same verb while they fit in one trip.

        A call that was cancelled or is too late takes no room.
        """
        trip: list[_Call] = []
        items = size = 0
        most = min(MAX_ITEMS, MAX_TRIP_BYTES // max(1, self.bytes_per_answer))
        now = asyncio.get_running_loop().time()
        while self._queue:
            call = self._queue[0]
            if call.deadline <= now:
                call.fail(StorageTimeout(f"the storage did not come to this call within {self._timeout:g} s"))
            if not call.answer.done():
                items += len(call.items)
                size += call.size
                if trip and (call.verb != trip[0].verb or items > most or size > MAX_TRIP_BYTES):
                    break
                trip.append(call)
            self._queue.popleft()
            self._queued_bytes -= call.size
        return trip

    async def _deliver(self, trip: list[_Call]) -> None:
        """Make the trip. One that fails is made again in halves, so that a bad item fails alone.

        Where two in a row fail alone for want of room or of a right, it is not the items, and the rest
        fails untried.
        """
        parts, hopeless = [trip], 0
        while parts:
            part = parts.pop()
            try:
                answers = await self._answers(part)
            except (StorageUnavailable, StoreReplaced) as error:
                self._give_up([*part, *chain(*parts)], error)
                return
            except Exception as error:
                if part[0].is_forsaken:
                    raise
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue
                part[0].fail(error)
                hopeless += isinstance(error, AccessDenied | StorageFull)
                if hopeless == 2:
                    _fail_each(chain(*parts), error)
                    return
            else:
                _answer_each(part, answers)
                hopeless = 0

    async def _answers(self, trip: list[_Call]) -> Sequence[Any]:
        items = [item for call in trip for item in call.items]
        try:
            now = max(call.now for call in trip)
            return await self._deadline.meet(trip[0].verb(items, now), trip[0].deadline)
        except TimeoutError as error:
            if isinstance(error, StorageError):
                raise
            raise no_answer(self._timeout) from error

    def _give_up(self, trip: list[_Call], error: Exception) -> None:
        """Fail the trip, and who waits behind it: the next would fare alike, and take as long to find out."""
        calls = [*trip, *self._queue]
        self._queue.clear()
        self._queued_bytes = 0
        _fail_each(calls, error)
        for turn in self._turns:
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_exception(another(error))


def _answer_each(trip: list[_Call], answers: Sequence[Any]) -> None:
    start = 0
    for call in trip:
        end = start + len(call.items)
        if not call.answer.done():
            call.answer.set_result(answers[start:end])
        start = end


def _fail_each(calls: Iterable[_Call], error: Exception) -> None:
    for call in calls:
        call.fail(another(error))


def another(error: Exception) -> Exception:
    """An equal error for one more caller; each collects a traceback of its own."""
    twin = copy(error)
    twin.__cause__ = error.__cause__
    return twin


class SharedTrips(Engine):
    """An engine whose writes share trips, and whose reads do. Each call ends within ``timeout`` seconds.

    ``write_lanes``: how many trips of writes may be under way at once, for a storage that can do
    something while the next trip is packed. An id always takes the same lane.

    A trip carries one call, or several of up to 500 items and about 4 MiB. One that fails for another
    reason than an unreachable storage is made again in halves: a bad item fails its own call only, but
    a full disk is not asked again for each. A cancelled caller leaves its trip alone. While 32 MiB are
    queued in a lane, ``room`` holds writes up.
    """

    def __init__(self, engine: Engine, timeout: float, *, write_lanes: int = 1) -> None:
        self._engine = engine
        self._timeout = timeout
        self._writes = [_Lane(timeout) for _ in range(write_lanes)]
        self._reads = _Lane(timeout)
        self._heads = _Lane(timeout)

    async def open(self, hints: Hints) -> None:
        await in_time(self._engine.open(hints), self._timeout)

    async def close(self) -> None:
        try:
            for lane in (*self._writes, self._reads, self._heads):
                await lane.drained()
        finally:
            await self._engine.close()

    async def room(self) -> None:
        for lane in self._writes:
            if not lane.has_room:
                await lane.room()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        if len(commits) == 1:
            [commit] = commits
            lane, size = self._lane(commit.id), len(commit.head) + len(commit.body)
            return cast("list[Outcome]", await lane.submit(self._engine.commit, commits, size, now))
        sizes = [len(commit.head) + len(commit.body) for commit in commits]
        ids = [commit.id for commit in commits]
        return cast("list[Outcome]", await self._divided(self._engine.commit, commits, ids, sizes, now))

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        return cast("list[bool]", await self._divided(self._engine.remove, ids, ids, [0] * len(ids), now))

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        ids, sizes = [report.id for report in reports], [len(report.progress) for report in reports]
        return cast("list[bool]", await self._divided(self._engine.report, reports, ids, sizes, now))

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        owners, sizes = [put.owner for put in puts], [len(put.value or b"") for put in puts]
        return cast("list[PutOutcome]", await self._divided(self._engine.put, puts, owners, sizes, now))

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        if not with_body:
            return cast("list[Row | None]", await self._heads.submit(self._fetch_heads, ids))
        return cast("list[Row | None]", await self._reads.submit(self._fetch, ids))

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await in_time(self._engine.watch(ids), self._timeout)

    async def scan(self, query: Query, now: int) -> list[Row]:
        return await in_time(self._engine.scan(query, now), self._timeout)

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        return await in_time(self._engine.count(where), self._timeout)

    async def names(self) -> list[str]:
        return await in_time(self._engine.names(), self._timeout)

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        return await in_time(self._engine.history(span, now), self._timeout)

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        return await in_time(self._engine.kept(asked, now), self._timeout)

    async def namespaces(self) -> list[str]:
        return await in_time(self._engine.namespaces(), self._timeout)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await in_time(self._engine.purge(limit, now, everything=everything), self._timeout)

    def _lane(self, task_id: str) -> _Lane:
        return self._writes[hash(task_id) % len(self._writes)]

    async def _divided(
        self, verb: Verb, items: Sequence[Any], ids: Sequence[str], sizes: Sequence[int], now: int
    ) -> list[Any]:
        """The answers to ``items``, each by the lane of its id. When one fails, all others have ended."""
        places: dict[_Lane, list[int]] = {}
        for place, task_id in enumerate(ids):
            places.setdefault(self._lane(task_id), []).append(place)
        parts = [
            lane.submit(verb, [items[place] for place in of_lane], sum(sizes[at] for at in of_lane), now)
            for lane, of_lane in places.items()
        ]
        answers: list[Any] = [None] * len(items)
        outcomes = await asyncio.gather(*parts, return_exceptions=True)
        for of_lane, outcome in zip(places.values(), outcomes, strict=True):
            if isinstance(outcome, BaseException):
                raise outcome
            for place, answer in zip(of_lane, outcome, strict=True):
                answers[place] = answer
        return answers

    async def _fetch(self, ids: list[str], _: int) -> list[Row | None]:
        rows = await self._engine.fetch(ids)
        self._reads.bytes_per_answer = sum(len(row.body or b"") for row in rows if row) // len(ids)
        return rows

    async def _fetch_heads(self, ids: list[str], _: int) -> list[Row | None]:
        return await self._engine.fetch(ids, with_body=False)
