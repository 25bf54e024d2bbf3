"""The codec alone: what it writes is pinned, what it reads may be hostile."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore._values.codec import Codec, DecodeError
from flowstore.errors import NotSerializable
from flowstore.stand_ins import Unresolved
from flowstore.testing.contract.values import (
    SAMPLE_TYPES,
    Access,
    Colour,
    Order,
    Point,
    is_same,
    native_values,
)

CODEC = Codec({cls.__name__: cls for cls in SAMPLE_TYPES})

PINNED: list[tuple[Any, str]] = [
    ({"a": [None, True, 1, -2.5, "\N{SNAKE}\n"]}, '{"a":[null,true,1,-2.5,"\N{SNAKE}\\n"]}'),
    (2**63, '{"$int":"0x8000000000000000"}'),
    (-math.inf, '{"$float":"-inf"}'),
    ("\udc80", '{"$str":"%ED%B2%80"}'),
    (b"\0a", '{"$bytes":"AGE="}'),
    ((1, ()), '{"$tuple":[1,{"$tuple":[]}]}'),
    ({1}, '{"$set":[1]}'),
    (frozenset({"x"}), '{"$frozenset":["x"]}'),
    ({1: "a", "$b": None}, '{"$dict":[[1,"a"],["$b",null]]}'),
    (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), '{"$datetime":"2026-01-02T03:04:05.000006+00:00"}'),
    (
        datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        '{"$datetime":["2026-01-02T00:00:00",{"$zoneinfo":"Europe/Berlin"},0]}',
    ),
    (
        time(1, tzinfo=timezone(timedelta(hours=1), "X"), fold=1),
        '{"$time":["01:00:00",{"$timezone":[{"$timedelta":[0,3600,0]},"X"]},1]}',
    ),
    (time(1, 2, 3), '{"$time":"01:02:03"}'),
    (UTC, '{"$timezone":[{"$timedelta":[0,0,0]}]}'),
    (ZoneInfo("Asia/Tokyo"), '{"$zoneinfo":"Asia/Tokyo"}'),
    (date(2026, 1, 2), '{"$date":"2026-01-02"}'),
    (timedelta(-1, 2, 3), '{"$timedelta":[-1,2,3]}'),
    (UUID(int=1), '{"$uuid":"00000000-0000-0000-0000-000000000001"}'),
    (Decimal("-1.50E+3"), '{"$decimal":"-1.50E+3"}'),
    (Colour.RED, '{"$enum":["Colour","RED"]}'),
    (Access.READ | Access.WRITE, '{"$enum":["Access",3]}'),
    (Point(1, "y"), '{"$dataclass":["Point",{"x":1,"y":"y"}]}'),
    (Order(number=1), '{"$model":["Order",{"number":1,"lines":null},["number"],null,null]}'),
]

MALFORMED = [
    b"",
    b"null",
    b"[1]",
    b"{",
    b"\xff\xfe",
    b'{"v":NaN}',
    b'{"v":-Infinity}',
    b'{"v":{"$bytes":""},"v":2}',
    b'{"v":{"$tuple":1}}',
    b'{"v":{"$tuple":[1],"a":2}}',
    b'{"v":{"$int":"x"}}',
    b'{"v":{"$int":7}}',
    b'{"v":{"$float":"1"}}',
    b'{"v":{"$str":"%FF"}}',
    b'{"v":{"$bytes":"A"}}',
    b'{"v":{"$set":[[1]]}}',
    b'{"v":{"$set":[1,1]}}',
    b'{"v":{"$dict":[[1]]}}',
    b'{"v":{"$dict":[[1,2],[1,3]]}}',
    b'{"v":{"$dict":[[[],2]]}}',
    b'{"v":{"$date":"2026-13-01"}}',
    b'{"v":{"$datetime":["2026-01-01T00:00:00","No/Where",0]}}',
    b'{"v":{"$datetime":["2026-01-01T00:00:00","../../etc/passwd",0]}}',
    b'{"v":{"$datetime":["2026-01-01T00:00:00",null,7]}}',
    b'{"v":{"$datetime":["2026-01-01T00:00:00"]}}',
    b'{"v":{"$timedelta":[1]}}',
    b'{"v":{"$timedelta":[9999999999,0,0]}}',
    b'{"v":{"$uuid":"x"}}',
    b'{"v":{"$decimal":"1e"}}',
    b'{"v":{"$decimal":7}}',
    b'{"v":{"$model":["Order",{"what":1}]}}',
    b'{"v":' + b"9" * 5_000 + b"}",
    b'{"v":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
]


UNFIT = [
    (b'{"v":{"$nothing":1}}', r"'\$nothing' is of a newer flowstore", 1),
    (b'{"v":{"$enum":["Colour","GREEN"]}}', "has no member 'GREEN'", "GREEN"),
    (b'{"v":{"$enum":["os:system","x"]}}', "enum type 'os:system' is not registered", "x"),
    (b'{"v":{"$enum":["Point","x"]}}', "Point is stored as enum, and registered as dataclass", "x"),
    (b'{"v":{"$dataclass":["Point",{"x":1}]}}', "field 'y' of .*Point is not stored", {"x": 1}),
    (b'{"v":{"$dataclass":["Colour",{"x":1}]}}', "stored as dataclass, and registered as enum", {"x": 1}),
    (b'{"v":{"$type":["Colour",{"x":1},1]}}', "stored as type, and registered as enum", {"x": 1}),
    (b'{"v":{"$namedtuple":["None",{"x":1}]}}', "namedtuple type 'None' is not registered", {"x": 1}),
]
"""What is whole, but no type of this program can take it; why, and what there is to show."""


@pytest.mark.parametrize(("value", "text"), PINNED)
def test_stored_text_is_pinned(value: Any, text: str) -> None:
    """The text of each tag must not drift, and is read back as it was."""
    assert CODEC.encode_fields({"v": value}) == b'{"v":' + text.encode() + b"}"
    assert is_same(CODEC.decode_fields(b'{"v":' + text.encode() + b"}")["v"], value)


@pytest.mark.parametrize(("data", "why", "shown"), UNFIT)
def test_a_stand_in_for_what_no_type_can_take(data: bytes, why: str, shown: Any) -> None:
    """It says why, shows what is stored, and is refused when it is to be stored itself."""
    value = CODEC.decode_fields(data)["v"]
    assert isinstance(value, Unresolved)
    assert re.search(why, value.reason)
    assert value.data == shown
    with pytest.raises(NotSerializable, match=r"v\[0\]: stands for a value that could not be read"):
        CODEC.encode_fields({"v": [value]})


@pytest.mark.parametrize("data", MALFORMED)
def test_hostile_bytes(data: bytes) -> None:
    """Nothing but DecodeError, and a short one; nothing is imported, called or unpickled."""
    with pytest.raises(DecodeError) as caught:
        CODEC.decode_fields(data)
    assert len(str(caught.value)) < 300


@settings(max_examples=300, deadline=None, database=None)
@given(native_values(), st.data())
def test_mutated_bytes(value: Any, data: st.DataObject) -> None:
    """Whatever a flipped, cut or doubled byte makes of a record: data, or DecodeError."""
    encoded = bytearray(CODEC.encode_fields({"v": value}))
    place = data.draw(st.integers(0, len(encoded) - 1))
    piece = data.draw(st.binary(max_size=3) | st.sampled_from([b'"', b"}", b"[", b"$", b"\\", b"null"]))
    encoded[place : place + data.draw(st.integers(0, 4))] = piece
    with suppress(DecodeError):
        CODEC.decode_fields(bytes(encoded))


def test_what_is_accepted_at_full_depth_is_read_from_deep_in_the_stack() -> None:
    """A hundred levels of the deepest nesting, from 300 frames down."""
    value: Any = 1
    for level in range(99):
        value = {1: value} if level % 2 else Point(value, None)
    encoded = CODEC.encode_fields({"v": value})
    assert _deep(300, lambda: is_same(CODEC.decode_fields(encoded)["v"], value))
    with pytest.raises(NotSerializable, match="deeper than 100"):
        CODEC.encode_fields({"v": [[value]]})


def _deep(frames: int, call: Callable[[], bool]) -> bool:
    return call() if frames == 0 else _deep(frames - 1, call)


def test_limits_hold_on_read() -> None:
    """Size on read as on write; the limit on int digits never bites, nor is it changed."""
    with pytest.raises(DecodeError, match="limit is 10"):
        Codec(max_bytes=10).decode_fields(b'{"v":"0123456789"}')
    before = sys.get_int_max_str_digits()
    assert CODEC.decode_fields(CODEC.encode_fields({"v": 7**99_999})) == {"v": 7**99_999}
    assert sys.get_int_max_str_digits() == before


def test_plain_values_are_plain_json() -> None:
    """What JSON has, other programs can read."""
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": {}}}
    assert json.loads(CODEC.encode_fields({"result": value})) == {"result": value}


def test_types_are_checked() -> None:
    """Only dataclasses, enums and models; a name means one type, and a type may be read under old names."""
    with pytest.raises(TypeError, match="expected dataclasses"):
        Codec([int])
    with pytest.raises(TypeError, match="non-empty str as the name"):
        Codec({"": Point})
    assert Codec({"new": Point, "old": Point}).encode_fields({"v": Point(1, 2)}) == (
        b'{"v":{"$dataclass":["new",{"x":1,"y":2}]}}'
    )
    old = Codec({"old": Point}).encode_fields({"v": Point(1, 2)})
    assert Codec({"new": Point, "old": Point}).decode_fields(old) == {"v": Point(1, 2)}

    @dataclass
    class Point2:
        x: int

    Point2.__qualname__ = "Point"
    Point2.__module__ = Point.__module__
    with pytest.raises(ValueError, match="both named"):
        Codec([Point, Point2])


def test_dataclass_with_other_attributes_is_refused() -> None:
    """It would lose them."""

    @dataclass
    class Loose:
        x: int

    value: Any = Loose(1)
    value.extra = 2
    with pytest.raises(NotSerializable, match="extra"):
        Codec([Loose]).encode_fields({"result": value})
