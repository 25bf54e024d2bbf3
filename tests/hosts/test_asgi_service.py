"""The life of a service in this process: its backend, its stop at a signal, and its background tasks."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any, cast

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, WebSocket
from litestar import Litestar, get
from litestar import Request as LitestarRequest
from starlette.applications import Starlette
from starlette.background import BackgroundTasks as PlainTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import flowstore
from flowstore import BaseResultBackend, InMemoryBackend, StorageUnavailable, TaskResult
from flowstore.integrations import _asgi_service
from flowstore.integrations.asgi import (
    TrackedBackgroundTasks,
    backend_of,
    background_task,
    get_backend,
    lifespan,
)
from flowstore.testing.insides import faulty, listening
from flowstore.testing.support import stored
from tests.hosts.asgi_client import serving

# the backend


async def test_a_backend_that_was_given_stays_open(memory: BaseResultBackend) -> None:
    app = Starlette(lifespan=lifespan(memory))
    async with serving(app):
        assert backend_of(app) is memory
    assert await memory.exists("t1") is False


async def test_an_application_starts_only_with_its_storage() -> None:
    """What is wrong with the URL is raised when it is given, an outage when the server starts."""
    with pytest.raises(ValueError, match="url"):
        lifespan("nonsense")
    with pytest.raises(TypeError, match="ttl: is an option"):
        lifespan(InMemoryBackend(), ttl=3)
    app = Starlette(lifespan=lifespan("redis://127.0.0.1:1/0", op_timeout=0.3))
    with pytest.raises(StorageUnavailable):
        async with app.router.lifespan_context(app):
            pytest.fail("it has started")


Store = Annotated[BaseResultBackend, Depends(get_backend)]


async def exists(task_id: str, store: Store) -> bool:
    return await store.exists(task_id)


async def talk(socket: WebSocket, store: Store) -> None:
    await socket.accept()
    await store.store("t1", TaskResult.success("t1", 7))
    await socket.send_json((await store.wait_for("t1")).unwrap())
    await socket.close()


@get("/exists/{task_id:str}", signature_types=[LitestarRequest])
async def exists_here(request: LitestarRequest[Any, Any, Any]) -> bool:
    backend = get_backend(HTTPConnection(cast(Any, request.scope)))
    return await backend.exists(request.path_params["task_id"])


async def test_an_application_that_fails(memory: BaseResultBackend) -> None:
    """Its worker is removed, as at any other end."""
    app = Starlette(lifespan=lifespan(memory))

    async def fail() -> None:
        async with app.router.lifespan_context(app):
            tasks = TrackedBackgroundTasks(HTTPConnection({"type": "http", "app": app}))
            await tasks.submit("t1", add, 1, 2)
            await tasks()
            assert len(await memory.workers.all()) == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await memory.workers.all() == []


async def test_dependencies(memory: BaseResultBackend) -> None:
    """The backend of the application in endpoints of FastAPI and of Litestar."""
    app = FastAPI(lifespan=lifespan(memory))
    app.get("/exists/{task_id}")(exists)
    await memory.store("t1", TaskResult.pending("t1"))
    for each in (app, Litestar([exists_here], lifespan=[lifespan(memory)], logging_config=None)):
        async with serving(each) as client:
            assert (await client.get("/exists/t1")).json() is True
            assert (await client.get("/exists/t2")).json() is False


@pytest.mark.filterwarnings("ignore:Using .httpx. with")  # as starlette prefers its successor
@pytest.mark.filterwarnings("ignore:The anyio.abc.BlockingPortal alias")  # which starlette 0.46 uses
def test_websockets_and_the_client_of_starlette() -> None:
    """It runs the application in another thread, which gets no signals."""
    testclient = import_module("starlette.testclient")
    app = FastAPI(lifespan=lifespan("memory://"))
    app.websocket("/talk")(talk)
    handler = signal.getsignal(signal.SIGTERM)
    for _ in range(2):
        with testclient.TestClient(app) as client, client.websocket_connect("/talk") as socket:
            assert socket.receive_json() == 7
            assert signal.getsignal(signal.SIGTERM) is handler


async def test_without_a_lifespan() -> None:
    """The sentence says what is missing."""
    connection = HTTPConnection({"type": "http", "app": Starlette()})
    for ask in (get_backend, TrackedBackgroundTasks):
        with pytest.raises(RuntimeError, match=r"this application has no backend: it needs lifespan\(...\)"):
            ask(connection)


# the stop


async def test_a_signal_ends_waits_and_goes_on_to_the_server(memory: BaseResultBackend) -> None:
    """The handler of the server is called as ever, and stands again afterwards."""
    told: list[int] = []

    class Server:
        should_exit = False

        def handle_exit(self, number: int, frame: Any) -> None:
            self.should_exit = True
            told.append(number)

    server = Server()
    before = {number: signal.signal(number, server.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        async with serving(Starlette(lifespan=lifespan(memory))):
            waiting = asyncio.ensure_future(memory.wait_for("t1"))
            await listening_to(memory)
            # sse-starlette asks whoever handles the signal whether the server is about to stop
            handler: Any = signal.getsignal(signal.SIGTERM)
            assert handler.__self__.should_exit is False
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(flowstore.WaitsEnded):
                await waiting
            assert handler.__self__.should_exit is True
            signal.raise_signal(signal.SIGINT)
        assert told == [signal.SIGTERM, signal.SIGINT]
        assert signal.getsignal(signal.SIGTERM) == server.handle_exit
    finally:
        for number, each in before.items():
            signal.signal(number, each)


async def listening_to(backend: BaseResultBackend) -> None:
    while not backend.waiting:  # noqa: ASYNC110  # nobody is told
        await asyncio.sleep(0.001)


async def test_a_signal_that_nobody_handles_still_ends_the_process(memory: BaseResultBackend) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        async with serving(Starlette(lifespan=lifespan(memory))):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_another_handler_of_a_signal_is_left_alone(memory: BaseResultBackend) -> None:
    """One that was installed while the application ran."""
    mine = signal.default_int_handler
    before = signal.signal(signal.SIGTERM, lambda number, frame: None)
    try:
        async with serving(Starlette(lifespan=lifespan(memory))):
            signal.signal(signal.SIGTERM, mine)
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


# background tasks

Begin = Callable[[TrackedBackgroundTasks], Any]


def starting(backend: BaseResultBackend, begin: Begin) -> Starlette:
    """An application whose only endpoint submits what ``begin`` does, and answers with what that returns."""

    async def endpoint(request: Request) -> JSONResponse:
        tasks = TrackedBackgroundTasks(request)
        return JSONResponse(await begin(tasks), 202, background=tasks)

    return Starlette(routes=[Route("/", endpoint, methods=["POST"])], lifespan=lifespan(backend))


async def add(a: int, b: int) -> int:
    return a + b


def add_in_a_thread(a: int, b: int) -> int:
    background_task().progress(1, 2, threading.current_thread().name)
    return a + b


@pytest.mark.parametrize("func", [add, add_in_a_thread])
async def test_a_background_task(func: Callable[[int, int], Any], backend: BaseResultBackend) -> None:
    """Pending before the response, then running on the worker of this process, then finished."""
    seen: list[TaskResult | None] = []

    async def begin(tasks: TrackedBackgroundTasks) -> bool:
        is_new = await tasks.submit("t1", func, 1, b=2)
        seen.append(await backend.get("t1"))
        return is_new

    async with serving(starting(backend, begin)) as client:
        answer = await client.post("/")
        assert (answer.status_code, answer.json()) == (202, True)
        finished = await backend.wait_for("t1", 10)
        [worker] = await backend.workers.all()
    assert seen[0] is not None
    assert seen[0].status == "pending"
    assert finished.unwrap() == 3
    assert finished.task_name == f"{__name__}.{func.__name__}"
    assert finished.worker_id == worker.worker_id
    assert worker.labels == {"web"}
    assert (finished.progress is not None) == (func is add_in_a_thread)
    assert [step.status for step in await backend.history.of("t1")] == ["pending", "running", "success"]
    assert await backend.workers.all() == []


async def test_each_ends_by_itself(backend: BaseResultBackend, caplog: pytest.LogCaptureFixture) -> None:
    """What fails, or returns what cannot be stored, is stored as failed and logged; the next one runs."""

    async def fail() -> None:
        raise ValueError("no paper")

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit(TaskResult.pending("t1", meta={"owner": "ada"}, task_name="print"), fail)
        await tasks.submit("t2", object)
        await tasks.submit("t3", add, 1, 2)

    async with serving(starting(backend, begin)) as client:
        await client.post("/")
        assert (await backend.wait_for("t3", 10)).unwrap() == 3
    [first, second] = [await stored(backend, task_id) for task_id in ("t1", "t2")]
    assert first.error is not None
    assert (first.error.type, first.task_name, first.meta["owner"]) == ("ValueError", "print", "ada")
    assert second.error is not None
    assert second.error.type.endswith("NotSerializable")
    assert caplog.text.count("background task ") == 2
    page = await backend.page("failed")
    assert [task.task_name for task in page.items] == ["builtins.object", "print"]


async def test_an_id_that_is_taken(memory: BaseResultBackend) -> None:
    """Nothing is recorded or run again."""
    runs: list[int] = []

    async def begin(tasks: TrackedBackgroundTasks) -> bool:
        return await tasks.submit("t1", runs.append, 1)

    async with serving(starting(memory, begin)) as client:
        assert [(await client.post("/")).json() for _ in range(2)] == [True, False]
    assert runs == [1]


async def test_a_background_task_is_cancelled(backend: BaseResultBackend) -> None:
    """While it runs, as by a user who has left; and before it has begun, when it never does."""
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit("t1", work)
        await tasks.submit("t2", work)
        await tasks.submit("t3", add, 1, 2)

    async with serving(starting(backend, begin)) as client:
        answer = asyncio.ensure_future(client.post("/"))
        await begun.wait()
        await listening(backend, "t1")
        begun.clear()
        assert await backend.cancel("t2", "nor this")
        assert await backend.cancel("t1", "the user has left")
        assert (await answer).status_code == 202
    assert [(await stored(backend, task_id)).status for task_id in ("t1", "t2", "t3")] == [
        *("cancelled", "cancelled", "success")
    ]
    assert not begun.is_set()


async def test_tasks_of_an_application_that_stops(
    backend: BaseResultBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What runs longer than the grace is cancelled, and so is what has not begun: nobody waits for ever."""
    monkeypatch.setattr(_asgi_service, "GRACE", 0.05)
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit("t1", work)
        await tasks.submit("t2", work)

    async with serving(starting(backend, begin)) as client:
        answer = asyncio.ensure_future(client.post("/"))
        await begun.wait()
    await asyncio.wait([answer])
    assert [(await stored(backend, task_id)).status for task_id in ("t1", "t2")] == ["cancelled"] * 2
    second = await stored(backend, "t2")
    assert second.cancel_request is not None
    assert second.cancel_request.reason == "the server stopped before it began"
    assert await backend.workers.all() == []


