"""The page for the benchmark: ``uvicorn benchmarks.faces_app:app``. It notes how long the last request took.

``/-/last`` answers with the seconds of the last request to the page, until its last byte was handed to the
server, the seconds of processor time that this process has used meanwhile in all its threads, how often
something was sent to Redis, and how many round trips of these were made one after the other: what is sent
before anything was answered belongs to the first, what is sent after an answer of the first to the second.
"""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict, deque
from typing import Any

from flowstore.web import ANYONE_DANGEROUS, create_app


class Trips:
    """To Redis, of one request."""

    sent = rounds = answered = 0


def _watch_trips() -> None:
    from redis.asyncio.connection import AbstractConnection

    send, read = AbstractConnection.send_packed_command, AbstractConnection.read_response
    waiting: defaultdict[int, deque[int]] = defaultdict(deque)

    async def sending(self: AbstractConnection, *arguments: Any, **named: Any) -> None:
        Trips.sent += 1
        waiting[id(self)].append(Trips.answered + 1)
        Trips.rounds = max(Trips.rounds, Trips.answered + 1)
        await send(self, *arguments, **named)

    async def reading(self: AbstractConnection, *arguments: Any, **named: Any) -> Any:
        try:
            return await read(self, *arguments, **named)
        finally:
            if waiting[id(self)]:
                Trips.answered = max(Trips.answered, waiting[id(self)].popleft())

    AbstractConnection.send_packed_command = sending  # type: ignore[method-assign]
    AbstractConnection.read_response = reading  # type: ignore[method-assign]


class Measured:
    """An ASGI application that passes all on to another one, but for ``/-/last``."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._last: dict[str, float] = {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] == "/-/last":
            body = json.dumps(self._last).encode()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})
        else:
            Trips.sent = Trips.rounds = Trips.answered = 0
            begun, used = time.perf_counter(), time.process_time()
            await self._app(scope, receive, send)
            self._last = {
                "seconds": time.perf_counter() - begun,
                "processor": time.process_time() - used,
                "sent": Trips.sent,
                "rounds": Trips.rounds,
            }


if os.environ["FACES_STORE"].startswith("redis"):
    _watch_trips()
app = Measured(create_app(os.environ["FACES_STORE"], access=lambda request: ANYONE_DANGEROUS))
