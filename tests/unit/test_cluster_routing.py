"""The router and the connections of a cluster, before nodes that answer what real ones seldom do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from redis.exceptions import AuthenticationError, ClusterDownError, RedisError, ResponseError, TimeoutError

from flowstore.backends.cluster import pipes
from flowstore.backends.cluster.router import Router
from flowstore.backends.redis.client import storage_error
from flowstore.errors import StorageUnavailable
from tests.support.scripted import Answer, Say, Scripted, connect, nodes, raised_by, slots, until

HERE, THERE = 1, 16_000  # of the first half of the slots, and of the second


@asynccontextmanager
async def routed(*given: Scripted, timeout: float = 2.0) -> AsyncIterator[Router]:
    router = Router([node.address for node in given], connect, timeout)
    await router.open()
    try:
        yield router
    finally:
        await router.close()


def saying(view: Callable[[], bytes], say: Say = lambda command: b"+here\r\n") -> Say:
    """The map to who asks for it, and ``say`` to others."""

    def answer(command: list[bytes]) -> Answer:
        return view() if command[:2] == [b"CLUSTER", b"SLOTS"] else say(command)

    return answer


def in_turns(*answers: bytes | None) -> Say:
    """Each once, the last one from then on."""
    left = [*answers]
    return lambda command: left.pop(0) if len(left) > 1 else left[0]


async def test_moved_to_a_node_without_a_name() -> None:
    """Then it has the host by which the one was asked that says so."""
    async with nodes(2) as (first, second):
        owners = [first]

        def moved(_: list[bytes]) -> bytes:
            owners[:] = [second]
            return f"-MOVED {HERE} :{second.address.port}\r\n".encode()

        first.say = saying(lambda: slots(*owners), moved)
        second.say = saying(lambda: slots(*owners), lambda _: b"+there\r\n")
        async with routed(first) as router:
            assert await router.call(HERE, "GET", "k") == b"there"
            await until(lambda: router.owners == [second.address])


@pytest.mark.parametrize("host", ["", "?"])
async def test_a_map_without_names(host: str) -> None:
    """A node that does not know its own name is where it was asked."""
    async with nodes(1) as (node,):
        node.say = saying(
            lambda: slots(node, host="").replace(b"$0\r\n\r\n", f"${len(host)}\r\n{host}\r\n".encode())
        )
        async with routed(node) as router:
            assert await router.call(HERE, "GET", "k") == b"here"


async def test_asked_once() -> None:
    """ASK is for one call, with ASKING right before it; the map stays."""
    async with nodes(2) as (first, second):
        first.say = saying(
            lambda: slots(first),
            in_turns(f"-ASK 1 127.0.0.1:{second.address.port}\r\n".encode(), b"+here\r\n"),
        )
        second.say = lambda command: b"+OK\r\n" if command[0] == b"ASKING" else b"+there\r\n"
        async with routed(first) as router:
            assert [await router.call(HERE, "GET", "k") for _ in range(2)] == [b"there", b"here"]
        assert second.connections == [[[b"ASKING"], [b"GET", b"k"]]]


@pytest.mark.parametrize("word", ["MOVED", "ASK"])
async def test_nodes_that_send_a_call_to_each_other(word: str) -> None:
    """It ends in time, with pauses in between, and as what passes by itself."""
    async with nodes(2) as both:
        for node, other in (both, both[::-1]):
            port = other.address.port
            node.say = saying(
                lambda: slots(*both),
                lambda command, port=port: (  # type: ignore[misc]
                    b"+OK\r\n" if command[0] == b"ASKING" else f"-{word} 1 127.0.0.1:{port}\r\n".encode()
                ),
            )
        async with routed(*both, timeout=0.5) as router:
            began = monotonic()
            error = await raised_by(router.call(HERE, "GET", "k"))
            assert 0.2 < monotonic() - began < 1
        assert isinstance(storage_error(error, ""), StorageUnavailable)
        assert sum(node.times(b"GET") for node in both) < 60


@pytest.mark.parametrize(
    "trouble",
    [
        b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
        b"-CLUSTERDOWN The cluster is down\r\n",
        b"-CLUSTERDOWN Hash slot not served\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"-MASTERDOWN Link with MASTER is down\r\n",
        b"-READONLY You can't write against a read only replica.\r\n",
        b"$100\r\nhalf of an answer",
        None,
    ],
)
async def test_what_passes_by_itself(trouble: Answer) -> None:
    """The call is made again, and nobody learns of it. Silence, or half of an answer, is no answer."""
    async with nodes(1) as (node,):
        told = in_turns(trouble, b"+here\r\n")
        node.say = saying(
            lambda: slots(node), lambda command: b"+PONG\r\n" if command == [b"PING"] else told(command)
        )
        async with routed(node, timeout=1) as router:
            assert await router.call(HERE, "GET", "k") == b"here"
        assert node.times(b"GET") == 2


async def test_what_does_not_pass() -> None:
    """It is raised as it is, and at once."""
    async with nodes(1) as (node,):
        node.say = saying(lambda: slots(node), lambda _: b"-ERR no such thing\r\n")
        async with routed(node) as router:
            with pytest.raises(ResponseError, match="no such thing"):
                await router.call(HERE, "GET", "k")
        assert node.times(b"GET") == 1


async def test_a_connection_that_is_lost() -> None:
    """All calls that were on it are made again on another one, and each gets its own answer."""
    async with nodes(1) as (node,):
        hung_up = False

        def say(command: list[bytes]) -> bytes:
            nonlocal hung_up
            if command[1] == b"10" and not hung_up:
                hung_up = True
                raise ConnectionError
            return b"+" + command[1] + b"\r\n"

        node.say = saying(lambda: slots(node), say)
        async with routed(node) as router:
            answers = await asyncio.gather(*(router.call(HERE, "GET", n) for n in range(20)))
        assert answers == [str(n).encode() for n in range(20)]


async def test_answers_to_calls_that_were_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are nobody's: the next call on the connection gets its own."""
    monkeypatch.setattr(pipes, "_PIPES", 1)
    async with nodes(1) as (node,):
        held: list[bytes] = []

        def say(command: list[bytes]) -> Answer:
            held.append(b"+" + command[1] + b"\r\n")
            return None if len(held) == 1 else b"".join(held)

        node.say = saying(lambda: slots(node), say)
        async with routed(node) as router:
            first = asyncio.ensure_future(router.call(HERE, "GET", 1))
            await until(lambda: len(held) == 1)
            first.cancel()
            assert await router.call(HERE, "GET", 2) == b"2"
            assert node.connections[-1][-2:] == [[b"GET", b"1"], [b"GET", b"2"]]


