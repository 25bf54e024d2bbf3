"""flowrra's own app and executors with FlowrraBackend: states, errors, cancelling, outages, dead workers."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

import pytest
import pytest_asyncio
from flowrra import BackendConfig as HostBackend
from flowrra import Config as HostConfig
from flowrra import CPUExecutor, ExecutorConfig, Flowrra
from flowrra.exceptions import BackendError, TaskNotFoundError
from flowrra.management import FlowrraManager
from flowrra.task import TaskResult as HostResult
from flowrra.task import TaskStatus as HostStatus

import flowstore
from flowstore import TaskResult, TaskStatus
from flowstore.integrations.flowrra import FlowrraBackend
from flowstore.testing.insides import faulty, plant
from flowstore.testing.support import seen, stored
from tests.hosts.flowrra_app import app_on
from tests.servers import ONE_KIND, SERVER_KINDS, start_server

BOUND = 20.0


@pytest_asyncio.fixture
async def results(url: str) -> AsyncIterator[FlowrraBackend]:
    async with FlowrraBackend(url, worker_id="w1") as made:
        yield made


@pytest.fixture
def app(results: FlowrraBackend) -> Flowrra:
    return app_on(results)


def square(number: int) -> int:
    """What a process of CPUExecutor runs."""
    return number * number


class Full(Exception):
    pass


async def test_success(results: FlowrraBackend, app: Flowrra) -> None:
    """flowrra sees its own state, and flowstore the arguments, the worker and every step."""

    @app.task(name="mill.grind")
    async def grind(kilos: int, *, fine: bool) -> dict[str, int]:
        return {"flour": kilos}

    before = datetime.now()
    async with app:
        task_id = await app.submit(grind, 7, fine=True)
        state = await app.wait_for_result(task_id, timeout=BOUND)
    assert (state.status, state.result, state.task_name) == (HostStatus.SUCCESS, {"flour": 7}, "mill.grind")
    assert (state.args, state.kwargs, state.retries, state.error) == ((7,), {"fine": True}, 0, None)
    assert before <= state.submitted_at <= state.started_at <= state.finished_at
    task = await stored(results.backend, task_id)
    assert (task.unwrap(), task.args, task.worker_id) == ({"flour": 7}, (7,), "w1")
    steps = await results.backend.history.of(task_id)
    assert [step.status for step in steps] == [TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SUCCESS]
    assert [worker.worker_id for worker in await results.backend.workers.all()] == ["w1"]


async def test_failure(results: FlowrraBackend, app: Flowrra) -> None:
    """flowrra keeps the message of an error, flowstore its class and where it was raised."""

    @app.task(max_retries=0)
    async def grind() -> None:
        raise Full("no room for flour")

    async with app:
        state = await app.wait_for_result(await app.submit(grind), timeout=BOUND)
    assert (state.status, state.error) == (HostStatus.FAILED, "no room for flour")
    task = await stored(results.backend, state.task_id)
    assert task.error is not None
    assert task.error.type.endswith("Full")
    assert "in grind" in (task.error.traceback or "")
    with pytest.raises(Full, match="no room"):
        task.unwrap(reraise=Full)


async def test_retries(results: FlowrraBackend, app: Flowrra) -> None:
    """Each attempt has a number and leaves its error; flowrra names the attempt that follows a failed one."""
    told: list[HostResult] = []
    done = asyncio.Event()

    @app.task(max_retries=2, retry_delay=0)
    async def grind() -> str:
        told.extend(await results.list_by_status(HostStatus.RUNNING))
        if len(told) < 3:
            raise Full(f"attempt {len(told)}")
        done.set()
        return "flour"

    async with app:
        task_id = await app.submit(grind)
        state = await app.wait_for_result(task_id, timeout=BOUND)
    assert (state.result, state.retries) == ("flour", 2)
    assert [each.retries for each in told] == [0, 1, 2]
    steps = await results.backend.history.of(task_id, statuses="retrying")
    assert [(step.retries, step.error and step.error.message) for step in steps] == [
        (0, "attempt 1"),
        (1, "attempt 2"),
    ]


async def test_a_task_that_is_to_be_tried_again(results: FlowrraBackend, app: Flowrra) -> None:
    """Until its next attempt it is RETRYING in flowrra as well, and found as such."""
    failed = asyncio.Event()

    @app.task(max_retries=1, retry_delay=60)
    async def grind() -> None:
        failed.set()
        raise Full

    async with app:
        task_id = await app.submit(grind)
        await failed.wait()
        async for task in results.backend.watch(task_id):
            if task.status is TaskStatus.RETRYING:
                break
        [state] = await results.list_by_status(HostStatus.RETRYING)
        assert (state.task_id, state.retries, state.error) == (task_id, 1, None)
        await app.stop(wait=False)


async def test_children(results: FlowrraBackend, app: Flowrra) -> None:
    """A task that another one submits is of its family."""

    @app.task()
    async def sack() -> int:
        return 1

    @app.task()
    async def grind() -> int:
        state = await app.wait_for_result(await app.submit(sack), timeout=BOUND)
        return int(state.result)

    async with app:
        root = await app.wait_for_result(await app.submit(grind), timeout=BOUND)
    page = await results.backend.page(parent_id=root.task_id)
    assert [(child.task_name, child.root_id) for child in page.items] == [("sack", root.task_id)]


async def test_cancelled_before_it_began(results: FlowrraBackend, app: Flowrra) -> None:
    """Who waits for it has an end at once, and what is cancellable is not run."""
    ran: list[int] = []

    @app.task()
    @results.cancellable
    async def grind(number: int) -> None:
        ran.append(number)

    await results.store("t1", HostResult("t1", HostStatus.PENDING, "grind", args=(1,)))
    assert await results.backend.cancel("t1", "no grain")
    state = await results.wait_for("t1", timeout=BOUND)
    assert (state.status, state.error) == (HostStatus.FAILED, "cancelled: no grain")
    async with app:
        assert await results.resubmit(app._io_executor, ["t1"]) == ["t1"]
        await app.wait_for_result(await app.submit(grind, 2), timeout=BOUND)
    assert ran == [2]
    assert (await results.get("t1")).error == "cancelled: no grain"  # type: ignore[union-attr]


async def test_cancelled_while_it_runs(results: FlowrraBackend, app: Flowrra) -> None:
    """The code of a cancellable task ends, its worker goes on, and flowrra does not try it again."""
    runs: list[int] = []
    begun = asyncio.Event()

    @app.task(retry_delay=0)
    @results.cancellable
    async def grind(number: int) -> int:
        runs.append(number)
        if number == 1:
            begun.set()
            await asyncio.get_running_loop().create_future()
        return number

    async with app:
        task_id = await app.submit(grind, 1)
        await begun.wait()
        assert await results.backend.cancel(task_id, "the user left")
        state = await app.wait_for_result(task_id, timeout=BOUND)
        assert state.error == "cancelled: the user left"
        assert (await app.wait_for_result(await app.submit(grind, 2), timeout=BOUND)).result == 2
    assert runs == [1, 2]
    assert (await stored(results.backend, task_id)).status is TaskStatus.CANCELLED


async def test_a_cancelled_task_may_succeed(results: FlowrraBackend, app: Flowrra) -> None:
    """A code that catches CancelledError ends as it likes."""
    begun = asyncio.Event()

    @app.task()
    @results.cancellable
    async def grind() -> str:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "half a sack"
        raise AssertionError

    async with app:
        task_id = await app.submit(grind)
        await begun.wait()
        await results.backend.cancel(task_id)
        assert (await app.wait_for_result(task_id, timeout=BOUND)).result == "half a sack"


async def test_a_result_that_cannot_be_stored(
    results: FlowrraBackend, app: Flowrra, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a failed task, which runs once; with flowrra's own Redis backend its worker would be dead."""
    runs: list[None] = []

    @app.task(retry_delay=0)
    async def grind() -> object:
        runs.append(None)
        return object()

    async with app:
        for _ in range(5):  # there are four workers
            state = await app.wait_for_result(await app.submit(grind), timeout=BOUND)
            assert state.status is HostStatus.FAILED
            assert "object" in state.error
    assert len(runs) == 5
    assert "is not recorded as it was" in caplog.text


