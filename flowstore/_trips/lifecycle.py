"""The life of a backend: opened once, in one event loop of one process, and closed for good.

Misuse must raise, because the alternative is a hang or a wrong answer: a future of another loop is never
woken, and after a fork two processes read each other's replies from one socket. So every call checks the
place before it does anything.

Close comes in three steps, in this order. First the waits end, since they may have no deadline and would
hold it up for ever. Then the calls in flight end, as they still need the engine. Only then is the engine
closed. The steps run to the end even if the caller is cancelled: a half closed engine would leak its threads
and connections, and nobody could close it again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from flowstore.errors import BackendClosed, WrongLoop, WrongProcess

T = TypeVar("T")

_process = object()
"""Another one in each process. To ask the system for the process id in each call costs a microsecond."""


def _forked() -> None:
    global _process
    _process = object()


if hasattr(os, "register_at_fork"):  # where there is no fork, nothing can be inherited
    os.register_at_fork(after_in_child=_forked)


class Lifecycle:
    """Surrounds each call with ``async with lifecycle:``. The first opens; ``close`` waits for the last."""

    def __init__(
        self,
        open_: Callable[[], Awaitable[None]],
        wake: Callable[[], Awaitable[None]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        self._open = open_
        self._wake = wake
        self._close = close
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = _process
        self._opening: asyncio.Lock | None = None
        self._calls = 0
        self._drained: asyncio.Future[None] | None = None
        self.is_open = False
        self.is_closed = False

    async def __aenter__(self) -> None:
        self.check()
        if not self.is_open:
            await self.open()
            self.check()  # it may have been closed in the meantime
        self._calls += 1

    async def __aexit__(self, *_: object) -> None:
        self._calls -= 1
        if not self._calls and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def check(self) -> None:
        """Raise WrongProcess, WrongLoop or BackendClosed unless a call may go ahead here and now."""
        self.check_place()
        if self.is_closed:
            raise BackendClosed("the backend is closed")

    def check_place(self) -> None:
        """Raise WrongProcess or WrongLoop unless this is the process and the loop of the backend."""
        if self._process is not _process:
            raise WrongProcess("the backend was made in another process; open one in each process")
        if self._loop is not None and self._loop is not _running_loop():
            raise WrongLoop("the backend was opened in another event loop; open one in each loop")

    async def open(self) -> None:
        """Open; nothing if it is open already. A failed open may be retried."""
        self.check()
        if self._loop is None:
            self._loop, self._opening = asyncio.get_running_loop(), asyncio.Lock()
        assert self._opening is not None
        async with self._opening:
            self.check()
            if not self.is_open:
                await self._open()
                self.is_open = True

    async def close(self) -> None:
        """End the waits, let the calls in flight end, close. Idempotent."""
        if self.is_closed and not self.is_open:
            return
        self.check_place()
        self.is_closed = True
        if self._opening is None:  # never opened
            return
        # Behind an open in progress, which would otherwise end with an engine that nobody closes; and behind
        # another close, so that this one does not return before that is done.
        async with self._opening:
            if self.is_open:
                await to_its_end(self._finish())

    async def _finish(self) -> None:
        await self._wake()
        if self._calls:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained
        try:
            await self._close()
        finally:
            self.is_open = False


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """None in a thread that runs no loop, and under another framework."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def to_its_end(step: Coroutine[Any, Any, T]) -> T:
    """Run ``step`` to its end. A cancellation that arrives meanwhile is raised once the step has ended.

    Not ``asyncio.shield``, which returns at once and leaves the step running behind the caller's back.
    """
    running = asyncio.ensure_future(step)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return running.result()
    if not running.cancelled() and (failure := running.exception()):
        raise cancelled from failure
    raise cancelled
