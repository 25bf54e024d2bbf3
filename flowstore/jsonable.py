"""Any value as JSON for people: what pages, command lines and web APIs show of results and data.

This is not how values are stored (see _values/codec.py): types become text, and no program reads it back.
docs/values.md has the table. What holds for every value:

- Nothing raises and nothing is lost without a trace: what has no form is shown by its repr, shortened; dicts
  whose keys would be one in JSON become lists of pairs; floats that JSON lacks become text.
- The form can be written by any JSON writer, in UTF-8 and without NaN. It nests at most twice as deep as the
  value, so that 100 levels, which is all that can be stored, stay within the 255 that pydantic writes.

The one exception: what contains itself, or nests deeper than 255 levels, is a ValueError.
"""

from __future__ import annotations

import dataclasses
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from json import dumps
from pathlib import PurePath
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import AnyUrl, BaseModel, PlainSerializer, PostgresDsn, WrapSerializer
from pydantic_core import MultiHostUrl, Url

from flowstore._errors.raised import full_name, message_of
from flowstore.stand_ins import Excerpt, Unresolved
from flowstore.text import cut

MAX_REPR_CHARS: Final = 1_000

_MAX_LEVELS: Final = 255
_MAX_INT_BITS: Final = 14_000
"""Python writes and reads ints of up to 4,300 digits, which are 14,284 bits."""
_BY_ALIAS: Final = (BaseModel.model_dump.__kwdefaults__ or {})["by_alias"]
"""That of ``model_dump``, which itself takes no ``fallback`` before pydantic 2.11."""
_MRO: Final = vars(type)["__mro__"].__get__
_NAME: Final = vars(type)["__qualname__"].__get__


def to_jsonable(value: Any) -> Any:
    """The value as JSON for people: None, bool, int, finite float, str, and new lists, and dicts of str.

    Values of any type have a form, listed in docs/values.md: pydantic models that of
    ``model_dump(mode="json")``, other types the shortened repr. Raises ValueError for a value that contains
    itself, or nests deeper than 255 levels.
    """
    try:
        return _form(value, _MAX_LEVELS)
    except RecursionError:
        raise _too_deep() from None


AsJson: Final = PlainSerializer(lambda value, info: to_jsonable(value) if info.mode == "json" else value)
"""For fields that hold any values. A lambda has no annotated return type, which would replace the schema."""


def _too_deep() -> ValueError:
    return ValueError(f"value: nested deeper than {_MAX_LEVELS} levels, or contains itself")


def _form(value: Any, levels: int) -> Any:
    while (kind := type(value)) not in _WRITERS:
        value, levels = _simpler(value), levels - 1
        if levels < 0:
            raise _too_deep()
    if kind not in _CONTAINERS:
        return _WRITERS[kind](value, levels)
    if levels == 0:
        raise _too_deep()
    return _WRITERS[kind](value, levels - 1)


def _list(values: Iterable[Any], levels: int) -> list[Any]:
    forms = []  # no comprehension, which is a frame of its own before Python 3.12
    for value in values:
        forms.append(_form(value, levels))  # noqa: PERF401
    return forms


def _set(values: Iterable[Any], levels: int) -> list[Any]:
    """In an order that does not depend on the hashes of this process."""
    forms = _list(values, levels)
    try:
        return sorted(forms)
    except TypeError:
        return sorted(forms, key=dumps)


def _dict(values: Mapping[Any, Any], levels: int) -> dict[str, Any] | list[list[Any]]:
    keys, forms = _list(values, levels), _list(values.values(), levels)
    names = [key if type(key) is str else dumps(key, ensure_ascii=False) for key in keys]
    named = dict(zip(names, forms, strict=True))
    if len(named) == len(forms):
        return named
    return [[key, form] for key, form in zip(keys, forms, strict=True)]


def _int(value: int, _: int) -> int | str:
    return value if value.bit_length() <= _MAX_INT_BITS else f"{value:#x}"


def _float(value: float, _: int) -> float | str:
    return value if value - value == 0 else str(value)


def _str(value: str, _: int) -> str:
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()


_WRITERS: Final[dict[type, Callable[[Any, int], Any]]] = {
    type(None): lambda value, _: value,
    bool: lambda value, _: value,
    int: _int,
    float: _float,
    str: _str,
    list: _list,
    tuple: _list,
    set: _set,
    frozenset: _set,
    dict: _dict,
}
_CONTAINERS: Final = frozenset({list, tuple, set, frozenset, dict})


_ADDRESSES: Final = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_URLS: Final = (AnyUrl.__mro__[-2], PostgresDsn.__mro__[-2], Url, MultiHostUrl)
"""The bases of pydantic's URLs and DSNs, which have no public name, and what they are made of."""


