"""Tasks that a backend starts for itself, besides the calls of its users."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final, TypeVar

from flowstore._observing.observers import IN_BACKGROUND

T = TypeVar("T")

_HANDED_OVER: Final[set[asyncio.Task[None]]] = set()
"""Tasks that end the blocks of closed generators. The event loop itself keeps only weak references."""


def in_background(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that starts in the next iteration of the loop, never inside the call that creates it.

    With ``asyncio.eager_task_factory`` the tasks of ``create_task`` start at once. Then a hint would read
    from the storage that is just giving it, the first of many concurrent calls would leave without the
    others, and a coroutine closed by the garbage collector would write from wherever that happens to run.
    """
    context = copy_context()
    context.run(IN_BACKGROUND.set, True)
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=context)


def hand_over(
    work: Callable[[], Coroutine[Any, Any, None]], then: Callable[[], object] = lambda: None
) -> None:
    """Let the event loop do it soon, for a closed generator, which cannot await anything; and ``then``.

    Where no loop runs, nothing is done. Nobody awaits it, so what it raises is passed over.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    working = in_background(work())
    _HANDED_OVER.add(working)

    def handed_over(working: asyncio.Task[None]) -> None:
        _HANDED_OVER.discard(working)
        if not working.cancelled():
            working.exception()
        then()

    working.add_done_callback(handed_over)
