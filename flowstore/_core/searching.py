"""Search: the records that satisfy a query, in bounded steps that go on where the last one stopped.

Each record of the walk is looked at once, in order: first its small fields, as they are in every step, then
its name and error, and only if that decides nothing its values. A cursor stands behind the last record that
was looked at, whether it was found or not, and has the time at which what is relative was resolved: so the
pages of a search are answers to one question, and none of them loses or repeats a record that stays.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from time import perf_counter
from typing import Final, NamedTuple

from flowstore._core.core import STEP, Core
from flowstore._core.listing import Reading, behind, step
from flowstore._core.matching import Matching, matching_of
from flowstore._core.rows import row_of
from flowstore._core.saying import MOST_SEARCHED, Wanted
from flowstore._core.viewing import View
from flowstore._values import cursors
from flowstore._values.arguments import MAX_PAGE, Seconds, check_duration, check_int
from flowstore.engine import Entry, Position
from flowstore.errors import InvalidCursor, UnreadableRecord
from flowstore.models import TaskResult
from flowstore.queries import Found, TaskQuery, query_of
from flowstore.times import OF_NO_TASK, from_micros

MAX_BUDGET: Final = 10_000_000
_TIME: Final = re.compile(r"[0-9a-f]{1,16}")
_EMPTY_HEADS: Final = (b"{}", None)
_WITH_VALUES: Final = 100
"""Of so many records at once the values are read, at first of fewer, and of fewer where they are large."""
_FIRST_WITH_VALUES: Final = 10
_MUCH: Final = 4 * 2**20
"""Of more bytes than that at once the event loop stands still for too long, and a budget is overrun."""


class _Doubtful(NamedTuple):
    """A record that fits, but for what is ``left`` to look for in its values."""

    entry: Entry
    left: tuple[Wanted, ...]


class Looked(NamedTuple):
    """What was wanted among some records, and those of them that were not looked at, as there was no room."""

    found: list[Entry]
    left: list[Entry]


class Search:
    """One walk along the records that a query may want, from ``after`` on."""

    def __init__(self, core: Core, matching: Matching, view: View, after: Position | None = None) -> None:
        self._core = core
        self._matching = matching
        self._view = view
        self.after = after
        """Behind the last record that was looked at."""
        self.last: Entry | None = None
        """That record, if there was one."""
        self.looked_at = 0
        self.cut = 0
        self.at_once = _FIRST_WITH_VALUES if matching.needs_values else STEP
        """How many records to look at together."""

    async def step(self, limit: int) -> list[Entry]:
        """The next records to look at, without values; fewer than ``limit`` only at the end."""
        listing = replace(self._matching.listing, limit=limit, after=self.after)
        async with self._core.life:
            return await step(self._core, listing)

    async def look(self, entries: Sequence[Entry], room: float = inf) -> Looked:
        """The first of these records that the query wants, as they are now, or that cannot be read."""
        fitting = [entry for entry in entries if self._may_fit(entry)]
        if self._matching.needs_values:
            fitting = await self._saying(fitting)
        end = len(entries)
        if len(fitting) >= room:
            fitting = fitting[: int(room)]
            end = next(n for n, entry in enumerate(entries, 1) if entry.id == fitting[-1].id)
        self.looked_at += end
        self.last = entries[end - 1]
        self.after = behind(self.last, replace(self._matching.listing, after=self.after))
        found = await self._with_values(fitting) if self._view.with_body and fitting else fitting
        return Looked(found, [*entries[end:]])

    def _may_fit(self, entry: Entry) -> bool:
        try:
            return self._matching.fits(row_of(entry, self._core.records))
        except (ValueError, UnreadableRecord):  # whoever decodes it will tell
            return True

    async def _saying(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that say what they have to. Values are read where name and error do not decide."""
        decided: dict[str, Entry] = {}
        doubtful: list[_Doubtful] = []
        for entry in entries:
            left = self._left(entry)
            if left:
                doubtful.append(_Doubtful(entry, left))
            elif left is not None:
                decided[entry.id] = entry
        if doubtful:
            async with self._core.life:
                ids = [each.entry.id for each in doubtful]
                read = await self._core.engine.read(ids, max_body=MOST_SEARCHED)
            self._measure(read)
            for each, found in zip(doubtful, read, strict=True):
                try:
                    if found is not None and self._says(found, each):
                        decided[found.id] = found._replace(body=None, body_size=None)
                except UnreadableRecord:
                    decided[each.entry.id] = found or each.entry
        return [decided[entry.id] for entry in entries if entry.id in decided]

    def _measure(self, read: Sequence[Entry | None]) -> None:
        """Look at fewer records at once where their values are large. Those in memory never are."""
        bodies = [entry.body for entry in read if entry is not None and type(entry.body) is bytes]
        is_much = sum(map(len, bodies)) > _MUCH
        self.at_once = max(1, self.at_once // 2) if is_much else min(_WITH_VALUES, 2 * self.at_once)

    def _left(self, entry: Entry) -> tuple[Wanted, ...] | None:
        """What its values have to say; None: it is not wanted, whatever they say."""
        saying = self._matching.saying
        try:
            if entry.head in _EMPTY_HEADS and entry.status:  # then it has no error: no need to decode it
                return saying.left(row_of(entry, self._core.records).name, None)
            task = self._core.records.decode(entry._replace(body=None, body_size=None))
        except (ValueError, UnreadableRecord):
            return ()
        return saying.left(task.task_name, task.error)

    def _says(self, entry: Entry, doubtful: _Doubtful) -> bool:
        """Whether the record, read with its values, says what it has to. Raises UnreadableRecord."""
        left: tuple[Wanted, ...] | None = doubtful.left
        if not _is_same(entry, doubtful.entry):
            is_there = not entry.is_expired(self._core.clock()) and self._may_fit(entry)
            left = self._left(entry) if is_there else None
        if not left:
            return left is not None
        searched = self._matching.saying.searched(entry)
        self.cut += searched.body_size is not None
        return self._matching.saying.are_said_in(searched, left)

    async def _with_values(self, entries: Sequence[Entry]) -> list[Entry]:
        """The records as they are shown, without those that are gone, or have changed and do not fit."""
        async with self._core.life:
            read = await self._view.read(self._core, [entry.id for entry in entries])
        found = []
        for before, entry in zip(entries, read, strict=True):
            try:
                if entry is not None and (
                    _is_same(entry, before) or self._says(entry, _Doubtful(before, ()))
                ):
                    found.append(entry)
            except UnreadableRecord:
                found.append(entry or before)
        return found


def _is_same(one: Entry, other: Entry) -> bool:
    return (one.version, one.check) == (other.version, other.check)


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
    now, after = (core.clock(), None) if cursor is None else _opened(core, asked, cursor)
    walk = Search(core, await matching_of(core, asked, STEP, now), view, after)
    reading = Reading(partial(view.decoded, core), most_errors=limit)
    items: list[TaskResult] = []
    room, is_complete, size = limit, False, limit + 1
    while not is_complete and room and walk.looked_at < budget:
        # Mostly all that are walked are wanted, and one more tells whether it goes on. Else steps grow soon.
        wanted, size = min(STEP, size, budget - walk.looked_at), min(STEP, 2 * size)
        entries = await walk.step(wanted)
        is_last = len(entries) < wanted
        while entries and room:
            some, later = entries[: walk.at_once], entries[walk.at_once :]
            looked = await walk.look(some, room)
            entries = looked.left + later
            items += reading.decoded(looked.found)
            room -= len(looked.found)
            if perf_counter() >= deadline:
                room = 0
            await asyncio.sleep(0)  # others may run, also where the storage never waits
        is_complete = is_last and not entries
    return Found(
        items=items,
        next_cursor=None if is_complete else _closed(core, asked, now, walk),
        unreadable=reading.unreadable,
        looked_at=walk.looked_at,
        looked_back_to=_time_of(walk.last, asked),
        cut=walk.cut,
    )


def _time_of(entry: Entry | None, query: TaskQuery) -> datetime | None:
    """The time of a record that the walk goes by."""
    if entry is None:
        return None
    at = entry.finished_at if query.is_by_finish else entry.submitted_at
    return None if at is None or at == OF_NO_TASK else from_micros(at)


def _closed(core: Core, query: TaskQuery, now: int, walk: Search) -> str:
    """A cursor behind the last record that was looked at, with the time of the first page."""
    assert walk.after is not None  # each call looks at one record at least, if there is one
    return f"{now:x}.{cursors.encode(walk.after, *_bound_to(core, query, now))}"


def _opened(core: Core, query: TaskQuery, cursor: str) -> tuple[int, Position]:
    """The time and place of a cursor. Raises InvalidCursor."""
    if not isinstance(cursor, str):
        raise TypeError(f"cursor: expected str or None, got {type(cursor).__name__}")
    at, _, place = cursor.partition(".")
    now = int(at, 16) if _TIME.fullmatch(at) else 0
    if at != f"{now:x}":
        raise InvalidCursor("not a cursor of a search")
    return now, cursors.decode(place, *_bound_to(core, query, now))


def _bound_to(core: Core, query: TaskQuery, now: int) -> tuple[object, ...]:
    return core.namespace, "search", str(query), now


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
