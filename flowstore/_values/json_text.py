"""JSON before it is read: how deep it nests, and without the fields that a newer program has added."""

from __future__ import annotations

from collections.abc import Set
from itertools import accumulate
from json import JSONDecoder, dumps, loads
from typing import Final, NoReturn

from flowstore._values.refusals import DecodeError

_BRACKETS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS: Final = bytes(set(range(256)) - _BRACKETS.keys())
_DECODER: Final = JSONDecoder()


def nesting(data: bytes) -> int:
    """How deep brackets outside of strings nest. In bad JSON, at least as deep as a parser would get."""
    bare = data.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')[::2]
    steps = b"".join(bare).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_BRACKETS.__getitem__, steps)), default=0)


def without_unknown(data: bytes, known: Set[str] | None) -> bytes | None:
    """The JSON object but for the fields that are not ``known``; None if there are none, or it is none."""
    try:
        fields = loads(data)
        if known is None or type(fields) is not dict or fields.keys() <= known:
            return None
        return dumps({name: fields[name] for name in known & fields.keys()}).encode()
    except (ValueError, RecursionError):
        return None


def without_first(data: bytes, name: str, known: Set[str]) -> bytes:
    """The JSON object with its ``known`` fields: as it was, but for ``name`` if that is the first."""
    start = f'{{"{name}":'.encode()
    try:
        fields = loads(data)
        if data.startswith(start) and fields.keys() - {name} <= known:
            text = data[len(start) :].decode()
            _, end = _DECODER.raw_decode(text)
            return b"{" + text[end:].removeprefix(",").encode()
    except (ValueError, RecursionError, AttributeError):
        return data
    return without_unknown(data, known) or data


def refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not JSON")
