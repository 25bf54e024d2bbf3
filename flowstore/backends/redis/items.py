"""The bytes of items, of data, checkpoints, workers and apps: version, time and check, then the value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from struct import Struct, error, pack
from typing import Any, Final

from flowstore.backends.redis.format import OFFSET
from flowstore.engine import Item, Outcome, Put, Section, Verdict

_VALUE: Final = Struct(">QQq")
_BRIDGED: Final = 8


def put_arguments(put: Put) -> tuple[Any, ...]:
    """The arguments of put.lua for one item."""
    value = b"" if put.value is None else pack(">q", put.check) + put.value
    bounds = ["" if bound is None else bound for bound in (put.if_version, put.keep)]
    stamp = b"" if put.stamp is None else pack(">QQ", put.stamp.version, put.stamp.at + OFFSET)
    return put.section, put.owner, put.key or "", int(put.value is not None), value, *bounds, stamp


def put_outcome(reply: list[Any]) -> Outcome:
    became, key, version = reply
    if isinstance(became, bytes):
        return Outcome(Verdict.UNREADABLE, 0, key.decode(), reason=became.decode(errors="replace"))
    verdict = {1: Verdict.APPLIED, 0: Verdict.STANDING, -1: Verdict.OWNERLESS}[became]
    return Outcome(verdict, version, key.decode())


def item_value(version: int, at: int, check: int, value: bytes) -> bytes:
    return _VALUE.pack(version, at + OFFSET, check) + value


def item_of(section: Section, owner: str, key: bytes, value: bytes) -> Item:
    """Raises ValueError for what is none."""
    try:
        version, at, check = _VALUE.unpack_from(value)
    except error as wrong:
        raise ValueError(f"{section} {key!r:.80} holds {value!r:.80}") from wrong
    return Item(owner, key.decode(), version, at - OFFSET, check, value[_VALUE.size :])


def ranges(owners: Mapping[str, Sequence[int]]) -> list[str | int]:
    """The arguments of moves.lua for these versions. Ranges bridge small gaps between them."""
    flat: list[str | int] = []
    for owner, versions in owners.items():
        found: list[int] = []
        for version in sorted(versions):
            if not found or version > found[-1] + _BRIDGED:
                found += (version, version)
            found[-1] = version
        flat += (owner, len(found) // 2, *found)
    return flat
