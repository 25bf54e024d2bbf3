"""The contract of statistics by name, the first thousand by themselves, and of all that was ever counted."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from flowstore import EVER, OTHER_NAMES, BaseResultBackend, TaskResult
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.contract.statistics import by_history, counted, done
from flowstore.testing.support import START


class CountedNamesContract(Contract):
    """For a backend whose engine ``counts_writes``."""

    async def test_names_beyond_the_first_thousand_are_one(self, make_backend: MakeBackend) -> None:
        """Whoever comes first; also for a backend that was opened later."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store_many(TaskResult.success(f"t{n}", task_name=f"n{n:04}") for n in range(1_010))
            await backend.store("again", TaskResult.success("again", task_name="n0003"))
            await backend.store("late", TaskResult.success("late", task_name="late"))
            rows = {row.name: row.succeeded for row in await backend.stats.by("name")}
            assert len(rows) == 1_001
            assert (rows[OTHER_NAMES], rows["n0003"], rows["n0999"]) == (11, 2, 1)
            assert (await backend.stats.total(OTHER_NAMES)).succeeded == 11
            assert (await backend.stats.total("late")).succeeded == 0
            assert (await backend.stats.total()).succeeded == 1_012

    async def test_names_beyond_them_cost_no_look(self, make_backend: MakeBackend) -> None:
        """Whoever makes up a name for each task pays for it no more than others; nor do error groups."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store_many(TaskResult.success(f"t{n}", task_name=f"n{n:04}") for n in range(1_001))
            trips = count_trips(backend)
            for n in range(20):
                await backend.store(f"u{n}", TaskResult.failed(f"u{n}", OSError(), task_name=f"made up {n}"))
            assert trips == {"write": 20}
            [group] = await backend.errors.groups(since=START - timedelta(hours=1))
            assert group.names == {OTHER_NAMES: 20}

    async def test_names_in_the_order_of_their_first_task(self, make_backend: MakeBackend) -> None:
        """Which they keep, also when nothing else is left of them."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            assert await backend.stats.names(order="first") == []
            for n, name in enumerate(["m", "z", None, "a", "m", "b"]):
                await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name=name))
            assert await backend.stats.names(order="first") == ["m", "z", "a", "b"]
            assert await backend.stats.names() == ["a", "b", "m", "z"]
            clock.advance(200 * 86_400)
            await backend.purge_expired()
            assert await backend.stats.names(order="first") == ["m", "z", "a", "b"]
            stats: Any = backend.stats
            with pytest.raises(ValueError, match="order: expected 'name' or 'first', got 'last'"):
                await stats.names(order="last")

    async def test_names_that_come_at_once(self, backend: BaseResultBackend) -> None:
        names = [f"n{n % 40}" for n in range(200)]
        await asyncio.gather(
            *(
                backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name=name))
                for n, name in enumerate(names)
            )
        )
        rows = {row.name: row.succeeded for row in await backend.stats.by("name")}
        assert rows == Counter(names)

    async def test_since_ever(self, make_backend: MakeBackend) -> None:
        """What has been counted never falls, in whatever way it is asked for, until it is dropped."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            assert counted(await backend.stats.total(since=EVER)) == {}
            for n in range(6):
                await backend.store(f"s{n}", done(f"s{n}", 2.0, 0.5, task_name="a"))
                await backend.store(f"f{n}", TaskResult.failed(f"f{n}", OSError(), task_name="b"))
                for days in (0.01, 1, 40):
                    clock.advance(days * 86_400)
                    await backend.purge_expired()
                    found = await backend.stats.total(since=EVER)
                    expected = {"submitted": 2 * n + 2, "succeeded": n + 1, "failed": n + 1}
                    assert counted(found) == expected == await by_history(backend)
                    assert (found.start, found.run.total, found.wait.total) == (EVER, n + 1, n + 1)
            assert counted(await backend.stats.total("a", since=EVER)) == {"submitted": 6, "succeeded": 6}
            rows = await backend.stats.by("name", since=EVER)
            assert {(row.name, row.succeeded, row.failed) for row in rows} == {("a", 6, 0), ("b", 0, 6)}
            pairs = await backend.stats.by("status", since=EVER)
            assert {(row.status, row.ended) for row in pairs} == {("success", 6), ("failed", 6)}
            shares = await backend.stats.percentiles(0.5, of="wait", since=EVER)
            assert shares[0.5] == pytest.approx(0.5, rel=0.09)
            clock.advance(200 * 86_400)
            await backend.purge_expired()
            assert (await backend.stats.total(since=START)).ended == 0
            assert (await backend.stats.total(since=EVER)).ended == 12
            assert await backend.stats.names() == ["a", "b"]
            await backend.drop_namespace()
            assert counted(await backend.stats.total(since=EVER)) == {}
