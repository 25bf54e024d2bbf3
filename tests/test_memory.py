"""The memory backend: the contract, and what only it has."""

from __future__ import annotations

import pytest

from flowstore import InMemoryBackend, TaskResult, TaskStatus
from flowstore.testing.contract import (
    BackendContract,
    CountedNamesContract,
    ErrorGroupsContract,
    MakeBackend,
    StatisticsContract,
)
from tests.support.limits import Limits


class TestMemory(BackendContract, StatisticsContract, CountedNamesContract, ErrorGroupsContract, Limits):
    @pytest.fixture
    def make_backend(self) -> MakeBackend:
        return InMemoryBackend


async def test_max_results_evicts_the_oldest_finished() -> None:
    """Never an unfinished record, however old; what is evicted leaves the listings too."""
    async with InMemoryBackend(max_results=3) as backend:
        await backend.store("running", TaskResult.running("running"))
        for n in range(5):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", n))
        assert {item.task_id for item in (await backend.page(TaskStatus.SUCCESS)).items} == {"t2", "t3", "t4"}
        assert await backend.exists("running")
        assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 3


@pytest.mark.parametrize("bad", [0, -1, True, "3"])
def test_bad_max_results(bad: object) -> None:
    """Named at construction."""
    with pytest.raises((ValueError, TypeError), match="max_results"):
        InMemoryBackend(max_results=bad)  # type: ignore[arg-type]  # on purpose
