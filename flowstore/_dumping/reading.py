"""Records with all that belongs to them, read from a storage in portions of a bounded size.

The records of a batch are read first, the items of all of them then. What is stored in between is seen as far
as it is an item: a history never goes beyond the version of its record. One that is damaged is named, and
hides no other.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import aclosing
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from flowstore._core.core import STEP, Core, steps
from flowstore._core.listing import Listing, walk
from flowstore._dumping.lines import Dumped, Last, dump, dump_unreadable
from flowstore._trips.lanes import portions
from flowstore._values.facets import Where
from flowstore._values.reading import DAMAGED
from flowstore._values.refusals import DecodeError
from flowstore.engine import OWNED, Asked, Entry, Item, Position, Section, sort_key
from flowstore.errors import CorruptRecord

MOST_BYTES: Final = 16_384
"""Of longer bodies the beginning is read at first, and the whole only when its turn comes."""


@dataclass(frozen=True)
class Source:
    """Records of a core, in an order that depends on nothing but them.

    ``name``: a text that is the same for the same selection, and for no other. ``start``: their entries, in
    steps of at most 500, all or those behind one that was read before. Bodies may be missing or cut.
    ``shown``: what stands for a record that was read, where its line is not to tell all of it.
    """

    name: str
    start: Callable[[Last | None], AsyncIterator[Sequence[Entry]]]
    shown: Callable[[Dumped], Dumped] = lambda dumped: dumped


def listed(core: Core, listing: Listing, *, whole: bool = False) -> Source:
    """Those of a listing, whose limit is 500 at most. ``whole``: no body is cut."""
    wanted = replace(listing, with_body=True, max_body=None if whole else MOST_BYTES)

    def start(last: Last | None) -> AsyncIterator[Sequence[Entry]]:
        return walk(core, wanted if last is None else replace(wanted, after=_behind(last, wanted)))

    order = (listing.newest_first, listing.is_by_finish, listing.within)
    said = ", ".join(map(repr, order))
    statuses = [*map(str, listing.statuses)]
    return Source(f"({core.namespace!r}, {statuses}, {_said(listing.where)}, {said})", start)


def _said(where: Where) -> str:
    """As its first version has said it: files name what they are of, and exports are resumed by that."""
    added_since = {"error"}
    fields = {
        name: value for name, value in where._asdict().items() if name not in added_since or value is not None
    }
    return f"Where({', '.join(f'{name}={value!r}' for name, value in fields.items())})"


def _behind(last: Last, listing: Listing) -> Position:
    return Position(sort_key(last.finished_at if listing.is_by_finish else last.submitted_at), last.id)


def named(core: Core, ids: Sequence[str], *, whole: bool = False) -> Source:
    """Those with these ids, in their order, as far as there are any. ``whole``: no body is cut."""
    distinct = [*dict.fromkeys(ids)]

    async def start(last: Last | None) -> AsyncIterator[Sequence[Entry]]:
        left = distinct if last is None else distinct[distinct.index(last.id) + 1 :]
        for step in steps(left):
            async with core.life:
                entries = await core.engine.read(step, max_body=None if whole else MOST_BYTES)
            yield core.live(entries)

    return Source(f"{core.namespace!r} {sha256(repr(distinct).encode()).hexdigest()}", start)


async def records_of(
    core: Core, source: Source, last: Last | None = None
) -> AsyncGenerator[list[Dumped], None]:
    """The records of a source, all or those behind ``last``."""
    async with aclosing(dumped(core, source.start(last))) as batches:
        async for batch in batches:
            yield [*map(source.shown, batch)]


async def dumped(core: Core, found: AsyncIterable[Sequence[Entry]]) -> AsyncGenerator[list[Dumped], None]:
    """The records of these entries, in order, none of the lists empty.

    Those that were removed or have expired meanwhile are left out. An entry without its whole body is read
    again, and may be a later version by then.
    """
    async for entries in found:
        for portion in _portions(await _with_sizes(core, entries)):
            async with core.life:
                whole = await _whole(core, portion)
                read = await _with_items(core, whole)
            if read:
                yield read


async def read_again(core: Core, ids: Sequence[str]) -> dict[str, Dumped]:
    """The records with these ids that there are. All of them are held: it is for as many as came together."""
    async with aclosing(dumped(core, named(core, ids).start(None))) as batches:
        return {each.id: each async for batch in batches for each in batch}


def _portions(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    if not entries:
        return
    for some in portions([entry.body_size or _size(entry.body) for entry in entries]):
        for start in range(0, len(entries[some]), STEP):
            yield entries[some][start : start + STEP]


def _size(body: object) -> int:
    """That of objects, which memory keeps in place of bytes, is bounded anyway."""
    return len(body) if isinstance(body, bytes) else 0


async def _with_sizes(core: Core, entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries, those without any body read again."""
    bare = [entry.id for entry in entries if entry.body is None and entry.status]
    if not bare:
        return entries
    read: dict[str, Entry] = {}
    for step in steps(bare):
        async with core.life:
            found = core.live(await core.engine.read(step, max_body=MOST_BYTES))
        read |= {entry.id: entry for entry in found}
    again = (entry if entry.body is not None else read.get(entry.id) for entry in entries)
    return [entry for entry in again if entry is not None]


