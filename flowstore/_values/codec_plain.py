"""The fast path of the codec: values that need no tag, written and read by pydantic's JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from pydantic_core import from_json, to_json

from flowstore._values.refusals import DecodeError

_PLAIN_LEAVES: Final = frozenset({str, float, bool, type(None)})


def plain_json(fields: Mapping[str, object], depth: int, max_bytes: int) -> bytes | None:
    """The bytes of fields that need no tag; None if one may be needed, or if anything is wrong."""
    if _room_left(fields.values(), depth, max_bytes // 2) < 0:  # each value takes at least two bytes
        return None
    try:
        data = to_json(fields)
    except ValueError:  # lone surrogates
        return None
    # Perhaps a tag, or a float that is not finite. It may also be part of a str, which the slow path finds
    # out.
    return None if b'"$' in data or b"NaN" in data or b"Infinity" in data else data


def read_plain(data: bytes) -> Any:
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError as error:
        raise DecodeError(f"not JSON: {error}") from error


def _room_left(values: Collection[Any], depth: int, room: int) -> int:
    """``room`` minus the number of values, nested ones included; below 0 if one of them is not plain.

    Without the count, a list that holds another list twice, and so on, would be walked for ever.
    """
    room -= len(values)
    for value in values:
        kind = type(value)
        if kind in _PLAIN_LEAVES:
            continue
        if kind is int:
            if not -0x8000_0000_0000_0000 <= value <= 0x7FFF_FFFF_FFFF_FFFF:
                return -1
            continue
        if kind is dict:
            for key in value:
                if type(key) is not str:
                    return -1
            value = value.values()
        elif kind is not list:
            return -1
        if not depth or (room := _room_left(value, depth - 1, room)) < 0:
            return -1
    return room
