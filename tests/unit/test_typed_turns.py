"""Who may write next over what stands, and when the calls in flight have ended."""

from __future__ import annotations

import asyncio

import pytest

from flowstore import BackendClosed
from flowstore.typed.turns import Calls, Turns


async def test_turns_are_taken_in_order() -> None:
    """One at a time for each id, whoever came first; ids do not wait for each other."""
    turns, order, inside = Turns(), [], 0

    async def take(number: int) -> None:
        nonlocal inside
        async with turns.turn("a", 30):
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)
            order.append(number)
            inside -= 1

    async with turns.turn("b", 30):
        await asyncio.gather(*(take(number) for number in range(20)))
    assert order == list(range(20))


async def test_who_waits_too_long_goes_on() -> None:
    """In an outage those before may all wait for their deadlines."""
    turns = Turns()
    async with turns.turn("a", 30), turns.turn("a", 0.01):
        pass


async def test_who_is_cancelled_leaves_the_queue() -> None:
    """And those behind move up."""
    turns = Turns()

    async def take() -> None:
        async with turns.turn("a", 30):
            pass

    async with turns.turn("a", 30):
        waiting = [asyncio.ensure_future(take()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    assert [type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)] == [
        asyncio.CancelledError,
        type(None),
        type(None),
    ]


async def test_calls_are_waited_for() -> None:
    """New ones are refused meanwhile."""
    calls = Calls()
    calls.begin()
    calls.begin()
    ending = asyncio.ensure_future(calls.end())
    await asyncio.sleep(0)
    with pytest.raises(BackendClosed):
        calls.begin()
    calls.leave()
    await asyncio.sleep(0)
    assert not ending.done()
    calls.leave()
    await ending
    await calls.end()


def test_calls_of_a_closed_loop() -> None:
    """They are waited for by nobody, whenever what is left of them ends."""
    calls = Calls()

    async def begin() -> None:
        calls.begin()

    async def go_on() -> None:
        calls.begin()
        calls.leave()
        calls.leave()  # the one of the other loop, as it is garbage collected
        await asyncio.wait_for(calls.end(), 5)

    asyncio.run(begin())
    asyncio.run(go_on())
