"""The contract of vacuum: whatever room it gives back, nobody notices."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore.testing.contract.base import Contract
from flowstore.testing.support import seen, stored, waiting


class VacuumContract(Contract):
    @pytest.mark.parametrize("full", [False, True])
    async def test_vacuum(self, backend: BaseResultBackend, full: bool) -> None:
        """Records, data and waits are as before; then there is nothing left to give back."""
        await backend.store_many(TaskResult.success(f"t{n}", "x" * 20_000) for n in range(200))
        await backend.store("kept", TaskResult.running("kept"))
        await backend.data.set("kept", "k", [1])
        await backend.delete_many(f"t{n}" for n in range(0, 200, 2))
        wait = await waiting(backend, "kept")
        await seen(backend, wait, "kept")
        assert await backend.vacuum(full=full) >= 0
        assert await backend.vacuum() == 0
        for n in range(1, 200, 2):
            assert (await stored(backend, f"t{n}")).unwrap() == "x" * 20_000
        assert await backend.data.get("kept", "k") == [1]
        assert len(await backend.history.of("kept")) == 1
        await backend.store("kept", TaskResult.success("kept", 1))
        assert (await wait).unwrap() == 1

    async def test_vacuum_of_nothing(self, backend: BaseResultBackend) -> None:
        """It may be the first call of all. A bad argument is named."""
        assert await backend.vacuum() == 0
        bad: Any = 1
        with pytest.raises(TypeError, match=r"^full: expected bool"):
            await backend.vacuum(full=bad)
