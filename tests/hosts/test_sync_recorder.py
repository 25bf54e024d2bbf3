"""What the adapters of dramatiq, huey and Celery share, in threads, without a host."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

import flowstore.sync
from flowstore import HostNotTold, TaskResult, TrackOptions
from flowstore.integrations._attempts import SHOWN
from flowstore.integrations._stores import Attached
from flowstore.integrations._sync_recorder import Recorder
from flowstore.sync import ResultBackend

CALL: TrackOptions = {"name": "add", "args": (1,), "kwargs": {}}


def recorder_of(store: ResultBackend, sent: list[str]) -> Recorder:
    return Recorder(Attached(store, is_own=False), lambda task: sent.append(task.task_id))


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


def test_nothing_is_sent_twice_if_one_is_refused() -> None:
    """The operation can be resumed, and would send all of them again."""
    sent: list[str] = []
    with flowstore.sync.connect("memory://") as store:
        recorder_of(store, sent)
        for task_id, meta in (("a", {}), ("b", {SHOWN: "shown"}), ("c", {})):
            store.store(task_id, TaskResult.failed(task_id, ValueError("no"), task_name="add", meta=meta))
        with pytest.raises(HostNotTold, match="'b' is not enqueued") as raised:
            store.actions.apply("requeue", "name:add", dry_run=False)
        with pytest.raises(HostNotTold):
            store.actions.resume(raised.value.operation_id)
        assert sent == []


def test_a_task_has_its_parent_from_a_tracked_block() -> None:
    """In a producer too; inside of a task that of its innermost block."""
    with flowstore.sync.connect("memory://") as store:
        recorder = recorder_of(store, [])
        with store.track("request"):
            recorder.submitted("a", root_id="a", **CALL)
        recorder.opened_worker(1, {})
        recorder.begin("a", **CALL)
        recorder.submitted("b", **CALL)
        with store.track("step"):
            recorder.submitted("c", **CALL)
        recorder.end("a", "add", result=1)
        recorder.submitted("behind", **CALL)
        recorder.left()
        recorder.submitted("alone", **CALL)
        recorder.close()
        found = store.get_many(["a", "b", "c", "behind", "alone"])
        assert [task.parent_id for task in found.values()] == ["request", "a", "step", "a", None]


def test_a_message_that_comes_twice_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """One attempt is recorded, and none stays under way."""
    with flowstore.sync.connect("memory://") as store:
        recorder = recorder_of(store, [])
        recorder.opened_worker(2, {})
        recorder.begin("t", **CALL)
        assert recorder.begin("t", **CALL) is True
        assert "a second attempt at the same time is not recorded" in caplog.text
        recorder.end("t", "add", result=1)
        recorder.end("t", "add", result=2)
        assert store.wait_for("t", 0).unwrap() == 1
        assert [str(step.status) for step in store.history.of("t")] == ["running", "success"]
        assert recorder._under_way == {}
        recorder.close()


def test_no_thread_waits_for_another_to_register(silent: str) -> None:
    """While the storage is away each task is held up by its own calls only."""
    with closing(flowstore.sync.connect(silent, op_timeout=0.3)) as store, ThreadPoolExecutor(6) as pool:
        recorder = recorder_of(store, [])
        recorder.opened_worker(6, {})
        begun = time.monotonic()
        assert all(pool.map(lambda number: recorder.begin(f"t{number}", **CALL), range(6)))
        assert time.monotonic() - begun < 1.5


def test_an_outage_piles_up_no_records_of_event_loops(silent: str, caplog: pytest.LogCaptureFixture) -> None:
    """They are given up together, and the end of the program waits for the calls in hand only."""

    async def submit() -> None:
        for number in range(100):
            recorder.submitted(f"t{number}", **CALL)

    with closing(flowstore.sync.connect(silent, op_timeout=0.2)) as store, caplog.at_level(logging.WARNING):
        recorder = recorder_of(store, [])
        asyncio.run(submit())
        begun = time.monotonic()
        recorder.close()
        assert time.monotonic() - begun < 2
    told = [record for record in caplog.records if "its submission is not recorded" in record.getMessage()]
    assert len(told) == 100


def test_no_record_can_have_that_id(caplog: pytest.LogCaptureFixture) -> None:
    """The host is not told, and goes on."""
    with flowstore.sync.connect("memory://") as store:
        recorder = recorder_of(store, [])
        recorder.opened_worker(1, {})
        name = "x" * 5_000
        recorder.submitted(name, **CALL)
        assert recorder.begin(name, **CALL) is True
        recorder.end(name, "add", result=1)
        recorder.close()
    assert caplog.text.count("is not recorded") == 3
