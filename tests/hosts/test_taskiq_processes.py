"""taskiq as it is run: ``taskiq worker`` in a process of its own, the producer in this one."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

import flowstore.integrations.taskiq  # noqa: F401  # here, and not in a loop, where that would block
from flowstore import TaskCancelled, TaskStatus
from flowstore.testing.support import IS_STRESS, stored

ROOT: Final = Path(__file__).resolve().parents[2]
APP: Final = "tests.hosts.taskiq_app"
HOOKS: Final = ["task", "post_save", *(["pre_execute", "on_error", "post_execute"] if IS_STRESS else [])]
SWEEPS: Final = {"silent_after": 1.0}


@contextmanager
def running(*command: str) -> Iterator[None]:
    """A command of taskiq for the application; it ends its processes when it is told to."""
    whole = [sys.executable, "-m", "taskiq", *command, "--log-level=CRITICAL"]
    process = subprocess.Popen(whole, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


BOTH: Final = pytest.mark.parametrize("app", ["sqlite", "valkey"], indirect=True)
ON_REDIS: Final = BOTH if IS_STRESS else pytest.mark.parametrize("app", ["valkey"], indirect=True)
ON_SQLITE: Final = BOTH if IS_STRESS else pytest.mark.parametrize("app", ["sqlite"], indirect=True)


@pytest_asyncio.fixture
async def app(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    empty_database: Callable[[str], str],
) -> AsyncIterator[Any]:
    """The module of the application, imported for this test, its broker started as a producer's."""
    queue = empty_database("valkey")
    store = queue if request.param == "valkey" else f"sqlite:///{tmp_path / 'results.db'}"
    monkeypatch.setenv("FLOWSTORE_APP_QUEUE", queue)
    monkeypatch.setenv("FLOWSTORE_APP_STORE", store)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *sys.path]))
    sys.modules.pop(APP, None)
    module = importlib.import_module(APP)
    await module.broker.startup()
    yield module
    await module.broker.shutdown()


@BOTH
async def test_a_worker_in_another_process(app: Any) -> None:
    """Success, failure, a retry, a child, a cancelled task, and a page of what has failed."""
    backend = app.results.backend
    with running("worker", f"{APP}:broker", "--workers=1"):
        sum_of = await app.add.kiq(1, 2)
        failing = await app.fail.kiq()
        flaky = await app.flaky.kiq()
        parent = await app.parent.kiq()
        assert (await sum_of.wait_result(timeout=30)).return_value == 3
        with pytest.raises(LookupError) as caught:
            (await failing.wait_result(timeout=30)).raise_for_error()
        assert caught.value.args == ("no such customer", {"id": 7})
        assert (await flaky.wait_result(timeout=30)).return_value == "done"
        child = (await parent.wait_result(timeout=30)).return_value
        assert (await app.results.wait(child, 30)).return_value == 3
        assert (await stored(backend, child)).parent_id == parent.task_id
        page = await backend.page("failed", name=f"{APP}:fail")
        assert [task.task_id for task in page.items] == [failing.task_id]
        resting = await app.rest.kiq()
        async for state in backend.watch(resting.task_id):
            if state.status is TaskStatus.RUNNING:
                assert await backend.cancel(resting.task_id, "enough")
        with pytest.raises(TaskCancelled, match="enough"):
            (await resting.wait_result(timeout=30)).raise_for_error()
        [worker] = await backend.workers.all()
        assert worker.worker_id == (await stored(backend, resting.task_id)).worker_id
    assert await backend.workers.all() == []  # it has ended in order


@ON_REDIS
async def test_a_worker_that_is_killed(app: Any) -> None:
    """In the task, and in each hook around it: a sweep finds what it left, and it is sent again.

    Once the result is saved there is nothing left to do.
    """
    with running("worker", f"{APP}:broker", "--workers=1"):
        for hook in HOOKS:
            sent = await app.work.kiq(hook)
            waiting = asyncio.create_task(sent.wait_result(timeout=50))
            while not waiting.done():
                swept = await app.results.backend.workers.sweep(**SWEEPS)
                await app.results.dispatch(swept.requeued)
                await asyncio.wait([waiting], timeout=0.2)
            assert (await waiting).return_value == (0 if hook == "post_save" else 1)


@ON_SQLITE
async def test_a_scheduler_in_another_process(app: Any) -> None:
    """What it sends is recorded as by any other producer."""
    with running("scheduler", f"{APP}:scheduler"):
        task_id = await anext(app.results.backend.watch_status("pending"))
    task = await stored(app.results.backend, task_id)
    assert (task.task_name, type(task.meta["schedule_id"])) == (f"{APP}:tick", str)
