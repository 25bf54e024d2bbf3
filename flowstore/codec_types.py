"""What the codec knows of single types: the tag of each, and how it becomes JSON and comes back."""

from __future__ import annotations

import base64
import dataclasses
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

from pydantic import BaseModel

REGISTERED_TAGS: Final = frozenset({"$enum", "$flag", "$dataclass", "$model"})
_HEX: Final = re.compile(r"-?0x[0-9a-f]+")
_DECIMAL: Final = re.compile(
    r"-?(\d+(E[+-]?\d{1,18})?|\d*\.\d+(E[+-]?\d{1,18})?|s?NaN\d*|Infinity)", re.ASCII
)


class DecodeError(ValueError):
    """The bytes are not what the codec writes; the message is short and says what is wrong."""


class Refused(Exception):
    """A value of a known type that cannot be kept, and why."""


class Tagged(NamedTuple):
    tag: str
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def is_valid(text: str) -> bool:
    """Whether the text has a UTF-8 form, that is, no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def tag_surrogates(text: str) -> dict[str, str]:
    return {"$str": base64.b64encode(text.encode("utf-8", "surrogatepass")).decode()}


def named(types: Iterable[type] | Mapping[str, type]) -> dict[str, type]:
    """Types by the name they are stored under. Raises TypeError or ValueError naming the culprit."""
    if isinstance(types, Mapping):
        pairs = list(types.items())
    else:
        pairs = [(f"{cls.__module__}:{cls.__qualname__}", cls) for cls in map(_check_type, types)]
    by_name: dict[str, type] = {}
    for name, cls in pairs:
        _check_type(cls)
        if not isinstance(name, str) or not name:
            raise TypeError(
                f"types: expected a non-empty str as the name of {cls.__qualname__}, got {name!r}"
            )
        if by_name.setdefault(name, cls) is not cls:
            raise ValueError(f"types: two types are named {name!r}; pass a mapping of distinct names")
    if len(set(by_name.values())) != len(by_name):
        raise ValueError("types: one type is registered under two names")
    return by_name


def _check_type(cls: object) -> type:
    if isinstance(cls, type) and (issubclass(cls, enum.Enum | BaseModel) or dataclasses.is_dataclass(cls)):
        return cls
    raise TypeError(f"types: expected dataclasses, enums and pydantic models, got {cls!r}")


def advice(kind: type) -> str:
    """Why a value of ``kind`` is refused, and what to do instead."""
    name = kind.__name__
    if issubclass(kind, enum.Enum | BaseModel) or dataclasses.is_dataclass(kind):
        return f"{name} is not registered; pass types=[{name}] to the backend"
    for base in (str, int, float, bytes, dict, list, tuple, set, frozenset):
        if issubclass(kind, base):
            return f"{name} would come back as {base.__name__}; convert it to {base.__name__} first"
    return f"{name} cannot be stored; convert it to a plain value first"


def take_apart(value: Any) -> tuple[str, Any]:
    """The tag and the parts of a registered value: a name, an int, or parts by name."""
    if isinstance(value, enum.Enum):
        by_name = type(value).__members__.get(value.name or "")
        return ("$enum", value.name) if by_name is value else ("$flag", value.value)
    if isinstance(value, BaseModel):
        return "$model", _model_parts(value)
    names = [field.name for field in dataclasses.fields(value)]
    extra = set(getattr(value, "__dict__", ())) - set(names)
    missing = [name for name in names if not hasattr(value, name)]
    if extra or missing:
        raise Refused(
            f"{type(value).__name__} has other attributes than its fields: {sorted(extra) + missing}"
        )
    return "$dataclass", {name: getattr(value, name) for name in names}


def _model_parts(value: BaseModel) -> dict[str, Any]:
    parts: dict[str, Any] = {"fields": dict(value.__dict__), "set": sorted(value.model_fields_set)}
    if value.__pydantic_extra__ is not None:
        parts["extra"] = dict(value.__pydantic_extra__)
    if value.__pydantic_private__ is not None:
        parts["private"] = dict(value.__pydantic_private__)
    return parts


def put_together(cls: type, tag: str, parts: Any) -> Any:
    """The registered value again, without running its ``__init__`` or validators."""
    if tag == "$enum" and issubclass(cls, enum.Enum):
        return cls.__members__[_text(parts)]
    if tag == "$flag" and issubclass(cls, enum.Flag) and type(parts) is int:
        return cls(parts)
    if type(parts) is dict and tag == "$model" and issubclass(cls, BaseModel):
        return _model(cls, **parts)
    if type(parts) is dict and tag == "$dataclass" and dataclasses.is_dataclass(cls):
        return _dataclass(cls, parts)
    raise DecodeError(f"malformed value of type {cls.__name__}")


def _dataclass(cls: type, parts: dict[str, Any]) -> Any:
    names = {field.name for field in dataclasses.fields(cls)}
    if names != parts.keys():
        raise DecodeError(f"{cls.__name__} has other fields now: {sorted(names ^ parts.keys())}")
    value: Any = object.__new__(cls)
    for name, part in parts.items():
        object.__setattr__(value, name, part)
    return value


def _model(
    cls: type[BaseModel],
    fields: dict[str, Any],
    set: list[str],
    extra: dict[str, Any] | None = None,
    private: dict[str, Any] | None = None,
) -> BaseModel:
    if type(fields) is not dict or fields.keys() != cls.model_fields.keys():
        raise DecodeError(
            f"{cls.__name__} has other fields now: {sorted(cls.model_fields.keys() ^ fields.keys())}"
        )
    value = cls.__new__(cls)
    object.__setattr__(value, "__dict__", fields)
    object.__setattr__(value, "__pydantic_fields_set__", {_text(name) for name in set})
    object.__setattr__(value, "__pydantic_extra__", extra)
    object.__setattr__(value, "__pydantic_private__", private)
    return value


def _text(value: Any) -> str:
    if type(value) is not str:
        raise DecodeError(f"expected text, found {type(value).__name__}")
    return value


def _bytes(value: Any) -> bytes:
    return base64.b64decode(_text(value), validate=True)


def _integer(value: Any) -> int:
    if not _HEX.fullmatch(_text(value)):
        raise DecodeError("malformed $int")
    return int(value, 16)


def _float(value: Any) -> float:
    if value not in ("nan", "inf", "-inf"):
        raise DecodeError("malformed $float")
    return float(value)


def _decimal(value: Any) -> Decimal:
    if not _DECIMAL.fullmatch(_text(value)):
        raise DecodeError("malformed $decimal")
    return Decimal(value)


def _zone(value: tzinfo | None) -> Any:
    if value is None:
        return None
    if type(value) is ZoneInfo and value.key is not None:
        return value.key
    if type(value) is timezone:
        offset, *name = value.__getinitargs__()  # type: ignore[attr-defined]  # undocumented in typeshed
        return [_duration(offset), *name]
    raise Refused(
        f"tzinfo {type(value).__name__} cannot be stored; use zoneinfo.ZoneInfo or datetime.timezone"
    )


def _read_zone(value: Any) -> tzinfo | None:
    if value is None:
        return None
    if type(value) is str:
        return ZoneInfo(value)
    offset, *name = value
    zone = timezone(_read_duration(offset), *map(_text, name))
    return UTC if zone == UTC and not name else zone


def _moment(value: datetime | time) -> list[Any]:
    return [value.replace(tzinfo=None, fold=0).isoformat(), _zone(value.tzinfo), value.fold]


def _read_moment(cls: type[datetime] | type[time]) -> Callable[[Any], datetime | time]:
    def read(value: Any) -> datetime | time:
        text, zone, fold = value
        return cls.fromisoformat(_text(text)).replace(tzinfo=_read_zone(zone), fold=fold)

    return read


def _duration(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_duration(value: Any) -> timedelta:
    days, seconds, microseconds = value
    return timedelta(days, seconds, microseconds)


PLAIN: Final[dict[type, Tagged]] = {
    bytes: Tagged("$bytes", lambda value: base64.b64encode(value).decode(), _bytes),
    datetime: Tagged("$datetime", _moment, _read_moment(datetime)),
    date: Tagged("$date", date.isoformat, lambda value: date.fromisoformat(_text(value))),
    time: Tagged("$time", _moment, _read_moment(time)),
    timedelta: Tagged("$timedelta", _duration, _read_duration),
    UUID: Tagged("$uuid", str, lambda value: UUID(_text(value))),
    Decimal: Tagged("$decimal", str, _decimal),
}
BY_TAG: Final[dict[str, Tagged]] = {tagged.tag: tagged for tagged in PLAIN.values()} | {
    "$int": Tagged("$int", hex, _integer),
    "$float": Tagged("$float", repr, _float),
    "$str": Tagged("$str", str, lambda value: _bytes(value).decode("utf-8", "surrogatepass")),
}
