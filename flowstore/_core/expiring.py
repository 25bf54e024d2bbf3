"""Changing when a record expires, and nothing else of it."""

from __future__ import annotations

from flowstore._core.core import Core
from flowstore._values.arguments import check_ttl
from flowstore._values.records import Ttl
from flowstore.text import check_text


async def expire(core: Core, task_id: str, ttl: Ttl) -> bool:
    check_text("task_id", task_id)
    micros = check_ttl("ttl", ttl)
    core.check_writable()
    async with core.life:
        # Compare-and-set: the checksum covers the expiry and what was read here. After a write in between
        # there is another record to read.
        while True:
            [entry] = await core.engine.read([task_id], with_body=False)
            now = core.clock()
            if entry is None or entry.is_expired(now):
                return False
            core.records.check_whole(entry)
            expiry = core.records.expiry(entry, None if micros is None else now + micros)
            [is_changed] = await core.engine.expire([expiry], now)
            if is_changed:
                return True
