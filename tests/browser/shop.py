"""A shop whose tasks fill a store as those of a real one would: a day of history, up to this minute.

``python -m tests.browser.shop URL`` fills a store, which has to be empty, with the tasks of the last day.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import Any

import flowstore
from tests.browser.shop_day import Clock, Shop, steps
from tests.browser.shop_events import happen


async def fill(url: str, *, seed: int = 7, **options: Any) -> None:
    """Store the day in an empty store; ``options`` are those of ``flowstore.connect``."""
    clock = Clock()
    now = clock.at
    shop = Shop(now, seed=seed)
    async with flowstore.connect(url, clock=clock, purge_interval=None, **options) as backend:
        for at, states in steps(shop.day(), now - timedelta(minutes=20)):
            clock.at = at
            await backend.store_many(states)
        clock.at = now
        await happen(backend, clock, shop)


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1]))
