"""The timeline of tasks with many transitions."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import RedisBackend, TaskResult
from flowstore.backends.redis.calls import Calls
from flowstore.testing import ManualClock
from tests.redis_whole import PREFIX, raw


@pytest.mark.parametrize("skipped", [0, 1, 7, 100])
async def test_a_page_costs_what_it_shows(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch, skipped: int
) -> None:
    """Not the whole history of each task in it, also where versions are missing in between."""
    read = Calls.read
    sizes: list[int] = []

    async def measured(calls: Calls, script: str, *arguments: Any) -> Any:
        found = await read(calls, script, *arguments)
        if script in ("moves", "heads"):
            sizes.append(sum(len(part) for value in found for part in value))
        return found

    clock, moves = ManualClock(), 3_000
    async with RedisBackend(redis_url, clock=clock) as backend:
        for n in range(moves):
            clock.advance(0.001)
            name = "t" if n % 3 else "u"
            await backend.store(name, TaskResult.running(name), overwrite=True)
        with raw(client) as plain:
            _thin_out(plain, skipped)
            logs = [plain.lrange(f"{PREFIX}h:{name}", 0, -1) for name in "tu"]
            whole = sum(len(item) for log in logs for item in log)
            entries = plain.zrange(PREFIX + "t", 0, -1)
        monkeypatch.setattr(Calls, "read", measured)
        seen = [(one.task_id, one.seq) async for one in backend.history.iter()]
    assert len(entries) > moves // (skipped + 1) - 2
    assert seen == [(entry[16:].decode(), int.from_bytes(entry[8:16])) for entry in entries]
    assert sum(sizes) < 3 * whole + 20_000


def _thin_out(plain: Any, skipped: int) -> None:
    """As if most of the earlier writes had been by a program that keeps no history."""
    if not skipped:
        return
    for name in (b"t", b"u"):
        key = PREFIX.encode() + b"h:" + name
        items = plain.lrange(key, 0, -1)
        gone = [item for place, item in enumerate(items) if place % (skipped + 1)]
        plain.delete(key)
        plain.rpush(key, *items[:: skipped + 1])
        plain.zrem(PREFIX + "t", *(item[:16] + name for item in gone))
