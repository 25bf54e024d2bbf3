"""Iterables that a thread hands to a call are gone through in that thread, not in the loop.

They may belong to it, as the cursor of a database does, or call the same store, which nothing may do in the
loop. What a call holds in memory anyway is taken before it begins; the rows of a dataset, of which there may
be more than fit, are handed over in batches while it runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from flowstore.errors import BackendClosed
from flowstore.sync.links import Link

T = TypeVar("T")
Given = TypeVar("Given")

_BATCH: Final = 100
"""How many rows are taken at once; as many may wait in the loop, and be under way there."""
_PLAIN: Final = (str, bytes, list, tuple, set, frozenset)


def taken(given: Given) -> Given | list[Any]:
    """A list of what it yields; mappings, plain collections and what cannot be iterated as they are."""
    if isinstance(given, _PLAIN) or hasattr(given, "items") or not isinstance(given, Iterable):
        return given
    return [*given]


def fed(link: Link[Any], rows: Any, call: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
    """What ``call`` returns in the loop for ``rows``, which are taken here while it runs.

    If taking one raises, the call is cancelled, and that is raised when it has ended.
    """
    if not isinstance(rows, Iterable) or isinstance(rows, str | bytes | AsyncIterable):
        return link.run(call(rows))
    feed, left = Feed(call), iter(rows)
    try:
        is_wanted = link.run(feed.begin())
        while is_wanted and (batch := [*islice(left, _BATCH)]):
            is_wanted = link.run(feed.put(batch))
        return link.run(feed.end())
    except BaseException:
        with suppress(BackendClosed):
            link.run(feed.give_up())
        raise


class Feed(Generic[T]):
    """A call in the loop, and the rows that it has not asked for yet."""

    def __init__(self, call: Callable[[Any], Coroutine[Any, Any, T]]) -> None:
        self._call = call
        self._batches: asyncio.Queue[list[Any] | None] = asyncio.Queue(1)
        self._working: asyncio.Task[T] | None = None

    async def begin(self) -> bool:
        """Whether rows are wanted."""
        self._working = asyncio.create_task(self._call(self._rows()))
        return True

    async def put(self, batch: list[Any] | None) -> bool:
        """False: the call is over, and takes no more."""
        assert self._working is not None
        putting = asyncio.create_task(self._batches.put(batch))
        try:
            await asyncio.wait([putting, self._working], return_when=asyncio.FIRST_COMPLETED)
        finally:
            putting.cancel()
        return not self._working.done()

    async def end(self) -> T:
        assert self._working is not None
        await self.put(None)
        return await self._working

    async def give_up(self) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
            if not self._working.cancelled():
                self._working.exception()  # what goes on is what the thread has raised

    async def _rows(self) -> AsyncIterator[Any]:
        while (batch := await self._batches.get()) is not None:
            for row in batch:
                yield row
