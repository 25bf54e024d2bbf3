"""Listings: the records of some statuses, by submission or finish, page after page (keyset pagination).

A record that cannot be read never hides the others: a page names it beside its items, and a walk goes on and
raises UnreadableRecords once it has yielded the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from flowstore._core.core import STEP, Core
from flowstore._core.filters import Selection, where_of
from flowstore._core.viewing import WHOLE, View
from flowstore._values import cursors
from flowstore._values.arguments import (
    MAX_PAGE,
    check_bool,
    check_instant,
    check_int,
    check_status,
    check_statuses,
)
from flowstore._values.cursors import START, Place
from flowstore._values.facets import ANYWHERE, ERROR, FINISH, Where, groups_of
from flowstore.engine import UNSORTED, Entry, Position, Query, sort_key
from flowstore.errors import CorruptRecord, UnreadableRecord, UnreadableRecords
from flowstore.models import FINISHED, Page, Statuses, StatusName, TaskResult, TaskStatus, Unreadable
from flowstore.times import OF_NO_TASK

From = TypeVar("From")
To = TypeVar("To")


@dataclass(frozen=True, slots=True)
class Listing:
    """The records in some statuses that satisfy ``where``, after ``after``; ``limit`` of them in a step.

    ``within``, ``max_body``: see Query. ``any_of``: facets of which a record has one. ``ids``: only records
    with one of these ids, which are read and not searched for; with neither a root nor ``any_of``.
    """

    statuses: tuple[str, ...]
    limit: int
    where: Where = ANYWHERE
    after: Position | None = None
    newest_first: bool = True
    with_body: bool = True
    max_body: int | None = None
    is_by_finish: bool = False
    within: tuple[int, int] | None = None
    any_of: tuple[str, ...] = ()
    ids: tuple[str, ...] | None = None

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        groups = groups_of(self.where, is_by_finish=self.is_by_finish)
        if not self.any_of:
            return groups
        if not self.is_by_finish:
            return (self.any_of, *groups)
        if groups[0] == (FINISH,) and self.any_of[0].startswith(ERROR):  # it lists by finish as well
            return (tuple(FINISH + facet for facet in self.any_of), *groups[1:])
        return (groups[0], self.any_of, *groups[1:])

    @property
    def query(self) -> Query:
        return Query(
            self.statuses,
            self.limit,
            self.groups,
            self.after,
            self.within,
            newest_first=self.newest_first,
            with_body=self.with_body,
            max_body=self.max_body,
            has_fixed=self.where.has_parent,
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be in it."""
        return not self.statuses or (self.within is not None and self.within[0] > self.within[1])

    def place(self, entry: Entry) -> Position:
        return entry.position_in(FINISH) if self.is_by_finish else entry.position


def listing_of(
    statuses: Statuses, where: Where, limit: int, newest_first: bool, load_result: bool
) -> Listing:
    return Listing(
        statuses=check_statuses(statuses),
        limit=limit,
        where=where,
        newest_first=check_bool("newest_first", newest_first),
        with_body=check_bool("load_result", load_result),
    )


def selected(
    core: Core,
    statuses: Statuses,
    selection: Selection,
    limit: int,
    newest_first: bool = True,
    load_result: bool = True,
) -> Listing:
    """The listing that the arguments of a call describe."""
    where = where_of(core, selection, Selection)
    listing = listing_of(statuses, where, limit, newest_first, load_result)
    times = within(selection.get("since"), selection.get("until"))
    order = selection.get("order", "submitted")
    if not isinstance(order, str):
        raise TypeError(f"order: expected str, got {type(order).__name__}")
    if order not in ("submitted", "finished"):
        raise ValueError(f"order: expected 'submitted' or 'finished', got {order[:80]!r}")
    if order == "submitted":
        return replace(listing, within=times)
    finished = tuple(status for status in listing.statuses if status in _listed_by_finish(where))
    if TaskStatus.SUCCESS in finished and "finished" not in core.records.facets:
        raise ValueError(
            "order: the finish of successful tasks is not indexed by this backend; make it with 'finished' "
            "among its facets, or ask for statuses ['failed', 'cancelled']"
        )
    return replace(listing, statuses=finished, within=times, is_by_finish=True)


def _listed_by_finish(where: Where) -> Collection[TaskStatus]:
    return FINISHED if where.error is None else (TaskStatus.FAILED,)