async def test_a_task_whose_turn_comes_as_the_application_stops(backend: BaseResultBackend) -> None:
    """It is cancelled, and does not begin: nothing would store how it ends."""
    ran: list[str] = []
    begun = asyncio.Event()

    async def first() -> None:
        begun.set()
        worker = await _asgi_service.service_of({"app": app}).worker()
        while not worker.is_draining:  # noqa: ASYNC110  # nobody is told
            await asyncio.sleep(0.01)

    async def second() -> None:
        ran.append("second")

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit("t1", first)
        await tasks.submit("t2", second)

    app = starting(backend, begin)
    async with serving(app) as client:
        answer = asyncio.ensure_future(client.post("/"))
        await begun.wait()
    await asyncio.wait([answer])
    assert [(await stored(backend, task_id)).status for task_id in ("t1", "t2")] == ["success", "cancelled"]
    assert ran == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_storage_that_is_down_when_a_task_begins(
    fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs all the same, and how it ended is stored if that is possible by then."""
    memory = InMemoryBackend()
    faults = faulty(memory)

    async def work() -> int:
        faults.heal()
        with pytest.raises(LookupError):
            background_task()
        if fails:
            raise ValueError("no paper")
        return 5

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit("t1", work)
        faults.fail("read", error=StorageUnavailable("away"), times=None)

    async with memory:
        with caplog.at_level(logging.WARNING, "flowstore"):
            async with serving(starting(memory, begin)) as client:
                await client.post("/")
        task = await stored(memory, "t1")
    assert task.status == ("failed" if fails else "success")
    assert "background task 't1' begins unrecorded: away" in caplog.text


async def test_a_storage_that_is_away_when_the_application_stops(caplog: pytest.LogCaptureFixture) -> None:
    """It stops as it would without: the log has it that its worker stays registered."""
    memory = InMemoryBackend()
    faults = faulty(memory)

    async def work() -> None: ...

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit("t1", work)

    async with memory:
        async with serving(starting(memory, begin)) as client:
            await client.post("/")
            [worker] = await memory.workers.all()
            faults.fail("put", "items", error=StorageUnavailable("away"), times=None)
        faults.heal()
        assert [each.worker_id for each in await memory.workers.all()] == [worker.worker_id]
    assert "the worker of this service stays registered: away" in caplog.text


async def test_what_cannot_be_recorded_is_not_promised(memory: BaseResultBackend) -> None:
    """The endpoint fails, and nothing runs."""
    ran: list[int] = []

    async def begin(tasks: TrackedBackgroundTasks) -> None:
        await tasks.submit(TaskResult.pending("t1", args=(object(),)), ran.append, 1)

    async with serving(starting(memory, begin)) as client:
        with pytest.raises(flowstore.NotSerializable):
            await client.post("/")
    assert ran == []


NOTED: list[str] = []


async def submit(request: Request, background: BackgroundTasks) -> dict[str, str]:
    tasks = TrackedBackgroundTasks(request)
    background.add_task(tasks)
    background.add_task(NOTED.append, "after")
    await tasks.submit("t1", add, 1, 2)
    tasks.add_task(NOTED.append, "within")
    return {"task_id": "t1"}


async def test_in_an_endpoint_of_fastapi(memory: BaseResultBackend) -> None:
    """By its own background tasks, beside others that are not recorded."""
    app = FastAPI(lifespan=lifespan(memory))
    app.post("/")(submit)
    NOTED.clear()
    async with serving(app) as client:
        assert (await client.post("/")).json() == {"task_id": "t1"}
    assert (await stored(memory, "t1")).unwrap() == 3
    assert NOTED == ["within", "after"]
    assert [task.task_id for task in (await memory.page()).items] == ["t1"]
    assert issubclass(TrackedBackgroundTasks, PlainTasks)


async def test_a_lost_process(backend: BaseResultBackend) -> None:
    """Its task is found by a sweep as it is silent; one that had not begun, by its age."""
    await backend.workers.register("web:gone")
    await backend.store_many([TaskResult.running("t1", worker_id="web:gone"), TaskResult.pending("t2")])
    waiting = asyncio.ensure_future(backend.wait_for_many(["t1", "t2"], 10))
    swept = await backend.workers.sweep(silent_after=0, silent="fail", pending_after=0)
    assert sorted(swept.failed) == ["t1", "t2"]
    for task_id, settled in (await waiting).items():
        with pytest.raises(flowstore.TaskFailed, match="WorkerLost" if task_id == "t1" else "NeverBegun"):
            settled.unwrap()
