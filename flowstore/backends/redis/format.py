"""The bytes that the Redis engine stores, format 3: records, index entries, transitions and items.

A record is one string: a header of 100 bytes (``_HEADER``), the token, the facets, the fixed ones first and
each behind its length, the latest transitions, and progress, head and body. The lengths of the parts are in
the header, so that a script reads with one ``struct.unpack`` what stands, and nobody reads a body in vain.

Redis cannot insert into a string. So an unfinished record with a long body has room for progress, which is
written there in place: behind the token, as a part of it, where whoever does not know it passes it over. It
ends with the length of the progress, 0 for none, and its own, both in two bytes. What is in there counts, and
what stands behind the transitions was the progress when the record was written. See report.lua.

Times are stored as sort keys or as they are, plus 2^63, big-endian: the order of bytes is that of numbers. To
scripts they are strings, since a Lua number is a double. Where a time is missing a flag says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct, error
from typing import Any, Final

from flowstore._trips.lanes import MAX_TRIP_BYTES
from flowstore.backends.redis.lasting import kept_ms
from flowstore.engine import (
    APPLIED,
    BY_FINISH,
    FINAL,
    STATUSES,
    Entry,
    Item,
    Outcome,
    Position,
    Span,
    Verdict,
    Write,
    sort_key,
)

FORMAT: Final = 3
PER_CALL: Final = 500
"""How many items one script call carries at most: the server does nothing else while it runs."""

_ENTRIES_PER_CALL: Final = 10_000  # and to how many index entries these writes come at most

OFFSET: Final = 2**63
_MOST: Final = 2**53 - 1  # the highest integer that Lua counts
_MARK: Final = ord("3")
_HEADER: Final = Struct(">BQHIBBBQQQQHIIIIQQQq")
"""The format, version, count and bytes of the transitions, what is beside it (see ``record_of``),
status, flags, stage, sort key, sort key by finish, expiry, bytes of token, fixed facets, other facets,
progress and head, then the times of update, start and next try, and the check."""
HEADER_SIZE: Final = _HEADER.size
NEVER: Final = 2**64 - 1
_NUMBERS: Final = {status: number for number, status in enumerate(STATUSES)}
_SUBMITTED, _STARTED, _FINISHED, _DUE, _EXPIRES = 1, 2, 4, 8, 16
_SUBMITTED_FIRST, _FINISHED_FIRST = 32, 64  # -2^63, whose sort key is that of the next one
_ROOM = 128

_ROOM_BYTES: Final = 256
_LONG_BODY: Final = 2_048  # longer than what alone.lua takes, where something stands
_ROOM_END: Final = Struct(">HH")

_KIND: Final = Struct(">BQQBBB")
_LONG: Final = Struct(">I")
_SHORT: Final = Struct(">H")
_NUMBERED: Final = Struct(">HH")
_PLACED: Final = Struct(">HQ")
_TIMED: Final = Struct(">HQQ")
_ITEM: Final = Struct(">QQqI")
_ENTRY: Final = Struct(">Q")
_CHECK: Final = Struct(">q")
_LOGGED: Final = Struct(">QQ")


Value = bytes | list[Any] | None
"""A record as a script or command returns it: one that is cut with the size of all that is stored."""


def stored(time: int) -> bytes:
    return _ENTRY.pack(time + OFFSET)


def after(now: int) -> bytes:
    """The first time that is not over, as scripts take it."""
    return _ENTRY.pack(min(now + OFFSET + 1, NEVER))


def member(position: Position) -> bytes:
    """An entry of an index."""
    return _ENTRY.pack(position.sort + OFFSET) + position.id.encode()


def sort_bounds(within: tuple[int, int] | None, after: Position | None, *, newest_first: bool) -> list[bytes]:
    """The bounds of a listing, as ranges of entries take them: the lower one first."""
    low, high = (b"-", b"+") if within is None else _span_bounds(*within)
    if after is not None and newest_first:
        low = _higher(low, b"(" + member(after))
    elif after is not None:
        high = _lower(high, b"(" + member(after))
    return [low, high]


def _span_bounds(first: int, last: int) -> tuple[bytes, bytes]:
    low, high = min(first + OFFSET, NEVER), last + 1 + OFFSET
    behind = b"+" if high > NEVER else b"(" + _ENTRY.pack(max(0, high))
    return b"[" + _ENTRY.pack(max(0, low)), behind


def _higher(one: bytes, other: bytes) -> bytes:
    return other if one == b"-" or one[1:] <= other[1:] else one


def _lower(one: bytes, other: bytes) -> bytes:
    return other if one == b"+" or one[1:] >= other[1:] else one


def position_of(entry: bytes) -> Position | None:
    """None for what no flowstore can have written."""
    try:
        return Position(_ENTRY.unpack_from(entry)[0] - OFFSET, entry[8:].decode()) if entry[8:] else None
    except (error, UnicodeDecodeError):
        return None


def packed(writes: Sequence[Write], now: int) -> Iterator[tuple[int, list[bytes]]]:
    """Bounded script calls: the number of writes, and their arguments for commit.lua."""
    kinds: dict[tuple[Any, ...], int] = {}
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
            yield len(lines), [b"".join(described), b"".join(lines), *records]
            kinds, described, lines, records, size, entries = {}, [], [], [], 0, 0
        size += weight
        entries += listed
        logged = write.logged
        kept = kept_ms(entry.expires_at, now)
        does = (kept, logged is None, None if logged is None else logged.keep)
        is_beside = write.standing is not None
        kind = (entry.status, write.ceiling, write.if_version, is_beside, entry.fixed, entry.facets, does)
        number = kinds.get(kind)
        if number is None:
            number = kinds[kind] = len(kinds) + 1
            described.append(_kind(write, kept))
        lines.append(_line(number, write))
        items = () if logged is None else (transition(entry.updated_at, 1, logged.check, logged.value),)
        if write.standing is not None:  # in the place of the body, which is that of the standing record
            entry = entry._replace(body=_CHECK.pack(write.standing))
        records.append(record_of(entry, 1, write.token.encode(), items))
    if lines:
        yield len(lines), [b"".join(described), b"".join(lines), *records]


def _kind(write: Write, kept: bytes) -> bytes:
    entry, logged = write.entry, write.logged
    guarded, bound = (0, write.ceiling) if write.if_version is None else (1, write.if_version)
    if write.standing is not None:
        guarded = 2
    keep = _MOST if logged is None or logged.keep is None else logged.keep
    fixed, facets = joined(entry.fixed), joined(entry.facets)
    does = (logged is not None) + 2 * (entry.expires_at is not None)
    top = _KIND.pack(guarded, min(bound, _MOST), keep, _NUMBERS[entry.status], does, len(kept))
    return b"".join((top, kept, _LONG.pack(len(fixed)), _LONG.pack(len(fixed) + len(facets)), fixed, facets))


def joined(facets: Sequence[str]) -> bytes:
    """Each behind its length."""
    return b"".join([_SHORT.pack(len(facet)) + facet for facet in map(str.encode, facets)]) if facets else b""


def _line(number: int, write: Write) -> bytes:
    entry = write.entry
    task_id = entry.id.encode()
    size = len(task_id)
    place = _PLACED.pack(size + 8, sort_key(entry.submitted_at) + OFFSET)
    if write.logged is None:
        return b"%b%b%b%b\0\0" % (_NUMBERED.pack(number, size), task_id, place, task_id)
    logged = _TIMED.pack(size + 16, entry.updated_at + OFFSET, 1)
    return b"%b%b%b%b%b%b" % (_NUMBERED.pack(number, size), task_id, place, task_id, logged, task_id)


def record_of(
    entry: Entry, version: int, token: bytes, transitions: Sequence[bytes], extras: int = 0
) -> bytes:
    """A whole record. ``extras``: what is beside it, 1 older transitions, 2 items, 3 both."""
    submitted, started, finished, due = entry.submitted_at, entry.started_at, entry.finished_at, entry.due_at
    expires, history = entry.expires_at, b"".join(transitions)
    fixed, facets, progress = joined(entry.fixed), joined(entry.facets), entry.progress or b""
    flags = 0
    if submitted is not None:
        flags = _SUBMITTED if submitted > -OFFSET else _SUBMITTED | _SUBMITTED_FIRST
    if started is not None:
        flags |= _STARTED
    if finished is not None:
        flags |= _FINISHED if finished > -OFFSET else _FINISHED | _FINISHED_FIRST
    if due is not None:
        flags |= _DUE
    if expires is not None:
        flags |= _EXPIRES
    if entry.status not in FINAL and len(entry.body or b"") >= _LONG_BODY:
        flags |= _ROOM
        token += bytes(_ROOM_BYTES - _ROOM_END.size) + _ROOM_END.pack(0, _ROOM_BYTES)
    header = _HEADER.pack(
        _MARK, version, len(transitions), len(history), extras,
        _NUMBERS[entry.status], flags, entry.stage,
        sort_key(submitted) + OFFSET, sort_key(finished) + OFFSET,
        NEVER if expires is None else expires + OFFSET,
        len(token), len(fixed), len(facets), len(progress), len(entry.head),
        entry.updated_at + OFFSET, (started or 0) + OFFSET, (due or 0) + OFFSET, entry.check,
    )  # fmt: skip
    return b"".join((header, token, fixed, facets, history, progress, entry.head, entry.body or b""))


def transition(at: int, version: int, check: int, value: bytes) -> bytes:
    return _ITEM.pack(at + OFFSET, version, check, len(value)) + value


def outcome(reply: Any) -> Outcome:
    if reply == -1:
        return APPLIED
    if isinstance(reply, int):
        return Outcome(Verdict.STANDING, reply)
    if isinstance(reply, list):
        return Outcome(Verdict.FIXED, reply[1], fixed=_divided(reply[0]))
    return Outcome(Verdict.UNREADABLE, reason=reply.decode(errors="replace"))


def entry_of(task_id: str, value: Value, *, with_body: bool = True) -> Entry | None:
    value, size = value if isinstance(value, list) else (value, 0)
    if not value:
        return None
    try:
        entry = _entry(task_id, value, with_body)
        return entry._replace(body_size=size - len(value) + len(entry.body or b"")) if size else entry
    except (error, ValueError, IndexError):
        return Entry(task_id, "", 0, 0, None, None, None, None, 0, None, (), (), 0, value[:200], None)


def _entry(task_id: str, value: bytes, with_body: bool) -> Entry:
    """Raises ValueError, IndexError or struct.error for what is no record of this format."""
    fields = _HEADER.unpack_from(value)
    mark, version, _, history, _, status, flags, stage, sort, finish, expires = fields[:11]
    token, fixed, facets, progress, head, updated, started, due, check = fields[11:]
    facets_at = HEADER_SIZE + token
    other_at = facets_at + fixed
    progress_at = other_at + facets + history
    head_at = progress_at + progress
    body_at = head_at + head
    if mark != _MARK or body_at > len(value) or version > _MOST or stage > _MOST:
        raise ValueError
    return Entry(
        task_id,
        STATUSES[status],
        stage,
        version,
        _time(sort, flags, _SUBMITTED, _SUBMITTED_FIRST),
        started - OFFSET if flags & _STARTED else None,
        _time(finish, flags, _FINISHED, _FINISHED_FIRST),
        due - OFFSET if flags & _DUE else None,
        updated - OFFSET,
        expires - OFFSET if flags & _EXPIRES else None,
        _divided(value[facets_at:other_at]) if fixed else (),
        _divided(value[other_at : other_at + facets]) if facets else (),
        check,
        value[head_at:body_at],
        value[body_at:] if with_body else None,
        (_in_room(value, token) if flags & _ROOM else b"") or value[progress_at:head_at] or None,
    )


def _in_room(value: bytes, token: int) -> bytes:
    """The progress that was reported since the record was written; raises ValueError for what is no room."""
    end = HEADER_SIZE + token
    size, room = _ROOM_END.unpack_from(value, end - _ROOM_END.size)
    if not size + _ROOM_END.size <= room <= token:
        raise ValueError
    return value[end - room : end - room + size]


def _time(sort: int, flags: int, known: int, first: int) -> int | None:
    if not flags & known:
        return None
    return -OFFSET if flags & first else OFFSET - sort


def _divided(facets: bytes) -> tuple[str, ...]:
    found, at = [], 0
    while at < len(facets):
        (size,) = _SHORT.unpack_from(facets, at)
        at += 2 + size
        if at > len(facets):
            raise ValueError
        found.append(facets[at - size : at].decode())
    return tuple(found)


def listed_entry(facet: str, position: Position, value: Value, *, with_body: bool) -> Entry | None:
    """The record of an index entry. What is no record gets its place in the listing from the entry."""
    entry = entry_of(position.id, value, with_body=with_body)
    if entry is None or entry.status:
        return entry
    time = None if position.sort == sort_key(None) else -position.sort
    is_by_finish = facet.startswith(BY_FINISH)
    return entry._replace(finished_at=time) if is_by_finish else entry._replace(submitted_at=time)


def history_of(task_id: str, stored: bytes | list[bytes] | None) -> list[Item]:
    """The transitions of a record, in the order of writing; none where it cannot be read."""
    value, older = stored if isinstance(stored, list) else (stored or b"", b"")
    try:
        fields = _HEADER.unpack_from(value)
    except error:
        return []
    if fields[0] != _MARK:
        return []
    start = HEADER_SIZE + sum(fields[11:14])
    log, items, at = older + value[start : start + fields[3]], [], 0
    while at + _ITEM.size <= len(log):
        time, version, check, size = _ITEM.unpack_from(log, at)
        at += _ITEM.size + size
        items.append(Item(task_id, f"{version:016}", 1, time - OFFSET, check, log[at - size : at]))
    return items


def span_bounds(span: Span) -> tuple[bytes, bytes]:
    """Of the entries of the timeline in it."""
    low, high = _span_bounds(span.start, span.end)
    if span.after is not None:
        low = _higher(low, b"(" + logged(span.after) + span.after.owner.encode())
    return low, high


def logged(item: Item) -> bytes:
    return _LOGGED.pack(item.at + OFFSET, int(item.key))


def logged_at(entry: bytes) -> tuple[str, str, int] | None:
    """The owner, key and time of an entry of the timeline; None for what is none."""
    try:
        at, version = _LOGGED.unpack_from(entry)
        return (entry[16:].decode(), f"{version:016}", at - OFFSET) if entry[16:] else None
    except (error, UnicodeDecodeError):
        return None
