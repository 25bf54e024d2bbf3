"""Clients of an application in this process: its lifespan is run, and streams are read as they are sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import httpx


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of ``app``, whose lifespan is run as a server does it."""
    events: asyncio.Queue[str] = asyncio.Queue()
    answers: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def receive() -> dict[str, Any]:
        return {"type": f"lifespan.{await events.get()}"}

    async def tell(event: str) -> None:
        events.put_nowait(event)
        assert (await answers.get())["type"] == f"lifespan.{event}.complete"

    scope = {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}
    life = asyncio.ensure_future(app(scope, receive, answers.put))
    try:
        await tell("startup")
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            yield client
        await tell("shutdown")
    finally:
        life.cancel()
        watching = [task for task in asyncio.all_tasks() if "_shutdown_watcher" in repr(task.get_coro())]
        for task in watching:  # of sse-starlette, which has one for as long as the loop runs
            task.cancel()
        await asyncio.wait([life, *watching])


class Event(NamedTuple):
    name: str
    id: str | None
    data: Any


def event_of(text: str) -> Event | None:
    """One block of the stream; None if it has no data, as a comment or what is told to the browser."""
    lines = [line.partition(": ") for line in text.split("\r\n")]
    fields = {name: value for name, _, value in lines if name}
    if "data" not in fields:
        return None
    return Event(fields["event"], fields.get("id"), json.loads(fields["data"]))


class Stream:
    """A GET whose answer is read while it is being sent."""

    def __init__(self, app: Any, path: str, headers: dict[str, str]) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._left = asyncio.Event()
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._asked = False
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "server": ("app", 80),
            "client": ("127.0.0.1", 1),
        }
        self._request = asyncio.ensure_future(app(scope, self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        self._chunks.put_nowait(message.get("body", b""))
        if not message.get("more_body", False):
            self._chunks.put_nowait(None)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Those that come, until the server ends the answer."""
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def events(self) -> AsyncIterator[Event]:
        async for chunk in self.chunks():
            if (event := event_of(chunk.decode())) is not None:
                yield event

    async def leave(self) -> None:
        """As a client that goes away."""
        self._left.set()
        await asyncio.wait([self._request])
        await self._request


@asynccontextmanager
async def stream(app: Any, path: str, **headers: str) -> AsyncIterator[Stream]:
    opened = Stream(app, path, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        yield opened
    finally:
        await opened.leave()
