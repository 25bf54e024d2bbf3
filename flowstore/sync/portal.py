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
from concurrent.futures import Future, wait
from contextlib import suppress
from contextvars import Context
from functools import partial
from threading import Thread
from typing import Any, Final, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

from flowstore.errors import BackendClosed

T = TypeVar("T")


class Call(Generic[T]):
    """A coroutine that a thread waits for while it runs in the loop. ``outcome`` is settled when it ends."""

    __slots__ = ("_context", "_task", "_work", "outcome")

    def __init__(self, work: Coroutine[Any, Any, T], context: Context | None) -> None:
        self.outcome: Future[T] = Future()
        self._work = work
        self._context = context
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._carry(), context=self._context)
        self._task.add_done_callback(lambda _: self.drop(asyncio.CancelledError()))

    def cancel(self) -> None:
        if self._task is None:
            self.drop(asyncio.CancelledError())
        else:
            self._task.cancel()

    def drop(self, error: BaseException) -> None:
        """Settle the outcome of work that has not begun, and will not: it was cancelled before."""
        if not self.outcome.done():
            self._work.close()
            self.outcome.set_exception(error)

    async def _carry(self) -> None:
        """Whatever it raises is raised in the thread that waits, never in the loop, which it would end."""
        try:
            result = await self._work
        except BaseException as error:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)


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
        call = Call(work, context)
        self._calls.add(call)
        try:
            self.soon(call.begin)
            return call.outcome.result()
        except BaseException as error:
            self._give_up(call)
            if self._is_closed and isinstance(error, asyncio.CancelledError):
                raise BackendClosed("the backend is closed") from None
            raise
        finally:
            self._calls.discard(call)
            del call, work  # the traceback of what is raised refers to this frame, and they to the exception

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
        call = Call(work, None)
        self._calls.add(call)
        call.outcome.add_done_callback(lambda _: self._calls.discard(call))
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
        if call.outcome.done():
            return
        try:
            self.soon(call.cancel)
        except BackendClosed as error:
            call.drop(error)
        wait([call.outcome])


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
