"""Two backends on one storage, as two processes are."""

from __future__ import annotations

import asyncio

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.support import seen


async def follow(watcher: BaseResultBackend, worker: BaseResultBackend) -> None:
    """What ``worker`` stores, ``watcher`` on the same storage sees, long before it looks by itself."""
    states = watcher.watch("t")
    async with asyncio.timeout(30):
        first = asyncio.ensure_future(anext(states))
        await seen(watcher, first, "t")
        await worker.store("t", TaskResult.running("t"))
        assert (await first).status is TaskStatus.RUNNING
        for done in range(1, 20):
            assert await worker.set_progress("t", done) is True
            progress = (await anext(states)).progress
            assert progress is not None
            assert progress.done == done
        await worker.store("t", TaskResult.success("t", 1))
        assert [state.unwrap() async for state in states] == [1]
