"""The contract of the log: it is silent until it is asked for, and says what nobody else is told."""

from __future__ import annotations

import logging
from secrets import token_hex

import pytest

from flowstore import BaseResultBackend, CorruptRecord, StorageUnavailable, TaskResult
from flowstore.observing import OutcomeLost, RecordUnreadable, TaskStored, WorkerLost
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.contract.leaving import unavailable, writes_by
from flowstore.testing.contract.observing import GONE, Notes
from flowstore.testing.insides import faulty, plant
from flowstore.testing.support import waiting


class LogContract(Contract):
    async def test_an_outage(self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture) -> None:
        """Lost once and back once, however often it was tried; warnings of the log, whoever observes."""
        caplog.set_level(logging.INFO, "flowstore")
        backend = make_backend(recheck_interval=NO_RECHECK)
        faulty(backend).fail("watch", error=GONE, times=2)
        async with backend:
            wait = await waiting(backend, "t")
            await backend.store("t", TaskResult.success("t"))
            await wait
        told = [record for record in caplog.records if record.name == "flowstore.storage"]
        assert [record.flowstore_event for record in told] == ["StorageLost", "StorageBack"]  # type: ignore[attr-defined]  # extra
        assert (
            told[0].getMessage()
            == f"namespace {backend.namespace!r}: the storage was lost, waits go on: gone"
        )
        assert told[1].flowstore_seconds > 0  # type: ignore[attr-defined]  # extra
        assert {record.levelname for record in told} == {"WARNING"}

    async def test_an_unreadable_record(
        self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Told whenever it is met, by whatever reads it; one warning in the log."""
        caplog.set_level(logging.INFO, "flowstore")
        notes, name = Notes(), token_hex(8)  # the log remembers what it has warned of
        async with make_backend(observers=[notes]) as backend:
            await plant(backend, TaskResult.failed(name, ValueError()), head=b"{", is_checked=True)
            with pytest.raises(CorruptRecord):
                await backend.get(name)
            assert [one.task_id for one in (await backend.page()).unreadable] == [name]
            with pytest.raises(CorruptRecord):
                await backend.wait_for(name, 30)
        assert [event.task_id for event in notes.of(RecordUnreadable)] == [name] * 3
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert [record.flowstore_task_id for record in warnings] == [name]  # type: ignore[attr-defined]  # extra

    async def test_what_is_lost(self, make_backend: MakeBackend, caplog: pytest.LogCaptureFixture) -> None:
        """An outcome, a worker, a late write: in the log, with the ids beside the words."""
        caplog.set_level(logging.INFO, "flowstore")
        async with make_backend(op_timeout=1) as backend:
            await backend.store("t", TaskResult.running("t", worker_id="w"))
            await backend.workers.requeue("w")
            assert not await backend.store("t", TaskResult.success("t", worker_id="w"))
            with pytest.raises(StorageUnavailable):
                await _block(backend)
        told = [
            (record.levelname, record.flowstore_event, _id_in(record))  # type: ignore[attr-defined]  # extra
            for record in caplog.records
            if record.name != "flowstore.storage"
        ]
        assert told == [
            ("WARNING", WorkerLost.__name__, "w"),
            ("INFO", TaskStored.__name__, "t"),
            ("ERROR", OutcomeLost.__name__, "b"),
        ]


async def _block(backend: BaseResultBackend) -> None:
    tracked = backend.track("b")
    await tracked.__aenter__()
    with writes_by(backend, unavailable):
        await tracked.__aexit__(None, None, None)


def _id_in(record: logging.LogRecord) -> object:
    return getattr(record, "flowstore_task_id", None) or getattr(record, "flowstore_worker_id", None)
