"""Records into a storage exactly as they were elsewhere: versions, times, history and items included.

A storage counts versions itself. So a record of version n is written n times, each time over exactly the
write before, with what the history has of that version. The values travel with the first of these writes
only, and 500 share a trip. Items come last, each with its version and its time.

None of that is one step, and an import may be killed in between. What it leaves is the same record at an
earlier version, or with fewer items: that is recognised, and carried on from there. Anything else that stands
under the id is a conflict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple

from flowstore._core.core import STEP, Core, steps
from flowstore._dumping.lines import Dumped, line_of
from flowstore._dumping.outcomes import OnConflict, Tally
from flowstore._dumping.reading import read_again
from flowstore._values.checks import entry_check, item_check
from flowstore._values.records import Records
from flowstore.engine import OWNED, Entry, Item, Logged, Outcome, Put, Section, Stamp, Standing, Write
from flowstore.errors import PayloadTooLarge, RestoreConflict

_ROUNDS: Final = 10
"""How often a record is tried that others write at the same time."""


Restore = Callable[[Core, Sequence[Dumped], OnConflict, Tally], Awaitable[list[str]]]
"""As ``restore`` below."""


class _Way(Enum):
    """What is to be done with a record."""

    RESTORE = "restore"
    REPLACE = "replace"
    LEAVE = "leave"
    KEEP_OUT = "keep out"


class _Step(NamedTuple):
    """``standing``: what is there of it, None: nothing. ``reason``: what else is there, for conflicts."""

    wanted: Dumped
    way: _Way
    standing: Dumped | None = None
    reason: str = ""


async def restore(core: Core, batch: Sequence[Dumped], on_conflict: OnConflict, tally: Tally) -> list[str]:
    """Restore the records that can be read, and count what became of each; the ids of those that are there.

    With "raise" RestoreConflict names the first conflict, and nothing of the batch has been written. Raises
    PayloadTooLarge for values that this backend would refuse to read.
    """
    core.check_writable()
    tally.unread.note(batch)
    wanted = [each for each in batch if each.entry is not None]
    for each in wanted:
        _check_size(core, each)
    there: list[str] = []
    async with core.life:
        for _ in range(_ROUNDS):
            wanted = await _round(core, wanted, on_conflict, tally, there)
            if not wanted:
                return there
    raise RestoreConflict(wanted[0].id, "others write it again and again")


def _check_size(core: Core, wanted: Dumped) -> None:
    limit = core.records.codec.max_bytes
    values = [item.value for section in OWNED for item in wanted.items.get(section, ())]
    if wanted.entry is not None and wanted.entry.body is not None:
        values.append(wanted.entry.body)
    if (most := max(map(len, values), default=0)) > limit:
        raise PayloadTooLarge(wanted.id, f"has a value of {most} bytes; the limit is {limit}")


async def _round(
    core: Core, wanted: Sequence[Dumped], on_conflict: OnConflict, tally: Tally, there: list[str]
) -> list[Dumped]:
    """One try; those that somebody else has written in between, and second records of an id."""
    first = {each.id: each for each in reversed(wanted)}
    again = [each for each in wanted if first[each.id] is not each]
    live = [each for each in first.values() if each.entry and not each.entry.is_expired(core.clock())]
    tally.expired += len(first) - len(live)
    standing = await read_again(core, [each.id for each in live])
    ways = [_way(each, standing.get(each.id), on_conflict) for each in live]
    for step in ways:
        if step.way is _Way.KEEP_OUT and on_conflict == "raise":
            raise RestoreConflict(step.wanted.id, step.reason)
    lost = await _carry_out(core, [step for step in ways if step.way in (_Way.RESTORE, _Way.REPLACE)])
    for step in ways:
        if step.wanted.id not in lost:
            _count(step, tally, there)
    return [*(step.wanted for step in ways if step.wanted.id in lost), *again]


def _count(step: _Step, tally: Tally, there: list[str]) -> None:
    if step.way is _Way.KEEP_OUT:
        tally.conflict(step.wanted.id, step.reason)
        return
    there.append(step.wanted.id)
    tally.unchanged += step.way is _Way.LEAVE
    tally.restored += step.way is not _Way.LEAVE
    tally.replaced += step.way is _Way.REPLACE


def _way(wanted: Dumped, standing: Dumped | None, on_conflict: OnConflict) -> _Step:
    if standing is None:
        return _Step(wanted, _Way.RESTORE)
    if line_of(standing) == line_of(wanted._replace(unreadable=())):
        return _Step(wanted, _Way.LEAVE)
    if _is_part(standing, wanted):
        return _Step(wanted, _Way.RESTORE, standing)
    way = _Way.REPLACE if on_conflict == "replace" else _Way.KEEP_OUT
    return _Step(wanted, way, standing, _difference(standing, wanted))


def _is_part(standing: Dumped, wanted: Dumped) -> bool:
    """Whether it is what an import that was killed has left of it."""
    entry, whole = standing.entry, wanted.entry
    if entry is None or whole is None or standing.unreadable or entry.version > whole.version:
        return False
    if entry_check(entry._replace(body=None)) != entry.check:  # objects in memory, and no import
        return False
    at = _times(wanted).get(entry.version, whole.updated_at)
    if entry._replace(check=0) != whole._replace(check=0, version=entry.version, updated_at=at):
        return False
    history = [item for item in _plain(wanted, Section.HISTORY) if int(item.key) <= entry.version]
    return _plain(standing, Section.HISTORY) == history and all(
        {*_plain(standing, section)} <= {*_plain(wanted, section)} for section in OWNED[1:]
    )


def _plain(dumped: Dumped, section: Section) -> list[Item]:
    """The items, without their checksums, which are those of what is stored."""
    return [item._replace(check=0) for item in dumped.items.get(section, ())]


def _difference(standing: Dumped, wanted: Dumped) -> str:
    entry, whole = standing.entry, wanted.entry
    if entry is None or whole is None:
        return "what stands there cannot be read"
    if entry.version != whole.version:
        return f"version {entry.version} of another one stands there, and this is version {whole.version}"
    pairs = zip(Entry._fields, entry, whole, strict=True)
    names = [name for name, here, there in pairs if name != "check" and here != there]
    beside = [str(section) for section in OWNED if _plain(standing, section) != _plain(wanted, section)]
    return f"what stands there has another {', '.join([*names, *beside]) or 'part that cannot be read'}"


async def _carry_out(core: Core, todo: Sequence[_Step]) -> set[str]:
    """The ids of those that somebody else has written meanwhile, in whatever state that is."""
    replaced = [step for step in todo if step.way is _Way.REPLACE]
    lost = await _make_room(core, replaced) if replaced else set()
    left = [step for step in todo if step.wanted.id not in lost]
    lost |= await _send_writes(core, (write for step in left for write in _writes(core.records, step)))
    puts = [put for step in left if step.wanted.id not in lost for put in _puts(core.records, step)]
    return lost | await _send_puts(core, puts)


async def _make_room(core: Core, todo: Sequence[_Step]) -> set[str]:
    """Remove what stands there, if it still is what was read."""
    read = [step for step in todo if step.standing is not None and step.standing.entry is not None]
    ids = [step.wanted.id for step in read]
    await core.engine.remove([step.wanted.id for step in todo if step not in read], core.clock())
    standing = [Standing(*_version_and_check(step)) for step in read]
    removed = await core.engine.remove(ids, core.clock(), standing)
    return {each for each, is_done in zip(ids, removed, strict=True) if not is_done}


def _version_and_check(step: _Step) -> tuple[int, int]:
    assert step.standing is not None
    assert step.standing.entry is not None
    return step.standing.entry.version, step.standing.entry.check


async def _send_writes(core: Core, writes: Iterator[Write]) -> set[str]:
    """Made as they are sent, as a record may have any number of versions."""
    lost: set[str] = set()
    while some := [*islice(writes, STEP)]:
        await core.engine.room()
        outcomes = await core.engine.write(some, core.clock())
        lost |= _refused([write.entry.id for write in some], outcomes)
    return lost


async def _send_puts(core: Core, puts: Sequence[Put]) -> set[str]:
    lost: set[str] = set()
    for some in steps([*puts]):
        await core.engine.room()
        outcomes = await core.engine.put(some, core.clock())
        lost |= _refused([put.owner for put in some], outcomes)
    return lost


def _refused(ids: Iterable[str], outcomes: Sequence[Outcome]) -> set[str]:
    return {each for each, outcome in zip(ids, outcomes, strict=True) if not outcome.is_applied}


def _writes(records: Records, step: _Step) -> Iterator[Write]:
    """Each version that is missing, over the one before. Values stay as the first of them has stored them."""
    assert step.wanted.entry is not None
    whole = step.wanted.entry
    body = None if whole.body is None else records.packed(whole.body)
    whole = whole._replace(version=0, body=body)
    last = step.wanted.entry.version
    logged = {int(item.key): item for item in step.wanted.items.get(Section.HISTORY, ())}
    start, times = _begun(step), _times(step.wanted)
    before = None if start is None else start.check
    for version in range(1 if start is None else start.version + 1, last + 1):
        item = logged.get(version)
        entry = whole._replace(updated_at=times.get(version, whole.updated_at))
        if before is not None:
            entry = entry._replace(body=None, check=before)  # of which the half of the body stays
        entry = entry._replace(check=entry_check(entry))
        yield records.rewrite(entry, version, before, None if item is None else _logged(item))
        before = entry.check


def _logged(item: Item) -> Logged:
    check = item_check(Section.HISTORY, item.owner, None, item.at, item.value)
    return Logged(item.value, check)


def _begun(step: _Step) -> Entry | None:
    return None if step.standing is None or step.way is _Way.REPLACE else step.standing.entry


def _times(wanted: Dumped) -> dict[int, int]:
    """When each version was written that the history has."""
    return {int(item.key): item.at for item in wanted.items.get(Section.HISTORY, ())}


def _puts(records: Records, step: _Step) -> Iterator[Put]:
    """The items that are missing."""
    for section in OWNED[1:]:
        is_begun = step.standing is not None and _begun(step) is not None
        there = {*_plain(step.standing, section)} if step.standing is not None and is_begun else set()
        for item in _plain(step.wanted, section):
            if item not in there:
                value, stamp = records.packed(item.value), Stamp(item.version, item.at)
                check = item_check(section, item.owner, item.key, item.at, value)
                yield Put(section, item.owner, item.key, value, check, 0, None, stamp)
