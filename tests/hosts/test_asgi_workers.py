"""The example web service, run by uvicorn with two workers, and driven over HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

import flowstore
from flowstore import BaseResultBackend, TaskResult
from tests.hosts.asgi_client import Event, event_of

ROOT = Path(__file__).parents[2]
STARTED = "Application startup complete."
WHERE = "Uvicorn running on "
ADA = {"X-User": "ada"}


class Client(NamedTuple):
    http: httpx.AsyncClient
    pid: int


class Service:
    def __init__(self, process: subprocess.Popen[bytes], log: Path, workers: int) -> None:
        self.process = process
        self.log = log
        self.workers = workers
        self.url = ""

    async def logged(self, text: str, times: int) -> str:
        """The log, once it has ``text`` so many times."""
        async with asyncio.timeout(30):
            while (log := self.log.read_text()).count(text) < times:
                assert self.process.poll() is None, log
                await asyncio.sleep(0.02)
        return log

    async def started(self) -> None:
        """With two workers, their supervisor says where before they have started; one says it afterwards."""
        await self.logged(STARTED, self.workers)
        self.url = (await self.logged(WHERE, 1)).partition(WHERE)[2].split()[0]

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """With one connection, and so to one process."""
        limits = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(base_url=self.url, headers=ADA, timeout=30, limits=limits) as client:
            answer = await client.get("/tasks/none")
            yield Client(client, int(answer.headers["x-process"]))

    @asynccontextmanager
    async def two_clients(self) -> AsyncIterator[tuple[Client, Client]]:
        """One of each worker: the first is held while the connection to the second is made."""
        async with AsyncExitStack() as stack:
            first = await stack.enter_async_context(self.client())
            os.kill(first.pid, signal.SIGSTOP)
            try:
                second = await stack.enter_async_context(self.client())
            finally:
                os.kill(first.pid, signal.SIGCONT)
            assert first.pid != second.pid
            yield first, second

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def serving(
    url: str, folder: Path, *arguments: str, workers: int = 2, silent_after: float = 60
) -> Iterator[Service]:
    log = folder / "log"
    command = [sys.executable, "-m", "uvicorn", "tests.hosts.asgi_app:app", "--port", "0"]
    idle = ["--timeout-keep-alive", "60"]  # clients keep their connection, and so their process
    settings = {"FLOWSTORE_URL": url, "SILENT_AFTER": str(silent_after), "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *idle, "--no-use-colors", "--workers", str(workers), *arguments],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Service(process, log, workers)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its workers
        process.wait()


@pytest.fixture(params=["sqlite", "valkey"])
def storage(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Any) -> str:
    """One that several processes share."""
    return f"sqlite:///{tmp_path / 'w.db'}" if request.param == "sqlite" else empty_database("valkey")


async def events(answer: httpx.Response) -> AsyncIterator[Event]:
    text = ""
    async for chunk in answer.aiter_text():
        text += chunk
        *blocks, text = text.split("\r\n\r\n")
        for block in blocks:
            if (event := event_of(block)) is not None:
                yield event


async def submitted(client: Client, pages: int, seconds: float) -> str:
    """Where the new task is to be found."""
    answer = await client.http.post("/reports", params={"pages": pages, "seconds": seconds})
    assert answer.status_code == 202, answer.text
    assert int(answer.headers["x-process"]) == client.pid
    return answer.headers["location"]


async def running(backend: BaseResultBackend, path: str) -> TaskResult:
    async for state in backend.watch(path.removeprefix("/tasks/")):
        if state.status == "running":
            return state
    raise AssertionError("it is over")


async def test_two_workers(storage: str, tmp_path: Path) -> None:
    """What runs in one is waited for and followed in the other; a process that is killed is found out.

    At the end requests that wait are answered, streams end, and the service stops at once, without errors.
    """
    with serving(storage, tmp_path, silent_after=1.5) as service:
        await service.started()
        async with service.two_clients() as (first, second):
            await check_following(second.http, await submitted(first, pages=30, seconds=0.1))
        async with flowstore.connect(storage) as backend, service.two_clients() as (first, second):
            path = await submitted(first, pages=3, seconds=0.1)
            waited = await second.http.get(path, params={"wait": "20s"})
            assert (waited.status_code, waited.json()["result"]["pages"]) == (200, 3)
            assert (await second.http.get(path, headers={"X-User": "eve"})).status_code == 404
            await check_killing(backend, first, second)
        await check_stop(service, storage)


async def check_following(client: httpx.AsyncClient, path: str) -> None:
    """A stream that breaks off goes on where it was, in whatever process, without what was seen."""
    seen: list[Event] = []
    async with client.stream("GET", f"{path}/events") as answer:
        assert answer.status_code == 200
        async for event in events(answer):
            seen.append(event)
            if len(seen) == 3:
                break
    while seen[-1].name != "finished":
        last = {"Last-Event-ID": seen[-1].id or ""}
        async with client.stream("GET", f"{path}/events", headers=last) as answer:
            seen += [event async for event in events(answer)]
    assert len({event.id for event in seen}) == len(seen) > 3
    pages = [event.data["progress"]["done"] for event in seen if event.name == "progress"]
    assert pages == sorted(pages)
    assert seen[-1].data["result"] == {"pages": 30, "bytes": 1_560_000}
    over = await client.get(f"{path}/events", headers={"Last-Event-ID": seen[-1].id or ""})
    assert over.status_code == 204


async def check_killing(backend: BaseResultBackend, first: Client, second: Client) -> None:
    """Whoever waits in the other process is told."""
    path = await submitted(first, pages=10_000, seconds=1)
    state = await running(backend, path)
    assert f":{first.pid}:" in (state.worker_id or "")
    waiting = asyncio.ensure_future(second.http.get(path, params={"wait": 30}))
    os.kill(first.pid, signal.SIGKILL)
    answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "failed")
    assert answer.json()["error"]["type"] == "WorkerLost"


async def check_stop(service: Service, storage: str) -> None:
    await service.logged(STARTED, 3)  # the killed worker has a successor
    async with flowstore.connect(storage) as backend, service.two_clients() as (first, second):
        await backend.store("open", TaskResult.running("open", meta={"owner": "ada"}))
        async with second.http.stream("GET", "/tasks/open/events") as answer:
            following = events(answer)
            assert (await anext(following)).data["status"] == "running"
            waiting = asyncio.ensure_future(first.http.get("/tasks/open", params={"wait": 60}))
            await service.logged("begun /tasks/open\n", 1)
            began = time.monotonic()
            service.stop()
            waited = await waiting
            assert (waited.status_code, waited.json()["status"]) == (202, "running")
            assert waited.headers["retry-after"] == "1"
            assert [event async for event in following] == []
        await asyncio.to_thread(service.process.wait, 20)
        assert time.monotonic() - began < 5
        assert await backend.workers.all() == []
    log = service.log.read_text()
    assert log.count("Application shutdown complete.") == 2
    assert "Traceback" not in log
    assert "ERROR" not in log


async def test_a_stop_that_is_not_patient(tmp_path: Path) -> None:
    """What runs longer than the server allows is stored as cancelled, and so is what has not begun."""
    storage = f"sqlite:///{tmp_path / 'w.db'}"
    with serving(storage, tmp_path, "--timeout-graceful-shutdown", "1", workers=1) as service:
        await service.started()
        async with flowstore.connect(storage) as backend, service.client() as client:
            path = await submitted(client, pages=10_000, seconds=1)
            await running(backend, path)
            service.stop()
            ended = await backend.wait_for(path.removeprefix("/tasks/"), 20)
            assert ended.status == "cancelled"
            await asyncio.to_thread(service.process.wait, 20)
            assert await backend.workers.all() == []
