"""The contract of statistics by name: the first thousand names by themselves, the others as one."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from flowstore import OTHER_NAMES, BaseResultBackend, TaskResult
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
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
