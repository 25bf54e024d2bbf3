"""The contract kit itself: its parts are joined in one class, where a name is a test only once."""

from __future__ import annotations

from collections import Counter

from flowstore.testing.contract import BackendContract


def test_no_part_hides_a_test_of_another() -> None:
    """Two tests of one name would be one, and nobody would notice."""
    names = Counter(
        name for part in BackendContract.__mro__ for name in vars(part) if name.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 100
