"""Calls from a thread to a loop: one that is gone, or goes in the midst of it, answers as well."""

from __future__ import annotations

import asyncio
import threading

from flowstore._trips.threads import from_thread


async def answer() -> int:
    return 7


async def test_in_a_loop_that_runs() -> None:
    """The thread gets what the coroutine returns, which can be awaited, too."""
    done = await asyncio.to_thread(from_thread, answer(), asyncio.get_running_loop(), 0)
    assert await done == 7
    assert done


def test_in_no_loop() -> None:
    """It is not run, and no coroutine is left that was never awaited."""
    loop = asyncio.new_event_loop()
    loop.close()
    assert not from_thread(answer(), loop, 0)
    assert not from_thread(answer(), None, 0)


def test_in_a_loop_that_is_closed_before_its_turn() -> None:
    """The thread does not wait for ever."""
    loop = asyncio.new_event_loop()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(bool(from_thread(answer(), loop, 0))))
    thread.start()
    while not loop._ready:  # type: ignore[attr-defined]  # the call that waits for its turn
        pass
    loop.close()
    thread.join(30)
    assert found == [False]
