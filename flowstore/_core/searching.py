"""Search: the records that satisfy a query, in bounded steps that go on where the last one stopped.

Each record of the walk is looked at once, in order: first its small fields, as they are in every step, then
its name and error, and only if that decides nothing its values. A cursor stands behind the last record that
was looked at, whether it was found or not, and has the time at which what is relative was resolved: so the
pages of a search are answers to one question, and none of them loses or repeats a record that stays. Back
to an earlier page leads a walk in the reverse order, from before the first record of the later one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from time import perf_counter
from typing import Final, NamedTuple

from flowstore._core.core import STEP, Core
from flowstore._core.listing import Reading, behind, reversed_listing, step
from flowstore._core.matching import Matching, fingerprints_in, matching_of
from flowstore._core.rows import without_values
from flowstore._core.saying import MOST_SEARCHED
from flowstore._core.sifting import Sieve, is_same
from flowstore._core.viewing import View
from flowstore._values import cursors
from flowstore._values.arguments import MAX_PAGE, Seconds, check_duration, check_int
from flowstore._values.cursors import START, Place
from flowstore.engine import Entry, Position
from flowstore.errors import InvalidCursor
from flowstore.models import TaskResult, Unreadable
from flowstore.queries import Found, TaskQuery, query_of
from flowstore.times import OF_NO_TASK, from_micros

MAX_BUDGET: Final = 10_000_000
_TIME: Final = re.compile(r"[0-9a-f]{1,16}")


class Looked(NamedTuple):
    """What was wanted among some records, and those of them that were not looked at, as there was no room."""

    found: list[Entry]
    left: list[Entry]


class _Begun(NamedTuple):
    """When a search has begun, the fingerprints whose beginnings it said, and where to go on."""

    now: int
    known: tuple[str, ...] | None = None
    place: Place = START


class Search:
    """One walk along the records that a query may want, from ``after`` on."""

    def __init__(self, core: Core, matching: Matching, view: View, after: Position | None = None) -> None:
        self._core = core
        self._matching = matching
        self._view = view
        self.after = after
        """Behind the last record that was looked at."""
        self.first: Entry | None = None
        self.last: Entry | None = None
        """The first and the last record that was looked at, if there was one."""
        self.looked_at = 0
        self.cut = 0
        self._sieve = Sieve(core, matching)

    @property
    def at_once(self) -> int:
        """How many records to look at together."""
        return self._sieve.at_once

    def place(self, entry: Entry) -> Position:
        """Of one of the records in the walk."""
        return self._matching.listing.place(entry)

    async def step(self, limit: int) -> list[Entry]:
        """The next records to look at, without values; fewer than ``limit`` only at the end."""
        listing = replace(self._matching.listing, limit=limit, after=self.after)
        async with self._core.life:
            return await step(self._core, listing)

    async def look(self, entries: Sequence[Entry], room: float = inf, deadline: float = inf) -> Looked:
        """The first of these records that the query wants, as they are now, or that cannot be read.

        It ends when there is no more room, or behind the first record after the deadline.
        """
        if self._matching.needs_values:
            fitting, end = await self._sifted(entries, room, deadline)
        else:
            fitting, end = self._sieve.fitting(entries, room)
        self.looked_at += end
        self.first = self.first or entries[0]
        self.last = entries[end - 1]
        self.after = behind(self.last, replace(self._matching.listing, after=self.after))
        found = await self._with_values(fitting) if self._view.with_body and fitting else fitting
        return Looked(found, [*entries[end:]])

    async def _sifted(
        self, entries: Sequence[Entry], room: float, deadline: float
    ) -> tuple[list[Entry], int]:
        """What is wanted of these records, and at how many of them it has looked."""
        fitting, end = [], 0
        async with aclosing(self._sieve.sift(entries)) as sifted:
            async for each in sifted:
                end += 1
                self.cut += each.is_cut
                if each.is_wanted:
                    fitting.append(each.entry if each.error else without_values(each.entry))
                if len(fitting) >= room or perf_counter() >= deadline:
                    break
        return fitting, end

    async def _with_values(self, entries: Sequence[Entry]) -> list[Entry]:
        """The records as they are shown, without those that are gone, or have changed and do not fit."""
        async with self._core.life:
            read = await self._view.read(self._core, [entry.id for entry in entries])
        found = []
        for before, entry in zip(entries, read, strict=True):
            if entry is not None and not is_same(entry, before):
                entry = await self._read_again(entry)
            if entry is not None and (sifted := self._sieve.again(entry, before)).is_wanted:
                found.append(sifted.entry)
        return found

    async def _read_again(self, entry: Entry) -> Entry | None:
        """One that has changed, as far as it is searched, if less of it is shown."""
        if entry.body_size is None or not self._matching.needs_values:
            return entry
        most = max(MOST_SEARCHED, self._view.max_body or 0)
        async with self._core.life:
            [read] = await self._core.engine.read([entry.id], max_body=most)
        return read


async def search(
    core: Core,
    query: str | TaskQuery,
    limit: int,
    cursor: str | None,
    budget: int,
    seconds: Seconds,
    view: View,
) -> Found:
    asked = query_of(query)
    check_int("limit", limit, 1, MAX_PAGE)
    check_int("budget", budget, 1, MAX_BUDGET)
    deadline = perf_counter() + check_duration("seconds", seconds)
    begun = _Begun(core.clock()) if cursor is None else _opened(core, asked, cursor)
    matching = await matching_of(core, asked, STEP, begun.now, begun.known)
    known = tuple(sorted(fingerprints_in(matching.query) - fingerprints_in(asked)))
    room = _Room(limit, budget, deadline)
    ended = await _walked(core, matching, view, begun.place, room)
    if begun.place.is_backwards and ended.walk.first is None:  # what came before has gone meanwhile
        begun = begun._replace(place=START)
        ended = await _walked(core, matching, view, START, room)
    closed = partial(_closed, core, asked, begun.now, known)
    return _found(ended, begun.place, asked, closed)


class _Room(NamedTuple):
    """How many records may be found and looked at, and until when."""

    limit: int
    budget: int
    deadline: float


class _Ended(NamedTuple):
    """A walk, what it has found in its own direction, and whether it has come to the end."""

    walk: Search
    items: list[TaskResult]
    unreadable: list[Unreadable]
    is_complete: bool


async def _walked(core: Core, matching: Matching, view: View, place: Place, bounds: _Room) -> _Ended:
    """One walk from a place on, or with ``is_backwards`` from there to the start of the listing."""
    if place.is_backwards:
        matching = matching._replace(listing=reversed_listing(matching.listing))
    limit, budget, deadline = bounds
    walk = Search(core, matching, view, place.position)
    reading = Reading(partial(view.decoded, core), most_errors=limit)
    items: list[TaskResult] = []
    peeked = int(place.is_backwards)  # back at the start it must be known: nothing says "go on" in vain there
    room, is_complete, size = limit, False, limit + 1
    while not is_complete and room and walk.looked_at < budget:
        # Mostly all that are walked are wanted, and one more tells whether it goes on. Else steps grow soon.
        wanted, size = min(STEP, size, budget - walk.looked_at), min(STEP, 2 * size)
        entries = await walk.step(wanted + peeked)
        is_last = len(entries) < wanted + peeked
        del entries[wanted:]
        while entries and room:
            some, later = entries[: walk.at_once], entries[walk.at_once :]
            looked = await walk.look(some, room, deadline)
            entries = looked.left + later
            items += reading.decoded(looked.found)
            room -= len(looked.found)
            if perf_counter() >= deadline:
                room = 0
            await asyncio.sleep(0)  # others may run, also where the storage never waits
        is_complete = is_last and not entries
    return _Ended(walk, items, reading.unreadable, is_complete)


def _found(ended: _Ended, place: Place, asked: TaskQuery, closed: Callable[[Place], str]) -> Found:
    """In the order of the query, with the cursors of both ends of what was looked at."""
    walk = ended.walk
    before = Place(walk.first and walk.place(walk.first), is_backwards=True)
    further = None if ended.is_complete else Place(walk.after, place.is_backwards)
    if place.is_backwards:
        ahead: Place | None = before._replace(is_backwards=False)
        back, first, items = further, walk.first, ended.items[::-1]
    else:
        ahead, back = further, None if place == START else before
        first, items = walk.last, ended.items
    return Found(
        items=items,
        next_cursor=ahead and closed(ahead),
        prev_cursor=back and closed(back),
        unreadable=ended.unreadable,
        looked_at=walk.looked_at,
        looked_back_to=_time_of(first, asked),
        cut=walk.cut,
    )


def _time_of(entry: Entry | None, query: TaskQuery) -> datetime | None:
    """The time of a record that the walk goes by."""
    if entry is None:
        return None
    at = entry.finished_at if query.is_by_finish else entry.submitted_at
    return None if at is None or at == OF_NO_TASK else from_micros(at)


def _closed(core: Core, query: TaskQuery, now: int, known: tuple[str, ...], place: Place) -> str:
    """The cursor of a place, with what the first page has taken for granted."""
    assert place.position is not None or place.is_backwards  # each call looks at one record, if there is one
    bound_to = _bound_to(core, query, now, known)
    return ".".join(
        [f"{now:x}", *known, cursors.encode(place.position, *bound_to, is_backwards=place.is_backwards)]
    )


def _opened(core: Core, query: TaskQuery, cursor: str) -> _Begun:
    """What a cursor goes on with. Raises InvalidCursor."""
    if not isinstance(cursor, str):
        raise TypeError(f"cursor: expected str or None, got {type(cursor).__name__}")
    at, *names, place = cursor.split(".") if "." in cursor else ("", "")
    now, known = int(at, 16) if _TIME.fullmatch(at) else 0, tuple(names)
    if at != f"{now:x}":
        raise InvalidCursor("not a cursor of a search")
    return _Begun(now, known, cursors.decode_place(place, *_bound_to(core, query, now, known)))


def _bound_to(core: Core, query: TaskQuery, now: int, known: tuple[str, ...]) -> tuple[object, ...]:
    return core.namespace, "search", str(query), now, known


async def iterate(core: Core, query: TaskQuery, view: View) -> AsyncGenerator[TaskResult, None]:
    """All records that the query wants, one by one. Raises UnreadableRecords at the end."""
    walk = Search(core, await matching_of(core, query, STEP), view)
    reading = Reading(partial(view.decoded, core))
    is_last = False
    while not is_last:
        entries = await walk.step(STEP)
        is_last = len(entries) < STEP
        while entries:
            some, entries = entries[: walk.at_once], entries[walk.at_once :]
            for task in reading.decoded((await walk.look(some)).found):
                yield task
            await asyncio.sleep(0)
    reading.end()
