"""The contract kit itself: its parts are joined in one class, where a name is a test only once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from flowstore import SQLiteBackend
from flowstore.testing.contract import BackendContract
from flowstore.testing.contract.making import MakingContract
from flowstore.testing.runs_contract import RunsContract
from flowstore.testing.typed_contract import TypedContract


@pytest.mark.parametrize("contract", [BackendContract, RunsContract, TypedContract])
def test_no_part_hides_a_test_of_another(contract: type) -> None:
    """Two tests of one name would be one, and nobody would notice."""
    names = Counter(name for part in contract.__mro__ for name in vars(part) if name.startswith("test_"))
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 30


async def test_a_storage_that_is_given_twice_is_noticed(tmp_path: Path) -> None:
    """The failure says what make_backend must do instead."""
    with pytest.raises(pytest.fail.Exception, match=r"returned one storage twice.*each call.*empty storage"):
        await MakingContract().test_each_backend_is_made_on_an_empty_storage(
            lambda **options: SQLiteBackend(tmp_path / "x.db", **options)
        )
