"""Hierarchical ids: ``"runs/7/metrics"``, or the same as ``["runs", "7", "metrics"]``.

A part is any text; nothing in it has a meaning, so ``..``, ``%`` or ``*`` are parts like others. In the form
of one str "/" separates parts. A "/" within a part is written ``\\/`` there, and this is the only place where
a backslash means anything: of n backslashes directly before a "/", n // 2 belong to the part, and with an odd
number the "/" does, too. So each list of parts has exactly one spelling, and each str is at most one list.

All ids below ``a`` begin with ``a/`` in this spelling, and no others do. So they are one range of the ids in
the order of code points, which is the order that ids are listed in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from flowstore.text import MAX_ID_BYTES, check_text

Id = str | Sequence[str]

_SEPARATOR: Final = "/"
_BEFORE_SLASH: Final = re.compile(r"(\\*)/")
_AT_END: Final = re.compile(r"\\+\Z")


def id_of(id: Id, argument: str = "id") -> str:
    """The spelling of an id, given in either form. Raises TypeError or ValueError naming the argument."""
    if isinstance(id, str):
        parts = parts_of(id)
        spelled = id
    else:
        if not isinstance(id, Sequence) or isinstance(id, bytes | bytearray | memoryview):
            raise TypeError(f"{argument}: expected str or a sequence of str, got {type(id).__name__}")
        parts = list(id)
        for part in parts:
            if not isinstance(part, str):
                raise TypeError(f"{argument}: expected parts of str, got {type(part).__name__}: {part!r:.80}")
        spelled = spelling(parts)
    if not parts or not all(parts):
        what = "an id without parts" if not parts else f"an empty part in {id!r:.200}"
        raise ValueError(f"{argument}: expected one or more parts that are not empty, got {what}")
    return check_text(argument, spelled, MAX_ID_BYTES)


def spelling(parts: Sequence[str]) -> str:
    return "".join([*map(_within, parts[:-1]), *map(_escaped, parts[-1:])])


def below(id: str) -> str:
    """What all ids below this one begin with, and no others."""
    return _AT_END.sub(r"\g<0>\g<0>", id) + _SEPARATOR


def parts_of(id: str) -> list[str]:
    """The parts of a spelled id."""
    if "\\/" not in id:
        return id.split(_SEPARATOR) if id else []
    parts, part, at = [], "", 0
    for found in _BEFORE_SLASH.finditer(id):
        slashes = len(found[1])
        part += id[at : found.start()] + "\\" * (slashes // 2)
        at = found.end()
        if slashes % 2:
            part += _SEPARATOR
        else:
            parts.append(part)
            part = ""
    return [*parts, part + id[at:]]


def _within(part: str) -> str:
    """A part that others follow."""
    return below(_escaped(part))


def _escaped(part: str) -> str:
    return _BEFORE_SLASH.sub(r"\1\1\\/", part) if _SEPARATOR in part else part
