"""Values that hold no others, and their text: scalars, times, zones, paths, addresses and URLs."""

from __future__ import annotations

import ipaddress
import pathlib
from base64 import b64decode, b64encode
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Context, Decimal, InvalidOperation
from functools import partial
from json.encoder import encode_basestring
from typing import Any, Final, TypeVar, cast
from urllib.parse import quote, unquote
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pydantic_core
from pydantic import networks

from flowstore._errors.raised import full_name
from flowstore._values.refusals import DecodeError, Refused, Unfit, as_type, short
from flowstore.stand_ins import Unresolved

T = TypeVar("T")

quoted: Final[Callable[[str], str]] = encode_basestring


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


def known_zone(zone: tzinfo) -> timezone | ZoneInfo:
    """A zone of the standard library that is the same as ``zone``, which may be of any class.

    One with a fixed offset says so by an offset that needs no time, as ``time.utcoffset`` relies on.
    pydantic, dateutil and database drivers have classes of that kind.
    """
    try:
        if isinstance(zone, ZoneInfo):
            return ZoneInfo(zone.key)
        offset = zone.utcoffset(None)
        if offset is not None:
            return timezone(offset)
    except Exception as error:
        raise Refused(f"{full_name(type(zone))} cannot be read: {short(str(error))}", ".tzinfo") from None
    name = full_name(type(zone))
    raise Refused(f"{name} cannot be stored; use datetime.timezone or zoneinfo.ZoneInfo", ".tzinfo")


def _moment(tag: str, value: datetime | time) -> str:
    zone = value.tzinfo
    if not value.fold and (zone is None or (type(zone) is timezone and _is_unnamed(zone))):
        return f'{{"{tag}":"{value.isoformat()}"}}'
    if zone is not None and type(zone) not in (timezone, ZoneInfo):
        same = value.replace(tzinfo=known_zone(zone))
        if same != value:  # of two zones the times around a change of the clock are never equal
            name = full_name(type(zone))
            raise Refused(f"not equal to the same time without {name}; use zoneinfo.ZoneInfo", ".tzinfo")
        return _moment(tag, same)
    naive = value.replace(tzinfo=None, fold=0).isoformat()
    return f'{{"{tag}":["{naive}",{LEAVES[type(zone)](zone)},{value.fold}]}}'


def _read_moment(kind: type[datetime] | type[time], payload: object) -> datetime | time:
    if type(payload) is str:
        return kind.fromisoformat(payload)
    iso, zone, fold = as_type(list, payload)
    if type(zone) is Unresolved:
        raise Unfit(zone.reason)
    return kind.fromisoformat(as_type(str, iso)).replace(tzinfo=zone, fold=fold)


def _read_zone(payload: object) -> ZoneInfo:
    try:
        return ZoneInfo(as_type(str, payload))
    except ZoneInfoNotFoundError:
        raise Unfit(f"the time zone {short(payload)} is not known here; install tzdata") from None


def _read_date(kind: type[date], payload: object) -> date:
    return kind.fromisoformat(as_type(str, payload))


def _read_set(kind: type[set[object]] | type[frozenset[object]], payload: object) -> Collection[object]:
    items = as_type(list, payload)
    members = kind(items)
    if len(members) != len(items):
        raise ValueError("equal members")
    return members


def _read_dict(payload: object) -> dict[object, object]:
    return unique([(key, value) for key, value in (as_type(list, pair) for pair in as_type(list, payload))])


FACTORIES: Final[dict[str, Any]] = {
    cls.__name__: cls for cls in (list, dict, set, int, float, str, bool, tuple, frozenset, bytes)
}
"""What a ``defaultdict`` that can be stored calls, or None."""


def _read_defaultdict(payload: object) -> defaultdict[object, object]:
    name, pairs = as_type(list, payload)
    return defaultdict(None if name is None else FACTORIES[as_type(str, name)], _read_dict(pairs))


