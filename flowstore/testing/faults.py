"""A TCP connection with faults in it, for tests of what a backend does on a bad network."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final, Self, TypeAlias

_Due: TypeAlias = "asyncio.Queue[tuple[float, bytes]]"
"""What is on the way, each with the time of its arrival; no bytes are the end."""
_MOST_BYTES: Final = 65_536
_MOST_CHUNKS: Final = 1_000  # beyond it nothing is read, so that a slow reader slows the sender down


class Proxy:
    """Stands before a server: what connects to ``port`` on 127.0.0.1 talks to ``target_host:target_port``.

    ``delay`` seconds, at least, pass before what came in on one side leaves on the other, so a request and
    its reply take twice that. It may be set at any time, and holds for what comes in from then on. Order
    is kept, and as much is on the way at once as is sent: the delay does not limit the throughput.

    A connection ends on one side when it ends on the other; leaving the context ends all.

        async with Proxy("127.0.0.1", 6379, delay=0.002) as proxy:
            backend = flowstore.connect(f"redis://127.0.0.1:{proxy.port}/0")
    """

    def __init__(self, target_host: str, target_port: int, *, delay: float = 0.0) -> None:
        self.target_host = target_host
        self.target_port = target_port
        self.delay = delay
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Chosen anew each time the context is entered."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

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
        connection = asyncio.create_task(self._connect(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The life of one connection. Trouble on either side ends both."""
        writers = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection(self.target_host, self.target_port)
            writers.append(target_writer)
            async with asyncio.TaskGroup() as ways:
                for way in ((reader, target_writer), (target_reader, writer)):
                    due: _Due = asyncio.Queue(_MOST_CHUNKS)
                    ways.create_task(self._receive(way[0], due))
                    ways.create_task(self._send(due, way[1]))
            for each in writers:
                each.close()
                await each.wait_closed()
        except* OSError:
            pass
        finally:
            for each in writers:
                each.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader, due: _Due) -> None:
        now = asyncio.get_running_loop().time
        data = None
        while data != b"":
            data = await reader.read(_MOST_BYTES)
            await due.put((now() + self.delay, data))

    async def _send(self, due: _Due, writer: asyncio.StreamWriter) -> None:
        now = asyncio.get_running_loop().time
        while True:
            at, data = await due.get()
            await asyncio.sleep(at - now())
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
