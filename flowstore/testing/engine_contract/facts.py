"""The contract of facts: a storage says what it is, and of what it may not say nothing."""

from __future__ import annotations

from flowstore.engine import Engine, StorageFacts
from flowstore.testing.engine_contract.base import EngineContractBase, store


class StorageFactsContract(EngineContractBase):
    async def test_facts(self, engine: Engine) -> None:
        """Before the first write and after; it has a kind, and sizes are no less than nothing."""
        before = await engine.facts()
        await store(engine, *(f"t{n}" for n in range(30)))
        facts = await engine.facts()
        for one in (before, facts):
            assert isinstance(one, StorageFacts)
            assert one.kind
            assert one.size is None or one.size >= 0
            assert all(size >= 0 for size in one.sizes.values())
        assert before.kind == facts.kind
        assert facts.size is None or before.size is None or facts.size >= before.size
