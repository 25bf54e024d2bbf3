"""The example, which tells what a test must know: the process that answers, and that a request has begun."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

app: Any = import_module("web_service").app


class Telling:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Process"] = str(os.getpid())
            await send(message)

        print("begun", scope.get("path"), flush=True)
        await self._app(scope, receive, tell)


app.add_middleware(Telling)
