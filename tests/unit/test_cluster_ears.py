"""The subscriptions of a cluster: where they go, what they hear, and what they do when they end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from redis.exceptions import NoPermissionError

from flowstore.backends.cluster import ears as cluster_ears
from flowstore.backends.cluster.ears import Channel, Ears
from flowstore.backends.cluster.router import Router
from flowstore.engine import Change
from tests.support.scripted import Answer, Say, Scripted, connect, nodes, slots, until

HERE, THERE = 1, 16_000  # of the first half of the slots, and of the second


class Heard:
    """Hints that are kept."""

    is_waiting = True

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.looks = 0
        self.interruptions = 0

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        self.ids += ids

    def interrupted(self, error: Exception) -> None:
        self.interruptions += 1

    def look_again(self) -> None:
        self.looks += 1


@asynccontextmanager
async def listening(*given: Scripted, timeout: float = 2.0) -> AsyncIterator[tuple[Router, Ears]]:
    router = Router([node.address for node in given], connect, timeout)
    ears = Ears(router)
    await router.open()
    try:
        yield router, ears
    finally:
        await ears.close()
        await router.close()


def array(*parts: bytes | int) -> bytes:
    told = [
        b":%d\r\n" % part if isinstance(part, int) else b"$%d\r\n%b\r\n" % (len(part), part) for part in parts
    ]
    return b"*%d\r\n" % len(parts) + b"".join(told)


def confirmed(command: list[bytes]) -> bytes:
    return array(command[0].lower(), command[1], 1)


def message(channel: Channel, task_id: str) -> bytes:
    return array(b"smessage", channel.name, f'[["success", "{task_id}"]]'.encode())


def saying(view: Callable[[], bytes], say: Say = confirmed) -> Say:
    """The map to who asks for it, a PONG to who pings, and ``say`` to others."""

    def answer(command: list[bytes]) -> Answer:
        if command[:2] == [b"CLUSTER", b"SLOTS"]:
            return view()
        return array(b"pong", b"") if command == [b"PING"] else say(command)

    return answer


async def ready(ears: Ears, slot: int, hints: Heard, name: str = "inbox") -> Channel:
    channel = ears.channel(f"{name} {slot}", slot, hints)
    async with asyncio.timeout(2):
        await channel.ready()
    return channel


@pytest.mark.parametrize("is_sharded", [True, False])
async def test_heard_at_the_node_of_the_slot(is_sharded: bool) -> None:
    """Before Redis 7.0 there are no channels of slots, which the map shows."""
    async with nodes(2) as both:

        def view() -> bytes:
            told = slots(*both)
            return told if is_sharded else told.replace(b"*4\r\n", b"*3\r\n").replace(b"*0\r\n", b"")

        for node in both:
            node.say = saying(view)
        hints = Heard()
        async with listening(*both) as (_, ears):
            channels = [await ready(ears, slot, hints) for slot in (HERE, THERE)]
            verb = b"SSUBSCRIBE" if is_sharded else b"SUBSCRIBE"
            assert [node.times(verb) for node in both] == [1, 1]
            for node, channel in zip(both, channels, strict=True):
                told = message(channel, "t")
                node.push(told if is_sharded else told.replace(b"$8\r\ns", b"$7\r\n"))
            await until(lambda: len(hints.ids) == 2)
        assert not hints.looks


async def test_the_server_ends_a_subscription() -> None:
    """The slot has moved. It is subscribed to where it is now, and what is awaited is looked at again."""
    async with nodes(2) as (old, new):
        owners = [old]

        def say(command: list[bytes]) -> bytes:
            if owners == [old]:
                return confirmed(command)
            return f"-MOVED {HERE} 127.0.0.1:{new.address.port}\r\n".encode()

        old.say = saying(lambda: slots(*owners), say)
        new.say = saying(lambda: slots(*owners))
        hints = Heard()
        async with listening(old, new) as (_, ears):
            channel = await ready(ears, HERE, hints)
            owners[:] = [new]
            old.push(array(b"sunsubscribe", channel.name, 0))
            await until(lambda: hints.looks == 1)
            assert new.times(b"SSUBSCRIBE") == 1
            assert hints.interruptions == 1
            new.push(message(channel, "t"))
            await until(lambda: hints.ids == ["t"])


async def test_a_former_home_is_not_believed() -> None:
    """A primary that hung carries out what was sent to it before, and tells of it when another one leads."""
    async with nodes(3) as (old, new, other):
        owners = [old, other]
        for node in (old, new, other):
            node.say = saying(lambda: slots(*owners))
        hints = Heard()
        async with listening(other, old) as (router, ears):
            moved, stays = await ready(ears, HERE, hints), await ready(ears, 2, hints)
            assert stays.home is moved.home
            owners[:] = [new, old]
            stays.slot = THERE  # so that the connection to the old one is still needed
            router.look_soon()
            await until(lambda: hints.looks == 1)
            old.push(message(moved, "lost") + message(stays, "told"))
            new.push(message(moved, "t"))
            await until(lambda: len(hints.ids) == 2)
            assert {*hints.ids} == {"told", "t"}


async def test_nobody_listens_for_nothing() -> None:
    """The connection to a node that has none of the channels any more is closed."""
    async with nodes(2) as (old, new):
        owners = [old]
        for node in (old, new):
            node.say = saying(lambda: slots(*owners))
        hints = Heard()
        async with listening(new, old) as (router, ears):
            await ready(ears, HERE, hints)
            owners[:] = [new]
            router.look_soon()
            await until(lambda: hints.looks == 1)
            await until(lambda: not old.open)


async def test_one_of_several_is_redirected() -> None:
    """The others on the connection are confirmed, each by its own answer."""
    async with nodes(2) as (first, second):
        owners = [first]

        def say(command: list[bytes]) -> bytes:
            if command[1] != b"inbox 2":
                return confirmed(command)
            owners[:] = [second]
            return f"-MOVED 2 127.0.0.1:{second.address.port}\r\n".encode()

        first.say = saying(lambda: slots(*owners), say)
        second.say = saying(lambda: slots(*owners))
        hints = Heard()
        async with listening(first) as (_, ears):
            await asyncio.gather(*(ready(ears, slot, hints) for slot in (1, 2, 3)))
            assert second.times(b"SSUBSCRIBE") >= 1


async def test_refused() -> None:
    """Who asks is told, and who asks later asks the server again."""
    async with nodes(1) as (node,):
        may = False
        node.say = saying(
            lambda: slots(node),
            lambda command: confirmed(command) if may else b"-NOPERM no permissions to access a channel\r\n",
        )
        async with listening(node) as (_, ears):
            channel = ears.channel("inbox", HERE, Heard())
            for _ in range(2):
                with pytest.raises(NoPermissionError):
                    await channel.ready()
            may = True
            await channel.ready()
            assert node.times(b"SSUBSCRIBE") == 3


async def test_a_node_that_hangs_up_at_once() -> None:
    """It is tried again, with pauses that grow, and heard when it is back."""
    async with nodes(1) as (node,):
        hangs_up = True

        def say(command: list[bytes]) -> bytes:
            if hangs_up:
                raise ConnectionError
            return confirmed(command)

        node.say = saying(lambda: slots(node), say)
        async with listening(node) as (_, ears):
            opening = asyncio.ensure_future(ears.channel("inbox", HERE, Heard()).ready())
            began = monotonic()
            await until(lambda: node.times(b"SSUBSCRIBE") == 4)
            assert monotonic() - began > (0.05 + 0.1 + 0.2) / 2
            hangs_up = False
            async with asyncio.timeout(2):
                await opening


async def test_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who answers pings is quiet. Who does not is left, and what is awaited looked at again."""
    monkeypatch.setattr(cluster_ears, "_QUIET", 0.05)
    monkeypatch.setattr(cluster_ears, "_DEAD", 0.12)
    async with nodes(1) as (node,):
        node.say = answers = saying(lambda: slots(node))
        hints = Heard()
        async with listening(node) as (_, ears):
            await ready(ears, HERE, hints)
            await until(lambda: node.times(b"PING") == 5)
            assert not hints.looks
            node.say = lambda command: None if command == [b"PING"] else answers(command)
            await until(lambda: hints.looks == 1)
            assert node.times(b"SSUBSCRIBE") == 2
