"""Names of files for parts of ids: reversible, and safe wherever a tree may be copied to."""

from __future__ import annotations

import re
import unicodedata
from itertools import chain
from zlib import crc32

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore.typed.tree.names import checked_names_of, escape, names_of, unescape

ODD = list("Aa%^. é\u0301ÉßſKıİᾳǅᎠꭰ가가\u202e\0\n\u200d/\\ςΣ¹\u1e9e\xad1")  # noqa: RUF001
ODD += ["e\u0301", "😀", "con", ".json", "\U000e0001"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
PARTS = TEXT | st.lists(st.sampled_from(ODD), min_size=1, max_size=6).map("".join)
FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]\Z|\A\.')
DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[\d¹²³]|conin\$|conout\$) *(\..*)?\Z", re.IGNORECASE)


def folded(name: str) -> str:
    """What remains of a name on a file system that ignores case and normalises."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", name).casefold())


@given(PARTS)
@example("con.txt")
@example("a.json")
@example("COM1")
@example("nul ")
@example("..")
def test_it_is_reversible_and_safe(part: str) -> None:
    """Also after a file system has decomposed it; and Windows forbids none."""
    name = escape(part)
    assert unescape(name) == part
    assert unescape(unicodedata.normalize("NFD", name)) == part
    assert name == unicodedata.normalize("NFC", name)
    assert not FORBIDDEN.search(name)
    assert not DEVICES.match(name)
    assert not DEVICES.match(f"{name}.json")
    assert not name.endswith(".json")
    assert name.isascii() or name.isprintable()


@given(PARTS, PARTS)
def test_no_two_collide(one: str, other: str) -> None:
    """Not even where case is ignored and Unicode normalised."""
    if one != other:
        assert folded(escape(one)) != folded(escape(other))


def test_no_two_characters_collide() -> None:
    """Of all planes with letters, and those that Unicode replaces by others.

    With every Unicode that a Python has, they have the same names.
    """
    codes = chain(range(0xD800), range(0xE000, 0x20000), range(0x2F800, 0x2FA20))
    chars = [chr(code) for code in codes]
    names = [escape(f"x{char}x") for char in chars]
    assert len(set(map(folded, names))) == len(chars)
    assert f"{crc32(''.join(names).encode()):08x}" == "74bc5876"


def test_the_names_are_pinned() -> None:
    """They are a stored format."""
    names = {
        "metrics": "metrics",
        "run 7, best": "run 7, best",
        "Run": "^run",
        "..": "%2E%2E",
        ".flowstore": "%2Eflowstore",
        "a.json": "a%2Ejson",
        "x.": "x%2E",
        "x ": "x%20",
        "a/b*%": "a%2Fb%2A%25",
        "con": "%63on",
        "aux.c": "%61ux.c",
        "über": "über",
        "Über": "%C3%9Cber",
        "u\u0308ber": "u%CC%88ber",
        "東京 😀": "東京 😀",
    }
    assert {part: escape(part) for part in names} == names


@pytest.mark.parametrize(
    "name", ["", "A", "a%2ejson", "a%2Eb", "%61", "^1", "a%", "%FF", ".x", "con", "x.json", "e\u0301\u0302"]
)
def test_other_names_are_of_nobody(name: str) -> None:
    """What ``escape`` does not make is not taken for an entry."""
    assert unescape(name) is None


def test_a_name_that_is_too_long() -> None:
    """It is named, before anything is made of it; without it there would be an error of the system."""
    assert names_of("a/" + "x" * 250) == ["a", "x" * 250]
    assert names_of("a/" + "x" * 251) is None
    assert names_of("\U00010400" * 20) is not None
    assert names_of("\U00010400" * 21) is None
    assert names_of("é" * 41 + "É" * 42 + "/a") is None
    with pytest.raises(
        ValueError, match=r"^id: expected parts whose names.*at most 250 bytes, got 300 for 'XXX.*' in 'a/X"
    ):
        checked_names_of("a/" + "X" * 150)
