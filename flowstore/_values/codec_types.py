"""What the codec knows about single types: how a value becomes text, and text a value.

A leaf holds no other values. A registered type is taken apart into values that a codec can write, and is put
together again without running its ``__init__`` or its validators: reading must not execute what was stored.
"""

from __future__ import annotations

import dataclasses
import reprlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta, timezone
from decimal import Context, Decimal, InvalidOperation
from enum import Enum, Flag
from functools import cached_property, partial
from json.encoder import encode_basestring
from typing import Any, Final, TypeVar
from urllib.parse import quote, unquote
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

T = TypeVar("T")

_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


class DecodeError(ValueError):
    """Bytes that this codec did not write, or that hold a type that it does not know."""


class UnknownType(DecodeError):
    """Bytes written by a codec that knows a type which this one does not."""


quoted: Final[Callable[[str], str]] = encode_basestring


class Refused(Exception):
    """A value that cannot be stored. The containers around it add their ``steps`` as the stack unwinds."""

    def __init__(self, reason: str, *steps: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps = list(steps)

    def path(self, root: str) -> str:
        path = root + "".join(reversed(self.steps))
        return path if len(path) <= 300 else f"{path[:150]} ... {path[-150:]}"


def short(value: object) -> str:
    try:
        text = _REPR.repr(value)
    except Exception:  # a broken repr must not hide the error it was to be shown in
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def as_type(kind: type[T], payload: object) -> T:
    if type(payload) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(payload).__name__}")
    return payload


# --- Leaves: values that hold no other values


def has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _str(value: str) -> str:
    if value.isascii() or not has_surrogates(value):
        return quoted(value)
    return f'{{"$str":"{quote(value, errors="surrogatepass")}"}}'


def _int(value: int) -> str:
    if -0x8000_0000_0000_0000 <= value <= 0x7FFF_FFFF_FFFF_FFFF:
        return int.__repr__(value)
    return f'{{"$int":"{value:#x}"}}'  # Python limits the length of decimals, but not of hexadecimals


_NON_FINITE: Final = ("nan", "inf", "-inf")


def _float(value: float) -> str:
    text = float.__repr__(value)
    return f'{{"$float":"{text}"}}' if text in _NON_FINITE else text


def _read_float(payload: object) -> float:
    if payload not in _NON_FINITE:
        raise ValueError("expected nan, inf or -inf")
    return float(as_type(str, payload))


def _timedelta(value: timedelta) -> str:
    return f'{{"$timedelta":[{value.days},{value.seconds},{value.microseconds}]}}'


def _read_timedelta(payload: object) -> timedelta:
    days, seconds, microseconds = [as_type(int, part) for part in as_type(list, payload)]
    return timedelta(days, seconds, microseconds)


def _is_unnamed(zone: timezone) -> bool:
    return zone.tzname(None) == timezone(zone.utcoffset(None)).tzname(None)


def _timezone(zone: timezone) -> str:
    offset = _timedelta(zone.utcoffset(None))
    return f'{{"$timezone":[{offset if _is_unnamed(zone) else f"{offset},{_str(zone.tzname(None))}"}]}}'


def _zoneinfo(zone: ZoneInfo) -> str:
    try:
        zone.__reduce__()  # fails for one made by from_file(), whatever its key
    except Exception:
        raise Refused("made by ZoneInfo.from_file(), so no key finds it again; use ZoneInfo(key)") from None
    return f'{{"$zoneinfo":{_str(zone.key)}}}'


def _moment(tag: str, value: datetime | time) -> str:
    zone = value.tzinfo
    if not value.fold and (zone is None or (type(zone) is timezone and _is_unnamed(zone))):
        return f'{{"{tag}":"{value.isoformat()}"}}'
    if zone is not None and type(zone) not in (timezone, ZoneInfo):
        name = type(zone).__name__
        raise Refused(f"{name} cannot be stored; use datetime.timezone or zoneinfo.ZoneInfo", ".tzinfo")
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return f'{{"{tag}":["{naive}",{LEAVES[type(zone)](zone)},{value.fold}]}}'


