"""Text that any storage can keep: identifiers, and messages of a bounded length."""

from __future__ import annotations

import re
from typing import Final

MAX_ID_BYTES: Final = 512
MAX_NOTE_BYTES: Final = 4_096

_MARK_CHARS: Final = 60
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def check_text(name: str, value: str, max_bytes: int = MAX_ID_BYTES) -> str:
    """Return ``value`` if it can be an identifier: 1 to ``max_bytes`` bytes of valid UTF-8.

    Raises TypeError or ValueError naming the argument.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected str, got {type(value).__name__}")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        shown = value if len(value) <= 80 else value[:80] + "..."
        raise ValueError(f"{name}: {shown!r} has a lone surrogate; expected valid Unicode") from None
    if not 1 <= size <= max_bytes:
        shown = value if size <= 80 else value[:80] + "..."
        raise ValueError(f"{name}: expected 1 to {max_bytes} UTF-8 bytes, got {size}: {shown!r}")
    return value


def cut(text: str, limit: int) -> str:
    """Valid Unicode of at most ``limit`` characters: of a longer text its head and its tail."""
    if len(text) > limit:
        half = (limit - _MARK_CHARS) // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    try:
        text.encode()
    except UnicodeEncodeError:
        text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return text
