"""Each means to break something breaks what it says, and nothing else. (no_task_left looks after each.)"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from flowstore.testing.faults import Proxy, ShuffleLoop, cancel_at_each_await

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
DELAY = 0.05
TICK = 0.002  # more than the clock of a loop may be behind: that of uvloop counts in milliseconds


@asynccontextmanager
async def behind_proxy(talk: Talk, delay: float = 0.0) -> AsyncIterator[Proxy]:
    """A proxy before a server that does ``talk`` on each connection, then closes it."""
    talks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(task := asyncio.current_task())  # type: ignore[arg-type]  # it runs in one
        assert task is not None
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        async with Proxy("127.0.0.1", server.sockets[0].getsockname()[1], delay=delay) as proxy:
            yield proxy
    finally:
        server.close()
        if talks:
            await asyncio.wait(talks)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(10_000):
        writer.write(data)
        await writer.drain()


async def connect(proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def until_end(reader: asyncio.StreamReader) -> bytes:
    """What comes in before the connection ends, be it in good order or not."""
    with suppress(ConnectionError):
        return await reader.read()
    return b""


async def test_delay_in_both_directions() -> None:
    """The request arrives no sooner than the delay after it was sent, and so does the reply."""
    now = asyncio.get_running_loop().time
    arrived: list[float] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(4)
        arrived.append(now())
        writer.write(b"pong")
        await reader.read()

    async with behind_proxy(answer, DELAY) as proxy:
        reader, writer = await connect(proxy)
        sent = now()
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"pong"
        assert arrived[0] - sent >= DELAY - TICK
        assert now() - arrived[0] >= DELAY - TICK
        writer.close()


async def test_delay_does_not_add_up() -> None:
    """Fifty messages that are sent one by one are on the way together, and keep their order."""
    now = asyncio.get_running_loop().time
    async with behind_proxy(echo, DELAY) as proxy:
        reader, writer = await connect(proxy)
        messages = [b"message %02d" % n for n in range(50)]
        began = now()
        for message in messages:
            writer.write(message)
            await writer.drain()
            await asyncio.sleep(0)
        assert await reader.readexactly(10 * 50) == b"".join(messages)
        assert now() - began < 50 * DELAY
        writer.close()


async def test_delay_of_what_comes_in_from_then_on() -> None:
    """Set on an open connection, and back: nothing overtakes what was delayed before it."""
    now = asyncio.get_running_loop().time
    async with behind_proxy(echo) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        proxy.delay, began = DELAY, now()
        writer.write(b"second")
        await asyncio.sleep(DELAY / 2)
        proxy.delay = 0
        writer.write(b"third")
        assert await reader.readexactly(11) == b"secondthird"
        assert now() - began >= DELAY - TICK
        writer.close()


async def test_large_transfer() -> None:
    """20 MB go there and back unchanged, far more than is ever buffered."""
    data = os.urandom(20_000_000)
    async with behind_proxy(echo, 0.002) as proxy:
        reader, writer = await connect(proxy)

        async def send() -> None:
            writer.write(data)
            await writer.drain()
            writer.write_eof()

        sending = asyncio.create_task(send())
        received = hashlib.sha256()
        while part := await reader.read(2**20):
            received.update(part)
        await sending
        assert received.digest() == hashlib.sha256(data).digest()
        writer.close()


@pytest.mark.parametrize("delay", [0.0, DELAY])
async def test_end_by_the_server(delay: float) -> None:
    """What it said before it closed arrives, then the end."""

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")

    async with behind_proxy(leave, delay) as proxy:
        reader, writer = await connect(proxy)
        assert await reader.read() == b"bye"
        writer.close()


async def test_end_by_the_client() -> None:
    """The server sees the end, and what was said before it."""
    heard = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set_result(await reader.read())

    async with behind_proxy(listen, DELAY) as proxy:
        _, writer = await connect(proxy)
        writer.write(b"bye")
        writer.close()
        assert await heard == b"bye"


async def test_end_by_the_proxy() -> None:
    """Leaving it ends every connection on both sides, and none is accepted from then on."""
    async with behind_proxy(echo, DELAY) as proxy:
        connections = [await connect(proxy) for _ in range(10)]
        for reader, writer in connections:
            writer.write(b"x")
            assert await reader.readexactly(1) == b"x"
        port = proxy.port
    for reader, writer in connections:
        assert await until_end(reader) == b""
        writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_nobody_there() -> None:
    """A connection through it ends at once when the server refuses it."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    async with Proxy("127.0.0.1", port) as proxy:
        reader, writer = await connect(proxy)
        assert await until_end(reader) == b""
        writer.close()


