"""A process with a scheduler: it begins a job that does not end, and prints its id. Its argument is a URL."""

from __future__ import annotations

import asyncio
import sys

from apscheduler import AsyncScheduler

from flowstore.integrations.apscheduler import FlowstoreObserver


async def endless() -> None:
    print("begun", flush=True)
    await asyncio.Event().wait()


async def main(url: str) -> None:
    async with AsyncScheduler() as scheduler, FlowstoreObserver(scheduler, url):
        await scheduler.start_in_background()
        print(await scheduler.add_job(endless), flush=True)
        await scheduler.wait_until_stopped()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
