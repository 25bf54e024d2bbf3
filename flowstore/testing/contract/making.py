"""The contract of the fixture that all other parts depend on."""

from __future__ import annotations

import pytest

from flowstore import TaskResult
from flowstore.testing.contract.base import WHAT_TO_MAKE, Contract, MakeBackend


class MakingContract(Contract):
    async def test_each_backend_is_made_on_an_empty_storage(self, make_backend: MakeBackend) -> None:
        """Nothing that one of them stores is in another one, made earlier or later."""
        before = make_backend()
        async with make_backend() as backend:
            await backend.store("t", TaskResult.success("t", 1))
        after = make_backend()
        for other in (before, after):
            async with other:
                if await other.exists("t"):
                    pytest.fail(
                        f"make_backend returned one storage twice, but must be a callable that {WHAT_TO_MAKE}"
                    )
