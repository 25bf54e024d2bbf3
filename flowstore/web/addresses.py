"""Addresses on the page: relative, so that they are right under any prefix and behind any proxy.

What is in a store may have any characters, and proxies decode, merge and resolve what looks like a path. So
an id that could suffer is written in base64, behind a ``~``.
"""

from __future__ import annotations

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from flowstore.text import MAX_ID_BYTES

_LONGEST: Final = 700
"""Characters of an id of 512 bytes, in base64 and with some to spare."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:@=+,-]{0,127}")


def segment(text: str) -> str:
    """``text`` as one part of a path."""
    if _PLAIN.fullmatch(text):
        return text
    return "~" + urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def text_of(part: str) -> str | None:
    """The text of a part of a path; None: it is none that ``segment`` makes of an id."""
    if len(part) > _LONGEST:
        return None
    if not part.startswith("~"):
        return part if _PLAIN.fullmatch(part) else None
    try:
        text = urlsafe_b64decode(part[1:] + "=" * (-len(part[1:]) % 4)).decode()
    except (binascii.Error, ValueError):
        return None
    return text if 0 < len(text.encode()) <= MAX_ID_BYTES and segment(text) == part else None


def depth_of(path: str) -> int:
    """How many steps up it is from a path within the application, such as ``/tasks/t1``, to its root."""
    return path.count("/") - 1 if path.startswith("/") else 0


def relative(depth: int, target: str, query: Mapping[str, object] | None = None) -> str:
    """The address of ``target``, which is relative to the root, from a page so deep; None is left out."""
    said = {name: str(value) for name, value in (query or {}).items() if value not in (None, "")}
    path = "../" * depth + target or "./"
    return f"{path}?{urlencode(said)}" if said else path
