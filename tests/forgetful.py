"""A program that ends with its backend open and a wait under way: ``python -m tests.forgetful URL``."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import flowstore
from flowstore.testing.support import failed, seen, waiting

STORED = {f"t{n}" for n in range(100)}


def run(url: str) -> subprocess.CompletedProcess[str]:
    """The whole program, which must end by itself, is told of what it forgot, and says nothing else."""
    script = [sys.executable, "-W", "default::ResourceWarning", "-m", "tests.forgetful", url]
    ended = subprocess.run(script, text=True, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (0, "stored\n"), ended.stderr
    assert "was never closed" in ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


async def forget(url: str) -> None:
    backend = flowstore.connect(url)
    wait = await waiting(backend, "never")
    await seen(backend, wait, "never")
    await backend.store_many(failed(task_id) for task_id in STORED)
    print("stored")


if __name__ == "__main__":
    asyncio.run(forget(sys.argv[1]))