class CutAtOnce(Proxy):
    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super()._accept(reader, writer)
        self.cut()


async def test_a_connection_may_be_cut_before_anything_was_done_with_it() -> None:
    """It ends then too."""
    async with CutAtOnce("127.0.0.1", 1) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        assert proxy.connections == 0
        writer.close()


async def test_a_stalled_connection_goes_on_when_it_is_resumed() -> None:
    """Nothing is lost; a connection that is opened meanwhile is not stalled."""
    async with behind_proxy(echo) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        for directions in (("to server",), ("to client",), ()):
            proxy.stall(*directions)
            writer.write(b"2")
            later, more = await connect(proxy)
            more.write(b"3")
            assert await later.readexactly(1) == b"3"
            answer = asyncio.ensure_future(reader.readexactly(1))
            assert not (await asyncio.wait([answer], timeout=0.05))[0]
            proxy.resume()
            assert await answer == b"2"
            await closed(more)
        await closed(writer)


async def test_cut_and_lost_replies() -> None:
    """A cut ends what is open. A lost reply ends its connection after the server had the request."""
    async with behind_proxy(echo) as proxy:
        reader, writer = await connect(proxy)
        writer.write(b"1")
        assert await reader.readexactly(1) == b"1"
        assert proxy.connections == 1
        proxy.cut()
        assert await reader.read() == b""
        await closed(writer)
        proxy.lose_reply()
        for expected in (b"", b"2"):
            reader, writer = await connect(proxy)
            writer.write(b"2")
            assert await reader.read(1) == expected
            await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


class Forgetful:
    """A wait with a classic bug: it looks, and only then registers."""

    def __init__(self) -> None:
        self.is_done = False
        self.waiting: list[asyncio.Future[None]] = []

    async def finish(self) -> None:
        await asyncio.sleep(0)
        self.is_done = True
        for future in self.waiting:
            future.set_result(None)

    async def wait(self) -> None:
        if self.is_done:
            return
        await asyncio.sleep(0)
        self.waiting.append(asyncio.get_running_loop().create_future())
        await self.waiting[-1]


def test_shuffling_finds_a_lost_wake_up_that_a_plain_loop_never_meets() -> None:
    """And the same seed finds it again."""

    async def is_lost() -> bool:
        forgetful = Forgetful()
        wait = asyncio.ensure_future(forgetful.wait())
        await asyncio.gather(forgetful.finish(), *(asyncio.sleep(0) for _ in range(5)))
        for _ in range(10):
            await asyncio.sleep(0)
        lost = not wait.done()
        wait.cancel()
        return lost

    def seeds() -> list[int]:
        found = []
        for seed in range(30):
            with asyncio.Runner(loop_factory=lambda seed=seed: ShuffleLoop(seed)) as runner:  # type: ignore[misc]  # default
                if runner.run(is_lost()):
                    found.append(seed)
        return found

    assert not asyncio.run(is_lost())
    assert 3 <= len(seeds()) <= 27
    assert seeds() == seeds()


async def test_a_call_is_cancelled_at_each_of_its_awaits() -> None:
    """All of them are met once, then it completes."""
    ended: list[str] = []

    async def call() -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0.001)
            await asyncio.get_running_loop().run_in_executor(None, int)
            ended.append("completed")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def check() -> None:
        ended.append("checked")

    assert await cancel_at_each_await(call, check) == 3
    assert ended == ["cancelled", "checked"] * 3 + ["completed", "checked"]


async def test_a_swallowed_cancellation_is_found() -> None:
    """As is an error that the cancellation turned into."""

    async def deaf() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    async def wrong() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise ValueError("not what the caller asked for") from None

    async def check() -> None: ...

    with pytest.raises(AssertionError, match="await 1 was swallowed"):
        await cancel_at_each_await(deaf, check)
    with pytest.raises(ValueError, match="not what"):
        await cancel_at_each_await(wrong, check)
