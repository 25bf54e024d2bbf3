"""Counters and groups: what a call tells commit.lua of them (see tally.lua), and how they are read.

The counters of a series are in hashes of a few periods each, 10 minutes or a day, so that they stay below the
512 fields up to which Redis packs a hash: a counter takes 11 bytes there, and 57 in a larger one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import Final

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import OFFSET, stored
from flowstore.engine import OF_GROUP, Cell, Group, Marks, Noted, Tallied, Tier, Write

_PERIODS: Final = {Tier.MINUTE: 10, Tier.HOUR: 24}
"""How many are in one hash."""
_LETTERS: Final = {Tier.MINUTE: "m", Tier.HOUR: "h"}
_MINUTE: Final = Tier.MINUTE.length
_BLOCKS_PER_CALL: Final = 50
_GROUPS_PER_CALL: Final = 500
_SIZE: Final = Struct(">H")
_SIZES: Final = Struct(">HH")
_LONG: Final = Struct(">I")
_GROUP: Final = Struct(">QQQ")
_NO_GROUP: Final = b"\0\0\0" + bytes(8) + bytes(4)

Place = tuple[bytes, bytes]
"""A counter as it is told to the script: its hash and its field."""


class Marking:
    """What the writes of one call count."""

    def __init__(self, now: int) -> None:
        self._minute = now // _MINUTE
        self._numbers: dict[tuple[Marks | None, int, Noted | None], int] = {}
        self._cells: dict[Place, int] = {}
        self._kinds: list[bytes] = []

    def number(self, write: Write) -> int:
        """Of what a write counts; 0 for nothing."""
        marks, noted = write.marks, write.noted
        if marks is None and noted is None:
            return 0
        at = write.entry.updated_at
        key = (marks, at // _MINUTE if noted is None else at, noted)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._numbers) + 1
            self._kinds.append(self._kind(marks, noted, at))
        return number

    def _kind(self, marks: Marks | None, noted: Noted | None, at: int) -> bytes:
        minute = at // _MINUTE
        first, changed = ((), ()) if marks is None else _places(marks, minute, self._minute)
        if noted is not None:
            of_group = Marks((OF_GROUP + noted.group,), (), (noted.bucket,))
            changed += _places.__wrapped__(of_group, minute, self._minute)[1]
        known = self._cells
        cells = [known.setdefault(place, len(known) + 1) for place in changed + first]
        sizes = _SIZES.pack(len(cells), len(changed))
        return sizes + b"".join(map(_SIZE.pack, cells)) + _noted(noted, at)

    def packed(self) -> bytes:
        if not self._numbers:
            return b""
        keys: dict[bytes, int] = {}
        cells = [_SIZE.pack(keys.setdefault(key, len(keys) + 1)) + field for key, field in self._cells]
        return b"".join((_SIZE.pack(len(keys)), *keys, _SIZE.pack(len(cells)), *cells, *self._kinds))


@lru_cache(1_000)
def _places(marks: Marks, minute: int, now: int) -> tuple[tuple[Place, ...], tuple[Place, ...]]:
    """The counters of ``first`` and of ``changed``, in the minute of a write. ``now``: that of the call."""
    hashes = [_hash(tier, minute, now, series) for series in marks.series for tier in Tier]
    first, changed = (
        tuple(
            (key, _SIZE.pack(len(bucket.encode()) + 2) + place + bucket.encode())
            for bucket in buckets
            for key, place in hashes
        )
        for buckets in (marks.first, marks.changed)
    )
    return first, changed


def _hash(tier: Tier, minute: int, now: int, series: str) -> tuple[bytes, bytes]:
    """The hash of a series in a minute: its name and for how long it is kept; and how its fields begin."""
    block, place = divmod(minute * _MINUTE // tier.length, _PERIODS[tier])
    name = _name(tier, block, series).encode()
    end = (block + 1) * _PERIODS[tier] * tier.length
    kept = b"%d" % max(1, (end + tier.kept - now * _MINUTE) // 1_000)
    return b"%b%b%c%b" % (_SIZE.pack(len(name)), name, len(kept), kept), b"%02d" % place


def _noted(noted: Noted | None, at: int) -> bytes:
    if noted is None:
        return _NO_GROUP
    group, score, example = noted.group.encode(), b"%d" % at, noted.example
    head = b"%b%b%c%b%b" % (_SIZE.pack(len(group)), group, len(score), score, stored(at))
    return head + _LONG.pack(len(example)) + example


def _name(tier: Tier, block: int, series: str) -> str:
    return f"{_LETTERS[tier]}:{block}:{series}"


async def tallies(calls: Calls, asked: Sequence[Tallied]) -> list[list[Cell]]:
    sums: list[defaultdict[tuple[int, str], int]] = [defaultdict(int) for _ in asked]
    blocks = [(place, block) for place, one in enumerate(asked) for block in _blocks(one)]
    for start in range(0, len(blocks), _BLOCKS_PER_CALL):
        step = blocks[start : start + _BLOCKS_PER_CALL]
        names = [_name(asked[place].tier, block, asked[place].series) for place, block in step]
        for (place, block), fields in zip(step, await calls.read("blocks", *names), strict=True):
            for at, bucket, number in _counted(asked[place], block, fields):
                sums[place][at, bucket] += number
        await asyncio.sleep(0)  # a step may be of many thousand counters
    return [[Cell(*place, number) for place, number in sorted(of_one.items())] for of_one in sums]


def _blocks(asked: Tallied) -> range:
    length = asked.tier.length * _PERIODS[asked.tier]
    return range(asked.start // length, -(-asked.end // length)) if asked.start < asked.end else range(0)


def _counted(asked: Tallied, block: int, fields: Sequence[bytes]) -> Iterator[tuple[int, str, int]]:
    """The counters of a block that are asked for: the span that each is added to, its bucket and number."""
    length = asked.tier.length
    first = block * _PERIODS[asked.tier]
    for field, value in zip(fields[::2], fields[1::2], strict=True):
        at = (first + int(field[:2])) * length
        if asked.start <= at < asked.end:
            yield at - (at - asked.start) % asked.every, field[2:].decode(), int(value)


async def groups(calls: Calls, ids: Sequence[str] | None) -> list[Group]:
    if ids is None:
        return _groups(await calls.read("groups"))
    wanted, found = list(dict.fromkeys(ids)), []
    for start in range(0, len(wanted), _GROUPS_PER_CALL):
        found += _groups(await calls.read("groups", *wanted[start : start + _GROUPS_PER_CALL]))
    return found


def _groups(flat: Sequence[bytes]) -> list[Group]:
    return [
        _group(group.decode(), value)
        for group, value in zip(flat[::2], flat[1::2], strict=True)
        if len(value) > _GROUP.size
    ]


def _group(group: str, value: bytes) -> Group:
    first, last, total = _GROUP.unpack_from(value)
    return Group(group, total, first - OFFSET, last - OFFSET, value[_GROUP.size :])
