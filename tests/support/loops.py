"""The event loop that the async tests run on: asyncio's own, unless FLOWSTORE_LOOP names another."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from importlib import import_module


def eager_loop() -> asyncio.AbstractEventLoop:
    """asyncio's own, on which a task begins inside of ``create_task``. Since Python 3.12."""
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def uvloop_loop() -> asyncio.AbstractEventLoop:
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop_loop,
    **({"eager": eager_loop} if sys.version_info >= (3, 12) else {}),
}
LOOP = os.environ.get("FLOWSTORE_LOOP", "asyncio")
