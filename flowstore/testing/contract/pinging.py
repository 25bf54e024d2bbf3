"""The contract of ``ping``: a real round trip to the storage, within the deadline of a call."""

from __future__ import annotations

import asyncio

import pytest

from flowstore import BaseResultBackend, StorageTimeout, StorageUnavailable
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.leaving import Stall
from flowstore.testing.contract.observing import GONE
from flowstore.testing.insides import faulty, replaced_verb


class PingContract(Contract):
    async def test_ping(self, backend: BaseResultBackend) -> None:
        """It opens, and takes a moment; also beside many other calls."""
        assert 0 < await backend.ping() < 30
        pings = await asyncio.gather(*(backend.ping() for _ in range(50)), backend.get("t"))
        assert all(0 < ping < 30 for ping in pings[:-1] if isinstance(ping, float))

    async def test_ping_of_a_storage_that_is_gone(self, make_backend: MakeBackend) -> None:
        """It raises what a read raises, and does not hang with it."""
        backend = make_backend(op_timeout=1)
        faults = faulty(backend)
        async with backend:
            faults.fail("read", error=GONE)
            with pytest.raises(StorageUnavailable, match="gone"):
                await backend.ping()
            with replaced_verb(backend, "read", Stall()), pytest.raises(StorageTimeout):
                await backend.ping()
            assert await backend.ping() > 0
