"""Which records a query wants: all that it asks for is tested here, for searches and for actions alike.

The small fields of a record are tested first, then its name and error, and only if those do not decide it,
its values are read. However large these are, little of them is held at once, others run in between, and
whoever asks may stop after any record.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from time import perf_counter
from typing import Final, NamedTuple

from flowstore._core.core import STEP, Core
from flowstore._core.matching import Matching
from flowstore._core.rows import row_of, without_values
from flowstore._core.saying import MOST_SEARCHED, Wanted
from flowstore.engine import Entry
from flowstore.errors import UnreadableRecord

_EMPTY_HEADS: Final = (b"{}", None)
_FIRST_WITH_VALUES: Final = 10
MOST_WITH_VALUES: Final = 100
"""Of so many records at most the values are read at once, at first of fewer."""
_READ_AT_ONCE: Final = 2**16
"""So many bytes of the values of each. A record that has more is read by itself."""
_LONGEST_TURN: Final = 0.005
"""Seconds until others may run."""


class Sifted(NamedTuple):
    """A record, and whether the query wants it.

    ``entry`` is the record as it was tested, with values if they were read. ``is_cut``: only the beginning of
    these was searched; unless ``is_sure`` the rest could have made a difference. ``error``: why it could not
    be tested; then it ``is_wanted``, for whoever reads it to tell.
    """

    entry: Entry
    is_wanted: bool
    is_sure: bool = True
    is_cut: bool = False
    error: UnreadableRecord | None = None


class Sieve:
    """Tests records on one query."""

    def __init__(self, core: Core, matching: Matching) -> None:
        self._core = core
        self._matching = matching
        self._turn_began = perf_counter()
        self.at_once = _FIRST_WITH_VALUES if matching.needs_values else STEP
        """How many records to test in one call."""

    def fitting(self, entries: Sequence[Entry], most: float) -> tuple[list[Entry], int]:
        """For a query that needs no values: which of these are wanted, and how many had to be tested."""
        found: list[Entry] = []
        for tested, entry in enumerate(entries, 1):
            if self._may_fit(entry):
                found.append(entry)
                if len(found) >= most:
                    return found, tested
        return found, len(entries)

    async def sift(self, entries: Sequence[Entry]) -> AsyncGenerator[Sifted, None]:
        """What becomes of each of these records, in order; they may be without values."""
        lefts = [self._left(entry) if self._may_fit(entry) else None for entry in entries]
        doubtful = [entry.id for entry, left in zip(entries, lefts, strict=True) if left]
        read = {entry.id: entry for entry in await self._read(doubtful, _READ_AT_ONCE)}
        for entry, left in zip(entries, lefts, strict=True):
            if not left:
                yield Sifted(entry, left is not None)
                continue
            await self._let_others_run()
            found = read.pop(entry.id, None)
            if found is not None and found.body_size is not None:
                found = next(iter(await self._read([entry.id], MOST_SEARCHED)), None)
            yield Sifted(entry, False) if found is None else self._sifted(found, entry, left)
        if self._matching.needs_values:
            self.at_once = min(MOST_WITH_VALUES, 2 * self.at_once)

    def again(self, found: Entry, before: Entry) -> Sifted:
        """Test a record that was wanted as ``before``, and was read once more, as far as it is searched."""
        return Sifted(found, True) if is_same(found, before) else self._sifted(found, before, ())

    async def _read(self, ids: list[str], max_body: int) -> list[Entry]:
        if not ids:
            return []
        async with self._core.life:
            read = await self._core.engine.read(ids, max_body=max_body)
        return [entry for entry in read if entry is not None]

    async def _let_others_run(self) -> None:
        if perf_counter() - self._turn_began > _LONGEST_TURN:
            await asyncio.sleep(0)
            self._turn_began = perf_counter()

    def _may_fit(self, entry: Entry) -> bool:
        try:
            return self._matching.fits(row_of(entry, self._core.records))
        except (ValueError, UnreadableRecord):  # whoever decodes it will tell
            return True

    def _left(self, entry: Entry) -> tuple[Wanted, ...] | None:
        """What its values have to say; None: it is not wanted, whatever they say."""
        if not self._matching.needs_values:
            return ()
        saying = self._matching.saying
        try:
            if entry.head in _EMPTY_HEADS and entry.status:  # then it has no error: no need to decode it
                return saying.left(row_of(entry, self._core.records).name, None)
            task = self._core.records.decode(without_values(entry))
        except (ValueError, UnreadableRecord):
            return ()
        return saying.left(task.task_name, task.error)

    def _sifted(self, entry: Entry, before: Entry, left: tuple[Wanted, ...] | None) -> Sifted:
        """``left`` is what the values have to say if the record, read with these, is the one before."""
        if not is_same(entry, before):
            is_there = not entry.is_expired(self._core.clock()) and self._may_fit(entry)
            left = self._left(entry) if is_there else None
        if not left:
            return Sifted(entry, left is not None)
        saying = self._matching.saying
        try:
            searched = saying.searched(entry)
            is_cut = searched.body_size is not None
            return Sifted(entry, *saying.said_in(searched, left), is_cut)
        except UnreadableRecord as error:
            return Sifted(entry, True, error=error)


def is_same(one: Entry, other: Entry) -> bool:
    return (one.version, one.check) == (other.version, other.check)
