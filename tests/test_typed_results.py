"""Typed results on every storage: one contract."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flowstore import InMemoryBackend
from flowstore.testing.typed_contract import Place, TypedContract
from flowstore.typed import AsyncResultsManager, ModelRegistry


class TestOnMemory(TypedContract):
    @pytest_asyncio.fixture
    async def made(self) -> AsyncIterator[list[InMemoryBackend]]:
        """The storage lives and dies with its backend, so all managers of a test have the same one."""
        made: list[InMemoryBackend] = []
        yield made
        for backend in made:
            await backend.close()

    @pytest.fixture
    def place(self, made: list[InMemoryBackend]) -> Place:
        def make(registry: ModelRegistry, **options: Any) -> AsyncResultsManager:
            if not made:
                made.append(InMemoryBackend(**options))
            return AsyncResultsManager(made[0], registry=registry)

        return Place(make)


class TestOnSQLite(TypedContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return of_url(f"sqlite:///{tmp_path}/x.db")


class TestOnRedis(TypedContract):
    @pytest.fixture
    def place(self, redis_url: str) -> Place:
        return of_url(redis_url)


class TestInATreeOfFiles(TypedContract):
    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        base = tmp_path / "tree"

        async def damage(_: AsyncResultsManager, id: str) -> None:
            await asyncio.to_thread(_replace, base / f"{id}.json", '"version": ', '"version": -')

        async def intrude(_: AsyncResultsManager, id: str) -> None:
            await asyncio.to_thread((base / f"{id}.json").write_text, '{"name": "x"}', "utf-8")

        make = partial(AsyncResultsManager, base_dir=base)
        return Place(make, {"base_dir": str(base)}, damage, intrude)


def _replace(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")


def of_url(url: str) -> Place:
    return Place(partial(AsyncResultsManager, url), {"target": url})
