"""The writes of a call as commit.lua takes them, and its answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import Any, Final

from flowstore._trips.lanes import MAX_TRIP_BYTES
from flowstore.backends.redis.format import (
    MOST,
    NUMBERS,
    OFFSET,
    PER_CALL,
    divided,
    joined,
    record_of,
    transition,
)
from flowstore.backends.redis.lasting import kept_ms
from flowstore.backends.redis.statistics import Marking
from flowstore.engine import APPLIED, Outcome, Owner, Verdict, Write, sort_key

_ENTRIES_PER_CALL: Final = 10_000
"""To how many index entries the writes of a script call come at most; how many these are: PER_CALL."""

_KIND: Final = Struct(">BQQBBB")
_LONG: Final = Struct(">I")
_OWNER: Final = Struct(">QQBH")
_NUMBERED: Final = Struct(">HH")
_PLACED: Final = Struct(">HQ")
_TIMED: Final = Struct(">HQQ")
_COUNTED: Final = Struct(">H")
_CHECK: Final = Struct(">q")


def packed(writes: Sequence[Write], now: int) -> Iterator[tuple[int, list[bytes]]]:
    """Bounded script calls: the number of writes, and their arguments for commit.lua."""
    kinds: dict[tuple[Any, ...], int] = {}
    marking = Marking(now, is_alone=len(writes) == 1)
    described: list[bytes] = []
    lines: list[bytes] = []
    records: list[bytes] = []
    size = entries = 0
    for write in writes:
        entry = write.entry
        weight = len(entry.head) + len(entry.body or b"") + sum(map(len, entry.facets))
        listed = len(entry.facets) + len(entry.fixed) + 3
        is_full = size + weight > MAX_TRIP_BYTES or entries + listed > _ENTRIES_PER_CALL
        if lines and (len(lines) == PER_CALL or is_full):
            yield len(lines), [b"".join(described), b"".join(lines), marking.packed(), *records]
            kinds, described, lines, records, size, entries = {}, [], [], [], 0, 0
            marking = Marking(now)
        size += weight
        entries += listed
        logged = write.logged
        kept = kept_ms(entry.expires_at, now)
        does = (kept, logged is None, None if logged is None else logged.keep, write.owner)
        is_beside = write.standing is not None
        kind = (entry.status, write.ceiling, write.if_version, is_beside, entry.fixed, entry.facets, does)
        number = kinds.get(kind)
        if number is None:
            number = kinds[kind] = len(kinds) + 1
            described.append(_kind(write, kept))
        lines.append(_line(number, marking.numbers(write), write))
        items = () if logged is None else (transition(entry.updated_at, 1, logged.check, logged.value),)
        if write.standing is not None:  # in the place of the body, which is that of the standing record
            entry = entry._replace(body=_CHECK.pack(write.standing))
        records.append(record_of(entry, 1, write.token.encode(), items))
    if lines:
        yield len(lines), [b"".join(described), b"".join(lines), marking.packed(), *records]


def _kind(write: Write, kept: bytes) -> bytes:
    entry, logged = write.entry, write.logged
    guarded, bound = (0, write.ceiling) if write.if_version is None else (1, write.if_version)
    if write.standing is not None:
        guarded = 2
    keep = MOST if logged is None or logged.keep is None else logged.keep
    fixed, facets = joined(entry.fixed), joined(entry.facets)
    does = (logged is not None) + 2 * (entry.expires_at is not None) + 4 * (write.owner is not None)
    top = _KIND.pack(guarded, min(bound, MOST), keep, NUMBERS[entry.status], does, len(kept))
    sizes = _LONG.pack(len(fixed)) + _LONG.pack(len(fixed) + len(facets))
    owner = b"" if write.owner is None else _owner(write.owner)
    return b"".join((top, kept, sizes, fixed, facets, owner))


def _owner(owner: Owner) -> bytes:
    owner_id = owner.id.encode()
    return _OWNER.pack(owner.lowest, owner.highest, owner.is_open, len(owner_id)) + owner_id


def _line(number: int, marks: bytes, write: Write) -> bytes:
    entry = write.entry
    task_id = entry.id.encode()
    size = len(task_id)
    counted = _COUNTED.pack(len(marks)) + marks
    place = _PLACED.pack(size + 8, sort_key(entry.submitted_at) + OFFSET)
    if write.logged is None:
        return b"%b%b%b%b\0\0%b" % (_NUMBERED.pack(number, size), task_id, place, task_id, counted)
    logged = _TIMED.pack(size + 16, entry.updated_at + OFFSET, 1)
    return b"%b%b%b%b%b%b%b" % (
        *(_NUMBERED.pack(number, size), task_id, place, task_id, logged, task_id, counted),
    )


def outcome_of(reply: Any) -> Outcome:
    if reply == -1:
        return APPLIED
    if isinstance(reply, int):
        return Outcome(Verdict.STANDING, reply)
    if isinstance(reply, list):
        if len(reply) == 1:
            return Outcome(Verdict.OWNERLESS, reply[0])
        return Outcome(Verdict.FIXED, reply[1], fixed=divided(reply[0]))
    return Outcome(Verdict.UNREADABLE, reason=reply.decode(errors="replace"))
