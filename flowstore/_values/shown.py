"""Stored values as the texts that a person may look for: each string, number and key by itself.

A value is taken as it is stored, so its types need not be known. Of a tagged value its content counts and the
tag does not: a date is its ISO text, bytes are base64, a model is its name, its fields and their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final
from urllib.parse import unquote

from pydantic_core import to_json

from flowstore.stand_ins import Excerpt, NotLoaded

_CONSTANTS: Final = {None: "null", True: "true", False: "false"}
_OF_NUMBERS: Final = re.compile(r"[-+0-9.eE]+")
_MOST_HEX_DIGITS: Final = 3_500
"""Python writes ints of up to 4,300 decimal digits."""


def texts_of(values: Iterable[Any]) -> Iterator[str]:
    """The texts of values that were read by a raw codec, and of excerpts, in any order."""
    ahead = [*values]
    while ahead:
        value = ahead.pop()
        kind = type(value)
        if kind is str:
            yield value
        elif kind is dict:
            tag, content = next(iter(value.items()), ("", None)) if len(value) == 1 else ("", None)
            if not tag.startswith("$"):
                yield from value
                ahead += value.values()
            elif tag in _PLAIN and type(content) is str:
                yield _PLAIN[tag](content)
            else:
                ahead.append(content)
        elif kind is list or kind is tuple:
            ahead += value
        elif kind is Excerpt:
            ahead.append(value.data)
        elif kind is not NotLoaded:
            yield _scalar(value)


def _scalar(value: Any) -> str:
    if value is None or type(value) is bool:
        return _CONSTANTS[value]
    return to_json(value).decode() if type(value) is float else str(value)


def _int(digits: str) -> str:
    try:
        return str(int(digits, 16)) if len(digits) <= _MOST_HEX_DIGITS else digits
    except ValueError:  # of another program
        return digits


_PLAIN: Final = {"$str": lambda content: unquote(content, errors="surrogatepass"), "$int": _int}
"""Of tags whose content is not what a person sees."""


def may_say(document: bytes, folded: str) -> bool:
    """False if none of the texts in the JSON has ``folded`` in it, as can be told without reading it.

    That is so if nothing in it is spelled in another way than it is shown. Digits may be, so a text that
    could be part of a number is not decided here.
    """
    if b"\\" in document or b'"$' in document or _OF_NUMBERS.fullmatch(folded):
        return True
    return folded in document.decode(errors="replace").casefold()
