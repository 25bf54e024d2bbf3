"""What the words of ``store`` say of an outcome."""

from __future__ import annotations

import pytest

from flowstore import InMemoryBackend
from flowstore._core.writing import applied
from flowstore.engine import Outcome, Verdict
from flowstore.testing.insides import core_of
from flowstore.testing.samples import sample_write


async def test_a_write_without_its_owner_is_not_a_late_one() -> None:
    """The rules of ``store`` know no owner: whoever asked for one has to look before them."""
    async with InMemoryBackend() as backend:
        assert applied(core_of(backend), sample_write("t"), Outcome(Verdict.STANDING, 1)) is False
        with pytest.raises(AssertionError, match="owner"):
            applied(core_of(backend), sample_write("t"), Outcome(Verdict.OWNERLESS))
