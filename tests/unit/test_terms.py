"""Terms of queries that are made of names with any characters."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowstore import parse_query
from flowstore._faces.terms import term

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(st.lists(NAMES, min_size=1, max_size=3, unique=True))
def test_a_term_finds_exactly_these(names: list[str]) -> None:
    [parsed] = parse_query(term("label", *names)).terms
    assert parsed.values == tuple(names)
