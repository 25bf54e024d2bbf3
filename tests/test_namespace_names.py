"""Namespaces in one storage: whatever their names are, no call of one touches another."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstore import BaseResultBackend, InvalidCursor, RedisBackend, SQLiteBackend, TaskResult, TaskStatus
from flowstore.testing import ManualClock
from flowstore.testing.contract.hostile import TEXTS
from flowstore.testing.support import EFFORT, failed, ids, seen, waiting

Share = Callable[..., BaseResultBackend]

NAMES = [
    *("team", "team1", "team?", "team*", "team[1]", "[t]eam", "t[^x]am", "team%", "team_", "TEAM"),
    *("team ", " team", "team\0", "team\n", "te\\am", "\\", "*", "?", '"', "\N{SNAKE}", "i:failed:"),
    *("a}b{c", "a", "{a}", "%7Ba%7D", "}:r:t", "team}:r:{team", "'; DROP TABLE task; --"),
]
IDS = ["t", "team", "}:r:t", "*", "i:failed:"]


class Isolation:
    async def test_no_call_crosses(self, share: Share) -> None:
        """Delete, purge, list, count and clear of each in turn: all others still have what they had."""
        clock = ManualClock()
        async with AsyncExitStack() as stack:
            backends = [await stack.enter_async_context(share(namespace=name, clock=clock)) for name in NAMES]
            for name, backend in zip(NAMES, backends, strict=True):
                await backend.store_many(failed(task_id, worker_id=name, task_name="n") for task_id in IDS)
                await backend.store("gone", failed("gone"), ttl=5)
            clock.advance(6)
            for n, (name, backend) in enumerate(zip(NAMES, backends, strict=True)):
                assert await backend.purge_expired() == 1
                assert await backend.delete("t") is True
                await self._has(backend, name, IDS[1:])
                assert (await backend.count_by_status())[TaskStatus.FAILED] == len(IDS) - 1
                assert await backend.clear() == len(IDS) - 1
                for other, left in zip(NAMES[n + 1 :], backends[n + 1 :], strict=True):
                    await self._has(left, other, IDS)
                for cleared in backends[: n + 1]:
                    await self._has(cleared, "", [])

    async def _has(self, backend: BaseResultBackend, name: str, wanted: list[str]) -> None:
        for page in (await backend.page(TaskStatus.FAILED), await backend.page(name="n")):
            assert ids(page.items) == sorted(wanted)
            assert {item.worker_id for item in page.items} <= {name}

    async def test_waits_hear_only_of_their_own(self, share: Share) -> None:
        """The same id is stored, then deleted, in all others: the wait goes on until its own is stored."""
        async with AsyncExitStack() as stack:
            backends = [await stack.enter_async_context(share(namespace=name)) for name in NAMES]
            for n, waiter in enumerate(backends):
                task = await waiting(waiter, "t")
                await seen(waiter, task, "t")
                for other in (*backends[:n], *backends[n + 1 :]):
                    await other.store("t", TaskResult.success("t", "of another"))
                    await other.delete("t")
                await seen(waiter, task, "t again")
                await waiter.store("t", TaskResult.success("t", NAMES[n]))
                assert (await task).result == NAMES[n]
                await waiter.delete("t")

    async def test_cursors_of_another_are_refused(self, share: Share) -> None:
        """A cursor belongs to its namespace, though the other has the same records."""
        async with AsyncExitStack() as stack:
            backends = [await stack.enter_async_context(share(namespace=name)) for name in NAMES]
            cursors = []
            for backend in backends:
                await backend.store_many(failed(task_id) for task_id in IDS)
                cursors.append((await backend.page(TaskStatus.FAILED, limit=2)).next_cursor)
            for (n, backend), (m, cursor) in itertools.product(enumerate(backends), enumerate(cursors)):
                call = backend.page(TaskStatus.FAILED, limit=2, cursor=cursor)
                if n == m:
                    assert ids((await call).items) == sorted(IDS)[2:4]
                else:
                    with pytest.raises(InvalidCursor):
                        await call

    async def test_any_two_names(self, share: Share) -> None:
        """Of random characters with a meaning somewhere: clearing one leaves the other."""
        loop = asyncio.get_running_loop()

        async def clear_one(one: str, other: str) -> None:
            async with share(namespace=one) as cleared, share(namespace=other) as kept:
                for backend in (cleared, kept):
                    await backend.store_many([failed("t"), failed(one), failed(other)], overwrite=True)
                assert await cleared.clear() == 3
                assert len((await cleared.page()).items) == 0
                assert len((await kept.page()).items) == 3
                assert await kept.clear() == 3

        @settings(
            max_examples=20 * EFFORT, deadline=None, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(st.lists(TEXTS.filter(lambda text: text != "t"), min_size=2, max_size=2, unique=True))
        def stay_apart(names: list[str]) -> None:
            asyncio.run_coroutine_threadsafe(clear_one(*names), loop).result(60)

        await asyncio.to_thread(stay_apart)


class TestSQLite(Isolation):
    @pytest.fixture
    def share(self, tmp_path: Path) -> Share:
        def make(**options: Any) -> SQLiteBackend:
            return SQLiteBackend(tmp_path / "x.db", durability="normal", **options)

        return make


class TestRedis(Isolation):
    @pytest.fixture
    def share(self, redis_url: str) -> Share:
        def make(**options: Any) -> RedisBackend:
            return RedisBackend(redis_url, **options)

        return make
