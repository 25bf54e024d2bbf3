"""The pytest plugin in runs of its own: right loops, right storages, and what a failure shows."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from flowstore import TaskResult
from flowstore.integrations.pytest_plugin import assert_succeeded

pytest_plugins = ["pytester"]

PLUGINS: Final = ("-p", "flowstore_pytest", "-p", "no:cacheprovider", "-W", "error", "-q")
OF_ASYNCIO: Final = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function", "-o")
COMMON: Final = """
import asyncio
import pytest
from flowstore import BackendClosed, TaskResult

seen = []
loops = []

async def use(backend):
    await backend.store("t", TaskResult.success("t", 1))
    assert (await backend.wait_for("t")).unwrap() == 1
    seen.append(backend)
    loops.append(asyncio.get_running_loop())

async def is_closed(backend):
    with pytest.raises(BackendClosed):
        await backend.get("t")
    return True
"""
LOOPS: Final = """
import pytest_asyncio

@pytest_asyncio.fixture
async def app(flowstore_backend):
    yield flowstore_backend
    assert await flowstore_backend.exists("t")  # it is still open

@pytest.mark.asyncio
async def test_function(app, flowstore_backend):
    assert app is flowstore_backend
    await use(app)

@pytest.mark.asyncio
@pytest.mark.parametrize("flowstore_storage", ["memory", "sqlite"])
async def test_empty_each_time(flowstore_backend, flowstore_url, flowstore_storage):
    assert flowstore_url.startswith(flowstore_storage)
    assert not await flowstore_backend.exists("t")
    await use(flowstore_backend)
    assert await is_closed(seen[0])

@pytest.mark.asyncio(loop_scope="module")
class TestModuleLoop:
    async def test_one(self, flowstore_backend):
        await use(flowstore_backend)

    async def test_two(self, flowstore_backend):
        await use(flowstore_backend)
        assert loops[-1] is loops[-2]
        assert await is_closed(seen[-2])

@pytest.mark.asyncio(loop_scope="session")
async def test_session_loop(flowstore_backend):
    await use(flowstore_backend)
    assert loops[-1] is not loops[-2]

@pytest.mark.flowstore("sqlite", namespace="outer", ttl=5)
class TestMarkers:
    @pytest.mark.flowstore(namespace="inner")
    def test_without_a_loop(self, flowstore_backend, flowstore_sync):
        assert flowstore_backend.namespace == "inner"
        flowstore_sync.store("t", TaskResult.success("t"))  # the same file
        assert asyncio.run(flowstore_backend.get("t")).expires_at is not None

def test_synchronous_tasks(flowstore_sync, flowstore_submitted_sync):
    with flowstore_sync.track("a") as task:
        task.result = 1
    assert [each.unwrap() for each in flowstore_submitted_sync(5)] == [1]
    with pytest.raises(TimeoutError, match="1 tasks were submitted, expected at least 2"):
        flowstore_submitted_sync(at_least=2)
    flowstore_sync.store("b", TaskResult.pending("b", task_name="late"))
    with pytest.raises(TimeoutError, match="late 'b' is pending in attempt 0"):
        flowstore_submitted_sync(0.05)
"""


def ran(pytester: pytest.Pytester, *options: str, **files: str) -> pytest.RunResult:
    """No other plugins, as some take longer to load than all the tests."""
    pytester._monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(**files)
    return pytester.runpytest_subprocess(*PLUGINS, *options)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_loops_of_pytest_asyncio(pytester: pytest.Pytester, mode: str) -> None:
    """Each scope of them, with fixtures that use the backend until the end, and tests without a loop."""
    done = ran(pytester, *OF_ASYNCIO, f"asyncio_mode={mode}", test_loops=COMMON + LOOPS)
    done.assert_outcomes(passed=8)


def test_the_loops_of_anyio(pytester: pytest.Pytester) -> None:
    """Without pytest-asyncio; on trio, which flowstore does not know, the test is skipped."""
    program = """
pytestmark = pytest.mark.anyio

@pytest.fixture
async def app(flowstore_backend):
    yield flowstore_backend
    assert await flowstore_backend.exists("t")

@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_of_function(app):
    await use(app)

@pytest.mark.parametrize("anyio_backend", ["trio"])
def test_of_trio(anyio_backend, flowstore_backend):
    pass
"""
    wider = """
pytestmark = pytest.mark.anyio

@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"

