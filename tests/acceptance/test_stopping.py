"""The service of docs/operations.md stops at a signal while requests wait, run by uvicorn as users run it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from flowstore import SQLiteBackend, TaskResult
from tests.acceptance.test_readme import PROGRAM

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
SERVICE = next(source for source, _ in PROGRAM.findall(PAGE.read_text("utf-8")) if "app = FastAPI(" in source)
WAITING = 3
DONE = "Uvicorn running on "


class Service(NamedTuple):
    url: str
    process: subprocess.Popen[Any]
    log: Path

    def stop(self, how: signal.Signals) -> None:
        self.process.send_signal(how)


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    """On a port that the system has chosen; killed at the end if it still runs."""
    (folder / "service.py").write_text(SERVICE, "utf-8")
    log = folder / "log"
    arguments = ["uvicorn", "service:app", "--port", "0", "--no-use-colors"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], cwd=folder, stdout=output, stderr=output
        )
    try:
        yield Service(_address(log, process), process, log)
    finally:
        process.kill()
        process.wait()


def _address(log: Path, process: subprocess.Popen[Any]) -> str:
    until = time.monotonic() + 30
    while DONE not in (text := log.read_text()):
        assert process.poll() is None, text
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return text.partition(DONE)[2].split()[0]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_stops_while_requests_wait(how: signal.Signals, tmp_path: Path) -> None:
    """Each of them gets a 503 with Retry-After, what is being stored is stored, and the log has no error."""
    sent = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b"4"
        await sent.wait()
        yield b"2"

    with running(tmp_path) as service:
        async with httpx.AsyncClient(base_url=service.url, timeout=30) as client:
            waits = [asyncio.ensure_future(client.get(f"/tasks/t{n}")) for n in range(WAITING)]
            storing = asyncio.ensure_future(client.put("/tasks/stored", content=body()))
            async with client.stream("GET", "/tasks/shown/changes") as changes:
                states = changes.aiter_lines()
                await client.put("/tasks/before", json=1)
                async with SQLiteBackend(tmp_path / "tasks.db") as other:
                    await other.store("shown", TaskResult.running("shown"))
                assert await anext(states) == "running"
                stopped = time.monotonic()
                service.stop(how)
                answers = await asyncio.gather(*waits)
                assert [line async for line in states] == []
            sent.set()
            assert (await storing).json() is True
        await asyncio.to_thread(service.process.wait, 30)
    assert time.monotonic() - stopped < 10
    assert [(answer.status_code, answer.headers["Retry-After"]) for answer in answers] == [
        (503, "1")
    ] * WAITING
    log = service.log.read_text()
    assert "Traceback" not in log
    assert "ERROR" not in log
    assert "Application shutdown complete." in log
    assert service.process.returncode == (0 if how is signal.SIGINT else -how)
    async with SQLiteBackend(tmp_path / "tasks.db") as backend:
        found = await backend.get_many(["before", "stored"])
        assert {name: task.unwrap() for name, task in found.items()} == {"before": 1, "stored": 42}
