"""Actions where a query has to be known, or a clock has to pass: what the contract cannot say yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from flowstore import CorruptRecord, InMemoryBackend, OperationBusy, TaskResult, TaskStatus
from flowstore._core import acting, judging, ledger
from flowstore._core.keeping import Keeping
from flowstore._core.ledger import Ledger, Step
from flowstore.engine import NAMESPACE, Asked, Position, Section
from flowstore.testing.clock import ManualClock
from flowstore.testing.insides import core_of
from flowstore.testing.support import START, stored


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture
async def backend(clock: ManualClock) -> AsyncIterator[InMemoryBackend]:
    async with InMemoryBackend(clock=clock) as opened:
        yield opened


async def test_a_query_means_what_it_meant_at_the_start(backend: InMemoryBackend, clock: ManualClock) -> None:
    """Whenever it is carried out: "the last hour" is the hour before the start."""
    for n, minutes in enumerate((90, 50)):
        submitted = START - timedelta(minutes=minutes)
        await backend.store(f"t{n}", TaskResult.pending(f"t{n}", at=submitted))
    operation = await backend.actions.start("cancel", "since:1h")
    clock.advance(3_600)
    assert (await backend.actions.resume(operation.id)).done == 1
    assert (await stored(backend, "t0")).status is TaskStatus.PENDING
    assert (await stored(backend, "t1")).status is TaskStatus.CANCELLED


async def test_steps_end_in_time(backend: InMemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the values are that are searched, the lease is renewed before it is over."""
    monkeypatch.setattr(judging, "_LONGEST_STEP", 0)
    await backend.store_many(TaskResult.pending(f"t{n}", args=("word", n % 2)) for n in range(6))
    steps: list[int] = []
    preview = await backend.actions.apply("cancel", "word -1")
    operation = await backend.actions.apply(
        "cancel", "word -1", dry_run=False, progress=lambda now: steps.append(now.done)
    )
    assert (preview.count, operation.done, len(steps), steps[-1]) == (3, 3, 6, 3)


async def test_the_lease_is_renewed_while_a_hook_is_called(
    backend: InMemoryBackend, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes, nobody else begins."""
    monkeypatch.setattr(acting, "_RENEWED_AFTER", 0.001)
    await backend.store("t", TaskResult.failed("t", ValueError("x"), task_name="mail"))
    operation = await backend.actions.start("requeue", "name:mail")
    until: list[Any] = []

    async def slow(tasks: list[TaskResult]) -> None:
        for _ in range(5):
            clock.advance(20)
            renewed = asyncio.Event()
            asyncio.get_running_loop().call_later(0.02, renewed.set)
            await renewed.wait()
            with pytest.raises(OperationBusy) as busy:
                await backend.actions.resume(operation.id)
            until.append(busy.value.until)

    backend.actions.on_requeue(slow)
    assert (await backend.actions.resume(operation.id)).told == 1
    assert len({*until}) == 5


async def test_what_is_stored_of_an_operation(backend: InMemoryBackend) -> None:
    """The bytes are pinned, and come back equal."""
    operation = await backend.actions.start(
        "expire", "name:mail", ttl=timedelta(seconds=1), by="ada", reason="why", limit=7
    )
    core = core_of(backend)
    kept, version = await Ledger(core).read(operation.id)
    kept = ledger.Kept(
        kept.operation.model_copy(update={"effects": {"ttl set": 2}, "done": 2, "untold": ("u",)}),
        Position(-5, "t"),
        Step((6, 7), (ledger.Sent("t", 1, "ttl set"),), is_told=True),
        "r",
        3,
    )
    assert await Ledger(core).put(kept, version)
    async with core.life:
        asked = [Asked(Section.APP, NAMESPACE, ["operation:0001"])]
        [[item]] = await core.engine.items(asked, 0)
    at = int(START.timestamp()) * 1_000_000
    assert item.value == (
        b'{"info":{"id":"1","action":{"name":"expire","reason":"why","ttl":1000000},"query":"name:mail",'
        b'"limit":7,"by":"ada","state":"running","started_at":%d,"updated_at":%d,"matched":0,"done":2,'
        b'"failed":0,"effects":{"ttl set":2},"told":0,"untold":["u"],"cursor":[-5,"t"],"runner":"r",'
        b'"writes":3,"step":{"times":[6,7],"records":[["t",1,"ttl set"]],"is_told":true}}}' % (at, at)
    )
    assert (await Ledger(core).read("1"))[0] == kept


async def test_a_query_that_asks_for_all(backend: InMemoryBackend) -> None:
    """None can be started, but what is kept is whole, and can be read."""
    operation = await backend.actions.start("cancel", "name:mail")
    kept, version = await Ledger(core_of(backend)).read(operation.id)
    assert await Ledger(core_of(backend)).put(kept.updated(query=""), version)
    assert (await backend.actions.get(operation.id)).query == ""
    assert [each.id for each in await backend.actions.all()] == [operation.id]


async def test_one_that_is_damaged_is_named(backend: InMemoryBackend) -> None:
    """By its id, as far as that can be read."""
    operation = await backend.actions.start("cancel", "name:mail")
    keeping = Keeping(core_of(backend), Section.APP)
    await keeping.put(NAMESPACE, "operation:0001", b'{"info":{"id":"1","state":"running"}}')
    with pytest.raises(CorruptRecord, match="operation '1': "):
        await backend.actions.get(operation.id)
