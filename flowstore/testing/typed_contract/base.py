"""The place where the entries of a test are, the models in them, and what all parts of the contract share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from flowstore import EntryConflict, EntryExists
from flowstore.testing.insides import close_under, damage_entry, take_id_of_entry
from flowstore.typed import AsyncResultsManager, EntryInfo, ModelRegistry, WriteBehavior

MODELS = ModelRegistry()


@MODELS.register_model
class Report(BaseModel):
    score: float
    notes: dict[str, Any] = {}


@MODELS.register_model
class Summary(BaseModel):
    score: float
    notes: dict[str, Any] = {}


@MODELS.register_model(namespace="metrics")
class Loss(BaseModel):
    value: float


@dataclass
class Place:
    """One place for entries, empty at first, and how a test gets at it.

    ``make``: called with ``registry`` and, of the options of a backend, ``clock``; it returns an unopened
    manager of this place. ``arguments``: those with which another process makes one, such as
    {"base_dir": path}; None: no other process can. ``damage``: changes a stored entry so that it is no longer
    what was written; ``intrude``: puts something under an id that is no entry.
    """

    make: Callable[..., AsyncResultsManager]
    arguments: dict[str, Any] | None = None
    damage: Callable[[AsyncResultsManager, str], Awaitable[None]] = damage_entry
    intrude: Callable[[AsyncResultsManager, str], Awaitable[None]] = take_id_of_entry

    def manager(self, registry: ModelRegistry = MODELS, **options: Any) -> AsyncResultsManager:
        return self.make(registry=registry, **options)


class TypedContractBase:
    """The base of each part. Override the fixture ``place``."""

    pytestmark = pytest.mark.asyncio

    @pytest.fixture
    def place(self) -> Place:
        pytest.fail("override the fixture place with a Place that is empty")


async def close_place(manager: AsyncResultsManager) -> None:
    """Close it, and what it was given, too."""
    await manager.close()
    await close_under(manager)


async def create_each(manager: AsyncResultsManager, number: int) -> list[bool]:
    """Try to create each of four entries; which attempts were True."""
    model = Report(score=number)
    attempts: list[Callable[[], Awaitable[bool]]] = [
        lambda: manager.set("race/raise", model),
        lambda: manager.set("race/skip", model, WriteBehavior.SKIP_IF_EXISTS),
        lambda: manager.set("race/version", model, if_version=0),
        lambda: manager.set("race/different", model, WriteBehavior.RAISE_IF_DIFFERENT),
    ]
    won = []
    for attempt in attempts:
        try:
            won.append(await attempt())
        except (EntryExists, EntryConflict):
            won.append(False)
    return won


async def walked(manager: Any, *arguments: Any, **options: Any) -> list[EntryInfo]:
    """All pages of a listing."""
    page = await manager.list(*arguments, **options)
    found: list[EntryInfo] = page.items
    while page.next_cursor is not None:
        page = await manager.list(*arguments, cursor=page.next_cursor, **options)
        found += page.items
    return found
