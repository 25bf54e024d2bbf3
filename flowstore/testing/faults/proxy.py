"""A TCP proxy with faults, for tests of a backend on a bad network."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias, get_args

Direction = Literal["to server", "to client"]

_Flows: TypeAlias = dict[Direction, asyncio.Event]
_Due: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
"""Data in transit, with the time at which each piece is due; no bytes mean the end."""
_MOST_BYTES: Final = 65_536
_MOST_CHUNKS: Final = 1_000  # then reading stops, so that a slow receiver slows the sender down


class Proxy:
    """Sits in front of a server: connections to ``port`` on 127.0.0.1 reach ``target_host:target_port``.

    What comes in on one side leaves on the other after at least ``delay`` seconds, so that a request and its
    reply take twice as long. It can be set at any time, for data that comes in from then on. Order is kept,
    and the delay does not limit the throughput.

    ``stall`` holds back the data in the open connections without closing them; ``cut`` closes them. Neither
    affects later connections. ``lose_reply`` closes the next connection on which the server sends something:
    the request was carried out, but the reply is lost.

    A connection that ends on one side is closed on the other. Leaving the context closes all of them.

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
        """The port to connect to, a new one each time the context is entered."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    def stall(self, *directions: Direction) -> None:
        """Let nothing through in these directions (none given: both) until ``resume``."""
        for flows in self._connections.values():
            for direction in directions or get_args(Direction):
                flows[direction].clear()

    def resume(self) -> None:
        for flows in self._connections.values():
            for flow in flows.values():
                flow.set()

    def cut(self) -> None:
        """Close all connections; data in transit is lost."""
        for connection in self._connections:
            connection.cancel()

    def lose_reply(self, times: int = 1) -> None:
        """Instead of passing on the server's next reply, close the connection; ``times`` times."""
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
        # Here as well: a task that is cancelled before its first step never gets to its `finally`.
        connection.add_done_callback(lambda _: writer.transport.abort())

    async def _connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, flows: _Flows
    ) -> None:
        """Serve one connection. An error on either side closes both."""
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
