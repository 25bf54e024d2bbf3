"""The name of a file or folder for a part of an id, and back.

A name must mean the same on every file system, also on one that ignores case, normalises Unicode, or knows
the rules of Windows; so what such a one would refuse or confuse is escaped: an upper-case ASCII letter as
``^`` and the letter, everything else as ``%`` and two hex digits for each byte of its UTF-8.

The rule must not change with the Unicode that a Python knows, or a newer Python would look for another file.
So what is not escaped was assigned in Unicode 3.2, whose tables every Python has, and is not of a kind that
has been given another case since; or it is in one of the blocks that are kept for pictures.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from flowstore.typed.ids import parts_of

SUFFIX: Final = ".json"
MAX_NAME_BYTES: Final = 255
"""The longest name that file systems take, the suffix included."""

_ALWAYS_SHORT: Final = (MAX_NAME_BYTES - len(SUFFIX)) // 12
"""Characters that are not too many, even if each is four bytes that are escaped."""

_SIMPLE: Final = re.compile(r"[a-z0-9_-]{4,}")
_RESERVED: Final = frozenset('<>:"/\\|?*%^\x7f')
_DEVICE: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|\Z)")
_PICTURES: Final = ((0x1F300, 0x1F64F), (0x1F680, 0x1F6FF), (0x1F900, 0x1F9FF))
_PLAIN_KINDS: Final = ("Ll", "Lo", "Nd", "No", "Nl", "Pc", "Pd", "Ps", "Pe", "Po", "Sm", "Sc", "So")
_ESCAPE: Final = re.compile(r"\^([a-z])|((?:%[0-9A-F]{2})+)")


@lru_cache(8_192)
def escape(part: str) -> str:
    """The name for a part of an id; of a file without its suffix."""
    if _SIMPLE.fullmatch(part) and not _DEVICE.match(part):
        return part
    name = "".join(map(_escaped, part))
    if not unicodedata.is_normalized("NFC", name):
        name = "".join(char if char.isascii() else _percent(char) for char in name)
    if name[0] == "." or _DEVICE.match(name):
        name = _percent(name[0]) + name[1:]
    if name[-1] in ". ":
        name = name[:-1] + _percent(name[-1])
    if name.endswith(SUFFIX):  # as a folder it would be taken for the file of another id
        name = name[: -len(SUFFIX)] + _percent(".") + SUFFIX[1:]
    return name


def unescape(name: str) -> str | None:
    """The part that a name is for; None if ``escape`` makes no such name of any part."""
    if _SIMPLE.fullmatch(name) and not _DEVICE.match(name):
        return name
    name = unicodedata.normalize("NFC", name)
    try:
        part = _ESCAPE.sub(_unescaped, name)
        return part if part and escape(part) == name else None
    except UnicodeError:
        return None


def names_of(id: str) -> list[str] | None:
    """The names for the parts of an id; None if one of them is too long."""
    names = [escape(part) for part in parts_of(id)]
    if len(id) <= _ALWAYS_SHORT or max(map(_size, names)) + len(SUFFIX) <= MAX_NAME_BYTES:
        return names
    return None


def checked_names_of(id: str) -> list[str]:
    """The same. Raises ValueError if there is a part that no file can be named after."""
    if (names := names_of(id)) is not None:
        return names
    part, size = max(((part, _size(escape(part))) for part in parts_of(id)), key=lambda pair: pair[1])
    most = MAX_NAME_BYTES - len(SUFFIX)
    raise ValueError(
        f"id: expected parts whose names of files have at most {most} bytes, "
        f"got {size} for {part!r:.200} in {id!r:.200}"
    )


def relative(names: Sequence[str]) -> str:
    """The path of the file below the base."""
    return "/".join(names) + SUFFIX


def _size(name: str) -> int:
    return len(name.encode())


def _escaped(char: str) -> str:
    if char.isascii():
        if "A" <= char <= "Z":
            return "^" + char.lower()
        return _percent(char) if char in _RESERVED or char < " " else char
    return char if _is_plain(char) else _percent(char)


@lru_cache(8_192)
def _is_plain(char: str) -> bool:
    """Whether no file system takes the character for another one."""
    if any(first <= ord(char) <= last for first, last in _PICTURES):
        return True
    if unicodedata.ucd_3_2_0.category(char) not in _PLAIN_KINDS or not char.isprintable():
        return False
    return char.upper().lower() == char and not unicodedata.combining(char)


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode())


def _unescaped(found: re.Match[str]) -> str:
    if found[1]:
        return found[1].upper()
    return bytes.fromhex(found[2].replace("%", "")).decode()
