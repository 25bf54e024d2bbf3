"""The log by itself, and what is made of events that nobody observes."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import fields
from typing import Any

import pytest

from flowstore import InMemoryBackend, TaskResult, observing
from flowstore._observing import logs
from flowstore._observing.observers import Observers
from flowstore.observing import Event, RecordsPurged, StorageLost, TaskStored, WorkerLost

LOUD = """
import asyncio
from flowstore import InMemoryBackend, TaskResult

async def main():
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.running("t", worker_id="w"))
        print(await backend.workers.requeue("w"))

asyncio.run(main())
"""


def test_the_log_is_silent_by_default() -> None:
    """Not even warnings are printed in a program that has not configured logging."""
    done = subprocess.run([sys.executable, "-c", LOUD], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['t']\n", "")


def test_each_field_can_be_an_attribute_of_a_record() -> None:
    """None collides with those that logging makes, whatever a kind of event is given later."""
    record = logging.LogRecord("flowstore", logging.INFO, "", 0, "", None, None)
    kinds: list[Any] = [kind for kind in vars(observing).values() if is_kind(kind)]
    assert len(kinds) > 10
    for kind in kinds:
        assert not {f"flowstore_{field.name}" for field in fields(kind)} & set(vars(record)), kind


def is_kind(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Event) and value is not Event


def test_messages(caplog: pytest.LogCaptureFixture) -> None:
    """Each has its logger and level, the namespace, and the fields of its event beside it."""
    caplog.set_level(logging.DEBUG, "flowstore")
    observers = Observers("shop")
    observers.tell(StorageLost("shop", ConnectionError("gone")))
    observers.tell(WorkerLost("shop", "w", ("a", "b")))
    observers.tell(RecordsPurged("shop", 3))
    assert [(record.name, record.levelname, record.getMessage()) for record in caplog.records] == [
        ("flowstore.storage", "WARNING", "namespace 'shop': the storage was lost, waits go on: gone"),
        ("flowstore.workers", "WARNING", "namespace 'shop': worker 'w' was lost, with 2 tasks"),
        ("flowstore.purging", "DEBUG", "namespace 'shop': 3 expired records were removed"),
    ]
    lost: Any = caplog.records[1]
    assert (lost.flowstore_event, lost.flowstore_namespace) == ("WorkerLost", "shop")
    assert (lost.flowstore_worker_id, lost.flowstore_task_ids) == ("w", ("a", "b"))


async def test_a_log_that_fails_breaks_nothing() -> None:
    """A filter of the program may raise, at the message and at the complaint about it."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ValueError(record.name)

    loggers = [logging.getLogger(f"flowstore.{name}") for name in ("workers", "observers")]
    for logger in loggers:
        logger.addFilter(refuse)
    try:
        async with InMemoryBackend() as backend:
            await backend.store("t", TaskResult.running("t", worker_id="w"))
            assert await backend.workers.requeue("w") == ["t"]
    finally:
        for logger in loggers:
            logger.removeFilter(refuse)


async def test_nothing_is_made_where_nobody_observes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store, a read and a wait that succeed are no events then, and their calls are not timed."""
    told: list[Event] = []
    monkeypatch.setattr(logs.Log, "on_event", lambda self, event: told.append(event))
    async with InMemoryBackend(purge_interval=None) as backend:
        await backend.store("t", TaskResult.success("t"))
        await backend.get("t")
        await backend.wait_for("t", 30)
        assert told == []
        await backend.store("t", TaskResult.success("t"))
    assert [type(event) for event in told] == [TaskStored]
