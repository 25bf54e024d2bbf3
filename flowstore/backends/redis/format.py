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

from collections.abc import Sequence
from struct import Struct, error
from typing import Any, Final

from flowstore.engine import (
    BY_FINISH,
    FINAL,
    STATUSES,
    Entry,
    Item,
    Position,
    Span,
    sort_key,
)

FORMAT: Final = 3
PER_CALL: Final = 500
"""How many items one script call carries at most: the server does nothing else while it runs."""

OFFSET: Final = 2**63
MOST: Final = 2**53 - 1
"""The highest integer that Lua counts."""
_MARK: Final = ord("3")
_HEADER: Final = Struct(">BQHIBBBQQQQHIIIIQQQq")
"""The format, version, count and bytes of the transitions, what is beside it (see ``record_of``),
status, flags, stage, sort key, sort key by finish, expiry, bytes of token, fixed facets, other facets,
progress and head, then the times of update, start and next try, and the check."""
HEADER_SIZE: Final = _HEADER.size
NEVER: Final = 2**64 - 1
NUMBERS: Final = {status: number for number, status in enumerate(STATUSES)}
_SUBMITTED, _STARTED, _FINISHED, _DUE, _EXPIRES = 1, 2, 4, 8, 16
_SUBMITTED_FIRST, _FINISHED_FIRST = 32, 64  # -2^63, whose sort key is that of the next one
_ROOM = 128

_ROOM_BYTES: Final = 256
_LONG_BODY: Final = 2_048  # longer than what alone.lua takes, where something stands
_ROOM_END: Final = Struct(">HH")

_SHORT: Final = Struct(">H")
_ITEM: Final = Struct(">QQqI")
_ENTRY: Final = Struct(">Q")
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


def joined(facets: Sequence[str]) -> bytes:
    """Each behind its length."""
    return b"".join([_SHORT.pack(len(facet)) + facet for facet in map(str.encode, facets)]) if facets else b""


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
        NUMBERS[entry.status], flags, entry.stage,
        sort_key(submitted) + OFFSET, sort_key(finished) + OFFSET,
        NEVER if expires is None else expires + OFFSET,
        len(token), len(fixed), len(facets), len(progress), len(entry.head),
        entry.updated_at + OFFSET, (started or 0) + OFFSET, (due or 0) + OFFSET, entry.check,
    )  # fmt: skip
    return b"".join((header, token, fixed, facets, history, progress, entry.head, entry.body or b""))


def transition(at: int, version: int, check: int, value: bytes) -> bytes:
    return _ITEM.pack(at + OFFSET, version, check, len(value)) + value


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
    if mark != _MARK or body_at > len(value) or version > MOST or stage > MOST:
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
        divided(value[facets_at:other_at]) if fixed else (),
        divided(value[other_at : other_at + facets]) if facets else (),
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


def divided(facets: bytes) -> tuple[str, ...]:
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
        place = b"(" + logged(span.after) + span.after.owner.encode()
        low, high = (low, _lower(high, place)) if span.newest_first else (_higher(low, place), high)
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
