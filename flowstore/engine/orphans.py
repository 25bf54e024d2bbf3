"""Tasks whose event loop was closed before they ended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


def let_go(task: asyncio.Task[Any] | None) -> None:
    """Let go of a task of a closed event loop, so that it says nothing of it and touches nothing later.

    It can neither go on nor be cancelled. Left to the garbage collector it would be reported as destroyed,
    and its ``finally`` blocks would run at any time later, in the midst of what came after. So they run now,
    as if no loop were running: some drivers take the error of the closed loop for a lost connection, and open
    another one in the loop that they find.
    """
    if task is None or task.done():
        return
    task._log_destroy_pending = False  # type: ignore[attr-defined]  # as gather does, in C and in Python
    work: Any = task.get_coro()
    with _without_loop(), suppress(RuntimeError):  # they asked something of a loop
        work.close()


@contextmanager
def _without_loop() -> Iterator[None]:
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
