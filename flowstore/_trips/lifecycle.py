"""The life of a backend in one event loop of one process: opened once, and closed for good.

Misuse must raise, because the alternative is a hang or a wrong answer: a future of another loop is never
woken, and after a fork two processes read each other's replies from one socket. So every call checks the
place before it does anything.

The place is where it is first opened, not where it was made. Until then there is no socket and no future, so
a backend that was made before a fork works in each of the children. And a loop that is closed cannot run
again: what was opened there is lost, whatever anybody does, and nobody but the next loop can want the
backend. So it may begin another life there, which is another object: calls that died in the old loop are
finalised by the garbage collector at any later time, and must not count in the new one. ``Core.life`` hands
out the current one. That is never done in a child process, where a loop may be closed that the parent's
connections still live in.

Close comes in three steps, in this order. First the waits end, since they may have no deadline and would
hold it up for ever. Then the calls in flight end, as they still need the engine. Only then is the engine
closed. The steps run to the end even if the caller is cancelled: a half closed engine would leak its threads
and connections, and nobody could close it again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Coroutine
from copy import copy
from typing import Any, TypeVar

from flowstore.errors import BackendClosed, StorageUnavailable, WrongLoop, WrongProcess

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
        given_up: Callable[[StorageUnavailable], None],
    ) -> None:
        self._open = open_
        self._wake = wake
        self._close = close
        self._given_up = given_up
        self.loop: asyncio.AbstractEventLoop | None = None
        """Where it was opened; None: nowhere yet."""
        self._process: object = None
        self._opening: asyncio.Lock | None = None
        self._tries = 0
        self._failure: StorageUnavailable | None = None
        """Of the last try to open."""
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

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        self._calls -= 1
        if not self._calls and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if error is not None and isinstance(error, StorageUnavailable):
            self._given_up(error)

    def check(self) -> None:
        """Raise WrongProcess, WrongLoop or BackendClosed unless a call may go ahead here and now."""
        self.check_place()
        if self.is_closed:
            raise BackendClosed("the backend is closed")

    def check_place(self) -> None:
        """Raise WrongProcess or WrongLoop unless it was opened in this process and this loop, or nowhere."""
        if self.loop is None:
            return
        if self._process is not _process:
            raise WrongProcess("the backend was opened in another process; make one in each process")
        if self.loop is not running_loop() and not (self.is_closed and self.loop.is_closed()):
            raise WrongLoop("the backend was opened in another event loop; make one in each loop")

    @property
    def is_orphaned(self) -> bool:
        """Whether it was not closed before its loop was; in another process than its own never."""
        if self.loop is None or self._process is not _process or not self.loop.is_closed():
            return False
        return self.is_open or not self.is_closed

    async def open(self) -> None:
        """Open; nothing if it is open already. A failed open may be retried.

        Calls that come while another one opens wait for it, and try once more themselves if it fails: one for
        all of them, as each would take as long again before the next.
        """
        self.check()
        if self.loop is None:
            self.loop, self._process = asyncio.get_running_loop(), _process
            self._opening = asyncio.Lock()
        assert self._opening is not None
        tries = self._tries
        async with self._opening:
            self.check()
            if not self.is_open:
                await self._try_open(tries)

    async def _try_open(self, tries: int) -> None:
        """``tries``: how many there had been, the current one included, when the call came."""
        if self._failure is not None and self._tries > tries:
            raise copy(self._failure) from self._failure
        self._tries, self._failure = self._tries + 1, None
        try:
            await self._open()
        except StorageUnavailable as error:
            self._failure = error
            self._given_up(error)
            raise
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


def running_loop() -> asyncio.AbstractEventLoop | None:
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
