"""A TCP connection with faults in it, for tests of what a backend does on a bad network."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args

Direction = Literal["to server", "to client"]

_Flows: TypeAlias = dict[Direction, asyncio.Event]
_Due: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
"""What is on the way, each with the time of its arrival; no bytes are the end."""
_MOST_BYTES: Final = 65_536
_MOST_CHUNKS: Final = 1_000  # beyond it nothing is read, so that a slow reader slows the sender down


class Proxy:
    """Stands before a server: what connects to ``port`` on 127.0.0.1 talks to ``target_host:target_port``.

    ``delay`` seconds, at least, pass before what came in on one side leaves on the other, so a request and
    its reply take twice that. It may be set at any time, and holds for what comes in from then on. Order
    is kept, and as much is on the way at once as is sent: the delay does not limit the throughput.

    ``stall`` holds back what is on the way in the open connections without closing them, ``cut`` ends them.
    Neither holds for connections that come later.
    ``lose_reply`` ends the next connection on which the server says something: the request was carried
    out, and nobody is told.

    A connection ends on one side when it ends on the other; leaving the context ends all.

        async with Proxy("127.0.0.1", 6379, delay=0.002) as proxy:
            backend = flowstore.connect(f"redis://127.0.0.1:{proxy.port}/0")
    """

    def __init__(self, target_host: str, target_port: int, *, delay: float = 0.0) -> None:
        self.target_host = target_host
        self.target_port = target_port
        self.delay = delay
        self._replies_to_lose = 0
        self._connections: dict[asyncio.Task[None], _Flows] = {}

    @property
    def port(self) -> int:
        """Chosen anew each time the context is entered."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def stall(self, *directions: Direction) -> None:
        """Let nothing through in these directions (none named: in both), until ``resume``."""
        for flows in self._connections.values():
            for direction in directions or get_args(Direction):
                flows[direction].clear()

    def resume(self) -> None:
        for flows in self._connections.values():
            for flow in flows.values():
                flow.set()

    def cut(self) -> None:
        """End the connections, with whatever is on the way in them."""
        for connection in self._connections:
            connection.cancel()

    def lose_reply(self, times: int = 1) -> None:
        """End the connection instead of passing on what the server says next, so often."""
        self._replies_to_lose = times

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._server.is_serving():
            writer.transport.abort()
            return
        flows: _Flows = {direction: asyncio.Event() for direction in get_args(Direction)}
        connection = asyncio.create_task(self._connect(reader, writer, flows))
        for flow in flows.values():
            flow.set()
        self._connections[connection] = flows
        connection.add_done_callback(self._connections.pop)
        connection.add_done_callback(lambda _: writer.transport.abort())  # it may be cut before it begins

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: _Flows
    ) -> None:
        """The life of one connection. Trouble on either side ends both."""
        writers = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection(self.target_host, self.target_port)
            writers.append(target_writer)
            async with asyncio.TaskGroup() as ways:
                requests: _Due = asyncio.Queue(_MOST_CHUNKS)
                replies: _Due = asyncio.Queue(_MOST_CHUNKS)
                ways.create_task(self._receive(reader, requests))
                ways.create_task(self._send(requests, target_writer, flows["to server"]))
                ways.create_task(self._receive(target_reader, replies, may_lose=True))
                ways.create_task(self._send(replies, writer, flows["to client"]))
            for each in writers:
                each.close()
                await each.wait_closed()
        except* OSError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, due: _Due, *, may_lose: bool = False) -> None:
        now = asyncio.get_running_loop().time
        data = None
        while data != b"":
            data = await reader.read(_MOST_BYTES)
            if data and may_lose and self._replies_to_lose:
                self._replies_to_lose -= 1
                raise ConnectionAbortedError("the reply is lost")
            await due.put((now() + self.delay, data))

    async def _send(self, due: _Due, writer: asyncio.StreamWriter, flow: asyncio.Event) -> None:
        now = asyncio.get_running_loop().time
        while True:
            at, data = await due.get()
            await asyncio.sleep(at - now())
            await flow.wait()
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
