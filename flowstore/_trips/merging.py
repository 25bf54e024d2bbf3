"""Sorted listings of several places as one: each is read in portions, just as far as the merged one goes."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

T = TypeVar("T")


class Portion(NamedTuple, Generic[T]):
    """What is asked for: of which listing, behind which one of it, None for its beginning, and how many."""

    number: int
    last: T | None
    most: int


Fetch = Callable[[Sequence[Portion[T]]], Awaitable[Sequence[Sequence[T]]]]
"""Reads portions of several listings. One that has fewer than asked for is at its end."""


class _Stream(Generic[T]):
    def __init__(self, number: int) -> None:
        self.number = number
        self.last: T | None = None
        self.is_over = False

    def take(self, found: Sequence[T], most: int) -> None:
        self.is_over = len(found) < most
        if found:
            self.last = found[-1]


class Merged(Generic[T]):
    """The listings as one, sorted by ``key``, the least first unless ``is_descending``.

    What is evenly spread takes one portion of each: its size is what a listing is likely to have among those
    that are wanted, three standard deviations and one. What is not takes another one of those that have more.
    """

    def __init__(
        self,
        count: int,
        fetch: Fetch[T],
        key: Callable[[T], Any],
        *,
        is_descending: bool = False,
    ) -> None:
        self._streams: list[_Stream[T]] = [_Stream(number) for number in range(count)]
        self._fetch = fetch
        self._key = key
        self._is_descending = is_descending
        self._waiting: list[T] = []
        """What has been read and not been taken, in order."""

    async def take(self, wanted: int) -> list[T]:
        """The next ones; fewer only at the end."""
        while behind := self._behind(wanted):
            share = _share(wanted - self._certain(behind), len(behind))
            asked = [Portion(stream.number, stream.last, share) for stream in behind]
            for stream, found in zip(behind, await self._fetch(asked), strict=True):
                stream.take(found, share)
                self._waiting += found
            self._waiting.sort(key=self._key, reverse=self._is_descending)
        taken, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        return taken

    def _behind(self, wanted: int) -> list[_Stream[T]]:
        """The listings that have to be read on before as many as are wanted are known."""
        if wanted < 1:
            return []
        going_on = [stream for stream in self._streams if not stream.is_over]
        if len(self._waiting) < wanted:
            return going_on
        furthest = self._key(self._waiting[wanted - 1])
        return [stream for stream in going_on if self._is_before(stream.last, furthest)]

    def _certain(self, behind: Sequence[_Stream[T]]) -> int:
        """How many of those that wait have nothing before them that is still to be read."""
        reached = [self._key(last) for stream in behind if (last := stream.last) is not None]
        if len(reached) < len(behind):
            return 0
        least = max(reached) if self._is_descending else min(reached)
        places = map(self._key, self._waiting)
        return sum(place >= least if self._is_descending else place <= least for place in places)

    def _is_before(self, last: T | None, furthest: Any) -> bool:
        if last is None:
            return True
        place = self._key(last)
        return bool(place > furthest if self._is_descending else place < furthest)


def _share(wanted: int, places: int) -> int:
    mean = wanted / places
    return math.ceil(mean + (3 * math.sqrt(mean) if places > 1 else 0)) + (places > 1)
