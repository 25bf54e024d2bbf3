"""One work on one system in a process of its own: python -m benchmarks.child WORK SYSTEM LOCATION OPTIONS.

The last line it prints is JSON: the numbers by name, or ``{"error": "..."}`` saying why there are none.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import traceback
from typing import Any

from benchmarks.peers.base import Unsupported
from benchmarks.systems import load
from benchmarks.works import WORKS, store_as_told


async def main(work: str, system: str, location: str, options: dict[str, Any]) -> dict[str, float]:
    peer = load(system)(location)
    await peer.open()
    try:
        if work == "store_as_told":
            await store_as_told(peer)
            return {}
        return await WORKS[work](peer, **options)
    finally:
        await peer.close()


def outcome(work: str, system: str, location: str, options: dict[str, Any]) -> dict[str, Any]:
    try:
        return asyncio.run(main(work, system, location, options))
    except ModuleNotFoundError as error:
        return {"error": f"not installed: {error}"}
    except Unsupported as error:
        return {"error": f"unsupported: {error}"}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"failed: {type(error).__name__}: {error}"}


if __name__ == "__main__":
    _, work, system, location, options = sys.argv
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a crowd may take a connection each
    print(json.dumps(outcome(work, system, location, json.loads(options))))