def within(since: datetime | None, until: datetime | None) -> tuple[int, int] | None:
    """The sort keys of a range of times. None: all, also that of records without the time."""
    if since is None and until is None:
        return None
    # What is no task has no time of submission either, for whoever asks for one.
    first = min(sort_key(OF_NO_TASK) - 1, UNSORTED if since is None else -check_instant("since", since))
    return -UNSORTED if until is None else 1 - check_instant("until", until), first


async def step(core: Core, listing: Listing) -> list[Entry]:
    """At most ``limit`` entries of the listing, in order; fewer only at its end."""
    if listing.is_empty:
        return []
    where, now = listing.where, core.clock()
    if listing.ids is not None:
        return await _named(core, listing, listing.ids)
    found = [] if where.is_nobody else await core.engine.scan(listing.query, now)
    if where.root is None:
        return found
    # No facet lists a root with its family, which would be one more entry of an index for each task that
    # never has one. It is read by its id, and takes its place among the others.
    [root] = await core.engine.read([where.root], with_body=listing.with_body, max_body=listing.max_body)
    if root is not None and not root.is_expired(now) and belongs(root, listing):
        found.append(root)
        found.sort(key=listing.place, reverse=not listing.newest_first)
    return found[: listing.limit]


async def _named(core: Core, listing: Listing, ids: tuple[str, ...]) -> list[Entry]:
    """Those of the records with these ids that belong to the listing, in its order."""
    read = await core.engine.read(ids, with_body=listing.with_body, max_body=listing.max_body)
    found = [entry for entry in core.live(read) if belongs(entry, listing)]
    found.sort(key=listing.place, reverse=not listing.newest_first)
    return found[: listing.limit]


def belongs(root: Entry, listing: Listing) -> bool:
    """Whether a listing of a family has its root."""
    if root.status and root.status not in listing.statuses:  # one that cannot be read is named all the same
        return False
    place = listing.place(root)
    if listing.after is not None and (place > listing.after) is not listing.newest_first:
        return False
    if listing.within is not None and not listing.within[0] <= place.sort <= listing.within[1]:
        return False
    if listing.where.is_root is not None and listing.where.is_root is bool(root.fixed):
        return False
    groups = replace(listing, where=listing.where._replace(root=None)).groups
    has = {*root.fixed, *root.facets}
    return place != listing.after and all(not has.isdisjoint(group) for group in groups)


async def walk(
    core: Core, listing: Listing, most: int | None = None, *, is_inside: bool = False
) -> AsyncGenerator[list[Entry], None]:
    """The entries of ``listing``, at most ``most`` (None: all), in steps of its limit, none of them empty.

    Each step is a call of its own, since ``close`` waits for calls in flight and must not wait for a caller
    who never asks for the next step. With ``is_inside`` all steps belong to a call that is already in flight.
    """
    while most is None or most > 0:
        limit = listing.limit if most is None else min(listing.limit, most)
        async with nullcontext() if is_inside else core.life:
            entries = await step(core, replace(listing, limit=limit))
        if entries:
            yield entries
            listing = replace(listing, after=behind(entries[-1], listing))
        if len(entries) < limit:
            return
        await asyncio.sleep(0)  # others may run between two steps, also where the storage never waits
        most = None if most is None else most - len(entries)


def behind(entry: Entry, listing: Listing) -> Position:
    """Where the listing goes on. Raises CorruptRecord if it did not move: it would go round in circles."""
    place = listing.place(entry)
    if place == listing.after:
        at = entry.finished_at if listing.is_by_finish else entry.submitted_at
        raise CorruptRecord(entry.id, f"with the time {at} it has no place in a listing")
    return place


class Reading(Generic[From, To]):
    """Reads the entries of one page or walk with ``read``, and remembers those that cannot be read."""

    def __init__(self, read: Callable[[From], To], most_errors: int = UnreadableRecords.MOST_ERRORS) -> None:
        self._read = read
        self._most_errors = most_errors
        self._errors: list[UnreadableRecord] = []
        self._count = 0

    def decoded(self, rows: Iterable[From]) -> list[To]:
        """What those that can be read hold, in order."""
        found = []
        for row in rows:
            try:
                found.append(self._read(row))
            except UnreadableRecord as error:
                self._count += 1
                if self._count <= self._most_errors:
                    self._errors.append(error.with_traceback(None))
        return found

    @property
    def unreadable(self) -> list[Unreadable]:
        return [Unreadable(task_id=error.task_id, reason=error.reason) for error in self._errors]

    def end(self) -> None:
        """Raise UnreadableRecords if any could not be read."""
        if self._errors:
            raise UnreadableRecords(self._errors, self._count)


