"""The purger of an open backend, on an engine that fails when told to."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

import pytest

from flowstore import (
    AccessDenied,
    BaseResultBackend,
    ResultExpired,
    SchemaTooNew,
    StorageFull,
    StorageUnavailable,
    TaskResult,
)
from flowstore._core.purging import Purger
from flowstore._observing.observers import Observers
from flowstore.backends.memory import MemoryEngine
from flowstore.engine import Engine, EngineWrapper, Purged
from flowstore.testing import ManualClock
from flowstore.testing.faults import EngineFaults
from flowstore.testing.insides import core_of
from flowstore.testing.support import waiting


class Purges:
    """Purges that answer as told; once the list is empty, nothing is left."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.answers = list(answers)
        self.calls = 0
        self.is_over = asyncio.Event()

    async def __call__(self) -> Purged:
        self.calls += 1
        answer = self.answers.pop(0) if self.answers else True
        if not self.answers:
            self.is_over.set()
        if isinstance(answer, Exception):
            raise answer
        return Purged(0, 1, answer)


class Stuck(EngineWrapper):
    """``inner``, whose purges never end."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self.purges = 0
        self.is_purging = asyncio.Event()

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        self.purges += 1
        self.is_purging.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets it")


async def run(purges: Purges) -> None:
    """Until all answers have been given."""
    purger = Purger(purges, 0.001, Observers("shop"))
    purger.start()
    async with asyncio.timeout(30):
        await purges.is_over.wait()
    await purger.close()


async def test_it_stops_when_nothing_is_left() -> None:
    """Until then one step follows another."""
    purges = Purges(False, False, True)
    purger = Purger(purges, 600, Observers("shop"))
    purger.ring()
    async with asyncio.timeout(30):
        await purges.is_over.wait()
    await asyncio.sleep(0)
    await purger.close()
    assert purges.calls == 3


async def test_failures_are_logged_and_ridden_out(caplog: pytest.LogCaptureFixture) -> None:
    """A warning for the first of several in a row; and the namespace is named."""
    caplog.set_level(logging.DEBUG, "flowstore")
    gone, full = StorageUnavailable("gone"), StorageFull("no room")
    await run(Purges(gone, full, full, True, ValueError("a defect"), True, gone, True))
    records = [record for record in caplog.records if "could not" in record.getMessage()]
    told = [(record.levelname, record.getMessage().rpartition(": ")[2]) for record in records]
    assert told == [
        ("WARNING", "gone"),
        ("DEBUG", "no room"),
        ("DEBUG", "no room"),
        ("WARNING", "ValueError('a defect')"),
        ("WARNING", "gone"),
    ]
    assert all("'shop'" in record.getMessage() for record in records)
    assert [record.levelname for record in caplog.records if record.exc_info] == ["WARNING"]


async def test_who_may_only_read_is_not_warned(caplog: pytest.LogCaptureFixture) -> None:
    """It would be so for ever, and nobody there could do anything about it."""
    caplog.set_level(logging.INFO, "flowstore")
    await run(Purges(AccessDenied("read only"), SchemaTooNew("x.db", 99, 4, is_readable=True), True))
    assert caplog.records == []


async def test_an_outage_is_ridden_out() -> None:
    """What expired during it goes afterwards."""
    clock = ManualClock()
    faults = EngineFaults(MemoryEngine())
    async with BaseResultBackend(faults, clock=clock, purge_interval=0.001) as backend:
        faults.fail("purge", error=StorageUnavailable("gone"), times=3)
        await backend.store("t", TaskResult.running("t"), ttl=5)
        wait = await waiting(backend, "t")
        clock.advance(5)
        with pytest.raises(ResultExpired):
            await wait
        assert await backend.get("t") is None


async def test_close_in_the_midst_of_it() -> None:
    """It is cancelled, however long the storage would take."""
    engine = Stuck(MemoryEngine())
    async with asyncio.timeout(30), BaseResultBackend(engine, purge_interval=0.001):
        await engine.is_purging.wait()
    await asyncio.sleep(0.01)
    assert engine.purges == 1, "it goes on after close"


async def test_it_opens_nothing() -> None:
    """It begins with the backend, and a backend that nobody uses is never opened."""
    faults = EngineFaults(MemoryEngine())
    backend = BaseResultBackend(faults, purge_interval=0.001)
    await asyncio.sleep(0.01)
    assert faults.calls == {}
    await backend.close()


async def test_it_keeps_nothing_alive() -> None:
    """A backend that is forgotten can be collected, with its timer running."""
    backend = BaseResultBackend(MemoryEngine(), purge_interval=600)
    await backend.open()
    core = weakref.ref(core_of(backend))
    with pytest.warns(ResourceWarning, match="never closed"):
        del backend
    gc.collect()
    assert core() is None


def test_a_program_that_forgets_to_close(
    recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is left pending where its loop ends."""

    async def forgets() -> None:
        backend = BaseResultBackend(MemoryEngine())
        await backend.store("t", TaskResult.success("t"))

    loop = asyncio.new_event_loop()
    loop.run_until_complete(forgets())
    loop.close()
    gc.collect()
    assert [str(warning.message) for warning in recwarn] == [
        "BaseResultBackend(namespace='default') was never closed"
    ]
    assert caplog.records == []
