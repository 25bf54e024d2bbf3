"""Values of every native type, nested, and what it means for one to come back as it went in."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, fields
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from pydantic import BaseModel


class Colour(enum.Enum):
    RED = "r"
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass(frozen=True, slots=True)
class Point:
    x: Any
    y: Any


class Order(BaseModel):
    number: int
    lines: Any = None


SAMPLE_TYPES: list[type] = [Colour, Access, Point, Order]

_zones = st.sampled_from(
    [
        None,
        UTC,
        timezone(timedelta(hours=-3, seconds=1)),
        timezone(timedelta(hours=1), "X"),
        ZoneInfo("Europe/Berlin"),
    ]
)
_text = st.text(st.characters(codec=None), max_size=8)
_keys = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats(allow_nan=False)
    | _text
    | st.binary(max_size=8)
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=_zones)
    | st.times(timezones=st.sampled_from([None, UTC]))
    | st.timedeltas()
    | st.sampled_from([*Colour, Access.READ | Access.WRITE, Access(0)])
)
_leaves = _keys | st.sampled_from([math.nan, -0.0, Decimal("NaN"), Decimal("sNaN"), Decimal("-0E-7")])


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = _keys | st.tuples(_keys, _keys) | st.frozensets(_keys, max_size=2)
    return (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.dictionaries(_text | st.just("$tuple"), inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.frozensets(keys, max_size=4)
        | st.builds(Point, inner, inner)
        | st.builds(Order, number=st.integers(), lines=inner)
    )


def native_values() -> st.SearchStrategy[Any]:
    """Nested values of all native types; dataclass, enum and model types are those of SAMPLE_TYPES."""
    return st.recursive(_leaves, _nested, max_leaves=12)


def is_same(one: Any, other: Any) -> bool:
    """Equal, of the same exact type all the way down, in the same order; NaN is the same as NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return _all_same(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return _all_same(one, other)
    if isinstance(one, set | frozenset):
        return sorted(map(_typed, one)) == sorted(map(_typed, other))
    if isinstance(one, Point):
        return all(is_same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    if isinstance(one, Order):
        return one.model_fields_set == other.model_fields_set and is_same(dict(one), dict(other))
    if isinstance(one, float):
        return (math.isnan(one) and math.isnan(other)) or (one == other and str(one) == str(other))
    if isinstance(one, Decimal):
        return bool(one.as_tuple() == other.as_tuple())
    if isinstance(one, datetime | time):
        return repr(one) == repr(other) and type(one.tzinfo) is type(other.tzinfo)
    return bool(one == other)


def _all_same(one: Any, other: Any) -> bool:
    return len(one) == len(other) and all(is_same(a, b) for a, b in zip(one, other, strict=True))


def _typed(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"int {value:x}"
    if isinstance(value, tuple | frozenset):
        return f"{type(value).__name__} {sorted(map(_typed, value))}"
    return f"{type(value).__name__} {value!r}"
