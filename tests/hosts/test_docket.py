"""docket keeps its results in flowstore: a worker and a producer, each with a store of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from flowstore.integrations.key_value import FlowstoreStore

pytest.importorskip("docket", reason="pydocket is not installed")
from docket import Docket, Worker


class Refused(Exception):
    """An exception of the tasks' own, which docket pickles."""


async def add(a: int, b: int) -> dict[tuple[int, int], int]:
    return {(a, b): a + b}


async def refuse(reason: str) -> None:
    raise Refused(reason)


@pytest.fixture(params=["sqlite", "redis"])
def results_url(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> str:
    return redis_url if request.param == "redis" else f"sqlite:///{tmp_path}/results.db"


@asynccontextmanager
async def opened(broker_url: str, results_url: str) -> AsyncIterator[tuple[Docket, FlowstoreStore]]:
    """As a process has them: its docket, and its store with the collection of docket's results."""
    async with FlowstoreStore(results_url, default_collection="docket results") as store:
        of_five_minutes = timedelta(minutes=5)
        async with Docket(
            "tests", url=broker_url, result_storage=store, execution_ttl=of_five_minutes
        ) as docket:
            docket.register(add)
            docket.register(refuse)
            yield docket, store


async def test_results_and_exceptions_of_docket_are_kept_in_flowstore(
    redis_url: str, results_url: str
) -> None:
    """The producer gets what the worker has put with the ttl of docket; docket's own store is empty."""
    async with (
        opened(redis_url, results_url) as (docket, store),
        opened(redis_url, results_url) as (other, _),
        Worker(other, minimum_check_interval=timedelta(milliseconds=5)) as worker,
    ):
        added = await docket.add(add)(1, 2)
        refused = await docket.add(refuse)("not today")
        await worker.run_until_finished()
        assert await added.get_result(timeout=timedelta(seconds=10)) == {(1, 2): 3}
        with pytest.raises(Refused, match="not today"):
            await refused.get_result(timeout=timedelta(seconds=10))

        keys = await store.keys()
        assert {key.rpartition(":")[0] for key in keys} == {added.key, refused.key}
        for value, ttl in await store.ttl_many(keys):
            assert value is not None
            assert value.keys() == {"data"}
            assert ttl is not None
            assert 0 < 300 - ttl < 60
        async with docket.redis() as broker:
            assert [key async for key in broker.scan_iter(f"{docket.results_collection}::*")] == []