async def test_arguments_that_cannot_be_stored(results: FlowrraBackend, app: Flowrra) -> None:
    """submit() raises flowrra's error, and nothing is in the queue or in the store."""

    @app.task()
    async def grind(what: object) -> None: ...

    async with app:
        with pytest.raises(BackendError, match=r"NotSerializable: args\[0\]"):
            await app.submit(grind, object())
    assert await results.clear() == 0


async def test_pages_of_failed_tasks(results: FlowrraBackend, app: Flowrra) -> None:
    """By the management of flowrra, by its listing with limit and offset, and by flowstore with its names."""

    @app.task(max_retries=0)
    async def grind(number: int) -> None:
        raise Full(f"sack {number}")

    async with app:
        ids = [await app.submit(grind, number) for number in range(4)]
        for task_id in ids:
            await app.wait_for_result(task_id, timeout=BOUND)
        shown = await FlowrraManager(app).list_failed_tasks(limit=3)
    newest = ids[::-1]
    assert [(each["task_id"], each["error"]) for each in shown] == [
        (newest[n], f"sack {3 - n}") for n in range(3)
    ]
    assert [each.task_id for each in await results.list_by_status(HostStatus.FAILED, 2, 1)] == newest[1:3]
    assert [each.task_id for each in await results.list_by_status(HostStatus.FAILED)] == newest
    assert await results.list_by_status(HostStatus.FAILED, limit=0) == []
    page = await results.backend.page("failed", name="grind", limit=3, load_result=False)
    assert [task.task_id for task in page.items] == newest[:3]
    assert page.next_cursor is not None