async def test_a_node_that_answers_on_other_connections() -> None:
    """The one that is silent is given up after half of the time, and the call made again on a new one."""
    async with nodes(1) as (node,):
        told = in_turns(None, b"+here\r\n")
        node.say = saying(
            lambda: slots(node), lambda command: b"+PONG\r\n" if command == [b"PING"] else told(command)
        )
        async with routed(node, timeout=1.0) as router:
            began = monotonic()
            assert await router.call(HERE, "GET", "k") == b"here"
            assert 0.4 < monotonic() - began < 0.9
        assert node.times(b"PING") >= 1


async def test_a_node_that_says_nothing_any_more() -> None:
    """The call ends in time, and says why."""
    async with nodes(1) as (node,):
        node.say = in_turns(slots(node), None)
        async with routed(node, timeout=0.4) as router:
            began = monotonic()
            assert isinstance(await raised_by(router.call(HERE, "GET", "k")), TimeoutError)
            assert monotonic() - began < 0.8


async def test_calls_leave_a_node_that_serves_nothing_any_more() -> None:
    """One hangs while another takes over: what waits there is sent on at once; its connections are closed."""
    async with nodes(3) as (old, new, other):
        owners = [old, other]
        old.say = in_turns(None)
        for node in (new, other):
            node.say = saying(lambda: slots(*owners), lambda _: b"+new\r\n")
        async with routed(other, timeout=60) as router:  # hangs for 15 s before it is doubted
            waiting = asyncio.ensure_future(router.call(HERE, "GET", "k"))
            await until(lambda: old.times(b"GET") == 1)
            owners[0] = new
            router.look_soon()
            async with asyncio.timeout(2):
                assert await waiting == b"new"
            await until(lambda: old.open == 0)
            assert router.owners == [new.address, other.address]


async def test_who_was_in_trouble_is_asked_last() -> None:
    """A node that is cut off from the others keeps an old map, and clients that reach it."""
    async with nodes(4) as (cut_off, *others):
        cut_off.say = saying(lambda: slots(cut_off), lambda _: b"-CLUSTERDOWN The cluster is down\r\n")
        for node in others:
            node.say = saying(lambda: slots(others[0]))
        async with routed(cut_off) as router:
            router._seeds = [node.address for node in (cut_off, *others)]
            assert await router.call(HERE, "GET", "k") == b"here"
        assert cut_off.times(b"CLUSTER") == 1


async def test_a_slot_that_nobody_serves() -> None:
    """It says so once the time is up; calls of other slots have nothing to do with it."""
    async with nodes(1) as (node,):
        node.say = saying(lambda: slots(node, spare=1_000))
        async with routed(node, timeout=0.5) as router:
            lost = asyncio.ensure_future(raised_by(router.call(THERE, "GET", "k")))
            assert await router.call(HERE, "GET", "k") == b"here"
            error = await lost
        assert isinstance(error, ClusterDownError)
        told = str(storage_error(error, ""))
        assert told == "Redis: CLUSTERDOWN no node serves the hash slot that this belongs to"


async def test_a_refused_password() -> None:
    """No other attempt is made, as it would not pass."""
    async with nodes(1) as (node,):
        node.say = lambda _: b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        router = Router([node.address], lambda at, **more: connect(at, password="secret", **more), 5.0)
        began = monotonic()
        with pytest.raises(AuthenticationError):
            await router.open()
        assert monotonic() - began < 1
        await router.close()


async def test_a_cluster_that_is_not_there() -> None:
    """Opening tries each node until its time is up."""
    async with nodes(1) as (node,):
        gone = node.address
    router = Router([gone], connect, 0.3)
    began = monotonic()
    with pytest.raises(RedisError, match="connect") as caught:
        await router.open()
    assert isinstance(storage_error(caught.value, ""), StorageUnavailable)
    assert monotonic() - began < 1
    await router.close()