def _read_deque(payload: object) -> deque[object]:
    length, items = as_type(list, payload)
    read = deque(as_type(list, items), None if length is None else as_type(int, length))
    if len(read) != len(items):
        raise ValueError("longer than its own maxlen")
    return read


def unique(pairs: list[tuple[T, object]]) -> dict[T, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise DecodeError(f"equal keys in one dict: {short([key for key, _ in pairs])}")
    return result


def _class_named(classes: Mapping[str, type], payload: object) -> tuple[type[Any], str]:
    name, text = as_type(list, payload)
    return classes[as_type(str, name)], as_type(str, text)


def _with_class(tag: str, value: object) -> str:
    return f'{{"{tag}":["{type(value).__name__}",{_str(str(value))}]}}'


_PURE_PATHS: Final = {
    pathlib.PosixPath: pathlib.PurePosixPath,
    pathlib.WindowsPath: pathlib.PureWindowsPath,
}
_PATHS: Final = {cls.__name__: cls for pair in _PURE_PATHS.items() for cls in pair}


def _windows_path(value: pathlib.PureWindowsPath) -> str:
    if type(value)(str(value)) != value:  # before Python 3.12, PureWindowsPath("./c:x") is shown as c:x
        raise Refused(f"{short(value)} is another path once its text is parsed again")
    return _with_class("$path", value)


def _read_path(payload: object) -> pathlib.PurePath:
    cls, text = _class_named(_PATHS, payload)
    try:
        return cast(pathlib.PurePath, cls(text))
    except NotImplementedError:  # of the other kind of system: equal to the path that cannot be used here
        return _PURE_PATHS[cls](text)


_ADDRESSES: Final = {
    cls.__name__: cls
    for cls in (
        ipaddress.IPv4Address,
        ipaddress.IPv4Interface,
        ipaddress.IPv4Network,
        ipaddress.IPv6Address,
        ipaddress.IPv6Interface,
        ipaddress.IPv6Network,
    )
}


def _read_address(payload: object) -> object:
    cls, text = _class_named(_ADDRESSES, payload)
    return cls(text)


_URLS: Final[dict[str, type[Any]]] = {
    name: cls
    for name in (*pydantic_core.__all__, *networks.__all__)
    if name.endswith(("Url", "Dsn")) and isinstance(cls := getattr(networks, name, None), type)
} | {"Url": pydantic_core.Url, "MultiHostUrl": pydantic_core.MultiHostUrl}


def _url(value: object) -> str:
    text = str(value)  # URLs of pydantic 2.10.0 are equal to nothing
    if str(type(value)(text)) != text:  # type: ignore[call-arg]  # one of _URLS
        # not shown: it may have a password
        raise Refused("a URL that is another one once it is parsed again")
    return _with_class("$url", value)


def _read_url(payload: object) -> object:
    name, text = [as_type(str, part) for part in as_type(list, payload)]
    cls = _URLS.get(name)
    if cls is None:
        raise Unfit(f"{short(name)} is a URL of another version of pydantic")
    try:
        return cls(text)
    except ValueError:  # its text is not shown, as it may have a password
        raise Unfit(f"not a {name} to this version of pydantic") from None


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
    **dict.fromkeys(_PATHS.values(), partial(_with_class, "$path")),
    **dict.fromkeys((pathlib.PureWindowsPath, pathlib.WindowsPath), _windows_path),
    **dict.fromkeys(_ADDRESSES.values(), partial(_with_class, "$ip")),
    **dict.fromkeys(_URLS.values(), _url),
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
    "$date": partial(_read_date, date),
    "$time": partial(_read_moment, time),
    "$timedelta": _read_timedelta,
    "$timezone": lambda payload: timezone(*as_type(list, payload)),
    "$zoneinfo": _read_zone,
    "$path": _read_path,
    "$ip": _read_address,
    "$url": _read_url,
    "$odict": lambda payload: OrderedDict(_read_dict(payload)),
    "$defaultdict": _read_defaultdict,
    "$deque": _read_deque,
}
