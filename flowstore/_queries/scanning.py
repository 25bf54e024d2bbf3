"""The words of a query: where terms, names and values begin and end, and how they are quoted.

Blanks separate terms. A term is a text, or a name, a colon and values with commas between them; ``-`` in
front negates it. Text and values are bare, or in double quotes, where a backslash stands before a quote and
before a backslash, and before nothing else. Outside of quotes neither of the two may occur, and the first
colon of a term ends its name; so a message that somebody pastes is never read as something else unnoticed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple, NoReturn

from flowstore.errors import InvalidQuery

_HINT: Final = "to look for text that has a colon in it, put it in quotes"
_MOST_COMPARED: Final = 32
"""How many characters of an unknown word are compared with the known ones."""

_BLANKS: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r'[^\s:"\\]*')
_VALUE: Final = re.compile(r'[^\s,"\\]*')
_UP_TO_BLANK: Final = re.compile(r"\S*")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\["\\])*)')
_ESCAPED: Final = re.compile(r'\\(["\\])')
_TO_ESCAPE: Final = re.compile(r'(["\\])')
_BARE_TEXT: Final = re.compile(r'[^\s:"\\-][^\s:"\\]*')
_BARE_VALUE: Final = re.compile(r'[^\s,"\\*]+')


class Part(NamedTuple):
    """One value as it is written. ``is_starred``: a bare star ends it, which is not in ``text``."""

    text: str
    place: int
    end: int
    is_quoted: bool = False
    is_starred: bool = False


class Piece(NamedTuple):
    """One term as it is written: the text that it says, or its name and values."""

    place: int
    end: int
    is_negated: bool
    name: str | None
    parts: tuple[Part, ...]


def quoted(text: str) -> str:
    return f'"{_TO_ESCAPE.sub(_backslashed, text)}"'


def _backslashed(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


def as_text(text: str) -> str:
    """Text to look for, as a query says it."""
    return text if _BARE_TEXT.fullmatch(text) else quoted(text)


def as_value(text: str) -> str:
    """A value of a term, likewise."""
    return text if _BARE_VALUE.fullmatch(text) else quoted(text)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, if any is."""
    found = get_close_matches(word[:_MOST_COMPARED].lower(), known, n=1)
    return found[0] if found else None


def scan(text: str, names: Collection[str]) -> Iterator[Piece]:
    """The terms of a query, in order. ``names``: those that a term may have. Raises InvalidQuery."""
    place = _after_blanks(text, 0)
    while place < len(text):
        piece = _piece(text, place, names)
        yield piece
        place = _after_blanks(text, piece.end)


def _piece(text: str, place: int, names: Collection[str]) -> Piece:
    is_negated = text[place] == "-"
    at = place + is_negated
    if _is_over(text, at) or (is_negated and text[at] == "-"):
        _refuse(text, place, "expected a term after '-', which negates it; put it in quotes to look for it")
    if text[at] == '"':
        part = _quoted(text, at)
        if part.is_starred or not _is_over(text, part.end):
            _refuse(text, place, "expected a blank after the quotes")
        return Piece(place, part.end, is_negated, None, (part,))
    end = _end(_WORD, text, at)
    if _is_over(text, end):
        return Piece(place, end, is_negated, None, (Part(text[at:end], at, end),))
    if text[end] != ":":
        _refuse(text, place, f"{text[end]!r} outside of quotes; put all of it in quotes, with \\ before it")
    name = text[at:end]
    if name not in names:
        whole = text[place : _end(_UP_TO_BLANK, text, end)]
        reason = f"expected one of {', '.join(names)} before the colon; {_HINT}"
        raise InvalidQuery(whole, place, reason, nearest(name, names))
    parts = tuple(_values(text, place, end + 1))
    return Piece(place, parts[-1].end, is_negated, name, parts)


def _values(text: str, place: int, at: int) -> Iterator[Part]:
    """The values of the term that begins at ``place``."""
    while True:
        part = _quoted(text, at) if text[at : at + 1] == '"' else _bare(text, at)
        if part.end == part.place:
            is_odd = text[at : at + 1] == "\\"
            expected = "quotes around a backslash" if is_odd else f"a value after the colon or comma; {_HINT}"
            _refuse(text, place, f"expected {expected}", at)
        yield part
        if _is_over(text, part.end):
            return
        if text[part.end] != ",":
            _refuse(text, place, "expected a comma or a blank after a value; put all of it in quotes", at)
        at = part.end + 1


def _bare(text: str, at: int) -> Part:
    end = _end(_VALUE, text, at)
    is_starred = text[at:end].endswith("*")
    return Part(text[at : end - is_starred], at, end, is_starred=is_starred)


def _quoted(text: str, at: int) -> Part:
    """Of a value: a star behind the quotes belongs to it."""
    end = _end(_QUOTED, text, at)
    if text[end : end + 1] == "\\":
        _refuse(text, at, 'a backslash in quotes stands before a quote or a backslash: \\" or \\\\')
    if end == len(text):
        _refuse(text, at, "the quotes are not closed")
    said = _ESCAPED.sub(r"\1", text[at + 1 : end])
    is_starred = text[end + 1 : end + 2] == "*"
    return Part(said, at, end + 1 + is_starred, is_quoted=True, is_starred=is_starred)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    assert found is not None  # each of them matches nothing as well, or is tried where it begins
    return found.end()


def _after_blanks(text: str, at: int) -> int:
    return _end(_BLANKS, text, at)


def _is_over(text: str, at: int) -> bool:
    """Whether a term that goes up to here ends here."""
    return at == len(text) or text[at].isspace()


def _refuse(text: str, place: int, reason: str, at: int | None = None) -> NoReturn:
    """The term that begins at ``place`` is wrong, perhaps only from ``at`` on."""
    end = _end(_UP_TO_BLANK, text, place if at is None else at)
    raise InvalidQuery(text[place:end], place if at is None else at, reason)
