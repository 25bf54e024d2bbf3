"""From a store to its backend and its event loop in this process.

After a fork the child has neither: the backend's connections are the parent's, and the thread of the loop was
not copied. Both are made anew in the child, at its first call, from what the store was made from. The
parent's are kept, untouched: to finalise them would mean to use them.

A store that nobody closes is closed at exit, when the threads that Python waits for have ended and can make
no more calls; or when it is garbage collected, without waiting for it, as that may happen in any thread.
"""

from __future__ import annotations

import atexit
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from contextvars import Context
from threading import Lock
from typing import Any, Final, Generic, Protocol, TypeVar

from flowstore._values.types import Types
from flowstore.base import BaseResultBackend
from flowstore.errors import BackendClosed, LoopIsRunning
from flowstore.sync.notebooks import check_may_block
from flowstore.sync.portal import Portal

T = TypeVar("T")


class Closable(Protocol):
    async def close(self) -> None: ...


B = TypeVar("B", bound=Closable)


class _Place(Generic[B]):
    """A backend, and the loop it lives in once that is opened."""

    def __init__(self, backend: B) -> None:
        self.backend = backend
        self.portal: Portal | None = None

    def leave(self) -> None:
        if self.portal is not None:
            self.portal.close_after(self.backend.close)


class Link(Generic[B]):
    """From a store to its backend in this process, or whatever else lives in a loop and is closed there."""

    def __init__(self, make: Callable[[], B]) -> None:
        self._make = make
        self._steps: list[Callable[[B], object]] = []
        self._is_closed = False
        self._lock = Lock()
        self._place: _Place[B] | None = None
        self._finalizer = self._settle(_Place(make()))
        _LINKS.add(self)

    @property
    def backend(self) -> B:
        return self._here().backend

    def run(self, work: Coroutine[Any, Any, T], context: Context | None = None) -> T:
        """What ``work`` returns or raises in the loop of the backend. See ``Portal.run``."""
        try:
            check_may_block()
            portal = self._opened()
        except BaseException:
            work.close()
            raise
        return portal.run(work, context)

    def iterate(self, items: AsyncGenerator[T, None], most: int) -> Generator[T, None, None]:
        """``items``, of which up to ``most`` are read at once, and no more than were taken before.

        A hop to the loop costs more than an item of a walk. Of what is waited for ``most`` is 1.
        """
        size = 1
        try:
            while True:
                found, end = self.run(_some(items, size))
                yield from found
                if isinstance(end, StopAsyncIteration):
                    return
                if end is not None:
                    raise end
                size = min(2 * size, most)
        finally:
            self._end(items)

    def make_by(self, make: Callable[[], B]) -> None:
        """Child processes that are forked from now on make theirs in this way."""
        self._make = make

    def always(self, step: Callable[[B], object]) -> None:
        """Do this to the backend, and to those of child processes."""
        step(self.backend)
        self._steps.append(step)

    def close(self) -> None:
        check_may_block()
        with self._lock:
            self._is_closed = True
            place = self._place
        if place is None or place.portal is None:
            return
        try:
            with suppress(BackendClosed):  # by another thread
                place.portal.run(place.backend.close())
        finally:
            place.portal.close()
            self._finalizer.detach()

    def forked(self) -> None:
        """This is the child process: what was here is the parent's."""
        self._lock = Lock()
        self._finalizer.detach()
        if self._place is not None:
            _OF_PARENTS.append(self._place)
        self._place = None

    def _here(self) -> _Place[B]:
        return self._place or self._anew()

    def _anew(self) -> _Place[B]:
        with self._lock:
            if self._place is None:
                place = _Place(self._make())
                for step in self._steps:
                    step(place.backend)
                self._finalizer = self._settle(place)
            assert self._place is not None
            return self._place

    def _settle(self, place: _Place[B]) -> weakref.finalize[[], Link[B]]:
        self._place = place
        finalizer = weakref.finalize(self, place.leave)
        finalizer.atexit = False
        return finalizer

    def _opened(self) -> Portal:
        place = self._here()
        if place.portal is None:
            with self._lock:
                if self._is_closed:
                    raise BackendClosed("the backend is closed")
                if place.portal is None:
                    place.portal = Portal()
        return place.portal

    def _end(self, items: AsyncGenerator[Any, None]) -> None:
        """Close them; without waiting where that must not be, as in whatever thread collects garbage."""
        place = self._place
        if place is None or place.portal is None:
            return
        with suppress(BackendClosed):
            try:
                check_may_block()
            except LoopIsRunning:
                place.portal.start(_closed(items))
            else:
                place.portal.run(_closed(items))


class BackendLink(Link[BaseResultBackend]):
    """From a store of results. What is done to its backend is done to those of child processes, too."""

    def register_types(self, types: Types) -> None:
        self.always(lambda backend: backend.register_types(types))

    def end_waits(self) -> None:
        """Takes no lock and waits for nothing: a signal handler may call it in the midst of anything."""
        place = self._here()
        if place.portal is None:
            place.backend.end_waits()
        else:
            with suppress(BackendClosed):
                place.portal.soon(place.backend.end_waits)
        self._steps.append(lambda backend: backend.end_waits())


_LINKS: Final[weakref.WeakSet[Link[Any]]] = weakref.WeakSet()
_OF_PARENTS: Final[list[_Place[Any]]] = []


async def _some(items: AsyncGenerator[T, None], size: int) -> tuple[list[T], Exception | None]:
    """Up to ``size`` items, and what ended them, StopAsyncIteration included."""
    found: list[T] = []
    try:
        while len(found) < size:
            found.append(await anext(items))
    except Exception as end:
        return found, end
    return found, None


async def _closed(items: AsyncGenerator[Any, None]) -> None:
    await items.aclose()


def _forked() -> None:
    for link in [*_LINKS]:
        link.forked()


def _close_all() -> None:
    for link in [*_LINKS]:
        with suppress(Exception):  # the process ends, and nobody is left to hear of it
            link.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
atexit.register(_close_all)