async def _whole(core: Core, entries: Sequence[Entry]) -> list[Entry]:
    cut = [entry.id for entry in entries if entry.body_size is not None]
    found = core.live(await core.engine.read(cut)) if cut else []
    read = {entry.id: entry for entry in found}
    again = (entry if entry.body_size is None else read.get(entry.id) for entry in entries)
    return core.live(again)


async def _with_items(core: Core, entries: Sequence[Entry]) -> list[Dumped]:
    sound = [entry for entry in entries if entry.status and core.records.is_whole(entry)]
    beside = {entry.id: _Beside(entry) for entry in sound}
    for section in OWNED:
        found = await _items(core, section, [entry.id for entry in sound])
        for each, items in zip(beside.values(), found, strict=True):
            each.add(core, section, items)
    return [
        beside[entry.id].dumped(core) if entry.id in beside else dump_unreadable(entry, _why(entry))
        for entry in entries
    ]


async def _items(core: Core, section: Section, ids: Sequence[str]) -> list[list[Item] | CorruptRecord]:
    """The items of each, or why they cannot be read."""
    if not ids:
        return []
    try:
        return [*await core.engine.items([Asked(section, each) for each in ids], core.clock())]
    except CorruptRecord as error:
        if len(ids) == 1:
            return [error]
    middle = len(ids) // 2
    return [*await _items(core, section, ids[:middle]), *await _items(core, section, ids[middle:])]


class _Beside:
    """A record and the items that were found so far."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._items: dict[Section, list[Item]] = {}
        self._unreadable: list[str] = []

    def add(self, core: Core, section: Section, found: list[Item] | CorruptRecord) -> None:
        if isinstance(found, CorruptRecord):
            self._unreadable.append(found.reason)
            return
        kept = self._items[section] = []
        for item in found if section is not Section.HISTORY else self._until_now(found):
            try:
                kept.append(core.records.item_as_bytes(section, item))
            except CorruptRecord as error:
                self._unreadable.append(error.reason)
            except DecodeError as error:
                self._unreadable.append(f"{section} {item.key!r}: {error}")

    def _until_now(self, history: Iterable[Item]) -> list[Item]:
        return [item for item in history if int(item.key) <= self._entry.version]

    def dumped(self, core: Core) -> Dumped:
        try:
            entry = core.records.as_bytes(self._entry)
        except DecodeError as error:
            return dump_unreadable(self._entry, str(error))
        return dump(entry, self._items, tuple(self._unreadable))


def _why(entry: Entry) -> str:
    return DAMAGED if entry.status else f"not a record of this format: {entry.head[:80]!r}"
