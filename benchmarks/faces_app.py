"""The page for the benchmark: ``uvicorn benchmarks.faces_app:app``. It notes how long the last request took.

``/-/last`` answers with the seconds of the last request to the page, until its last byte was handed to the
server, and how often something was sent to Redis meanwhile. What several calls send at once counts once.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from flowstore.web import ANYONE_DANGEROUS, create_app


class Sent:
    """How often something was sent to Redis by this process."""

    count = 0


def _count_sends() -> None:
    from redis.asyncio.connection import AbstractConnection

    send = AbstractConnection.send_packed_command

    async def counted(self: AbstractConnection, *arguments: Any, **named: Any) -> None:
        Sent.count += 1
        await send(self, *arguments, **named)

    AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]


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
            sent, begun = Sent.count, time.perf_counter()
            await self._app(scope, receive, send)
            self._last = {"seconds": time.perf_counter() - begun, "sent": Sent.count - sent}


if os.environ["FACES_STORE"].startswith("redis"):
    _count_sends()
app = Measured(create_app(os.environ["FACES_STORE"], access=lambda request: ANYONE_DANGEROUS))
