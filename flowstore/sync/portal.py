"""An event loop in a thread of its own, in which other threads run coroutines.

The loop is kept by a portal of anyio. Calls do not go through it: ``BlockingPortal.call`` hops to the loop
twice, once to begin the call and once to hear of its end, and a hop is what a call costs (40 us).

The portal is not opened by ``start_blocking_portal`` either, whose context manager stops the loop when it is
garbage collected: in a child process that would be the loop of its parent, through the parent's socket, and
the child would wait for a thread that it does not have.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import Lock, Thread
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from flowstore.errors import BackendClosed

T = TypeVar("T")


class Call(Generic[T]):
    """A coroutine that a thread waits for while it runs in the loop. ``is_over``: it ended, or never began.

    It waits at a lock, of which a Future has three, and costs 10 us more.
    """

    __slots__ = (
        "_calls",
        "_context",
        "_ended",
        "_error",
        "_is_begun",
        "_result",
        "_task",
        "_work",
        "is_over",
    )

    def __init__(self, work: Coroutine[Any, Any, T], context: Context | None, calls: set[Call[Any]]) -> None:
        self._work = work
        self._context = context
        self._calls = calls
        self._task: asyncio.Task[None] | None = None
        self._result: T
        self._error: BaseException | None = None
        self._is_begun = self.is_over = False
        self._ended = Lock()
        self._ended.acquire()
        calls.add(self)

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._carry(), context=self._context)

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if not self._is_begun:  # nor will it
            self.drop(asyncio.CancelledError())

    def drop(self, error: BaseException) -> None:
        """Settle what has not ended and never will, since it was cancelled before it could begin."""
        if not self.is_over:
            self._work.close()
            self._settle(error)

    def wait(self) -> None:
        """Any number of threads may."""
        with self._ended:
            pass

    def outcome(self) -> T:
        self.wait()
        error, self._error = self._error, None
        if error is None:
            return self._result
        try:
            raise error
        finally:
            del error, self  # its traceback refers to this frame

    async def _carry(self) -> None:
        """Whatever it raises is raised in the thread that waits, never in the loop, which it would end."""
        self._is_begun = True
        try:
            self._result = await self._work
        except BaseException as error:
            self._settle(error)
        else:
            self._settle(None)

    def _settle(self, error: BaseException | None) -> None:
        self._error = error
        self.is_over = True
        self._calls.discard(self)
        self._ended.release()


class Portal:
    """An event loop in a daemon thread, until ``close``."""

    def __init__(self) -> None:
        self._calls: set[Call[Any]] = set()
        self._is_closed = False
        opened: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]] = Future()
        # In a context of its own: what the thread that happens to be the first has set is not for all calls.
        target = partial(Context().run, _serve, opened)
        self._thread: Final = Thread(target=target, name="flowstore.sync", daemon=True)
        self._thread.start()
        try:
            self._portal, self._loop = opened.result()
        except BaseException:  # KeyboardInterrupt, before it was open
            opened.cancel()
            raise

    def run(self, work: Coroutine[Any, Any, T], context: Context | None = None) -> T:
        """What ``work`` returns or raises in the loop, in ``context`` or a copy of the current one.

        An exception that interrupts the thread while it waits, such as KeyboardInterrupt, cancels the work,
        and is raised once that has ended. A second one is raised at once.
        """
        call = Call(work, context, self._calls)
        try:
            self.soon(call.begin)
            return call.outcome()
        except BaseException as error:
            self._give_up(call)
            if self._is_closed and isinstance(error, asyncio.CancelledError):
                raise BackendClosed("the backend is closed") from None
            raise
        finally:
            del call, work

    def soon(self, step: Callable[[], object]) -> None:
        """Call ``step`` in the loop. May be called in a signal handler."""
        try:
            self._loop.call_soon_threadsafe(step)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
            raise BackendClosed("the backend is closed") from None

    def close(self) -> None:
        """End the loop and its thread. What still runs is cancelled: its callers get BackendClosed."""
        self._is_closed = True
        with suppress(RuntimeError):  # it has been stopped already
            self._portal.call(self._portal.stop)
        self._thread.join()
        for call in [*self._calls]:
            call.drop(BackendClosed("the backend is closed"))

    def start(self, work: Coroutine[Any, Any, object]) -> None:
        """Let it run in the loop, without waiting for it: for whoever must not block."""
        call = Call(work, None, self._calls)
        try:
            self.soon(call.begin)
        except BackendClosed as error:
            call.drop(error)

    def close_after(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close once ``last`` has run, without waiting for it."""
        self._is_closed = True
        _CLOSING.add(self)
        self.start(self._last(last))

    async def _last(self, last: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await last()
        finally:
            await self._portal.stop()
            _CLOSING.discard(self)

    def _give_up(self, call: Call[Any]) -> None:
        if call.is_over:
            return
        try:
            self.soon(call.cancel)
        except BackendClosed as error:
            call.drop(error)
        call.wait()


_CLOSING: Final[set[Portal]] = set()
"""Those that nobody else refers to any more."""


def _serve(opened: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
    try:
        anyio.run(_keep_open, opened)
    except BaseException as error:
        if not opened.done():
            opened.set_exception(error)
        elif not opened.cancelled():
            raise


async def _keep_open(opened: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
    async with BlockingPortal() as portal:
        opened.set_result((portal, asyncio.get_running_loop()))
        await portal.sleep_until_stopped()