def _duration(value: timedelta) -> str:
    """ISO 8601, without years and months: ``P400DT2H0.5S``, and a sign before what is negative."""
    if value < timedelta(0):
        return f"-{_duration(-value)}"
    minutes, seconds = divmod(value.seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    parts = [(hours, f"{hours}H"), (minutes, f"{minutes}M"), (seconds or fraction, f"{seconds}{fraction}S")]
    clock = "".join(text for amount, text in parts if amount)
    days = f"{value.days}D" if value.days or not clock else ""
    return f"P{days}T{clock}" if clock else f"P{days}"


FORMS: Final[dict[type, Callable[[Any], Any]]] = {
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
    list: list,
    tuple: list,
    set: set,
    frozenset: set,
    dict: dict,
    bytes: lambda value: b64encode(value).decode(),
    bytearray: lambda value: b64encode(value).decode(),
    Decimal: str,
    UUID: str,
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    timedelta: _duration,
    timezone: lambda value: value.tzname(None),
    ZoneInfo: lambda value: repr(value) if value.key is None else value.key,
    Enum: lambda value: value._value_,
    deque: list,
    **dict.fromkeys((PurePath, *_ADDRESSES, *_URLS), str),
    BaseException: lambda value: f"{full_name(type(value))}: {cut(message_of(value), MAX_REPR_CHARS)}",
    Unresolved: lambda value: {"unresolved": value.type_name, "data": value.data},
    Excerpt: lambda value: {"excerpt": value.data, "size": value.size},
}
"""A simpler value in place of one of these types, or of a subclass: the place to add another type.

What a function returns need not be JSON yet, and what it holds need not be either. If it raises, the repr is
shown.
"""


def _simpler(value: Any) -> Any:
    try:
        return _form_of(type(value))(value)
    except Exception:  # of a method that the value's own class has, or of its metaclass
        return described(value)


def _form_of(kind: type) -> Callable[[Any], Any]:
    if kind in FORMS:
        return FORMS[kind]
    if "__pydantic_serializer__" in vars(kind):
        return _dumped
    for base in _MRO(kind):
        if base in FORMS:
            return FORMS[base]
    return _fields if dataclasses.is_dataclass(kind) else described


def described(value: object) -> str:
    """The repr, shortened; the name of the type if there is none."""
    try:
        return cut(str.__str__(repr(value)), MAX_REPR_CHARS)
    except Exception:  # the value's own: whatever it is, it must not hide the rest
        return f"<{_NAME(type(value))}>"


def _fields(value: Any) -> dict[str, Any]:
    """Of a dataclass or model. A field in slots, or of a model that nothing checked, may have no value."""
    kind = type(value)
    known = getattr(kind, "__pydantic_fields__", None)
    names = [field.name for field in dataclasses.fields(kind)] if known is None else known
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _dumped(model: Any) -> Any:
    """A model, or a pydantic dataclass, as it serializes itself, but for its fields of type Any."""
    kind: Any = type(model)
    loose = _loose_fields(kind)
    if loose and _is_root(kind):
        return model.root
    try:
        dumped = _to_python(model, exclude=loose)
    except Exception as error:  # of a serializer, or of pydantic for a value that it has no JSON for
        if _has_serializer(kind, None):
            return described(error)
        return model.root if _is_root(kind) else _by_field(model)
    if not loose or type(dumped) is not dict:
        return dumped
    held = _fields(model)
    forms = dumped | {name: held[name] for name in loose if name in held}
    return {name: forms[name] for name in [*held, *forms] if name in forms}


def _by_field(model: Any) -> dict[str, Any]:
    """The fields as they serialize themselves, each that cannot in the form of its value."""
    kind: Any = type(model)
    forms: dict[str, Any] = {}
    held = _fields(model)
    loose, computed = _loose_fields(kind), kind.__pydantic_decorators__.computed_fields
    for name in [*held, *(getattr(model, "__pydantic_extra__", None) or ()), *computed]:
        forms |= {name: held[name]} if name in loose else _one_field(model, name)
    return forms


def _one_field(model: Any, name: str) -> dict[str, Any]:
    """Under its alias, if it has one; none if it is to be left out."""
    try:
        only: dict[str, Any] = _to_python(model, include={name})
    except Exception as error:
        kind = type(model)
        if name in kind.__pydantic_decorators__.computed_fields or _has_serializer(kind, name):
            return {name: described(error)}  # what a serializer was to change is not shown as it is
        return {name: getattr(model, name)}
    return only


def _to_python(model: Any, **which: Any) -> Any:
    options = {"mode": "json", "by_alias": _BY_ALIAS, "warnings": False, "fallback": to_jsonable}
    return type(model).__pydantic_serializer__.to_python(model, **options, **which)


@lru_cache(maxsize=1_000)
def _loose_fields(kind: Any) -> frozenset[str]:
    """The fields of type Any that nothing says anything about.

    Pydantic would write nan there as null, and one entry of two whose keys are alike.
    """
    if _has_serializer(kind, None):
        return frozenset()
    return frozenset(
        name
        for name, field in kind.__pydantic_fields__.items()
        if field.annotation is Any
        and not (field.exclude or field.serialization_alias or getattr(field, "exclude_if", None))
        and not _has_serializer(kind, name)
    )


def _is_root(kind: Any) -> bool:
    return getattr(kind, "__pydantic_root_model__", False)


def _has_serializer(kind: Any, name: str | None) -> bool:
    """Whether the class has a serializer for the field; None: one of its own."""
    decorators = kind.__pydantic_decorators__
    if name is None:
        return bool(decorators.model_serializers)
    named = [field for each in decorators.field_serializers.values() for field in each.info.fields]
    metadata = kind.__pydantic_fields__[name].metadata if name in kind.__pydantic_fields__ else ()
    is_annotated = any(isinstance(each, PlainSerializer | WrapSerializer) for each in metadata)
    return is_annotated or name in named or "*" in named