def _read_moment(kind: type[datetime] | type[time], payload: object) -> datetime | time:
    if type(payload) is str:
        return kind.fromisoformat(payload)
    iso, zone, fold = as_type(list, payload)
    return kind.fromisoformat(as_type(str, iso)).replace(tzinfo=zone, fold=fold)


def _read_set(kind: type[set[object]] | type[frozenset[object]], payload: object) -> Collection[object]:
    items = as_type(list, payload)
    members = kind(items)
    if len(members) != len(items):
        raise ValueError("equal members")
    return members


def _read_dict(payload: object) -> dict[object, object]:
    return unique([(key, value) for key, value in (as_type(list, pair) for pair in as_type(list, payload))])


def unique(pairs: list[tuple[T, object]]) -> dict[T, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DecodeError(f"equal keys in one dict: {short([key for key, _ in pairs])}")
    return result


_CONSTANTS: Final = {None: "null", True: "true", False: "false"}
_TRAPPING: Final = Context(traps=[InvalidOperation])
"""The context of the caller might turn bad text into NaN."""

LEAVES: Final[dict[type, Callable[[Any], str]]] = {
    type(None): _CONSTANTS.__getitem__,
    bool: _CONSTANTS.__getitem__,
    int: _int,
    float: _float,
    str: _str,
    bytes: lambda value: f'{{"$bytes":"{b64encode(value).decode()}"}}',
    Decimal: lambda value: f'{{"$decimal":"{value}"}}',
    UUID: lambda value: f'{{"$uuid":"{value}"}}',
    datetime: partial(_moment, "$datetime"),
    date: lambda value: f'{{"$date":"{value.isoformat()}"}}',
    time: partial(_moment, "$time"),
    timedelta: _timedelta,
    timezone: _timezone,
    ZoneInfo: _zoneinfo,
}

READERS: Final[dict[str, Callable[[object], object]]] = {
    "$int": lambda payload: int(as_type(str, payload), 16),
    "$float": _read_float,
    "$str": lambda payload: unquote(as_type(str, payload), errors="surrogatepass"),
    "$bytes": lambda payload: b64decode(as_type(str, payload), validate=True),
    "$decimal": lambda payload: Decimal(as_type(str, payload), _TRAPPING),
    "$uuid": lambda payload: UUID(as_type(str, payload)),
    "$tuple": lambda payload: tuple(as_type(list, payload)),
    "$set": partial(_read_set, set),
    "$frozenset": partial(_read_set, frozenset),
    "$dict": _read_dict,
    "$datetime": partial(_read_moment, datetime),
    "$date": lambda payload: date.fromisoformat(as_type(str, payload)),
    "$time": partial(_read_moment, time),
    "$timedelta": _read_timedelta,
    "$timezone": lambda payload: timezone(*as_type(list, payload)),
    "$zoneinfo": lambda payload: ZoneInfo(as_type(str, payload)),
}


# --- Registered types: the parts of an instance, and an instance rebuilt from its parts


class EnumType:
    tag = "$enum"

    def __init__(self, cls: type[Enum]) -> None:
        self._cls = cls

    def parts(self, member: Enum) -> list[object]:
        if self._cls.__members__.get(member._name_) is member:
            return [member._name_]
        if isinstance(member, Flag):
            return [member._value_]
        raise Refused(f"not a declared member of {self._cls.__name__}, so no name finds it again")

    def build(self, label: object) -> object:
        if type(label) is int and issubclass(self._cls, Flag):
            return self._cls(label)
        return self._cls[as_type(str, label)]


class DataclassType:
    tag = "$dataclass"

    def __init__(self, cls: type) -> None:
        self._cls = cls
        self._names = {field.name: None for field in dataclasses.fields(cls)}
        object.__new__(cls)  # fails now, and not at the first read, if cls is abstract or extends a builtin

    def parts(self, value: object) -> list[object]:
        return [_fields(value, _state(value), self._names)]

    def build(self, fields: object) -> object:
        held = _same_fields(self._cls, fields, self._names)
        value: object = object.__new__(self._cls)
        for name in self._names:
            object.__setattr__(value, name, held[name])
        return value


class ModelType:
    tag = "$model"
    _SLOTS = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")

    def __init__(self, cls: type[BaseModel]) -> None:
        self._cls = cls

    def parts(self, value: BaseModel) -> list[object]:
        state = _state(value)
        fields_set, extra, private = [state.pop(name, None) for name in self._SLOTS]
        return [_fields(value, state, self._cls.model_fields), sorted(fields_set or ()), extra, private]

    def build(self, fields: object, fields_set: object, extra: object, private: object) -> object:
        """Set what ``model_construct`` sets, without calling anything of the model."""
        held = _same_fields(self._cls, fields, self._cls.model_fields)
        for part in (extra, private):
            if part is not None:
                as_type(dict, part)
        if extra is not None and self._cls.model_config.get("extra") != "allow":
            raise DecodeError(f"{self._cls.__name__} does not allow extra fields any more: {short(extra)}")
        model = object.__new__(self._cls)
        object.__setattr__(model, "__dict__", held)
        names = {as_type(str, name) for name in as_type(list, fields_set)}
        for name, part in zip(self._SLOTS, (names, extra, private), strict=True):
            if part is not None or not self._cls.__pydantic_root_model__:  # where the class provides the None
                object.__setattr__(model, name, part)
        return model


RegisteredType = EnumType | DataclassType | ModelType
REGISTERED_TAGS: Final = (EnumType.tag, DataclassType.tag, ModelType.tag)

_UNSET: Final = object()


def _state(value: object) -> dict[str, Any]:
    """All state of ``value``, from its ``__dict__`` and its slots."""
    state = object.__getstate__(value)
    instance, slots = state if isinstance(state, tuple) else (state, None)
    return {**(instance or {}), **(slots or {})}


def _fields(value: object, state: dict[str, Any], names: Mapping[str, object]) -> dict[str, object]:
    cls = type(value)
    for name in state.keys() - names.keys():
        if not isinstance(getattr(cls, name, None), cached_property):  # computed again when needed
            raise Refused(f"not a field of {cls.__name__}, so it would be lost; make it one", f".{name}")
    return {name: state[name] if name in state else getattr(value, name, _UNSET) for name in names}


def _same_fields(cls: type, fields: object, names: Mapping[str, object]) -> dict[str, object]:
    held: dict[str, object] = as_type(dict, fields)
    if held.keys() != names.keys():
        old, new = sorted(held.keys() - names), sorted(names.keys() - held)
        raise DecodeError(
            f"{cls.__name__} has other fields now: only stored {short(old)}, only in the class {short(new)}"
        )
    return held


def registered_type(cls: type) -> RegisteredType:
    if isinstance(cls, type):
        if issubclass(cls, Enum):
            return EnumType(cls)
        if issubclass(cls, BaseModel):
            return ModelType(cls)
        if dataclasses.is_dataclass(cls):
            return DataclassType(cls)
    raise TypeError(f"types: expected dataclasses, enums and pydantic models, got {short(cls)}")


def reason(value: object) -> str:
    """Why ``value`` cannot be stored, and what to do about it."""
    if value is _UNSET:
        return "the field has no value on this instance"
    kind = type(value)
    name = kind.__name__
    if issubclass(kind, Enum | BaseModel) or dataclasses.is_dataclass(kind):
        return f"{name} is not a registered type; pass types=[{name}] to the backend"
    for base in kind.__mro__:
        if base in LEAVES or base in (list, tuple, dict, set, frozenset):
            return (
                f"{name} would come back as a plain {base.__name__}; convert it to {base.__name__} yourself"
            )
    return f"{name} cannot be stored; convert it to a plain value first"
