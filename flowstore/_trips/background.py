"""Tasks of a backend's own, beside the calls that it is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begins in the next turn of the loop, and never inside of the call that asks for it.

    With ``asyncio.eager_task_factory`` the tasks of ``create_task`` begin at once. A hint would then read
    from the storage that is just giving it, the first of many calls at once would leave without the others,
    and a coroutine that the garbage collector closes would write from wherever that happens to run.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop())
