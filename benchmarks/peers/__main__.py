"""Check the adapters against their systems, one line each.

python -m benchmarks.peers --redis-url redis://localhost:6379/0 [--peer NAME]

What a system keeps in that Redis database is left there: use one for the purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from benchmarks.peers import PEERS, Peer, load
from benchmarks.peers.check import check


def location(peer: type[Peer], redis_url: str, folder: str) -> str:
    return {"redis": redis_url, "sqlite": str(Path(folder, "results.db")), "memory": ""}[peer.storage]


async def outcome(cls: type[Peer], redis_url: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        peer = cls(location(cls, redis_url, folder))
        try:
            await peer.open()
            try:
                async with asyncio.timeout(60):
                    await check(peer)
            finally:
                await peer.close()
        except Exception as error:
            return f"FAILED: {type(error).__name__}: {error}"
        return "ok"


def line(name: str, redis_url: str) -> str:
    try:
        cls = load(name)
        number = version(cls.package)
    except ImportError as error:
        return f"{name:20} {'-':8} FAILED: {error}"
    return f"{name:20} {number:8} {asyncio.run(outcome(cls, redis_url))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--peer", choices=PEERS, action="append", help="only this one; may be repeated")
    options = parser.parse_args()
    lines = []
    for name in options.peer or PEERS:
        lines.append(line(name, options.redis_url))
        print(lines[-1], flush=True)
    sys.exit(any("FAILED" in text for text in lines))


if __name__ == "__main__":
    main()
