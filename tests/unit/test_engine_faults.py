"""What callers see of an engine that fails, and what polling finds out where a storage cannot push."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from flowstore import (
    BaseResultBackend,
    ResultDeleted,
    ResultExpired,
    StorageError,
    StorageFull,
    StorageUnavailable,
    TaskResult,
)
from flowstore._trips.shared import SharedTrips
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import (
    ANY_ID,
    Asked,
    Change,
    Expiry,
    Polling,
    Put,
    Query,
    Report,
    Section,
    Span,
    every,
)
from flowstore.testing.faults import FAILURES, EngineFaults, Mute
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write
from flowstore.testing.support import waiting

UNTIL = NOW + 60 * SECOND
QUIET = 600.0
"""A ``recheck_interval`` that no test lives to see."""


@pytest.fixture
def faults() -> EngineFaults:
    return EngineFaults(MemoryEngine())


@pytest_asyncio.fixture
async def backend(faults: EngineFaults) -> AsyncIterator[BaseResultBackend]:
    """A backend on an engine that fails when told to, with shared trips and without rechecks."""
    async with BaseResultBackend(SharedTrips(faults, 5.0), recheck_interval=QUIET) as opened:
        yield opened


@pytest.mark.parametrize("error", FAILURES, ids=lambda error: type(error).__name__)
async def test_a_failure_reaches_the_caller(
    backend: BaseResultBackend, faults: EngineFaults, error: StorageError
) -> None:
    """As the error that it is; the next call works, and nothing was written."""
    await backend.store("kept", TaskResult.pending("kept"))
    for verb, call in (
        ("write", lambda: backend.store("t", TaskResult.pending("t"))),
        ("read", lambda: backend.get("t")),
        ("scan", lambda: backend.page()),
        ("count", lambda: backend.count_by_status()),
        ("remove", lambda: backend.delete("t")),
        ("report", lambda: backend.set_progress("t", 1)),
        ("expire", lambda: backend.expire("kept", 1)),
        ("put", lambda: backend.data.set("t", "k", 1)),
        ("items", lambda: backend.data.get("t", "k")),
        ("purge", lambda: backend.purge_expired()),
        ("facets", lambda: backend.workflows.types()),
        ("namespaces", lambda: backend.app.namespaces()),
    ):
        faults.fail(verb, error=error)
        with pytest.raises(type(error)) as caught:
            await call()
        assert type(caught.value) is type(error)
        assert caught.value is not error
    assert await backend.get("t") is None
    assert await backend.store("t", TaskResult.pending("t"))


async def test_every_verb_can_fail() -> None:
    """Before or after it is carried out, as often as asked for, and not any more when healed."""
    faults = EngineFaults(MemoryEngine())
    await faults.open(KeptHints())
    calls: dict[str, Any] = {
        "write": lambda: faults.write([sample_write("t")], NOW),
        "read": lambda: faults.read(["t"]),
        "watch": lambda: faults.watch(["t"], UNTIL),
        "scan": lambda: faults.scan(Query(("pending",), 1), NOW),
        "count": lambda: faults.count([every()]),
        "facets": lambda: faults.facets(""),
        "report": lambda: faults.report([Report("t", b"p", None)], NOW),
        "expire": lambda: faults.expire([Expiry("t", None, 1234, 1, 1234)], NOW),
        "put": lambda: faults.put([Put(Section.DATA, "t", "k", b"v")], NOW),
        "items": lambda: faults.items([Asked(Section.DATA, "t")], NOW),
        "timeline": lambda: faults.timeline(Span(1, 0, NOW), NOW),
        "namespaces": lambda: faults.namespaces(),
        "purge": lambda: faults.purge(1, NOW),
        "remove": lambda: faults.remove(["t"], NOW),
    }
    faults.fail(*calls, error=StorageFull("no room"), skip=1, times=2)
    for verb, call in calls.items():
        await call()
        for _ in range(2):
            with pytest.raises(StorageFull):
                await call()
        await call()
        assert faults.calls[verb] == 4
    faults.fail("write", error=StorageFull("no room"), times=None)
    faults.slow("read", delay=0.01)
    with pytest.raises(StorageFull):
        await faults.write([sample_write("t")], NOW)
    faults.heal("write")
    assert await faults.read(["t"]) == [None]
    await faults.close()


async def test_a_lost_answer(backend: BaseResultBackend, faults: EngineFaults) -> None:
    """The call was carried out; whoever tries again learns what stands."""
    faults.fail("write", error=StorageUnavailable("gone"), is_carried_out=True)
    with pytest.raises(StorageUnavailable):
        await backend.store("t", TaskResult.success("t", 1))
    assert await backend.store("t", TaskResult.success("t", 2)) is False
    assert (await backend.wait_for("t")).result == 1


async def test_a_lost_answer_to_many_is_asked_for_again(
    backend: BaseResultBackend, faults: EngineFaults
) -> None:
    """A trip that failed is bisected, and the engine knows its writes again: each store was applied."""
    faults.fail("write", error=StorageError("lost"), is_carried_out=True)
    stores = [backend.store(f"t{n}", TaskResult.success(f"t{n}", n)) for n in range(20)]
    outcomes = await asyncio.gather(*stores, return_exceptions=True)
    assert outcomes.count(True) >= 19  # the first may have travelled alone
    assert [len(await backend.history.of(f"t{n}")) for n in range(20)] == [1] * 20


async def test_waits_go_on_while_the_storage_cannot_be_reached(
    backend: BaseResultBackend, faults: EngineFaults
) -> None:
    """They read again by themselves, and end with the result."""
    faults.fail("watch", error=StorageUnavailable("gone"), times=3)
    wait = await waiting(backend, "t")
    await backend.store("t", TaskResult.success("t", 1))
    assert (await wait).result == 1
    assert faults.calls["watch"] >= 1


async def test_a_wait_ends_with_what_no_retry_mends(backend: BaseResultBackend, faults: EngineFaults) -> None:
    """Any other error of the read is that of the wait."""
    faults.fail("watch", error=StorageFull("no room"))
    with pytest.raises(StorageFull):
        await backend.wait_for("t", 30)


@pytest_asyncio.fixture
async def polled() -> AsyncIterator[tuple[EngineFaults, KeptHints, Polling]]:
    """A storage that cannot push, the hints of its polls, and what polls."""
    faults, hints = EngineFaults(Mute(MemoryEngine())), KeptHints()
    polling = Polling(faults, 0.002, lambda: NOW)
    await polling.open(hints)
    yield faults, hints, polling
    await polling.close()


async def test_polls_find_each_kind_of_change(polled: tuple[EngineFaults, KeptHints, Polling]) -> None:
    """A store, a report, another expiry, after which it goes on, a removal, an expiry."""
    _, hints, polling = polled
    await polling.watch(["t", "e"], UNTIL)
    await polling.write([sample_write("t", "running"), sample_write("e", expires_at=NOW)], NOW - 1)
    await hints.heard("t", Change.RUNNING, within=5)
    await hints.heard("e", Change.PENDING, within=5)
    await polling.report([Report("t", b"p", None)], NOW)
    await hints.heard("t", Change.REPORTED, within=5)
    await polling.expire([Expiry("t", NOW + SECOND, 1234, 1, 1234)], NOW)
    await hints.heard("t", Change.EXPIRED, within=5)
    hints.clear()
    await polling.expire([Expiry("t", None, 1234, 1, 1234)], NOW)
    await hints.heard("t", Change.EXPIRED, within=5)
    await polling.remove(["t"], NOW)
    await hints.heard("t", Change.DELETED, within=5)
    await polling.purge(5, NOW)
    await hints.heard("e", Change.EXPIRED, within=5)
    await polling.watch([ANY_ID], UNTIL)
    hints.clear()
    await hints.heard("to look again", within=5)


async def test_polls_ask_once_for_all(polled: tuple[EngineFaults, KeptHints, Polling]) -> None:
    """However many ids are awaited; and never while nobody waits."""
    faults, hints, polling = polled
    await polling.watch([f"t{n}" for n in range(400)], UNTIL)
    await polling.watch([f"t{n}" for n in range(400)], UNTIL)
    await polling.write([sample_write("t7")], NOW)
    await hints.heard("t7", Change.PENDING, within=5)
    polls = faults.calls["read"]
    assert polls < 20
    hints.is_waiting = False
    await asyncio.sleep(0.02)
    polls = faults.calls["read"]
    await asyncio.sleep(0.02)
    assert faults.calls["read"] == polls


async def test_polls_forget_what_is_over(polled: tuple[EngineFaults, KeptHints, Polling]) -> None:
    """What is finished or gone is told once, and what nobody watched again is not looked for."""
    faults, hints, polling = polled
    await polling.watch(["t"], UNTIL)
    await polling.watch(["old"], NOW)
    await polling.write([sample_write("t", "success")], NOW)
    await hints.heard("t", Change.SUCCESS, within=5)
    await asyncio.sleep(0.02)
    polls = faults.calls["read"]
    await asyncio.sleep(0.02)
    assert faults.calls["read"] == polls
    assert hints.told == [("t", Change.SUCCESS)]
    await polling.watch(["u"], UNTIL)
    await polling.write([sample_write("u")], NOW)
    await hints.heard("u", Change.PENDING, within=5)


async def test_polls_outlast_an_outage(polled: tuple[EngineFaults, KeptHints, Polling]) -> None:
    """After it all is read again, since changes may have been missed."""
    faults, hints, polling = polled
    await polling.watch(["t"], UNTIL)
    faults.fail("read", error=StorageUnavailable("gone"), times=3)
    await hints.heard("to look again", within=5)
    assert faults.calls["read"] == 4


async def test_a_backend_on_a_storage_that_cannot_push() -> None:
    """Its waits end, its watchers see, its tails follow, though no hint is ever given and none rechecks."""

    class Polled(BaseResultBackend):
        def __init__(self, **options: Any) -> None:
            super().__init__(Polling(Mute(MemoryEngine()), 0.005), **options)

    async with Polled(recheck_interval=QUIET) as backend:
        waits = {name: await waiting(backend, name) for name in ("done", "deleted", "expired")}
        followed = asyncio.ensure_future(anext(backend.watch_status("success")))
        await asyncio.sleep(0.05)
        await backend.store("deleted", TaskResult.running("deleted"))
        await backend.store("expired", TaskResult.running("expired"), ttl=0.2)
        await asyncio.sleep(0.05)
        await backend.store("done", TaskResult.success("done", 1))
        await backend.delete("deleted")
        assert (await waits["done"]).result == 1
        with pytest.raises(ResultDeleted):
            await waits["deleted"]
        with pytest.raises(ResultExpired):
            await waits["expired"]
        assert await followed == "done"
