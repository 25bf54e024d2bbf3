"""Which task names are counted by themselves: the first thousand of a namespace, the others as one.

A program may make up names, one for each order or user, and statistics by name would grow with them. So the
names that are counted are a list, an item of the namespace, which whoever meets a new one adds it to by
compare-and-set. What was read of it holds for a minute: another process may have dropped the namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf
from time import monotonic
from typing import Final

from pydantic_core import from_json, to_json

from flowstore._values.checks import is_whole_item, item_check
from flowstore._values.tallying import MOST_NAMES, OTHERS, series_of
from flowstore.engine import (
    NAMESPACE,
    Asked,
    Engine,
    EngineWrapper,
    Item,
    Mark,
    Outcome,
    Put,
    Section,
    Verdict,
    Write,
)
from flowstore.errors import StorageError, StorageTimeout, StorageUnavailable, UnreadableRecord

KEY: Final = "statistics:names"
"""Of the item, in Section.APP."""
FIELD: Final = "series"
"""What its value holds."""
_SECONDS: Final = 60.0


class Counting(EngineWrapper):
    """Counts a write under the name of its task, or among all others."""

    def __init__(self, inner: Engine) -> None:
        super().__init__(inner)
        self._of_others: dict[tuple[str, bool], Mark] = {}
        self._begin()

    def _begin(self) -> None:
        self._learning = asyncio.Lock()
        self._forget()

    def _forget(self) -> None:
        self._known = {series_of(None)}
        """The series that are counted by themselves."""
        self._is_closed = False
        """Whether all others are one, without another look: there are enough, or the list cannot be used."""
        self._until = inf

    def abandon(self) -> None:
        self._begin()
        super().abandon()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        if self._until < monotonic():
            self._forget()
        for write in writes:
            if write.marks and write.marks[0].series not in self._known:
                return await self.inner.write(await self._named(writes, now), now)
        return await self.inner.write(writes, now)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        self._forget()
        try:
            return await super().drop_namespace(limit, now)
        finally:
            self._forget()  # what was learned before the list was removed

    async def _named(self, writes: Sequence[Write], now: int) -> list[Write]:
        series = {write.marks[0].series: None for write in writes if write.marks}
        if not self._is_closed and series.keys() - self._known:
            async with self._learning:
                await self._learn(series, now)
        known = self._known
        return [
            self._among_others(write) if write.marks and write.marks[0].series not in known else write
            for write in writes
        ]

    def _among_others(self, write: Write) -> Write:
        noted = None if write.noted is None else replace(write.noted, bucket=OTHERS)
        return write._replace(marks=tuple(map(self._as_other, write.marks)), noted=noted)

    def _as_other(self, mark: Mark) -> Mark:
        known = self._of_others.get((mark.bucket, mark.is_first))
        if known is None:
            known = Mark(OTHERS, mark.bucket, mark.is_first)
            self._of_others[mark.bucket, mark.is_first] = known
        return known

    async def _learn(self, series: Iterable[str], now: int) -> None:
        new = [one for one in series if one not in self._known]
        if not new or self._is_closed:
            return  # another task has, while this one waited
        try:
            known, added = await self._added(new, now)
        except (StorageUnavailable, StorageTimeout):
            raise  # so will the write
        except (StorageError, UnreadableRecord):  # no reason not to store the tasks: see integrity.verify
            known, added = [], []
        self._known.update(known, added)
        self._is_closed = not self._known.issuperset(new)
        self._until = min(self._until, monotonic() + _SECONDS)

    async def _added(self, new: Sequence[str], now: int) -> tuple[list[str], list[str]]:
        """What the list has, and those of ``new`` that it has got besides."""
        while True:
            known, version = await self._read(now)
            added = [one for one in new if one not in known][: max(0, MOST_NAMES - len(known))]
            if not added or await self._add([*known, *added], version, now):
                return known, added

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
