"""Which queries an index counts, and ids as queries that are short enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore import parse_query
from flowstore._faces.selecting import in_parts, selection_of
from flowstore._faces.terms import term


@pytest.mark.parametrize(
    ("query", "selection"),
    [
        ("", {}),
        ("status:failed sort:submitted", {}),
        ("name:mail status:failed", {"name": "mail"}),
        ("worker:w1", {"worker_id": "w1"}),
        ("parent:p", {"parent_id": "p"}),
        ("error:0123456789abcdef", {"error": "0123456789abcdef"}),
        ("error:0123", None),
        ("name:a,b", None),
        ("-name:a", None),
        ("name:a label:b", None),
        ("since:1h", None),
        ("boom", None),
    ],
)
def test_what_an_index_counts(query: str, selection: dict[str, str] | None) -> None:
    assert selection_of(parse_query(query)) == selection


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=120)), st.integers(1, 40)
)
def test_parts_are_queries(ids: list[str], most: int) -> None:
    """All ids, in order, each part short enough to be read as a query."""
    parts = list(in_parts(ids, most))
    assert [task_id for part in parts for task_id in part] == ids
    assert all(0 < len(part) <= most for part in parts)
    for part in parts:
        parse_query(term("id", *dict.fromkeys(part)))