@pytest.fixture(scope="module", autouse=True)
async def of_module(anyio_backend):
    yield asyncio.get_running_loop()

@pytest.mark.parametrize("flowstore_storage", ["memory", "sqlite"])
async def test_of_module(of_module, flowstore_backend):
    await use(flowstore_backend)
    assert loops[-1] is of_module
    assert len(seen) == 1 or await is_closed(seen[0])
"""
    done = ran(pytester, "-p", "anyio", test_one=COMMON + program, test_two=COMMON + wider)
    done.assert_outcomes(passed=3, skipped=1)


def test_waiting_for_what_was_submitted(pytester: pytest.Pytester) -> None:
    """Tasks that are submitted late, and by other tasks; an error shows who is late, or how it failed."""
    program = """
import flowstore
from flowstore.integrations.pytest_plugin import assert_succeeded

async def child(backend, delivered):
    await delivered.wait()
    async with backend.track("child", name="child", parent_id="parent") as task:
        task.result = 2

async def parent(backend):
    delivered = asyncio.Event()
    async with backend.track("parent", name="parent") as task:
        await backend.store("child", TaskResult.pending("child", parent_id="parent"))
        asyncio.get_running_loop().call_soon(delivered.set)
        running = asyncio.create_task(child(backend, delivered))
        task.result = 1
    await running

async def test_late_and_nested(flowstore_backend, flowstore_submitted):
    begun = asyncio.create_task(parent(flowstore_backend))
    results = await flowstore_submitted(10)
    assert [each.task_id for each in results] == ["parent", "child"]
    assert assert_succeeded(results) == [1, 2]
    assert len(await flowstore_submitted(at_least=2)) == 2
    await begun

async def test_too_few(flowstore_submitted):
    await flowstore_submitted(0.05, at_least=3)

async def test_late(flowstore_backend, flowstore_submitted):
    await flowstore_backend.store("t", TaskResult.running("t", task_name="slow", retries=2))
    await flowstore_submitted(0.05)

async def test_failed(flowstore_backend, flowstore_submitted):
    await flowstore_backend.store("good", TaskResult.success("good"))
    try:
        async with flowstore_backend.track("bad", name="mail"):
            raise LookupError("no such address") from OSError("no such host")
    except LookupError:
        pass
    await flowstore_backend.store("gone", TaskResult.pending("gone"))
    await flowstore_backend.cancel("gone", "not wanted")
    assert_succeeded(await flowstore_submitted())

@pytest.mark.flowstore("disk")
async def test_storage(flowstore_backend):
    pass
"""
    done = ran(pytester, *OF_ASYNCIO, "asyncio_mode=auto", test_submitted=COMMON + program)
    done.assert_outcomes(passed=1, failed=3, errors=1)
    done.stdout.fnmatch_lines(
        [
            "*UsageError: flowstore: expected the storage memory or sqlite, got 'disk'*",
            "E * TimeoutError: 0 tasks were submitted within 0.05 s, expected at least 3",
            "E * TimeoutError: not finished within 0.05 s:",
            "E *   slow 't' is running in attempt 2",
            "E * AssertionError: 2 of 3 tasks did not succeed:",
            "E *mail 'bad' is failed in attempt 0",
            "E *     OSError: no such host",
            "E *     The above exception led to the following one:",
            "E *       File *test_submitted.py*, line *, in test_failed",
            "E *     LookupError: no such address",
            "E *task 'gone' is cancelled in attempt 0: not wanted",
        ],
        consecutive=False,
    )


def test_of_many_failures_some_are_shown() -> None:
    failed = [TaskResult.failed(str(number), ValueError("no")) for number in range(30)]
    with pytest.raises(AssertionError) as caught:
        assert_succeeded(failed)
    text = str(caught.value)
    assert text.startswith("30 of 30 tasks did not succeed")
    assert text.count("ValueError: no") == 20
    assert text.endswith("... and 10 more")
    assert assert_succeeded([]) == []


def test_it_is_light() -> None:
    """It is loaded in each run of pytest: without asyncio, flowstore or what that needs, in milliseconds."""
    program = """
import sys, time, typing, pytest
begun = time.process_time()
import flowstore_pytest
print(time.process_time() - begun)
print(*sorted({"asyncio", "flowstore", "pydantic", "pytest_asyncio", "anyio"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, loaded = done.stdout.split("\n")[:2]
    assert loaded == ""
    assert float(seconds) < 0.01
