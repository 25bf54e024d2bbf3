"""A worker of test_prometheus.py: it has one task under way until it is killed."""

from __future__ import annotations

import asyncio
import sys

import flowstore


async def work(url: str) -> None:
    async with (
        flowstore.connect(url) as backend,
        backend.worker("w1", every=0.1) as worker,
        worker.track("t", name="grind"),
    ):
        print("running", flush=True)
        await asyncio.Event().wait()


asyncio.run(work(sys.argv[1]))
