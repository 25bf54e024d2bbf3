"""JSON before it is read: how deep it nests, and without the fields that a newer program has added."""

from __future__ import annotations

from collections.abc import Set
from itertools import accumulate
from json import dumps, loads
from typing import Final, NoReturn

from flowstore._values.refusals import DecodeError

_BRACKETS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NOT_BRACKETS: Final = bytes(set(range(256)) - _BRACKETS.keys())


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


def refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"{name} is not JSON")
