"""What the parts of the contract of runs share."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from flowstore import BaseResultBackend
from flowstore.engine import every
from flowstore.testing.insides import core_of_runs

VALUES: Final[list[Any]] = [
    *(None, True, 0, -1, 2**70, 1.5, -0.0, float("inf"), "", "text", "\x00\ud7ff\U0001f600", b"\x00\xff"),
    *([], {}, (), [1, (2, {3})], {"a": {"b": [None]}}, {1: "one", (2, 3): "pair"}, {"$tuple": [1]}),
    *(datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), timedelta(microseconds=1)),
    *(Decimal("0.10"), UUID(int=7), frozenset({1, 2})),
    "x" * 10_000,
]
"""One of each kind that can be stored."""


async def stored(backend: BaseResultBackend) -> int:
    """How many entries of any kind there are."""
    core = core_of_runs(backend)
    async with core.life:
        [counted] = await core.engine.count([every()])
    return counted.total
