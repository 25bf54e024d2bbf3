"""What it means for a value of any type to come back, and which values cannot: by rules of their own.

Nothing here asks the codec, which is what these rules are to prove.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, Flag
from functools import cached_property
from ipaddress import _BaseAddress, _BaseNetwork
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel
from pydantic.networks import _BaseMultiHostUrl, _BaseUrl
from pydantic_core import MultiHostUrl, PydanticUndefined, Url

_SCALARS: Final[Any] = (str, bytes, int, float, Decimal, UUID, datetime, date, time, timedelta)
_URLS: Final = (_BaseUrl, _BaseMultiHostUrl, Url, MultiHostUrl)
_LEAVES: Final[Any] = (type(None), timezone, ZoneInfo, PurePath, _BaseAddress, _BaseNetwork, *_URLS)
_CONTAINERS: Final = (list, tuple, dict, set, frozenset, OrderedDict, defaultdict, deque)
NO_DEFAULT: Final = (PydanticUndefined, None)
_MODEL_STATE: Final = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")


def obstacle(value: Any) -> str | None:
    """Why a value, of classes that are all registered, cannot be stored. None: it can."""
    kind = type(value)
    if isinstance(value, Enum):
        is_member = value._name_ in kind.__members__ or isinstance(value, Flag)
        return None if is_member else f"{value!r} is no member"
    if is_record(value):
        return _obstacle_of_record(value)
    if kind in _CONTAINERS:
        if kind is defaultdict and value.default_factory not in (None, list, dict, set, int, str, float):
            return f"{value.default_factory!r} makes defaults"
        return next(filter(None, map(obstacle, items_of(value))), None)
    if isinstance(value, _SCALARS) and not getattr(value, "__dict__", None):
        return None
    return None if isinstance(value, _LEAVES) else f"{kind} is unknown"


def is_record(value: object) -> bool:
    """Whether it has fields by name."""
    kind = type(value)
    return isinstance(value, BaseModel) or dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


def field_names(cls: Any) -> list[str]:
    if issubclass(cls, BaseModel):
        return list(cls.model_fields)
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls)]
    return list(cls._fields)


def items_of(value: Any) -> Iterator[Any]:
    """What a container holds."""
    if isinstance(value, dict):
        for pair in value.items():
            yield from pair
    else:
        yield from value


def state(value: Any) -> dict[str, Any]:
    """All that an instance holds, but for what it computes again."""
    found = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        for name in _slots(cls):
            if hasattr(value, name):
                found[name] = getattr(value, name)
    if hasattr(type(value), "_fields"):
        found |= value._asdict()
    found.pop("__orig_class__", None)
    computed = [name for name in found if isinstance(getattr(type(value), name, None), cached_property)]
    return {name: held for name, held in found.items() if name not in computed}


def _slots(cls: type) -> list[str]:
    slots = vars(cls).get("__slots__", ())
    return [name for name in ([slots] if isinstance(slots, str) else slots) if name[:2] != "__"]


def _obstacle_of_record(value: Any) -> str | None:
    held = state(value)
    names = field_names(type(value))
    parts = [held]
    if isinstance(value, BaseModel):
        parts += [getattr(value, name) or {} for name in _MODEL_STATE[1:]]
        for name, attribute in type(value).__private_attributes__.items():
            if name not in parts[-1] and (attribute.default, attribute.default_factory) != NO_DEFAULT:
                return f"{name} has no value"
    elif (getattr(value, "__pydantic_config__", None) or {}).get("extra") == "allow":
        names += held
    if missing := [name for name in names if name not in held and not hasattr(value, name)]:
        return f"{missing} have no value"
    held |= {name: getattr(value, name) for name in names if name not in held}
    if strays := held.keys() - {*names}:
        return f"{strays} are no fields"
    return next((found for part in parts for one in part.values() if (found := obstacle(one))), None)


def difference(one: Any, other: Any, path: str = "v") -> str | None:
    """Where ``other``, which was read, is not what ``one`` was. None: it is the same in every respect."""
    kind = type(one)
    if isinstance(one, Enum):
        return None if one is other else f"{path}: {one!r} is {other!r}"
    if isinstance(one, _SCALARS) and not is_record(one):
        return _difference_of_scalars(one, other, path)
    if kind is not type(other):
        return f"{path}: {kind} is {type(other)}"
    if is_record(one):
        return _difference_of_records(one, other, path)
    if kind in (set, frozenset):
        is_same = len(one) == len(other) and all(
            any(difference(member, found) is None for found in other) for member in one
        )
        return None if is_same else f"{path}: {one!r} is {other!r}"
    if kind in _CONTAINERS:
        return _difference_of_containers(one, other, path)
    is_equal = one == other or isinstance(one, _URLS)  # those of pydantic 2.10.0 are equal to nothing
    return None if is_equal and str(one) == str(other) else f"{path}: {one!r} is {other!r}"


def _difference_of_scalars(one: Any, other: Any, path: str) -> str | None:
    if type(other) is not next(base for base in (bool, *_SCALARS) if isinstance(one, base)):
        is_same = False
    elif isinstance(one, float):
        is_same = repr(float(one)) == repr(other)
    elif isinstance(one, Decimal):
        is_same = one.as_tuple() == other.as_tuple()
    elif isinstance(one, datetime | time):
        zone: tzinfo | None = one.tzinfo
        is_same = (one.replace(tzinfo=None), one.fold) == (other.replace(tzinfo=None), other.fold)
        is_same &= one.utcoffset() == other.utcoffset()
        is_same &= type(other.tzinfo) is (type(zone) if isinstance(zone, ZoneInfo | None) else timezone)
    else:
        is_same = one == other
    return None if is_same else f"{path}: {one!r} is {other!r}"


def _difference_of_containers(one: Any, other: Any, path: str) -> str | None:
    for name in ("maxlen", "default_factory"):
        if getattr(one, name, None) != getattr(other, name, None):
            return f"{path}.{name}"
    ours, theirs = list(items_of(one)), list(items_of(other))
    if len(ours) != len(theirs):
        return f"{path}: {one!r} is {other!r}"
    pairs = enumerate(zip(ours, theirs, strict=True))
    return next((found for n, pair in pairs if (found := difference(*pair, f"{path}[{n}]"))), None)


def _difference_of_records(one: Any, other: Any, path: str) -> str | None:
    ours, theirs = state(one), state(other)
    names = field_names(type(one))
    for held in (ours, theirs):  # one that is taken from the class, where the instance has none of its own
        held.update({name: getattr(one, name) for name in names if name not in held})
    if ours.keys() != theirs.keys():
        return f"{path}: {ours.keys()} is {theirs.keys()}"
    if isinstance(one, BaseModel):
        for name in _MODEL_STATE:
            ours[name], theirs[name] = getattr(one, name), getattr(other, name)
    found = (difference(ours[name], theirs[name], f"{path}.{name}") for name in ours)
    return next(filter(None, found), None)
