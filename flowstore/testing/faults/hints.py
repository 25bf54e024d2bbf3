"""An engine whose hints get lost, come twice and come late."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence

from flowstore.belongings import Asked, Kept, Put, PutOutcome, Report, Span, TransitionRow
from flowstore.engine import ANYWHERE, Change, Commit, Engine, Hints, Outcome, Purged, Query, Row, Where


class UnreliableHints(Engine):
    """``engine`` as it is, but for what it reports to its waiters.

    Of each hint, by a random generator with ``seed``: ``lost`` and ``doubled`` are the shares that get
    lost and that come twice, ``delay`` the most seconds by which one comes late.
    """

    def __init__(
        self, engine: Engine, seed: int, *, lost: float = 0.3, doubled: float = 0.3, delay: float = 0.02
    ) -> None:
        self._engine = engine
        self._random = random.Random(seed)
        self._lost = lost
        self._doubled = doubled
        self._delay = delay

    async def open(self, hints: Hints) -> None:
        await self._engine.open(_Unreliable(hints, self._times))

    def _times(self) -> list[float]:
        """In how many seconds, and so how often, the next hint comes."""
        if self._random.random() < self._lost:
            return []
        times = 2 if self._random.random() < self._doubled else 1
        return [self._random.uniform(0, self._delay) for _ in range(times)]

    async def close(self) -> None:
        await self._engine.close()

    async def room(self) -> None:
        await self._engine.room()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        return await self._engine.commit(commits, now)

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        return await self._engine.fetch(ids, with_body=with_body)

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await self._engine.watch(ids)

    async def scan(self, query: Query, now: int) -> list[Row]:
        return await self._engine.scan(query, now)

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        return await self._engine.count(where)

    async def names(self) -> list[str]:
        return await self._engine.names()

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return await self._engine.report(reports, now)

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        return await self._engine.history(span, now)

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        return await self._engine.put(puts, now)

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        return await self._engine.kept(asked, now)

    async def namespaces(self) -> list[str]:
        return await self._engine.namespaces()

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        return await self._engine.remove(ids, now)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self._engine.purge(limit, now, everything=everything)


class _Unreliable:
    """Hints on their way to ``hints``; ``times`` draws when and how often each arrives."""

    def __init__(self, hints: Hints, times: Callable[[], list[float]]) -> None:
        self._hints = hints
        self._times = times

    @property
    def is_waiting(self) -> bool:
        return self._hints.is_waiting

    def changed(self, ids: Iterable[str], change: Change) -> None:
        for task_id in ids:
            for delay in self._times():
                asyncio.get_running_loop().call_later(delay, self._hints.changed, (task_id,), change)

    def look_again(self) -> None:
        for delay in self._times() or [
            0.0
        ]:  # it says that something was lost: lost itself, it would be a lie
            asyncio.get_running_loop().call_later(delay, self._hints.look_again)
