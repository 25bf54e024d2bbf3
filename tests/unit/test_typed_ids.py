"""Hierarchical ids: one spelling for each list of parts, and one range for all ids below another."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.typed.ids import below, id_of, parts_of, spelling

PARTS = st.lists(st.text(alphabet="a\\/b", min_size=1, max_size=6), min_size=1, max_size=4)


@given(PARTS)
def test_parts_come_back(parts: list[str]) -> None:
    """Whatever slashes and backslashes are in them."""
    assert parts_of(spelling(parts)) == parts
    assert id_of(parts) == id_of(id_of(parts))


@given(st.text(alphabet="a\\/b", min_size=1, max_size=10))
def test_there_is_one_spelling(spelled: str) -> None:
    """A str is either the spelling of its parts, or has an empty part and is refused."""
    parts = parts_of(spelled)
    if all(parts):
        assert spelling(parts) == spelled == id_of(spelled)
    else:
        with pytest.raises(ValueError, match="an empty part"):
            id_of(spelled)


@given(PARTS, PARTS)
def test_ids_below_another_begin_like_it(above: list[str], parts: list[str]) -> None:
    """They are the range that begins with ``below``; "users2" is not below "users"."""
    is_below = len(parts) > len(above) and parts[: len(above)] == above
    assert spelling(parts).startswith(below(spelling(above))) is is_below


@pytest.mark.parametrize(
    ("id", "parts"),
    [
        ("a", ["a"]),
        ("a/b/c", ["a", "b", "c"]),
        ("../%/_*", ["..", "%", "_*"]),
        (r"c:\dir/x", ["c:\\dir", "x"]),
        (r"a\/b/c", ["a/b", "c"]),
        (r"a\\/b", ["a\\", "b"]),
        ("a b/\N{SNOWMAN}\N{GRINNING FACE}", ["a b", "\N{SNOWMAN}\N{GRINNING FACE}"]),
    ],
)
def test_examples(id: str, parts: list[str]) -> None:
    """A backslash means something directly before a slash only."""
    assert parts_of(id) == parts
    assert id_of(parts) == id_of(tuple(parts)) == id_of(id) == id


@pytest.mark.parametrize(
    ("id", "error", "said"),
    [
        ("", ValueError, "expected one or more parts that are not empty, got an id without parts"),
        ([], ValueError, "got an id without parts"),
        ("/a", ValueError, "an empty part in '/a'"),
        ("a//b", ValueError, "an empty part in 'a//b'"),
        ("a/", ValueError, "an empty part in 'a/'"),
        (["a", ""], ValueError, "an empty part in ['a', '']"),
        (["a", 7], TypeError, "expected parts of str, got int: 7"),
        (7, TypeError, "expected str or a sequence of str, got int"),
        (b"a", TypeError, "expected str or a sequence of str, got bytes"),
        ("a" * 513, ValueError, "expected 1 to 512 UTF-8 bytes, got 513"),
        ("\ud800", ValueError, "lone surrogate"),
    ],
)
def test_what_is_no_id(id: object, error: type[Exception], said: str) -> None:
    """Each is refused with the name of the argument."""
    with pytest.raises(error, match=f"^id: .*{re.escape(said)}"):
        id_of(id)  # type: ignore[arg-type]
