"""An entry as a file: indented JSON for people, the header first and the data last.

    {"flowstore": 1, "model_type": ..., "namespace": ..., "version": ..., "created_at": ...,
     "updated_at": ..., "expires_at": ..., "size": ..., "checksum": ..., "model": ..., "data": {...}}

``data`` has the fields of the model, as the codec writes them. Around them the codec writes the model's name,
the names of the fields that were set, extra fields and private ones: the last three are ``model``, which is
left out where all fields were set and there is nothing else.

``Stored.data`` is put together again byte for byte: the codec spells JSON either as pydantic does or as
``json``, which differ in floats, and the checksum tells which. Should it spell something else, or not write a
model at all, ``form`` says so: "json" for any value, "text" for a str of it.

The checksum is made of the values, not of the text: to format a file anew is no damage.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple
from zlib import crc32

from pydantic_core import from_json, to_json

from flowstore.times import from_iso, from_micros, to_micros
from flowstore.typed.storage import UNKNOWN, Kind, Stored, Trouble, unusable

FORMAT: Final = 1
HEADER_BYTES: Final = 4_096
"""Of the beginning of a file: mostly the whole header."""

_MARKER: Final = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"flowstore"\s*:\s*(\d+)')
_DATA: Final = b'\n  "data":'
_compact: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Header(NamedTuple):
    """What a file says of its entry; the fields of ``Stored``."""

    kind: Kind
    version: int
    created_at: int
    updated_at: int
    expires_at: int | None
    size: int

    def checksum(self, data: bytes) -> str:
        (namespace, name), *numbers = self
        return f"{crc32(data, crc32(f'{FORMAT} {numbers} {namespace}:{name} '.encode())):08x}"


def written(header: Header, data: bytes) -> bytes:
    """The file. Raises ValueError if ``data`` is not UTF-8."""
    document = {
        "flowstore": FORMAT,
        "model_type": header.kind.name,
        "namespace": header.kind.namespace,
        "version": header.version,
        "created_at": _iso(header.created_at),
        "updated_at": _iso(header.updated_at),
        "expires_at": None if header.expires_at is None else _iso(header.expires_at),
        "size": header.size,
        "checksum": header.checksum(data),
    }
    try:
        return _text({**document, **_apart(header.kind, data)})
    except (ValueError, RecursionError):  # nested deeper than can be indented
        return _text({**document, "form": "text", "data": data.decode()})


def _text(document: dict[str, Any]) -> bytes:
    return to_json(document, indent=2, inf_nan_mode="constants") + b"\n"


def _apart(kind: Kind, data: bytes) -> dict[str, Any]:
    """What of the file stands for the encoded value."""
    value = _parsed(data)
    for parts in (_model_parts(kind, value), {"form": "json", "data": value}):
        if parts is not None and data in _together(kind, parts):
            return parts
    return {"form": "text", "data": data.decode()}


def _model_parts(kind: Kind, value: Any) -> dict[str, Any] | None:
    try:
        _, fields, *model = value["result"]["$model"]
        return {"data": fields} if model == _plain_model(fields) else {"model": model, "data": fields}
    except (TypeError, KeyError, ValueError):
        return None


def _plain_model(fields: dict[str, Any]) -> list[Any]:
    """The names of the fields that were set, extra fields, private ones."""
    return [sorted(fields), None, None]


def _together(kind: Kind, document: dict[str, Any]) -> Iterator[bytes]:
    """The encoded value, in each way that it may be spelled.

    Raises ValueError, TypeError or KeyError where the file is not as it was written.
    """
    data, form = document["data"], document.get("form")
    if form == "text":
        yield str(data).encode()
    elif form == "json":
        yield from _spelled(data)
    else:
        model = document.get("model") or _plain_model(data)
        yield from _spelled({"result": {"$model": [f"{kind.namespace}:{kind.name}", data, *model]}})


def _spelled(value: Any) -> Iterator[bytes]:
    with suppress(ValueError):  # nested too deep for it
        yield to_json(value)
    yield _compact(value).encode()


def _parsed(text: bytes) -> Any:
    """Raises ValueError."""
    try:
        return from_json(text)
    except ValueError:  # perhaps nested too deep for it
        return json.loads(text)


def is_ours(beginning: bytes) -> bool:
    """Whether a file with this beginning was written by flowstore, be it damaged or not."""
    return _MARKER.match(beginning) is not None


def header_of(id: str, beginning: bytes) -> Stored | None:
    """The entry without its data; it is not looked at whether that is whole.

    None if it takes more of the file than this to tell.
    """
    before, found, _ = beginning.partition(_DATA)
    if not found:
        return None
    try:
        document = from_json(before.rstrip().removesuffix(b",") + b"}")
        return Stored(id, *_header(document)) if document["flowstore"] == FORMAT else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None  # laid out otherwise, or damaged


def entry_of(id: str, text: bytes, *, with_data: bool = True) -> Stored:
    """The entry, checked; or what is the trouble with the file."""
    marker = _MARKER.match(text)
    if marker is None:
        return unusable(id, *_unmarked(text))
    kind = UNKNOWN
    try:
        document = _parsed(text)
        if (found := document["flowstore"]) != FORMAT:
            newer = (
                f"an entry of format {found}; this flowstore knows formats up to {FORMAT}: upgrade flowstore"
            )
            return unusable(id, Trouble.FOREIGN, newer)
        kind = Kind(str(document.get("namespace", "")), str(document.get("model_type", "")))
        header = _header(document)
        for data in _together(header.kind, document):
            if document["checksum"] == header.checksum(data) and header.size == len(data):
                return Stored(id, *header, data if with_data else None)
        return unusable(id, Trouble.DAMAGED, "its checksum does not agree", kind)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        return unusable(id, Trouble.DAMAGED, _reason(error), kind)


def _unmarked(text: bytes) -> tuple[Trouble, str]:
    """A file that was not on disk yet when the power failed may be empty, or be of zeros."""
    if not text.strip(b"\0"):
        return Trouble.DAMAGED, "the file is empty"
    return Trouble.FOREIGN, "a file that flowstore did not write"


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    return f"it is not as it was written: {error}"


def _header(document: dict[str, Any]) -> Header:
    expires_at = document["expires_at"]
    header = Header(
        Kind(document["namespace"], document["model_type"]),
        document["version"],
        to_micros(from_iso(document["created_at"])),
        to_micros(from_iso(document["updated_at"])),
        None if expires_at is None else to_micros(from_iso(expires_at)),
        document["size"],
    )
    if type(header.version) is not int or type(header.size) is not int or not all(map(_is_str, header.kind)):
        raise TypeError("a field of another type")
    if header.version < 1 or header.size < 0:
        raise ValueError("a version or a size that no entry has")
    return header


def _is_str(value: object) -> bool:
    return isinstance(value, str)


@lru_cache(64)
def _iso(micros: int) -> str:
    return from_micros(micros).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
