"""From format 2 to 3, when a program that may write opens the namespace.

Record by record, each in a script call with all that belongs to it, or in a few if that is much: those that
only add come first, may be repeated, and leave the record as it is. So it can be interrupted, and carried out
by several programs at once. The key ``format`` says 2 until all is done: a later opening goes on where
this one stopped. Index entries of format 2 begin with hexadecimal digits, those of format 3 with bytes behind
these, so what is left to do is one range of each index.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from flowstore._trips.lanes import MAX_TRIP_BYTES
from flowstore._values.checks import entry_check, item_check
from flowstore.backends.redis import format as stored
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.items import item_value
from flowstore.engine import STATUSES, Entry, Position, Section
from flowstore.times import to_micros

_AT_ONCE: Final = 50
_ARGUMENTS: Final = 8_000  # of a script call
_OFFSET: Final = 2**63
_FIRST, _LAST = "[0", "(g"
_KEPT: Final = 32  # transitions in a record
_KEPT_BYTES: Final = 1_024
_RECORD: Final = re.compile(
    rb"2 (%s) (\d{1,15}) (\d{1,15}) (-|-?\d{1,19}) (-|-?\d{1,19}) (\S+) ([0-9a-f]{16}) (\[[^\n]*\])\n"
    rb"([^\n]*)\n([^\n]*)(\n?)" % "|".join(STATUSES).encode()
)
_TRANSITION: Final = re.compile(rb"([0-9a-f]{16})([0-9a-f]{16}) ([a-z]+) (\d{1,16}) (\d{1,3}) ")
_VALUE: Final = re.compile(rb"(\d{1,16}) (-?\d{1,19})\n")

Argument = str | bytes | int


async def migrate(calls: Calls, prefix: str) -> None:
    for status in STATUSES:
        await _convert_all(calls, prefix, f"i:{status}:")
    for section in (Section.WORKER, Section.APP):
        found = await calls.command("HGETALL", f"{prefix}e:{section}:")
        pairs = (
            list(found.items())
            if isinstance(found, dict)
            else list(zip(found[::2], found[1::2], strict=True))
        )
        await _send(calls, _Record(values=_values(section, "", pairs)).parts())
    while old := await calls.command("ZRANGE", f"{prefix}t", _FIRST, _LAST, "BYLEX", "LIMIT", 0, 1_000):
        await calls.command("ZREM", f"{prefix}t", *old)
    for low, high in (("-inf", "(0"), ("(0", "+inf")):
        await calls.command("ZREMRANGEBYSCORE", f"{prefix}x", low, high)
    await calls.command("UNLINK", f"{prefix}names")
    await calls.command("SET", f"{prefix}format", stored.FORMAT)


async def _convert_all(calls: Calls, prefix: str, index: str) -> None:
    low: bytes | str = _FIRST
    while True:
        key = f"{prefix}{index}"
        entries = await calls.command("ZRANGE", key, low, _LAST, "BYLEX", "LIMIT", 0, _AT_ONCE)
        if not entries:
            return
        low = b"(" + entries[-1]
        known = [(entry, task_id) for entry in entries if (task_id := _id_of(entry)) is not None]
        while known:
            found = await calls.read("read_old", MAX_TRIP_BYTES, *(task_id for _, task_id in known))
            parts: list[list[Argument]] = []
            for (entry, task_id), of_record in zip(known, found, strict=False):
                parts += _converted(index, entry, task_id, *of_record).parts()
            await _send(calls, parts)
            known = known[len(found) :]


async def _send(calls: Calls, parts: Sequence[list[Argument]]) -> None:
    """In order, as many at once as make a bounded call."""
    arguments: list[Argument] = []
    size = 0
    for part in parts:
        weight = _size(part)
        if arguments and (len(arguments) + len(part) > _ARGUMENTS or size + weight > MAX_TRIP_BYTES):
            await calls.read("migrate", *arguments)
            arguments, size = [], 0
        arguments += part
        size += weight
    if arguments:
        await calls.read("migrate", *arguments)


def _size(arguments: Sequence[Argument]) -> int:
    return sum(8 if isinstance(argument, int) else len(argument) for argument in arguments)


class _Record(NamedTuple):
    """What migrate.lua does to one record; see there."""

    task_id: str = ""
    before: bytes = b""
    value: bytes = b""
    adds: Sequence[Argument] = ()
    removals: Sequence[Argument] = ()
    items: Sequence[Argument] = ()
    values: Sequence[Argument] = ()

    def parts(self) -> list[list[Argument]]:
        """Its arguments, divided if they are many. The last part writes the record and removes."""
        collected = f"m:{secrets.token_hex(8)}"
        lists = [_divided(self.adds, 2), _divided(self.items, 1), _divided(self.values, 4)]
        if sum(map(len, lists)) <= len([one for one in lists if one]):
            return [self._part(collected, 0, self.value, self.adds, self.removals, self.items, self.values)]
        adds, items, values = lists
        parts = [self._part(collected, 0, b"", some, (), (), ()) for some in adds]
        parts += [self._part(collected, 0, b"", (), (), (), some) for some in values]
        count = 0
        for some in items:
            parts.append(self._part(collected, count, b"", (), (), some, ()))
            count += len(some)
        return [*parts, self._part(collected, count, self.value, (), self.removals, (), ())]

    def _part(self, collected: str, count: int, value: bytes, *lists: Sequence[Argument]) -> list[Argument]:
        flat = [part for some in lists for part in (len(some), *some)]
        return [self.task_id, self.before, value, collected, count, *flat]


def _divided(arguments: Sequence[Argument], step: int) -> list[list[Argument]]:
    """Bounded pieces; each ``step`` of them belong together."""
    pieces: list[list[Argument]] = []
    size = 0
    for start in range(0, len(arguments), step):
        some = arguments[start : start + step]
        size += _size(some)
        if not pieces or len(pieces[-1]) + step > _ARGUMENTS // 2 or size > MAX_TRIP_BYTES:
            pieces.append([])
            size = _size(some)
        pieces[-1] += some
    return pieces


def _id_of(entry: bytes) -> str | None:
    try:
        int(entry[:16], 16)
        return entry[16:].decode()
    except ValueError:
        return None


def _converted(
    index: str,
    entry: bytes,
    task_id: str,
    value: bytes | None,
    history: list[bytes] | None,
    data: list[bytes] | None,
    checkpoints: list[bytes] | None,
) -> _Record:
    values: list[Argument] = []
    for section, flat in ((Section.DATA, data), (Section.CHECKPOINT, checkpoints)):
        values += _values(section, task_id, list(zip((flat or [])[::2], (flat or [])[1::2], strict=True)))
    if value is not None and value[:1] == b"3":
        return _finished(index, entry, task_id, value, history or [], values)
    found = _RECORD.match(value or b"")
    try:
        new = None if value is None or found is None else _entry(task_id, value, found, history or [])
    except (ValueError, RecursionError):
        new = None
    if found is None or new is None:  # a ghost goes; what cannot be read stays listed
        place: list[Argument] = [] if value is None else [index, _place(entry, task_id)]
        return _Record(task_id, adds=place, removals=[index, entry])
    log = [moved for old in history or [] if (moved := _transition(task_id, old)) is not None]
    kept = log[-_KEPT:]
    while len(kept) > 1 and sum(map(len, kept)) > _KEPT_BYTES:
        kept = kept[1:]
    spilled = log[: len(log) - len(kept)]
    removals: list[Argument] = []
    for facet in ("", *json.loads(found[8])):
        removals += (f"i:{new.status}:{facet}", entry)
    removals += (index, entry)
    extras = bool(spilled) + 2 * bool(data or checkpoints)
    record = stored.record_of(new, new.version, found[6], kept, extras)
    header = value[: found.start(9)] if value else b""
    adds = _listed(new, [item[:16] for item in log])
    return _Record(task_id, header, record, adds, removals, spilled, values)


def _finished(
    index: str, entry: bytes, task_id: str, value: bytes, history: list[bytes], values: Sequence[Argument]
) -> _Record:
    """For a record that is of format 3 already: an update, perhaps of an older program, was interrupted."""
    new, place = stored.entry_of(task_id, value), _place(entry, task_id)
    if new is None or not new.status:
        return _Record(task_id, value[:100], b"", [index, place], [index, entry], (), values)
    log = stored.history_of(task_id, [value, b"".join(history)])
    adds = _listed(new, [stored.logged(item) for item in log])
    parents = [f"{kind}:{facet.partition(':')[2]}" for facet in new.fixed for kind in ("parent", "root")]
    removals: list[Argument] = []
    for facet in (*new.facets, *parents):
        removals += (f"i:{new.status}:{facet}", entry)
    return _Record(task_id, value[:100], b"", adds, [*removals, index, entry], (), values)


def _place(entry: bytes, task_id: str) -> bytes:
    """What an index entry of format 2 is in format 3."""
    return stored.member(Position(int(entry[:16], 16) - _OFFSET, task_id))


def _listed(new: Entry, logged: Sequence[bytes]) -> list[Argument]:
    """The entries of a record in all indexes."""
    adds: list[Argument] = []
    for facet in ("", *new.fixed, *new.facets):
        adds += (f"i:{new.status}:{facet}", stored.member(new.position_in(facet)))
    for facet in new.facets:
        adds += ("f", facet)
    for moved in logged:
        adds += ("t", moved + new.id.encode())
    if new.expires_at is not None:
        adds += ("x", stored.stored(new.expires_at) + new.id.encode())
    return adds


def _entry(task_id: str, value: bytes, found: re.Match[bytes], history: Sequence[bytes]) -> Entry:
    """Raises ValueError for what is no record."""
    status, stage, version, expires, submitted, _, _, facets, progress, head, has_body = found.groups()
    names = json.loads(facets)
    if set(map(type, names)) - {str}:
        raise ValueError(names)
    parent = next((name[7:] for name in names if name.startswith("parent:")), None)
    root = next((name[5:] for name in names if name.startswith("root:")), parent)
    fixed: tuple[str, ...] = ()
    if parent is not None:
        fixed = (f"child:{parent}",) if root == parent else (f"parent:{parent}", f"root:{root}")
    fields: dict[str, Any] = json.loads(head)
    started, finished = _micros(fields.pop("started_at", None)), _micros(fields.pop("finished_at", None))
    submitted_at = None if submitted == b"-" else int(submitted)
    logged = _TRANSITION.match(history[-1]) if history else None
    updated = int(logged[1], 16) - _OFFSET if logged else finished or started or submitted_at or 0
    entry = Entry(
        task_id,
        status.decode(),
        int(stage),
        int(version),
        submitted_at,
        started,
        finished,
        None,
        updated,
        None if expires == b"-" else int(expires),
        fixed,
        tuple(name for name in names if name.partition(":")[0] not in ("parent", "root")),
        0,
        json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(),
        value[found.end() :] if has_body else b"",
        progress or None,
    )
    return entry._replace(check=entry_check(entry))


def _micros(time: str | None) -> int | None:
    return None if time is None else to_micros(datetime.fromisoformat(time))


def _transition(task_id: str, old: bytes) -> bytes | None:
    found = _TRANSITION.match(old)
    if found is None:
        return None
    at, worker = int(found[1], 16) - _OFFSET, old[found.end() : found.end() + int(found[5])].decode()
    fields = (found[3].decode(), int(found[4]), worker or None)
    value = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return stored.transition(
        at, int(found[2], 16), item_check(Section.HISTORY, task_id, None, at, value), value
    )


def _values(section: Section, owner: str, pairs: Sequence[tuple[bytes, bytes]]) -> list[Argument]:
    """What migrate.lua takes for the values of a hash that are of format 2."""
    flat: list[Argument] = []
    for key, old in pairs:
        found = _VALUE.match(old)
        if found is not None:
            value = old[found.end() :]
            check = item_check(section, owner, key.decode(), 0, value)
            new = item_value(int(found[1]), int(found[2]), check, value)
            flat += (f"e:{section}:{owner}", key, old, new)
    return flat
