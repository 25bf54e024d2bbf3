"""Listings: entries of the indexes first, then the records of those, each in one trip.

A script that did both would be busy four times as long. So a record may change in between, and what counts is
what it says itself: it belongs to the listing if its status and facets do, whichever index it was found in.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple, cast

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import PER_CALL, Value, listed_entry, position_of, sort_bounds
from flowstore.engine import Entry, Listed, Position, Query

_SPARE: Final = 8  # of the entries that a filter looks at for each that it finds, at first


class _Found(NamedTuple):
    entry: bytes
    name: str
    status: str
    facet: str


class Listing:
    """One range of ``query``, found in bounded steps."""

    def __init__(self, calls: Calls, query: Query, now: int) -> None:
        self._calls = calls
        self._query = query
        self._now = now
        self._indexes = [
            (f"i:{status}:{facet}", status, facet) for status in query.statuses for facet in query.first
        ]
        self._bounds = sort_bounds(query.within, query.after, newest_first=query.newest_first)
        self._seen: set[str] = set()

    async def entries(self) -> list[Entry]:
        found: list[Entry] = []
        limit, is_filtered = self._query.limit, self._query.is_filtered
        most = limit
        while len(found) < limit and self._indexes:
            most = min(PER_CALL, max(most, limit - len(found)) * (_SPARE if is_filtered else 1))
            listed, is_end = await self._next(most)
            found += await self._live(listed, limit - len(found))
            if is_end:
                break
        return found[:limit]

    async def places(self) -> list[Listed]:
        """All entries of the range, in order, without a look at any record."""
        listed: list[Listed] = []
        is_end = not self._indexes
        while len(listed) < self._query.limit and not is_end:
            found, is_end = await self._next(min(PER_CALL, self._query.limit - len(listed)))
            listed += _listed(found)
        return listed

    def places_in(self, replies: Sequence[Sequence[bytes]]) -> list[Listed] | None:
        """The same from one answer of ranges.lua, of whichever namespace; None if it takes more than one."""
        found = self._joined(replies, self._query.limit)
        listed = _listed(found)
        return listed if len(found) < self._query.limit or len(listed) == len(found) else None

    async def at_places(self, places: Sequence[Listed]) -> list[Entry | None]:
        """The records at some of these places."""
        found: list[Entry | None] = []
        for start in range(0, len(places), PER_CALL):
            found += await self._read(_unlisted(places[start : start + PER_CALL]))
        return found

    async def at_places_in(self, places: Sequence[Listed], stored: Sequence[Value]) -> list[Entry | None]:
        """The same from what is stored."""
        return await self._shown(_unlisted(places), stored)

    async def _next(self, most: int) -> tuple[list[_Found], bool]:
        """At most so many entries in order, and whether these are the last ones."""
        merged = self._joined(await self._calls.read("ranges", *self.asked(most)), most)
        if merged:
            self._bounds[0 if self._query.newest_first else 1] = b"(" + merged[-1].entry
        return merged, len(merged) < most

    def asked(self, most: int) -> list[str | bytes | int]:
        """What ranges.lua takes for the next entries."""
        names = [name for name, _, _ in self._indexes]
        return [most, "1" if self._query.newest_first else "", *self._bounds, *names]

    def _joined(self, replies: Sequence[Sequence[bytes]], most: int) -> list[_Found]:
        ranges = [
            [_Found(entry, *index) for entry in entries]
            for index, entries in zip(self._indexes, replies, strict=True)
        ]
        if len(ranges) == 1:
            return ranges[0]
        merged = heapq.merge(*ranges, key=lambda one: one.entry, reverse=not self._query.newest_first)
        return list(islice(merged, most))

    async def _live(self, listed: Sequence[_Found], wanted: int) -> list[Entry]:
        """The records of these entries that belong to the listing."""
        places = [(one, place) for one in listed if (place := position_of(one.entry)) is not None]
        if not places:
            return []
        found = await self._read(places)
        chosen = [(entry, *at) for entry, at in zip(found, places, strict=True) if entry is not None]
        if self._query.with_body and self._query.is_filtered:
            return await self._with_bodies(chosen, wanted)
        return [entry for entry, _, _ in chosen]

    async def _read(self, places: Sequence[tuple[_Found, Position]]) -> list[Entry | None]:
        """The record at each place, None where none belongs there. Entries of none are dropped."""
        ids = [place.id for _, place in places]
        is_filtered, with_body = self._query.is_filtered, self._query.with_body
        # With several filters most are left out again, so that their bodies would be read in vain.
        stored = await self._calls.records(
            ids, with_body=with_body and not is_filtered, max_body=self._query.max_body
        )
        return await self._shown(places, stored)

    async def _shown(
        self, places: Sequence[tuple[_Found, Position]], stored: Sequence[Value]
    ) -> list[Entry | None]:
        with_body = self._query.with_body
        doubtful: list[tuple[int, _Found, Position]] = []
        found: list[Entry | None] = []
        for (one, place), value in zip(places, stored, strict=True):
            entry = listed_entry(one.facet, place, value, with_body=with_body) if value else None
            if entry is not None and entry.status and entry.is_expired(self._now):
                found.append(None)
                continue
            if entry is None or not _is_there(entry, one, place):
                doubtful.append((len(found), one, place))
            if (
                entry is not None
                and self._query.holds(entry, place, self._now)
                and place.id not in self._seen
            ):
                self._seen.add(place.id)
                found.append(entry)
            else:
                found.append(None)
        await self._forget(doubtful, found)
        return found

    async def _forget(self, doubtful: list[tuple[int, _Found, Position]], found: list[Entry | None]) -> None:
        """Drop what lists no record any more. Records of another type are named where they are listed."""
        flat: list[str | bytes] = []
        for _, one, place in doubtful:
            flat += (one.name, one.entry, place.id)
        if not flat:
            return
        replies = await self._calls.read("forget", "1" if self._calls.refusal is None else "", *flat)
        for (at, one, place), is_foreign in zip(doubtful, replies, strict=True):
            if is_foreign and place.id not in self._seen:
                self._seen.add(place.id)
                found[at] = listed_entry(one.facet, place, b"not a string", with_body=False)

    async def _with_bodies(
        self, chosen: Sequence[tuple[Entry, _Found, Position]], wanted: int
    ) -> list[Entry]:
        """At most so many of these records, whole; without those that have left the listing since."""
        found: list[Entry] = []
        at = 0
        while at < len(chosen) and len(found) < wanted:
            step = chosen[at : at + wanted - len(found)]
            at += len(step)
            ids = [entry.id for entry, _, _ in step]
            whole = await self._calls.records(ids, max_body=self._query.max_body)
            for (entry, one, place), value in zip(step, whole, strict=True):
                if entry.status:
                    again = listed_entry(one.facet, place, value, with_body=True) if value else None
                else:
                    again = entry
                if again is not None and self._query.holds(again, place, self._now):
                    found.append(again)
        return found


def _listed(found: Iterable[_Found]) -> list[Listed]:
    return [Listed(at, one.status, one) for one in found if (at := position_of(one.entry)) is not None]


def _unlisted(places: Iterable[Listed]) -> list[tuple[_Found, Position]]:
    return [(cast("_Found", one.mark), one.position) for one in places]


def _is_there(entry: Entry, one: _Found, place: Position) -> bool:
    """Whether the index is right about the record."""
    if not entry.status:
        return True
    is_placed = entry.position_in(one.facet) == place
    return is_placed and entry.status == one.status and _has(entry, one.facet)


def _has(entry: Entry, facet: str) -> bool:
    return facet == "" or facet in entry.facets or facet in entry.fixed