async def test_a_record_that_cannot_be_read_spoils_no_list(
    results: FlowrraBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are listed, and the log names it."""
    await results.store("t1", HostResult("t1", HostStatus.SUCCESS, result=1))
    await plant(results.backend, TaskResult.success("t2", 2), head=b"no record")
    assert [state.task_id for state in await results.list_by_status(HostStatus.SUCCESS)] == ["t1"]
    assert "t2" in caplog.text
    with pytest.raises(BackendError, match="CorruptRecord"):
        await results.get("t2")


async def test_states_that_are_told_by_hand(results: FlowrraBackend) -> None:
    """Without an executor: what a state leaves out stays as it was; of an error there is only the message."""
    submitted = datetime.now()
    pending = HostResult("t1", HostStatus.PENDING, "grind", submitted_at=submitted, args=(7,))
    await results.store("t1", pending)
    await results.store("t1", HostResult("t1", HostStatus.FAILED, error="no grain"))
    state = await results.get("t1")
    assert state is not None
    assert (state.task_name, state.submitted_at, state.args) == ("grind", submitted, (7,))
    assert state.error == "no grain"
    await results.store("t1", HostResult("t1", HostStatus.SUCCESS, result="too late"))
    assert (await results.get("t1")).status is HostStatus.FAILED  # type: ignore[union-attr]
    await results.store("t2", HostResult("t2", HostStatus.SUCCESS, result=object()))
    assert "object" in (await results.wait_for("t2", timeout=BOUND)).error


@pytest.mark.parametrize("status", [HostStatus.RETRYING, HostStatus.FAILED])
async def test_a_failure_without_a_reason_is_no_success(results: FlowrraBackend, status: HostStatus) -> None:
    """Told by hand, outside of any except clause."""
    await results.store("t1", HostResult("t1", HostStatus.RUNNING, "grind"))
    await results.store("t1", HostResult("t1", status, "grind", retries=1))
    state = await results.get("t1")
    assert state is not None
    assert (state.status, state.retries) == (status, 1 if status is HostStatus.RETRYING else 0)


async def test_errors_of_those_who_wait(results: FlowrraBackend) -> None:
    """TimeoutError at the deadline, BackendError when there is no result to come."""
    await results.store("t1", HostResult("t1", HostStatus.PENDING))
    with pytest.raises(TimeoutError):
        await results.wait_for("t1", timeout=0.01)
    waiting = asyncio.create_task(results.wait_for("t1", timeout=BOUND))
    await seen(results.backend, waiting, "t1")
    assert await results.delete("t1")
    with pytest.raises(BackendError, match="ResultDeleted: "):
        await waiting
    assert not await results.delete("t1")
    assert await results.get("t1") is None


async def test_what_an_executor_is_stopped_in_is_given_back() -> None:
    """flowrra puts it back into its queue; close() makes it pending for another attempt."""
    begun = asyncio.Event()
    async with flowstore.InMemoryBackend() as backend:
        results = FlowrraBackend(backend)
        app = app_on(results)

        @app.task()
        async def grind() -> None:
            begun.set()
            await asyncio.get_running_loop().create_future()

        async with app:
            task_id = await app.submit(grind)
            await begun.wait()
            await app.stop(wait=False)
        await results.close()
        task = await stored(backend, task_id)
        assert (task.status, task.retries, task.worker_id) == (TaskStatus.PENDING, 1, None)
        assert await backend.workers.all() == []


async def test_what_ends_during_the_close() -> None:
    """Each block is left once, by whoever comes first, and the worker is gone in the end."""
    async with flowstore.InMemoryBackend() as backend:
        results = FlowrraBackend(backend)
        ids = [f"t{number}" for number in range(5)]
        for task_id in ids:
            await results.store(task_id, HostResult(task_id=task_id, status=HostStatus.RUNNING))
        faulty(backend).slow("write", delay=0.05)  # the first block that is left
        ended = [HostResult(task_id=task_id, status=HostStatus.SUCCESS, result=7) for task_id in ids]
        await asyncio.gather(results.close(), *(results.store(each.task_id, each) for each in ended))
        assert await backend.workers.all() == []
        assert len(await backend.get_many(ids)) == 5


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_processes(url: str) -> None:
    """CPUExecutor runs functions in processes of its own, and tells of them in this one."""
    async with FlowrraBackend(url) as results:
        config = HostConfig(backend=HostBackend(url=results), executor=ExecutorConfig(cpu_workers=1))
        executor = CPUExecutor(config)
        executor.task()(square)
        async with executor:
            state = await executor.wait_for_result(await executor.submit(square, 12), timeout=BOUND)
        assert state.result == 144


async def _submitted(app: Flowrra, func: Callable[..., object], *args: int) -> str:
    """As soon as the storage is back."""
    while True:
        try:
            return str(await app.submit(func, *args))
        except BackendError:
            continue


async def test_an_outage_costs_records_only() -> None:
    """A task whose storage is away in its midst goes on, and so does its worker."""
    server = start_server(SERVER_KINDS[0])
    try:
        async with FlowrraBackend(server.url, op_timeout=1.0) as results:
            app = app_on(results)
            runs: list[int] = []
            gone = asyncio.Event()

            @app.task()
            async def grind(number: int) -> int:
                runs.append(number)
                if number == 1:
                    server.kill()
                    gone.set()
                return number

            async with app:
                await app.submit(grind, 1)
                await gone.wait()
                await app._io_executor._queue.join()
                with pytest.raises(BackendError, match=r"StorageUnavailable|StorageTimeout"):
                    await app.submit(grind, 2)
                server.restart()
                await results.backend.wait_for(await _submitted(app, grind, 3), BOUND)
            assert runs == [1, 3]
    finally:
        server.stop()


@pytest.mark.parametrize("url", ["sqlite", *ONE_KIND], indirect=True)
async def test_a_killed_worker(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A sweep frees its task, another process runs it, and who waits for it in a third has the result.

    flowrra itself takes a task out of its queue before it runs, and nobody would hear of it again.
    """
    caplog.set_level(logging.CRITICAL, "flowstore.workers")
    program = [sys.executable, "-m", "tests.hosts.flowrra_app", url]
    async with FlowrraBackend(url) as results:
        process = await asyncio.create_subprocess_exec(
            *program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
        )
        assert process.stdout is not None
        task_id = (await process.stdout.readline()).decode().strip()
        waiting = asyncio.create_task(results.wait_for(task_id, timeout=BOUND))
        process.send_signal(signal.SIGKILL)
        await process.wait()
        swept = await results.backend.workers.sweep(silent_after=0.3)
        while not swept.requeued:
            swept = await results.backend.workers.sweep(silent_after=0.3)
        app = app_on(results)

        @app.task()
        async def grind(kilos: int) -> str:
            return f"{kilos} kilos"

        async with app:
            assert await results.resubmit(app._io_executor, swept.requeued) == [task_id]
            state = await waiting
        assert (state.result, state.retries, state.args) == ("7 kilos", 1, (7,))


async def test_what_is_not_registered_is_not_resubmitted(results: FlowrraBackend, app: Flowrra) -> None:
    @app.task()
    async def grind() -> None: ...

    await results.store("t1", HostResult("t1", HostStatus.PENDING, "sieve"))
    with pytest.raises(TaskNotFoundError, match="sieve"):
        await results.resubmit(app._io_executor, ["t1"])


async def test_a_backend_that_was_given_stays_open() -> None:
    async with flowstore.InMemoryBackend() as backend:
        async with FlowrraBackend(backend) as results:
            await results.store("t1", HostResult("t1", HostStatus.SUCCESS, result=1))
        assert (await stored(backend, "t1")).unwrap() == 1
