"""The place where the entries of a test are, the models in them, and what all parts of the contract share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from flowstore.testing.insides import close_under, damage_entry, take_id_of_entry
from flowstore.testing.typed_racer import MODELS as MODELS
from flowstore.testing.typed_racer import Loss as Loss
from flowstore.testing.typed_racer import Report as Report
from flowstore.testing.typed_racer import Summary as Summary
from flowstore.typed import AsyncResultsManager, EntryInfo, ModelRegistry


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


async def walked(manager: Any, *arguments: Any, **options: Any) -> list[EntryInfo]:
    """All pages of a listing."""
    page = await manager.list(*arguments, **options)
    found: list[EntryInfo] = page.items
    while page.next_cursor is not None:
        page = await manager.list(*arguments, cursor=page.next_cursor, **options)
        found += page.items
    return found
