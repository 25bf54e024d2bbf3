"""Actions by flowstore.sync: hooks in threads, which may call the store, and in child processes as well."""

from __future__ import annotations

import os
import threading
from asyncio import to_thread
from pathlib import Path

import pytest

import flowstore.sync
from flowstore import HostNotTold, Operation, Preview, TaskResult
from flowstore.sync import ResultBackend
from flowstore.testing.contract.forking import in_child


def fill(store: ResultBackend, count: int) -> None:
    store.store_many(
        TaskResult.failed(f"t{n}", ValueError("x"), task_name="mail", args=(n,)) for n in range(count)
    )


def test_a_hook_may_call_the_store(url: str) -> None:
    """It runs in a thread, and reads the arguments of the tasks from the store that has called it."""
    with flowstore.sync.connect(url) as store:
        fill(store, 3)
        sent: list[tuple[int, ...]] = []
        threads: list[threading.Thread] = []

        @store.actions.on_requeue
        def dispatch(tasks: list[TaskResult]) -> None:
            threads.append(threading.current_thread())
            sent.extend(task.args for task in store.get_many(task.task_id for task in tasks).values())

        preview = store.actions.apply("requeue", "name:mail")
        assert isinstance(preview, Preview)
        assert preview.is_host_told
        operation = store.actions.apply("requeue", "name:mail", dry_run=False)
        assert isinstance(operation, Operation)
        assert (operation.done, operation.told) == (3, 3)
        assert sorted(sent) == [(0,), (1,), (2,)]
        assert threads[0] not in (threading.main_thread(), threading.current_thread())
        assert store.actions.all() == [operation]


def test_hooks_that_are_coroutine_functions_or_raise(url: str) -> None:
    """The first run in the event loop of the store; what the second raises is the cause of the error."""
    with flowstore.sync.connect(url) as store:
        fill(store, 3)
        told: list[str] = []

        async def revoke(tasks: list[TaskResult]) -> None:
            told.extend(task.task_id for task in tasks)

        def fail(tasks: list[TaskResult]) -> None:
            raise ConnectionError("away")

        store.actions.on_requeue(fail)
        store.actions.on_cancel(revoke)
        with pytest.raises(HostNotTold) as raised:
            store.actions.apply("requeue", "name:mail", dry_run=False)
        assert isinstance(raised.value.__cause__, ConnectionError)
        assert store.actions.apply("cancel", "name:mail", dry_run=False).is_host_told
        assert sorted(told) == ["t0", "t1", "t2"]
        assert store.actions.abort(raised.value.operation_id).state == "aborted"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
async def test_a_child_process_has_the_hooks(tmp_path: Path) -> None:
    """Which were given before the fork."""
    store = flowstore.sync.connect(f"sqlite:///{tmp_path / 'results.db'}")
    store.actions.on_requeue(lambda tasks: None)
    await to_thread(fill, store, 3)

    def child() -> int:
        return store.actions.apply("requeue", "name:mail", dry_run=False).told

    assert await in_child(child) == 3
    await to_thread(store.close)
