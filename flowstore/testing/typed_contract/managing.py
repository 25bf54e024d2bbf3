"""The life of a manager, and its change of place."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flowstore import EntryMissing, InMemoryBackend
from flowstore.testing.typed_contract.base import MODELS, Place, Report, TypedContractBase, close_place
from flowstore.typed import AsyncResultsManager, WriteBehavior

OVERWRITE = WriteBehavior.OVERWRITE


class EntryManagingContract(TypedContractBase):
    async def test_it_opens_by_itself(self, place: Place) -> None:
        """At the first call; ``open`` and ``close`` may come twice."""
        manager = place.manager()
        assert await manager.set("a", Report(score=1)) is True
        await manager.open()
        assert await manager.get("a") == Report(score=1)
        await close_place(manager)
        await manager.close()
        await manager.close()

    async def test_another_place(self, place: Place, tmp_path: Path) -> None:
        """``use`` moves on; what is stored stays where it is, and a bad place changes nothing."""
        async with place.manager() as manager, place.manager() as other:
            await manager.set("a", Report(score=1))
            for bad in ({"target": "ftp://x"}, {"target": "memory://", "base_dir": tmp_path}, {"target": 7}):
                with pytest.raises((TypeError, ValueError)):
                    await manager.use(**bad)
            assert await manager.get("a") == Report(score=1)
            await manager.use("memory://")
            with pytest.raises(EntryMissing):
                await manager.get("a")
            await manager.set("a", Report(score=2))
            await manager.use(base_dir=tmp_path / "moved")
            await manager.set("a", Report(score=3))
            assert await manager.list_ids() == ["a"]
            assert await other.get("a") == Report(score=1)

    async def test_calls_in_flight_end_where_they_began(self, place: Place) -> None:
        """``use`` waits for those of several steps, too; all that they have written is there."""
        async with place.manager() as manager, place.manager() as other:
            calls = [
                manager.set_many({f"{n}/{k}": Report(score=k) for k in range(30)}, OVERWRITE)
                for n in range(5)
            ]
            running = [asyncio.ensure_future(call) for call in calls]
            await asyncio.sleep(0)
            await manager.use("memory://")
            assert all([len(await call) == 30 for call in running])
            assert len(await other.list_ids()) == 150
            assert await manager.list_ids() == []

    async def test_a_given_backend_stays_open(self) -> None:
        """Whoever made it closes it."""
        async with InMemoryBackend() as backend:
            async with AsyncResultsManager(backend, registry=MODELS) as manager:
                await manager.set("a", Report(score=1))
            assert await backend.exists("a")
            with pytest.raises(TypeError, match=r"^ttl: an option of connect"):
                AsyncResultsManager(backend, ttl=5)
            with pytest.raises(TypeError, match=r"^registry: expected ModelRegistry or None, got dict"):
                AsyncResultsManager(backend, registry={})  # type: ignore[arg-type]  # on purpose
        with pytest.raises(TypeError, match=r"^ttl: no option of a tree of files; expected one of"):
            AsyncResultsManager(base_dir="x", ttl=5)
