"""Commands that run beside a test, in its own loop."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from typing import Any

import flowstore
from flowstore import BaseResultBackend
from flowstore.cli._settings import Common, Format
from flowstore.testing.contract.crews import until


class Running:
    """A command that runs beside the test; ``out`` and ``err``: what it has printed so far."""

    def __init__(self, command: Awaitable[int | None]) -> None:
        self._out, self._err = io.StringIO(), io.StringIO()
        self.task = asyncio.ensure_future(self._run(command))

    async def _run(self, command: Awaitable[int | None]) -> int | None:
        with redirect_stdout(self._out), redirect_stderr(self._err):
            return await command

    @property
    def out(self) -> str:
        return self._out.getvalue()

    @property
    def err(self) -> str:
        return self._err.getvalue()

    async def printed(self, text: str) -> None:
        await until(lambda: text in self.out or self.task.done())
        assert text in self.out, self.err


Beside = tuple[Running, BaseResultBackend]


@asynccontextmanager
async def beside(
    command: Callable[..., Awaitable[Any]], url: str, *words: str, output: Format = "table", **options: Any
) -> AsyncIterator[Beside]:
    """A command on a store, and the backend of somebody who works there."""
    async with flowstore.connect(url) as backend:
        running = Running(command(*words, common=Common(url=url, output=output), **options))
        try:
            yield running, backend
        finally:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)
