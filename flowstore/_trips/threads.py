"""Calls from a thread to the event loop that has started it, and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from concurrent.futures import wait
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_LOOK_AGAIN: Final = 1.0
"""Seconds. A loop that is closed before it came to the call never says so."""


class Done(Awaitable[T], Generic[T]):
    """What can be awaited at once."""

    def __init__(self, result: T) -> None:
        self._result = result

    def __await__(self) -> Generator[Any, None, T]:
        return self._result
        yield

    def __bool__(self) -> bool:
        return bool(self._result)


def from_thread(work: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop | None, lost: T) -> Done[T]:
    """Run ``work`` in ``loop`` and wait for it in this thread; ``lost`` if the loop is closed before."""
    if loop is None or loop.is_closed():
        work.close()
        return Done(lost)
    running = asyncio.run_coroutine_threadsafe(work, loop)
    while not wait([running], _LOOK_AGAIN).done:
        if loop.is_closed():
            work.close()
            return Done(lost)
    return Done(running.result())
