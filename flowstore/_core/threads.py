"""Steps that may block, in threads: whoever is cancelled meanwhile hears of it once the step has ended.

Otherwise a file could be closed while it is written, or be opened with nobody left to close it; and a hook
could go on when somebody else has begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from anyio import to_thread

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any, stop: Callable[[], object] | None = None) -> T:
    """What ``work`` returns or raises. ``stop``: called if the caller is cancelled, to end it soon."""
    running = asyncio.ensure_future(to_thread.run_sync(partial(work, *args)))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        if stop is not None:
            stop()
        while not running.done():
            with suppress(asyncio.CancelledError):  # it was cancelled already, and is raised below
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise
