"""Two backends on one storage, as two processes are."""

from __future__ import annotations

import asyncio

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.insides import listening
from flowstore.testing.support import seen, waiting


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


async def cancel_elsewhere(backend: BaseResultBackend, worker: BaseResultBackend) -> None:
    """What ``backend`` cancels, a block in ``worker`` on the same storage hears, long before it looks."""

    async def block() -> None:
        async with worker.track("t", interrupt=True) as task:
            await listening(worker, "t")
            assert await backend.cancel("t", "enough") is True
            await asyncio.Event().wait()
        assert task.cancel_request is not None
        assert task.cancel_request.reason == "enough"

    waiter = await waiting(backend, "t")
    async with asyncio.timeout(30):
        await block()
        assert (await waiter).status is TaskStatus.CANCELLED
