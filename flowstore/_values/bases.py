"""Values of subclasses of scalars, such as those of drivers and test libraries, as the scalars they equal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any, Final
from uuid import UUID

from flowstore._values.instances import state_of
from flowstore._values.leaves import known_zone


def _datetime_of(kind: type[datetime], value: datetime) -> datetime:
    date_and_time = (value.year, value.month, value.day, value.hour, value.minute, value.second)
    return kind(*date_and_time, value.microsecond, value.tzinfo, fold=value.fold)


def _date_of(kind: type[date], value: date) -> date:
    return kind(value.year, value.month, value.day)


def _time_of(value: time) -> time:
    return time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold)


# Test libraries that stop the clock put classes of their own into the place of ``datetime`` and ``date`` in
# every module, while they do. These two are the real ones, of the time when this module was imported.
_AS_BASE: Final[dict[type, Callable[[Any], object]]] = {
    datetime: partial(_datetime_of, datetime),
    date: partial(_date_of, date),
    time: _time_of,
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    tzinfo: known_zone,
    UUID: lambda value: UUID(int=value.int),
    Decimal: Decimal,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    int: int.__int__,
    float: float.__float__,
}
"""How to make a value of the class out of one of a subclass, each class before those that it extends."""


def as_base(value: object) -> object:
    """The value of a class in LEAVES that ``value``, of a subclass, is equal to; NotImplemented if none is.

    So are those of drivers and test libraries: asyncpg's UUID, numpy's float64, freezegun's FakeDatetime. One
    with attributes of its own would lose them.
    """
    kind = type(value)  # isinstance would ask the value itself, which may raise
    base = next((base for base in _AS_BASE if issubclass(kind, base)), None)
    if base is None or issubclass(kind, Enum):
        return NotImplemented
    try:
        plain = _AS_BASE[base](value)
        is_same = bool(plain == value and value == plain) and hash(plain) == hash(value)
        is_same = is_same or (base is float and plain != plain)  # NaN
        has_more = bool(state_of(value).keys() - state_of(plain).keys())
    except Exception:
        return NotImplemented
    return NotImplemented if has_more or not is_same else plain
