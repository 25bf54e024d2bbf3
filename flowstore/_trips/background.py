"""Tasks that a backend starts for itself, besides the calls of its users."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that starts in the next iteration of the loop, never inside the call that creates it.

    With ``asyncio.eager_task_factory`` the tasks of ``create_task`` start at once. Then a hint would read
    from the storage that is just giving it, the first of many concurrent calls would leave without the
    others, and a coroutine closed by the garbage collector would write from wherever that happens to run.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop())
