"""Child processes that race with each other, and are killed in the midst of their work.

They run a module of this package that imports no pytest, so that they start soon: ``python -m MODULE JOB
NUMBER ARGUMENTS``. It says "ready" once it has opened its storage, and waits for a line.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Racer:
    """A child process, which waits for a line."""

    def __init__(self, module: str, job: str, number: int, arguments: Any) -> None:
        program = [sys.executable, "-m", module, job, str(number), json.dumps(arguments)]
        self._process = subprocess.Popen(program, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def read_lines(self, count: int) -> list[str]:
        assert self._process.stdout is not None
        return [self._process.stdout.readline() for _ in range(count)]

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def end(self) -> list[str]:
        """The other lines of a process that ends, or was killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        with self._process.stdout as lines:  # not ``communicate``: read_lines has read ahead
            rest = lines.readlines()
        self._process.wait()
        return rest

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        with self._process:
            pass


@asynccontextmanager
async def racers(module: str, job: str, count: int, arguments: Any) -> AsyncIterator[list[Racer]]:
    """``count`` of them, numbered from 0 and ready; what is left of them at the end is killed."""
    started: list[Racer] = []
    try:
        for number in range(count):
            # Each at once, should one of them fail
            started += [await asyncio.to_thread(Racer, module, job, number, arguments)]
        for racer in started:
            assert await asyncio.to_thread(racer.read_lines, 1) == ["ready\n"]
        yield started
    finally:
        for racer in started:
            racer.kill()
            await asyncio.to_thread(racer.close)
