"""Entries by their ids and by time, waits for one, and writes of many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from functools import partial
from typing import Final

from pydantic import BaseModel

from flowstore._values import cursors
from flowstore._values.arguments import MAX_PAGE, check_instant, check_int
from flowstore.engine import Position
from flowstore.errors import StorageUnavailable, WaitTimeout
from flowstore.typed import deciding
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.entries import EntryPage, info_of
from flowstore.typed.ids import below
from flowstore.typed.storage import After, EntryStorage, Kind, New, Recent, Stored
from flowstore.typed.values import Values

_FIRST_STEP: Final = 64
_STEP: Final = 1_000
_AT_ONCE: Final = 500


async def walk(
    storage: EntryStorage,
    prefix: str | None,
    after: str | None,
    *,
    most: int | None = None,
    most_at_once: int = _STEP,
) -> AsyncGenerator[list[str], None]:
    """The ids of all entries, or of one and those below it, in order and in steps, none of them empty."""
    is_first = prefix is not None and (after is None or after < prefix) and most != 0
    if is_first and await deciding.stands(storage, str(prefix)):
        yield [str(prefix)]
        most = None if most is None else most - 1
    start = "" if prefix is None else below(prefix)
    # Small at first: what is read behind the end of a range that ends soon is read in vain.
    size = min(_FIRST_STEP if most is None else most, most_at_once)
    if most == 0:
        return
    async with aclosing(storage.steps(start, after, size, most_at_once)) as steps:
        async for found in steps:
            yield [each.id for each in found[:most]]
            if most is not None and (most := most - len(found)) <= 0:
                return


async def each(steps: AsyncGenerator[list[str], None]) -> AsyncGenerator[str, None]:
    async with aclosing(steps):
        async for ids in steps:
            for id in ids:
                yield id


def changed(storage: EntryStorage, prefix: str | None) -> AsyncGenerator[str, None]:
    """The ids that are written from this call on: of one entry and of those below it."""
    return _within(storage.changes(prefix or ""), prefix)


async def _within(changes: AsyncGenerator[str, None], prefix: str | None) -> AsyncGenerator[str, None]:
    start = "" if prefix is None else below(prefix)
    async with aclosing(changes) as ids:
        async for id in ids:
            if id == prefix or id.startswith(start):
                yield id


async def awaited(storage: EntryStorage, id: str, timeout: float | None) -> Stored | None:
    """What is stored under the id as soon as something is; None at the deadline.

    An outage goes by within ``appeared``, which waits for its end, and never takes longer than its timeout.
    """
    if timeout is not None and timeout <= 0:
        [stored] = await storage.read([id])
        return stored
    deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                [stored] = await storage.read([id])
        except StorageUnavailable:
            stored = None
        except TimeoutError:
            return None
        if stored is not None:
            return stored
        left = None if deadline is None else deadline - asyncio.get_running_loop().time()
        if left is not None and left <= 0:
            return None
        try:
            await storage.appeared(id, left)
        except WaitTimeout:
            return None


async def kinds(
    storage: EntryStorage, values: Values, model_class: type[BaseModel] | None, namespace: str | None
) -> list[Kind] | None:
    """The kinds to list; None: all."""
    if model_class is not None:
        return values.kinds_of(model_class, namespace)
    if namespace is None:
        return None
    return [kind for kind in await storage.kinds() if kind.namespace == namespace]


async def page(
    storage: EntryStorage,
    kinds: Sequence[Kind] | None,
    chosen_by: tuple[str | None, ...],
    since: datetime | None,
    until: datetime | None,
    limit: int,
    cursor: str | None,
) -> EntryPage:
    """One more is read, only to know whether it goes on. ``chosen_by``: what the cursor is bound to."""
    check_int("limit", limit, 1, MAX_PAGE)
    first = None if since is None else check_instant("since", since)
    last = None if until is None else check_instant("until", until)
    bound_to = ("entries", *chosen_by, first, last)
    after = None
    if cursor is not None:
        place = cursors.decode(cursor, *bound_to)
        after = After(-place.sort, place.id)
    found = await storage.recent(Recent(limit + 1, kinds, first, last, after))
    shown = [each for each in found[:limit] if each.trouble is None]
    if len(found) <= limit:
        return EntryPage([*map(info_of, shown)])
    if not (end := found[limit - 1]).updated_at:
        deciding.usable(end)  # which says why it has no place that the next page could follow
    place = Position(-end.updated_at, end.id)
    return EntryPage([*map(info_of, shown)], cursors.encode(place, *bound_to))


async def write_all(
    storage: EntryStorage, values: Values, new: Sequence[New], behavior: WriteBehavior
) -> dict[str, bool]:
    """What ``deciding.write`` returns for each. Raises the first of their errors when all are done."""
    done: dict[str, bool | BaseException] = {each.id: False for each in new}
    left = list(new)
    if behavior in deciding.CREATES_FIRST:
        created = await storage.create(left)
        done.update(zip([each.id for each in left], created, strict=True))
        left = [each for each, is_new in zip(left, created, strict=True) if not is_new]

    async def write(each: New) -> bool:
        return await deciding.write_over(storage, each, behavior, partial(values.is_same, each))

    for start in range(0, len(left), _AT_ONCE):  # at once, so that they share their trips
        step = left[start : start + _AT_ONCE]
        outcomes = await asyncio.gather(*map(write, step), return_exceptions=True)
        done.update(zip([each.id for each in step], outcomes, strict=True))
    return {id: _told(outcome) for id, outcome in done.items()}


def _told(outcome: bool | BaseException) -> bool:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome
