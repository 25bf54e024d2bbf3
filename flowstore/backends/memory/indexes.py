"""Sorted indexes in memory: of records by status and facet, and of times.

Sorting is put off until somebody looks. A task that goes from pending to success is added to and removed from
several indexes within milliseconds, and mostly nobody lists anything meanwhile: then each change costs a set
operation, and those that undo one another never reach the sorted list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from heapq import merge
from itertools import groupby, islice, takewhile
from typing import Any, Final, Generic, TypeVar

from sortedcontainers import SortedList

from flowstore.engine import (
    BY_FINISH,
    EVERYTHING,
    STATUSES,
    UNSORTED,
    Counted,
    Entry,
    Position,
    Query,
)

Key = TypeVar("Key", bound=tuple[Any, ...])

_MOST_CHANGES: Final = 10_000
"""How many changes may wait for a reader. To sort more of them in would be a pause that one notices."""


class Index(Generic[Key]):
    """A sorted set of tuples. What is added must be absent, what is removed present."""

    __slots__ = ("_added", "_removed", "_sorted")

    def __init__(self) -> None:
        self._sorted: SortedList[Key] | None = None
        self._added: dict[Key, None] = {}  # in the order of adding, mostly that of time, which sorts fast
        self._removed: set[Key] = set()

    def __len__(self) -> int:
        return len(self._sorted or ()) + len(self._added) - len(self._removed)

    def __contains__(self, key: Key) -> bool:
        if self._sorted is None or key in self._added:
            return key in self._added
        return key not in self._removed and key in self._sorted

    def add(self, key: Key) -> None:
        if key in self._removed:
            self._removed.remove(key)
        else:
            self._added[key] = None
            if len(self._added) > _MOST_CHANGES:
                self._settle()

    def remove(self, key: Key) -> None:
        if key in self._added:
            del self._added[key]
        else:
            self._removed.add(key)
            if len(self._removed) > _MOST_CHANGES:
                self._settle()

    def clear(self) -> None:
        self._sorted = None
        self._added.clear()
        self._removed.clear()

    def between(self, low: Key | None, high: Key | None, *, reverse: bool = False) -> Iterator[Key]:
        """The keys between two, neither included, None: no bound. Do not change the index meanwhile."""
        return self._settle().irange(low, high, (False, False), reverse)

    def count(self, low: Key | None, high: Key | None) -> int:
        """How many keys there are ``between`` two."""
        if low is None and high is None:
            return len(self)
        keys = self._settle()
        start = 0 if low is None else keys.bisect_right(low)
        return max(0, (len(keys) if high is None else keys.bisect_left(high)) - start)

    def _settle(self) -> SortedList[Key]:
        if self._sorted is None:
            self._sorted = SortedList()
        elif not self._added and not self._removed:
            return self._sorted
        for key in self._removed:
            self._sorted.remove(key)
        self._removed.clear()
        self._sorted.update(self._added)
        self._added.clear()
        return self._sorted


Place = tuple[int, str]
"""A Position as a plain tuple, which is made in half the time."""


class Listings:
    """The places of records in the order of listings, for each status and facet."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = entries
        self._indexes: dict[str, dict[str, Index[Place]]] = {status: {} for status in STATUSES}
        self._register: Index[tuple[str, str]] = Index()
        """Facet and status of each index, so that those with a prefix are found without the rest."""

    def missing(self, entry: Entry) -> list[tuple[str, Place]]:
        """Facet and place of each index that should list it, and does not."""
        indexes, places = self._indexes[entry.status], _places(entry)
        return [
            (facet, place)
            for facet, place in places
            if (index := indexes.get(facet)) is None or place not in index
        ]

    def names(self) -> list[tuple[str, str]]:
        """Status and facet of each index."""
        return [(status, facet) for status, indexes in self._indexes.items() for facet in indexes]

    def walk(self, status: str, facet: str, after: Place | None) -> Iterator[Place]:
        index = self._indexes[status].get(facet)
        return iter(()) if index is None else index.between(after, None)

    def put(self, status: str, facet: str, place: Place) -> None:
        """List what is not listed there."""
        index = self._indexes[status].get(facet)
        if index is None:
            index = self._indexes[status][facet] = Index()
            self._register.add((facet, status))
        index.add(place)

    def take(self, status: str, facet: str, place: Place) -> None:
        """The reverse of ``put``."""
        index = self._indexes[status][facet]
        index.remove(place)
        if not len(index):
            del self._indexes[status][facet]
            self._register.remove((facet, status))

    def add(self, entry: Entry) -> None:
        indexes = self._indexes[entry.status]
        place = _place(entry)
        for facet in EVERYTHING + entry.fixed + entry.facets:
            index = indexes.get(facet)
            if index is None:
                index = indexes[facet] = Index()
                self._register.add((facet, entry.status))
            index.add(entry.position_in(facet) if facet[:1] == BY_FINISH else place)

    def remove(self, entry: Entry) -> None:
        indexes = self._indexes[entry.status]
        place = _place(entry)
        for facet in EVERYTHING + entry.fixed + entry.facets:
            index = indexes[facet]
            index.remove(entry.position_in(facet) if facet[:1] == BY_FINISH else place)
            if not len(index):
                del indexes[facet]
                self._register.remove((facet, entry.status))

    def clear(self) -> None:
        for indexes in self._indexes.values():
            indexes.clear()
        self._register.clear()

    def scan(self, query: Query) -> Iterator[Entry]:
        """The entries of a range, in order and without a limit: the caller knows which of them are live."""
        entries = (self._entries[task_id] for _, task_id in self._walked(query))
        return filter(query.admits, entries) if query.is_filtered else entries

    def count(self, query: Query) -> Counted:
        if not query.is_filtered:
            counts = {status: self._size(query, status) for status in query.statuses}
            if sum(counts.values()) <= query.limit:
                return Counted(counts)
        found, last = Counter[str](), None
        for number, place in enumerate(self._walked(replace(query, newest_first=True))):
            if last is not None and number >= query.limit:
                return Counted(dict(found), Position(*last))
            entry, last = self._entries[place[1]], place
            found[entry.status] += not query.is_filtered or query.admits(entry)
        return Counted(dict(found))

    def _size(self, query: Query, status: str) -> int:
        bounds = _bounds(replace(query, newest_first=True))
        return sum(index.count(*bounds) for index in self._of((status,), query.first))

    def _walked(self, query: Query) -> Iterator[Place]:
        """The places of its first group, in order."""
        low, high = _bounds(query)
        ranges = [
            index.between(low, high, reverse=not query.newest_first)
            for index in self._of(query.statuses, query.first)
        ]
        return ranges[0] if len(ranges) == 1 else merge(*ranges, reverse=not query.newest_first)

    def facets(self, prefix: str, limit: int | None, after: str | None) -> list[str]:
        start = prefix if after is None else max(prefix, after + "\0")
        of_prefix = takewhile(
            lambda key: key[0].startswith(prefix), self._register.between((start, ""), None)
        )
        named = (
            facet
            for facet, status in of_prefix
            if facet and self._is_named(facet, self._indexes[status][facet])
        )
        return list(islice((facet for facet, _ in groupby(named)), limit))

    def _is_named(self, facet: str, index: Index[Place]) -> bool:
        """Whether a record has it among those that are not fixed: mostly the first one has, or none."""
        return any(facet in self._entries[task_id].facets for _, task_id in index.between(None, None))

    def _of(self, statuses: Iterable[str], group: Iterable[str]) -> list[Index[Place]]:
        return [
            index
            for status in statuses
            for facet in group
            if (index := self._indexes[status].get(facet)) is not None
        ]


def _place(entry: Entry) -> Place:
    """Its ``position``, for any time that there can be."""
    at = entry.submitted_at
    return (UNSORTED if at is None else -at, entry.id)


def _places(entry: Entry) -> list[tuple[str, Place]]:
    place = _place(entry)
    return [
        (facet, entry.position_in(facet) if facet[:1] == BY_FINISH else place)
        for facet in EVERYTHING + entry.fixed + entry.facets
    ]


def belongs(entry: Entry, status: str, facet: str, place: Place) -> bool:
    """Whether the index of this status and facet has to list the entry at this place."""
    if entry.status != status or not (not facet or facet in entry.facets or facet in entry.fixed):
        return False
    return place == (entry.position_in(facet) if facet[:1] == BY_FINISH else _place(entry))


def _bounds(query: Query) -> tuple[Place | None, Place | None]:
    """Between which places the query is."""
    low: Place | None = None
    high: Place | None = None
    if query.within is not None:  # no id is "", so nothing is at the bounds themselves
        low, high = (query.within[0], ""), (query.within[1] + 1, "")
    if query.after is not None and query.newest_first:
        low = max(low or query.after, query.after)
    elif query.after is not None:
        high = min(high or query.after, query.after)
    return low, high
