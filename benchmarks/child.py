"""One work on one system in a process of its own: python -m benchmarks.child WORK SYSTEM LOCATION OPTIONS."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benchmarks.systems import load
from benchmarks.works import WORKS, store_as_told


async def main(work: str, system: str, location: str, options: dict[str, Any]) -> None:
    peer = load(system)(location)
    await peer.open()
    try:
        if work == "store_as_told":
            await store_as_told(peer)
        else:
            print(json.dumps(await WORKS[work](peer, **options)))
    finally:
        await peer.close()


if __name__ == "__main__":
    _, work, system, location, options = sys.argv
    asyncio.run(main(work, system, location, json.loads(options)))
