"""A shard that cannot be reached, or does not answer, and those who have nothing to do with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from time import monotonic

import pytest

from flowstore import StorageTimeout, StorageUnavailable, TaskResult
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.testing.faults import EngineFaults
from tests.support.sharded import ShardedBackend, place_among

VERBS = (
    "write",
    "read",
    "watch",
    "places",
    "at_places",
    "scan",
    "count",
    "report",
    "put",
    "items",
    "timeline",
)
SHARDS = 3
HANGS = 3_600.0


def refuse(engine: EngineFaults) -> None:
    engine.fail(*VERBS, error=StorageUnavailable("away"), times=None)


def hang(engine: EngineFaults) -> None:
    engine.slow(*VERBS, delay=HANGS, times=None)


def ids_in(shard: int, number: int) -> list[str]:
    ids = (f"t{n}" for n in count())
    found: list[str] = []
    while len(found) < number:
        if place_among(SHARDS, task_id := next(ids)) == shard:
            found.append(task_id)
    return found


@asynccontextmanager
async def without_the_first(
    trouble: Callable[[EngineFaults], None], op_timeout: float = 60.0
) -> AsyncIterator[tuple[ShardedBackend, EngineFaults]]:
    engines = [EngineFaults(MemoryEngine()) for _ in range(SHARDS)]
    async with ShardedBackend(engines, op_timeout=op_timeout, recheck_interval=1_000) as backend:
        await backend.store_many(TaskResult.success(task_id, 1) for task_id in ids_in(0, 20) + ids_in(1, 20))
        trouble(engines[0])
        try:
            yield backend, engines[0]
        finally:
            engines[0].heal()


@pytest.mark.parametrize("trouble", [refuse, hang])
async def test_what_is_about_others_goes_on(trouble: Callable[[EngineFaults], None]) -> None:
    """Stores, reads and waits of ids in other shards, beside waits of ids in the one that is away."""
    there = ids_in(0, 21)[-1]
    async with without_the_first(trouble) as (backend, _):
        lost = [asyncio.ensure_future(backend.wait_for(there)) for _ in range(3)]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            for task_id in ids_in(2, 20):
                wait = asyncio.ensure_future(backend.wait_for(task_id))
                await backend.store(task_id, TaskResult.running(task_id))
                await backend.store(task_id, TaskResult.success(task_id, task_id))
                assert (await wait).unwrap() == task_id
                assert (await backend.get(task_id)) is not None
        assert not any(wait.done() for wait in lost)
        for wait in lost:
            wait.cancel()
        await asyncio.wait(lost)


async def test_the_first_one_is_back() -> None:
    """Waits go on where they were."""
    task_id = ids_in(0, 21)[-1]
    async with without_the_first(refuse) as (backend, engine):
        waits = [asyncio.ensure_future(backend.wait_for(one)) for one in (task_id, *ids_in(2, 2))]
        while not engine.calls["watch"]:  # noqa: ASYNC110  # it is no event of ours
            await asyncio.sleep(0)
        engine.heal()
        for one in (task_id, *ids_in(2, 2)):
            await backend.store(one, TaskResult.success(one, one))
        async with asyncio.timeout(5):
            assert [(await wait).unwrap() for wait in waits] == [task_id, *ids_in(2, 2)]


@pytest.mark.parametrize(("trouble", "error"), [(refuse, StorageUnavailable), (hang, StorageTimeout)])
async def test_what_is_about_all_fails(
    trouble: Callable[[EngineFaults], None], error: type[Exception]
) -> None:
    """A page and counts, in the time of one trip, which is not repeated."""
    async with without_the_first(trouble, op_timeout=0.05) as (backend, engine):
        for call in (backend.page, backend.count_by_status):
            began = monotonic()
            with pytest.raises(error):
                await call()
            assert monotonic() - began < 2
        engine.heal()
        assert len((await backend.page(limit=100)).items) == 40


async def test_a_page_that_is_given_up_leaves_nothing_behind() -> None:
    """Its calls are cancelled with it."""
    async with without_the_first(hang) as (backend, engine):
        before = asyncio.all_tasks()
        page = asyncio.ensure_future(backend.page())
        while not engine.calls["places"]:  # noqa: ASYNC110  # it is no event of ours
            await asyncio.sleep(0)
        page.cancel()
        await asyncio.wait([page])
        assert page.cancelled()
        assert asyncio.all_tasks() <= before


async def test_a_full_queue_holds_up_no_others() -> None:
    """Writes for a shard that does not answer wait for room, and no others do."""
    large = "x" * 2**20
    async with without_the_first(hang, op_timeout=5) as (backend, _):
        queued = [
            asyncio.ensure_future(backend.store(task_id, TaskResult.success(task_id, large)))
            for task_id in ids_in(0, 80)[20:]
        ]
        await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await backend.store(other := ids_in(1, 21)[-1], TaskResult.success(other, 1))
        assert not any(one.done() for one in queued)
        for one in queued:
            one.cancel()
        await asyncio.wait(queued)


async def test_stores_of_one_id_keep_their_order() -> None:
    """Though the first one has to look for the root of its parent, in another shard that takes its time."""
    [parent], [child] = ids_in(0, 1), ids_in(1, 21)[-1:]
    async with without_the_first(lambda engine: engine.slow("read", delay=0.05)) as (backend, _):
        await asyncio.gather(
            backend.store(child, TaskResult.running(child, parent_id=parent, task_name="first")),
            backend.store(child, TaskResult.running(child, task_name="second")),
        )
        stored = await backend.get(child)
        assert stored is not None
        assert (stored.task_name, stored.parent_id, stored.version) == ("second", parent, 2)
