"""Histories of several tasks, and the history of all of them page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from flowstore._core.core import STEP, Core, steps
from flowstore._core.listing import Reading, listing_of, walk
from flowstore._core.transitions import walk_transitions
from flowstore._values import cursors
from flowstore._values.facets import Where
from flowstore._values.reading import transition
from flowstore.engine import Asked, Item, Position, Section, Span
from flowstore.errors import InvalidCursor
from flowstore.fields import Record
from flowstore.models import Transition, Unreadable
from flowstore.tables import Tabular

LOOKED_AT: Final = 5_000
"""How many transitions a page with filters looks at, at most."""
_DIGITS: Final = 16

Wanted = Callable[[Transition], bool]


class HistoryPage(Tabular, Record):
    """Some transitions, in order. ``next_cursor`` is None at the end of the history, and only there.

    ``unreadable``: those that belong on this page but cannot be read, by the ids of their tasks.
    """

    items: list[Transition]
    next_cursor: str | None
    unreadable: list[Unreadable]


async def page(
    core: Core, span: Span, cursor: str | None, is_wanted: Wanted | None, bound_to: Sequence[object]
) -> HistoryPage:
    """``span.limit`` transitions after ``cursor``, which is bound to ``bound_to``.

    ``is_wanted`` None: all are. Else there may be fewer before the end: LOOKED_AT are looked at, at most.
    """
    limit, reading = span.limit, Reading(transition, span.limit)
    found: list[Transition] = []
    last, looked = None if cursor is None else _place(cursor, bound_to), 0
    size, most = (limit + 1, limit) if is_wanted is None else (max(limit + 1, STEP), LOOKED_AT)
    async with aclosing(walk_transitions(core, replace(span, limit=size, after=last))) as walked:
        async for items in walked:
            for item in items:
                if last is not None and (len(found) == limit or looked == most):
                    return _page(found, _cursor(last, bound_to), reading)
                found += filter(is_wanted, reading.decoded([item]))
                last, looked = item, looked + 1
    return _page(found, None, reading)


def _page(found: list[Transition], cursor: str | None, reading: Reading[Item, Transition]) -> HistoryPage:
    return HistoryPage(items=found, next_cursor=cursor, unreadable=reading.unreadable)


def _cursor(last: Item, bound_to: Sequence[object]) -> str:
    """The place of a listing has no room for the key, which comes first and is what the rest is bound to."""
    return last.key + cursors.encode(Position(last.at, last.owner), *bound_to, last.key)


def _place(cursor: str, bound_to: Sequence[object]) -> Item:
    if not isinstance(cursor, str):
        raise TypeError(f"cursor: expected str or None, got {type(cursor).__name__}")
    key = cursor[:_DIGITS]
    if not (key.isascii() and key.isdecimal() and len(key) == _DIGITS):
        raise InvalidCursor("not a cursor of a history")
    at, owner = cursors.decode(cursor[_DIGITS:], *bound_to, key)
    return Item(owner, key, 1, at, 0, b"")


async def of_many(core: Core, ids: Iterable[str], last: int | None = None) -> dict[str, list[Item]]:
    """The transitions of each, in the order of writing: the ``last`` ones; None: all."""
    found: dict[str, list[Item]] = {}
    for step in steps(list(dict.fromkeys(ids))):
        asked = [Asked(Section.HISTORY, task_id, last=last) for task_id in step]
        async with core.life:
            histories = await core.engine.items(asked, core.clock())
        found.update(zip(step, histories, strict=True))
    return found


async def of_family(core: Core, root_id: str) -> AsyncGenerator[list[Item], None]:
    """The histories of a family, of up to so many tasks in a step, the oldest submission first."""
    listing = listing_of(None, Where(root=root_id), STEP, newest_first=False, load_result=False)
    async for entries in walk(core, listing):
        histories = await of_many(core, [entry.id for entry in entries])
        yield [item for history in histories.values() for item in history]
