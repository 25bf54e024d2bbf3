"""Calls under a deadline: a single one, or a sequence that shares one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from flowstore.errors import StorageTimeout

T = TypeVar("T")


def no_answer(timeout: float) -> StorageTimeout:
    return StorageTimeout(f"the storage did not answer within {timeout:g} s")


async def in_time(call: Awaitable[T], timeout: float) -> T:
    """Raise StorageTimeout after ``timeout`` seconds."""
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            return await call
    except TimeoutError as error:
        if not limit.expired():  # the storage's own timeout, which says more than ours would
            raise
        raise no_answer(timeout) from error


class Deadline:
    """``asyncio.timeout_at`` for a sequence of calls, with one timer for all of them.

    Arming and cancelling a timer for each call costs more than sharing a trip saves. So the timer outlives
    its call, and when it fires too early for the current one it is armed again. That only works if deadlines
    never decrease: an earlier one would be noticed when the later timer fires.
    """

    def __init__(self) -> None:
        self._at = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._has_passed = False

    async def meet(self, call: Awaitable[T], at: float) -> T:
        """Await ``call``; TimeoutError at ``at`` on the loop's clock. One call at a time."""
        task = asyncio.current_task()
        assert task is not None
        self._at, self._task, requested = at, task, task.cancelling()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(at, self._pass)
        try:
            return await call
        except asyncio.CancelledError:
            # A second request to cancel came from elsewhere, and must not be turned into a timeout.
            if self._has_passed and task.cancelling() == requested + 1:
                raise TimeoutError from None
            raise
        finally:
            self._task = None
            if self._has_passed:
                self._has_passed = False
                task.uncancel()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self._timer = None
        if self._task is None:  # between two calls; the next one arms the timer
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._at:
            self._timer = loop.call_at(self._at, self._pass)
        else:
            self._has_passed = True
            self._task.cancel()
