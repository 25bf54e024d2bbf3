"""Pages over shards that answer at different times, while others store, advance and delete."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import EngineWrapper, Entry, Listed, Query
from flowstore.testing.support import EFFORT, START, failed
from tests.support.sharded import ShardedBackend

KEPT = 60


class Uneven(EngineWrapper):
    """Its listings take a few turns of the loop more, now and then, so that others come in between."""

    def __init__(self, seed: int) -> None:
        super().__init__(MemoryEngine())
        self._choose = random.Random(seed)

    async def _rest(self) -> None:
        for _ in range(self._choose.choice([0, 0, 1, 4])):
            await asyncio.sleep(0)

    async def places(self, query: Query, now: int) -> list[Listed]:
        await self._rest()
        listed = await super().places(query, now)
        await self._rest()
        return listed

    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        await self._rest()
        return await super().at_places(query, places, now)


async def churn(backend: BaseResultBackend, choose: random.Random) -> None:
    """Tasks of the same times come, finish, go, and come again at other times; those that stay advance."""
    while True:
        await asyncio.sleep(0)
        task_id, at = f"x{choose.randrange(40)}", choose.randrange(20)
        kind = choose.random()
        if kind < 0.3:
            await backend.delete(task_id)
        elif kind < 0.8:
            await backend.store(task_id, failed(task_id, at), overwrite=True)
        else:
            stays = choose.randrange(KEPT)
            await backend.store(f"t{stays:03}", failed(f"t{stays:03}", stays % 20), overwrite=True)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("seed", range(EFFORT))
async def test_what_stays_is_seen_once(seed: int, newest_first: bool) -> None:
    """None that stays is repeated or skipped, whatever the others do, and each page is full but the last."""
    async with ShardedBackend([Uneven(seed + n) for n in range(5)]) as backend:
        await backend.store_many(failed(f"t{n:03}", n % 20) for n in range(KEPT))
        churns = [asyncio.create_task(churn(backend, random.Random(seed + n))) for n in range(2)]
        try:
            for limit in (1, 7, 40):
                seen = Counter[str]()
                async with asyncio.timeout(30):
                    await walk(backend, limit, newest_first, seen)
                assert {f"t{n:03}": seen[f"t{n:03}"] for n in range(KEPT)} == {
                    f"t{n:03}": 1 for n in range(KEPT)
                }
        finally:
            for one in churns:
                one.cancel()
            await asyncio.wait(churns)


async def walk(backend: BaseResultBackend, limit: int, newest_first: bool, seen: Counter[str]) -> None:
    cursor: str | None = None
    while True:
        page = await backend.page(limit=limit, cursor=cursor, newest_first=newest_first)
        seen.update(item.task_id for item in page.items)
        places = [(item.submitted_at, item.task_id) for item in page.items]
        assert len(page.items) == len({*places})
        cursor = page.next_cursor
        if cursor is None:
            return
        assert len(page.items) == limit


async def test_pages_of_what_advances() -> None:
    """Of one status, which records leave all the time: those that stay in it are seen once."""
    async with ShardedBackend([Uneven(n) for n in range(5)]) as backend:
        await backend.store_many(TaskResult.pending(f"t{n:03}", submitted_at=START) for n in range(KEPT))
        leaving = [f"t{n:03}" for n in range(0, KEPT, 2)]

        async def advance() -> None:
            for task_id in random.Random(5).sample(leaving, len(leaving)):
                await backend.store(task_id, TaskResult.running(task_id, submitted_at=START))

        advancing = asyncio.create_task(advance())
        seen = Counter[str]()
        cursor: str | None = None
        while True:
            page = await backend.page("pending", limit=5, cursor=cursor)
            seen.update(item.task_id for item in page.items)
            if (cursor := page.next_cursor) is None:
                break
        await advancing
        assert [seen[f"t{n:03}"] for n in range(1, KEPT, 2)] == [1] * (KEPT // 2)
        assert max(seen.values()) == 1
