"""What the contract of ``end_waits`` cannot show on every storage: signals, and another loop."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from flowstore import InMemoryBackend, TaskResult, WaitsEnded
from flowstore.testing.support import waiting


async def test_in_a_signal_handler() -> None:
    """It wakes a loop that sleeps, and may come in the midst of anything that the loop does."""
    async with InMemoryBackend() as backend:
        before = signal.signal(signal.SIGUSR1, lambda *_: backend.end_waits())
        try:
            wait = await waiting(backend, "t")
            sender = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
            sender.start()
            with pytest.raises(WaitsEnded):
                await wait
            sender.join()
        finally:
            signal.signal(signal.SIGUSR1, before)


async def test_from_another_thread() -> None:
    """By way of the loop, as everything of asyncio."""
    async with InMemoryBackend() as backend:
        wait = await waiting(backend, "t")
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(loop.call_soon_threadsafe, backend.end_waits)
        with pytest.raises(WaitsEnded):
            await wait


def test_in_the_next_loop() -> None:
    """A program that is shutting down goes on doing so, in whatever loop it ends."""
    backend = InMemoryBackend()

    async def end() -> None:
        await backend.store("t", TaskResult.success("t", 1))
        backend.end_waits()

    async def end_again() -> None:
        with pytest.raises(WaitsEnded):
            await backend.wait_for("t")
        assert await backend.exists("t")
        await backend.close()

    asyncio.run(end())
    asyncio.run(end_again())