async def readable(steps: AsyncIterator[list[From]], read: Callable[[From], To]) -> AsyncGenerator[To, None]:
    """What the rows of a walk hold, one by one. Raises UnreadableRecords at the end."""
    reading = Reading(read)
    async for rows in steps:
        for found in reading.decoded(rows):
            yield found
    reading.end()


def results(
    core: Core, steps: AsyncIterator[list[Entry]], view: View = WHOLE
) -> AsyncGenerator[TaskResult, None]:
    """The records of a walk, as ``readable`` yields them."""
    return readable(steps, partial(view.decoded, core))


async def ids(steps: AsyncIterator[list[Entry]]) -> AsyncGenerator[str, None]:
    """The ids of a walk, whether the records can be read or not."""
    async for entries in steps:
        for entry in entries:
            yield entry.id


class _Stretch(NamedTuple):
    """Entries of a listing that follow one another, and whether there are others on either side."""

    entries: list[Entry]
    has_before: bool
    has_behind: bool


async def page(core: Core, listing: Listing, limit: int, cursor: str | None, view: View = WHOLE) -> Page:
    """``limit`` records of ``listing``, from its start or from where ``cursor`` says."""
    check_int("limit", limit, 1, MAX_PAGE)
    listing = replace(listing, max_body=view.max_body)
    bound_to = (
        *(core.namespace, listing.statuses, listing.where, listing.newest_first),
        *(listing.is_by_finish, listing.within),
    )
    place = START if cursor is None else cursors.decode_place(cursor, *bound_to)
    async with core.life:
        entries, has_before, has_behind = await _stretch(core, listing, limit, place)
    reading = Reading(partial(view.decoded, core), most_errors=limit)
    first, last = (listing.place(entries[0]), listing.place(entries[-1])) if entries else (None, None)
    return Page(
        items=reading.decoded(entries),
        next_cursor=cursors.encode(last, *bound_to) if has_behind else None,
        prev_cursor=cursors.encode(first, *bound_to, is_backwards=True) if has_before else None,
        unreadable=reading.unreadable,
    )


async def _stretch(core: Core, listing: Listing, limit: int, place: Place) -> _Stretch:
    """One entry more than ``limit`` is read to know whether there are others ahead, and one the other way.

    Where everything before a page has gone meanwhile, the start of the listing is the page before it.
    """
    ahead = replace(listing, limit=limit + 1, after=place.position)
    if place.is_backwards:
        back = reversed_listing(ahead)
        if entries := await step(core, back):
            has_before, entries = len(entries) > limit, entries[:limit]
            if has_before:
                behind(entries[-1], back)
            rest = replace(listing, limit=1, after=listing.place(entries[0]), with_body=False)
            return _Stretch(entries[::-1], has_before, bool(await step(core, rest)))
        ahead = replace(ahead, after=None)
    entries = await step(core, ahead)
    has_behind, entries = len(entries) > limit, entries[:limit]
    if has_behind:
        behind(entries[-1], ahead)
    if ahead.after is None:
        return _Stretch(entries, has_before=False, has_behind=has_behind)
    end = listing.place(entries[0]) if entries else None  # None: all there is comes before
    before = replace(reversed_listing(listing), limit=1, after=end, with_body=False)
    return _Stretch(entries, bool(await step(core, before)), has_behind)


def reversed_listing(listing: Listing) -> Listing:
    """The same records in the reverse order."""
    return replace(listing, newest_first=not listing.newest_first)


async def list_by_status(
    core: Core, status: TaskStatus | StatusName, limit: int | None, offset: int, selection: Selection
) -> list[TaskResult]:
    wanted = selected(core, check_status("status", status), selection, STEP)
    check_int("offset", offset, 0)
    most = None if limit is None else check_int("limit", limit, 0)
    async with core.life:
        if most == 0:
            return []
        last: Entry | None = None
        # No engine can skip by number; the records before the offset are read without their bodies.
        async for entries in walk(core, replace(wanted, with_body=False), offset, is_inside=True):
            last, offset = entries[-1], offset - len(entries)
        if offset:
            return []
        found = replace(wanted, after=wanted.place(last) if last else None)
        return [result async for result in results(core, walk(core, found, most, is_inside=True))]
