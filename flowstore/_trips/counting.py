"""Which task names are counted by themselves: the first thousand of a namespace, the others as one.

A program may make up names, one for each order or user, and statistics by name would grow with them. So the
names that are counted are a list, an item of the namespace, which whoever meets a new one adds it to by
compare-and-set. What was read of it holds for a minute: another process may have dropped the namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from math import inf
from time import monotonic
from typing import Final

from pydantic_core import from_json, to_json

from flowstore._values.checks import is_whole_item, item_check
from flowstore._values.tallying import ALL, MOST_NAMES, OTHERS, series_of
from flowstore.engine import (
    NAMESPACE,
    Asked,
    Engine,
    EngineWrapper,
    Item,
    Marks,
    Outcome,
    Put,
    Section,
    Verdict,
    Write,
)

KEY: Final = "statistics:names"
"""Of the item, in Section.APP."""
FIELD: Final = "series"
"""What its value holds."""
_SECONDS: Final = 60.0


class Counting(EngineWrapper):
    """Counts a write under the name of its task, or among all others."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._begin()

    def _begin(self) -> None:
        self._learning = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._known = {series_of(None)}
        """The series that are counted by themselves."""
        self._others: set[str] = set()
        self._until = inf

    def abandon(self) -> None:
        self._begin()
        super().abandon()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if self._until < monotonic():
            self._forget()
        for write in writes:
            if write.marks is not None and write.marks.series[-1] not in self._known:
                return await self.inner.write(await self._named(writes, now), now)
        return await self.inner.write(writes, now)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        self._forget()
        return await super().drop_namespace(limit, now)

    async def _named(self, writes: Sequence[Write], now: int) -> list[Write]:
        series = {write.marks.series[-1]: None for write in writes if write.marks is not None}
        if series.keys() - self._known - self._others:
            async with self._learning:
                await self._learn(series, now)
        others = {one for one in series if one not in self._known}
        return [
            write
            if write.marks is None or write.marks.series[-1] not in others
            else write._replace(marks=_as_other(write.marks))
            for write in writes
        ]

    async def _learn(self, series: Iterable[str], now: int) -> None:
        while True:
            new = [one for one in series if one not in self._known and one not in self._others]
            if not new:
                return  # another task has, while this one waited
            known, version = await self._read(now)
            added = [one for one in new if one not in known][: max(0, MOST_NAMES - len(known))]
            if not added or await self._add([*known, *added], version, now):
                break
        self._until = min(self._until, monotonic() + _SECONDS)
        self._known.update(known, added)
        self._others.update(one for one in new if one not in self._known)

    async def _read(self, now: int) -> tuple[list[str], int]:
        [found] = await self.inner.items([Asked(Section.APP, NAMESPACE, [KEY])], now)
        return (names_in(found[0]), found[0].version) if found else ([], 0)

    async def _add(self, series: Sequence[str], version: int, now: int) -> bool:
        value = to_json({FIELD: series})
        check = item_check(Section.APP, NAMESPACE, KEY, 0, value)
        [outcome] = await self.inner.put([Put(Section.APP, NAMESPACE, KEY, value, check, version)], now)
        return outcome.verdict is not Verdict.STANDING


def names_in(item: Item) -> list[str]:
    """The series that an item lists; none if it is damaged, so that it is made anew."""
    try:
        found = from_json(item.value).get(FIELD) if is_whole_item(Section.APP, item) else None
    except (ValueError, AttributeError):
        return []
    return [one for one in found if type(one) is str] if type(found) is list else []


def _as_other(marks: Marks) -> Marks:
    return Marks((ALL, OTHERS), marks.first, marks.changed)
