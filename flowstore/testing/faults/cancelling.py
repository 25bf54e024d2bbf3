"""A call that is cancelled at each of its awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from itertools import count
from typing import Any


async def cancel_at_each_await(
    call: Callable[[], Coroutine[Any, Any, object]], check: Callable[[], Awaitable[None]]
) -> int:
    """Repeat the call, cancelled at its first await, its second, and so on, until it completes.

    ``check`` runs after each. Returns the number of awaits. Raises AssertionError if the call swallows a
    cancellation, and whatever else the call or ``check`` raises.
    """
    for at in count(1):
        cancelled = _CancelledAt(call(), at)
        task = asyncio.ensure_future(_run(cancelled))
        await asyncio.wait([task])
        if not task.cancelled():
            await task
            assert cancelled.awaits < at, f"the cancellation at await {at} was swallowed"
        await check()
        if cancelled.awaits < at:
            return cancelled.awaits
    raise AssertionError("unreachable")


async def _run(call: _CancelledAt) -> object:
    return await call


class _CancelledAt:
    def __init__(self, coroutine: Coroutine[Any, Any, object], at: int) -> None:
        self._coroutine = coroutine
        self._at = at
        self.awaits = 0

    def __await__(self) -> Generator[Any, Any, object]:
        step: Callable[[], Any] = partial(self._coroutine.send, None)
        while True:
            try:
                awaited = step()
            except StopIteration as end:
                return end.value
            self.awaits += 1
            if self.awaits == self._at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                step = partial(self._coroutine.send, (yield awaited))
            except BaseException as error:
                step = partial(self._coroutine.throw, error)
