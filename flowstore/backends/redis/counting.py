"""Counts: by the ranks of entries in the indexes, and by looking for them in other indexes.

Either way a limit is turned into a place first, the last entry that may be looked at: of any number of
indexes that takes one call and about a hundred commands, as ranks are cheap. No record is read, but for its
header where nothing else can tell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import OFFSET, PER_CALL, position_of, sort_bounds
from flowstore.engine import BY_FINISH, NO_LIMIT, STATUSES, Counted, Position, Query

_LOOKED_AT_PER_CALL = 4_000
"""Entries, by one script: a few milliseconds, in which the server does nothing else."""

Argument = str | bytes | int


async def counted(calls: Calls, queries: Sequence[Query]) -> list[Counted]:
    found: list[Counted] = []
    for step in _steps(queries):
        replies = await calls.read("counts", *(part for query in step for part in _arguments(query)))
        for query, (last, sizes) in zip(step, replies, strict=True):
            place = _place(last) if last else None
            if query.is_filtered:
                counts = await _matching(calls, query, last, sizes)
            else:
                counts = _added(_indexes(query), sizes)
            found.append(Counted(counts, place))
    return found


def _steps(queries: Sequence[Query]) -> Iterator[Sequence[Query]]:
    """As many as one call carries."""
    start = size = 0
    for at, query in enumerate(queries):
        indexes = len(query.statuses) * len(query.first)
        if at > start and size + indexes > len(STATUSES) * PER_CALL:
            yield queries[start:at]
            start, size = at, 0
        size += indexes
    if queries:
        yield queries[start:]


def _indexes(query: Query) -> list[tuple[str, str]]:
    return [(status, facet) for status in query.statuses for facet in query.first]


def _bounds(query: Query) -> list[bytes]:
    return sort_bounds(query.within, query.after, newest_first=True)


def _arguments(query: Query) -> list[Argument]:
    """Of counts.lua."""
    names = [f"i:{status}:{facet}" for status, facet in _indexes(query)]
    most = "" if query.limit == NO_LIMIT else query.limit
    return [most, *_bounds(query), len(names), *names]


async def _matching(calls: Calls, query: Query, last: bytes, sizes: Sequence[int]) -> dict[str, int]:
    """The number in each status that passes all tests, among the first so many entries of each index."""
    low, high = _bounds(query)
    high = b"[" + last if last else high
    fixed = {None: "", True: "1", False: "0"}[query.has_fixed]
    is_by_finish = query.first[0].startswith(BY_FINISH)
    tests: list[Argument] = [fixed, "1" if is_by_finish else "", len(query.groups[1:])]
    for group in query.groups[1:]:
        tests += (len(group), *group)
    ranges = [(*index, low, high) for index, size in zip(_indexes(query), sizes, strict=True) if size]
    counts: Counter[str] = Counter()
    while ranges:
        flat = [part for one in ranges for part in one]
        at, sizes = await calls.read("matches", _LOOKED_AT_PER_CALL, *tests, *flat)
        counts.update(_added(ranges, sizes))
        if not at:
            break
        status, facet, *_ = ranges[len(sizes) - 1]
        ranges = [(status, facet, b"(" + at, high), *ranges[len(sizes) :]]
    return dict(counts)


def _added(indexes: Iterable[Sequence[Any]], sizes: Sequence[int]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for (status, *_), size in zip(indexes, sizes, strict=False):
        counts[status] += size
    return dict(counts)


def _place(entry: bytes) -> Position:
    """Where an entry is, also one that no flowstore can have written: behind it, then."""
    found = position_of(entry)
    if found is not None:
        return found
    return Position(int.from_bytes(entry[:8].ljust(8, b"\0"), "big") - OFFSET + 1, "")
