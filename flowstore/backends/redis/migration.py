"""From format 2 to 3, when a program that may write opens the namespace.

Record by record, each in one script call with all that belongs to it, so it can be interrupted, and carried
out by several programs at once. The key ``format`` says 2 until all is done: a later opening goes on where
this one stopped. Index entries of format 2 begin with hexadecimal digits, those of format 3 with bytes behind
these, so what is left to do is one range of each index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from flowstore._values.checks import entry_check, item_check
from flowstore.backends.redis import format as stored
from flowstore.backends.redis.calls import Calls
from flowstore.engine import STATUSES, Entry, Position, Section
from flowstore.times import to_micros

_AT_ONCE: Final = 50
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
        await _send(calls, [_call("", b"", b"", [], [], [], _values(section, "", pairs))])
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
        found = await calls.read("read_old", *(task_id for _, task_id in known)) if known else []
        await _send(
            calls,
            [
                _converted(index, entry, task_id, *of_record)
                for (entry, task_id), of_record in zip(known, found, strict=True)
            ],
        )


async def _send(calls: Calls, parts: Sequence[list[Argument]]) -> None:
    arguments = [argument for part in parts for argument in part]
    if arguments:
        await calls.read("migrate", *arguments)


def _id_of(entry: bytes) -> str | None:
    try:
        int(entry[:16], 16)
        return entry[16:].decode()
    except ValueError:
        return None


def _call(
    task_id: str,
    before: bytes,
    value: bytes,
    adds: Sequence[Argument],
    removals: Sequence[Argument],
    items: Sequence[bytes],
    values: Sequence[Argument],
) -> list[Argument]:
    """The arguments of migrate.lua for one record."""
    lists = [part for some in (adds, removals, items, values) for part in (len(some), *some)]
    return [task_id, before, value, *lists]


def _converted(
    index: str,
    entry: bytes,
    task_id: str,
    value: bytes | None,
    history: list[bytes] | None,
    data: list[bytes] | None,
    checkpoints: list[bytes] | None,
) -> list[Argument]:
    found = _RECORD.match(value or b"")
    try:
        new = None if value is None or found is None else _entry(task_id, value, found, history or [])
    except (ValueError, RecursionError):
        new = None
    place = stored.member(Position(int(entry[:16], 16) - _OFFSET, task_id))
    if found is None or new is None:  # a ghost goes; what cannot be read stays listed
        is_ghost = value is None or value[:1] == b"3"
        return _call(task_id, b"", b"", [] if is_ghost else [index, place], [index, entry], [], [])
    log = [moved for old in history or [] if (moved := _transition(task_id, old)) is not None]
    kept = log[-_KEPT:]
    while len(kept) > 1 and sum(map(len, kept)) > _KEPT_BYTES:
        kept = kept[1:]
    spilled = log[: len(log) - len(kept)]
    adds: list[Argument] = []
    status = new.status
    for facet in ("", *new.fixed, *new.facets):
        adds += (f"i:{status}:{facet}", place)
    for facet in new.facets:
        adds += ("f", facet)
    for item in log:
        adds += ("t", item[:16] + task_id.encode())
    if new.expires_at is not None:
        adds += ("x", stored.stored(new.expires_at) + task_id.encode())
    removals: list[Argument] = []
    for facet in ("", *json.loads(found[8])):
        removals += (f"i:{status}:{facet}", entry)
    for old in history or []:
        removals += ("t", old)
    removals += ("x", task_id)
    values: list[Argument] = []
    for section, flat in ((Section.DATA, data), (Section.CHECKPOINT, checkpoints)):
        values += _values(section, task_id, list(zip((flat or [])[::2], (flat or [])[1::2], strict=True)))
    extras = bool(spilled) + 2 * bool(data or checkpoints)
    record = stored.record_of(new, new.version, found[6], kept, extras)
    header = value[: found.start(9)] if value else b""
    return _call(task_id, header, record, adds, removals, spilled, values)


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
            new = stored.item_value(int(found[1]), int(found[2]), check, value)
            flat += (f"e:{section}:{owner}", key, old, new)
    return flat
