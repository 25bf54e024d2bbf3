"""Counters and groups: what a call tells commit.lua of them (see tally.lua), and how they are read.

The counters of a series are in hashes of a few periods each, 10 minutes or a day, so that most of them stay
below the 512 fields up to which Redis packs a hash: a counter takes 11 bytes there, and 57 in a larger one.

What was counted since ever is the total of a series, to which purges add the days that are over (fold.lua),
and its days since then. A write that comes later than that adds to the total as well.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from struct import Struct
from typing import Final

from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import OFFSET, stored
from flowstore.engine import OF_GROUP, Cell, Group, Mark, Noted, Tallied, Tier, Write

_PERIODS: Final = {Tier.MINUTE: 10, Tier.HOUR: 24}
"""How many are in one hash."""
_LETTERS: Final = {Tier.MINUTE: "m", Tier.HOUR: "h"}
_MINUTE: Final = Tier.MINUTE.length
_BLOCKS_PER_CALL: Final = 100
_GROUPS_PER_CALL: Final = 500
_SERIES_PER_CALL: Final = 100
_GRACE: Final = 300_000_000
"""How long after its end a day is added to the totals: until then most writes of it have come."""
_SIZE: Final = Struct(">H")
_DAYS: Final = Struct(">i")
_LONG: Final = Struct(">I")
_GROUP: Final = Struct(">QQQ")
_NO_GROUP: Final = b"\0\0"
_FIRST: Final = 0x8000
"""Added to the number of a mark that only counts for the first write of a record."""

Place = tuple[bytes, bytes]
"""A counter as it is told to the script: its hash and its field."""


class Marking:
    """What the writes of one call count. ``is_alone``: it has only one."""

    def __init__(self, now: int, *, is_alone: bool = False) -> None:
        self._is_alone = is_alone
        self._alone = b""
        self._minute = now // _MINUTE
        self._first_minute = self._minute
        """The earliest minute that is counted in, or that of the call."""
        self._numbers: dict[tuple[Mark, int], bytes] = {}
        self._keys: dict[bytes, bytes] = {}
        self._told: list[bytes] = []

    def numbers(self, write: Write) -> bytes:
        """Those of what a write counts, as the script takes them."""
        marks, noted = write.marks, write.noted
        if not marks and noted is None:
            return b""
        at, numbers = write.entry.updated_at, self._numbers
        minute = at // _MINUTE
        if self._is_alone and noted is None:
            known, self._alone = _counted_alone(marks, minute, self._minute)
            return known
        found = [numbers.get((mark, minute)) or self._numbered(mark, minute) for mark in marks]
        if noted is not None:
            of_group = Mark(OF_GROUP + noted.group, noted.bucket)
            places = _places.__wrapped__(of_group, minute, self._minute)
            self._told.append(self._cells(places) + _noted(noted, at))
            self._first_minute = min(self._first_minute, minute)
            found.append(_SIZE.pack(len(self._told)))
        return b"".join(found)

    def _numbered(self, mark: Mark, minute: int) -> bytes:
        self._told.append(self._cells(_places(mark, minute, self._minute)) + _NO_GROUP)
        number = _SIZE.pack(len(self._told) + (_FIRST if mark.is_first else 0))
        self._numbers[mark, minute] = number
        self._first_minute = min(self._first_minute, minute)
        return number

    def _cells(self, places: Sequence[Place]) -> bytes:
        keys = self._keys
        (minutes, minute), (hours, hour) = places
        number = keys.get(minutes) or keys.setdefault(minutes, _SIZE.pack(len(keys) + 1))
        other = keys.get(hours) or keys.setdefault(hours, _SIZE.pack(len(keys) + 1))
        return b"%b%b%b%b" % (number, minute, other, hour)

    def packed(self) -> bytes:
        if not self._told:
            return self._alone
        first = _DAYS.pack(_day(self._first_minute * _MINUTE))
        return b"".join((first, _SIZE.pack(len(self._keys)), *self._keys, *self._told))


@lru_cache(1_000)
def _counted_alone(marks: tuple[Mark, ...], minute: int, now: int) -> tuple[bytes, bytes]:
    """The numbers of a write that comes alone, and what it counts."""
    marking = Marking(now * _MINUTE)
    numbers = b"".join([marking._numbered(mark, minute) for mark in marks])
    return numbers, marking.packed()


@lru_cache(2_000)
def _places(mark: Mark, minute: int, now: int) -> tuple[Place, ...]:
    """The counters of a mark in the minute of a write. ``now``: that of the call."""
    bucket = mark.bucket.encode()
    size = _SIZE.pack(len(bucket) + 2)
    hashes = [_hash(tier, minute, now, mark.series) for tier in Tier]
    return tuple([(key, size + place + bucket) for key, place in hashes])


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


def _day(at: int) -> int:
    return at // (Tier.HOUR.length * _PERIODS[Tier.HOUR])


def days_over(now: int) -> tuple[int, int]:
    """The first day whose hours may be kept, and the first that a purge does not add to the totals yet."""
    return _day(now - Tier.HOUR.kept) - 1, _day(now - _GRACE)


async def series(calls: Calls, prefix: str) -> list[str]:
    names = dict.fromkeys(name.decode(errors="replace") for name in await calls.read("series"))
    return [name for name in names if name.startswith(prefix)]


async def totals(calls: Calls, series: Sequence[str], now: int) -> list[dict[str, int]]:
    found: list[dict[str, int]] = []
    days = days_over(now)[0], _day(now) + 1
    for start in range(0, len(series), _SERIES_PER_CALL):
        step = series[start : start + _SERIES_PER_CALL]
        replies = await calls.read("totals", *days, *("" if _is_of_group(one) else f"={one}" for one in step))
        found += [_total(*reply) if reply else {} for reply in replies]
        await asyncio.sleep(0)
    return found


def _is_of_group(series: str) -> bool:
    return series.startswith(OF_GROUP)


def _total(total: Sequence[bytes], *days: Sequence[bytes]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for skipped, fields in ((0, total), *((2, day) for day in days)):
        for field, value in zip(fields[::2], fields[1::2], strict=True):
            with suppress(ValueError):  # somebody else's
                sums[field[skipped:].decode()] += int(value)
    return dict(sums)


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
        try:
            at, bucket, number = (first + int(field[:2])) * length, field[2:].decode(), int(value)
        except ValueError:  # somebody else's
            continue
        if asked.start <= at < asked.end:
            yield at - (at - asked.start) % asked.every, bucket, number


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
