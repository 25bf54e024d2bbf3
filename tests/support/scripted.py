"""Nodes of a cluster that say what they are told to, and keep what they were asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from redis.asyncio import ConnectionPool

from flowstore.backends.cluster.router import Address
from flowstore.backends.cluster.slots import SLOTS
from flowstore.backends.redis.driver import OWN_NAME, NodeConnection

Answer = bytes | None
Say = Callable[[list[bytes]], Answer]
"""From a command to what is answered; None: nothing. It may raise ConnectionError: then it hangs up."""


class Scripted:
    """One node. ``say`` answers whatever is asked, but for what a connection begins with."""

    def __init__(self) -> None:
        self.say: Say = lambda command: b"+OK\r\n"
        self.asked: list[list[bytes]] = []
        self.connections: list[list[list[bytes]]] = []
        """What was asked on each connection."""
        self.open = 0
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._server: asyncio.Server
        self.address: Address

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = Address("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        self._server.close()
        for writer in self._writers.values():
            writer.transport.abort()
        await self._server.wait_closed()

    def push(self, data: bytes) -> None:
        """On all connections on which a channel was subscribed to."""
        for number, writer in self._writers.items():
            if any(b"SUBSCRIBE" in command[0] for command in self.connections[number]):
                writer.write(data)

    def times(self, name: bytes) -> int:
        return sum(command[0] == name for command in self.asked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number, asked = len(self.connections), list[list[bytes]]()
        self.connections.append(asked)
        self._writers[number] = writer
        self.open += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    command = await _command(reader)
                    if command[0] not in (b"CLIENT", b"HELLO", b"AUTH"):
                        asked.append(command)
                        self.asked.append(command)
                    answer = b"+OK\r\n" if command[0] == b"CLIENT" else self.say(command)
                    if answer is not None:
                        writer.write(answer)
        finally:
            self.open -= 1
            del self._writers[number]
            writer.transport.abort()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    count = int((await reader.readuntil(b"\r\n"))[1:])
    parts = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        parts.append((await reader.readexactly(length + 2))[:-2])
    return parts


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Scripted]]:
    made = [Scripted() for _ in range(count)]
    try:
        for node in made:
            await node.start()
        yield made
    finally:
        for node in made:
            await node.stop()


def connect(address: Address, **options: Any) -> NodeConnection:
    where = {"host": address.host, "port": address.port, "socket_timeout": None, "protocol": 2}
    return NodeConnection(ConnectionPool(**OWN_NAME), **where | options)


def slots(*owners: Scripted, host: str = "127.0.0.1", spare: int = 0) -> bytes:
    """The map that divides all slots, but for the last ``spare`` ones, among them."""
    served = SLOTS - spare
    rows = [
        f"*3\r\n:{served * n // len(owners)}\r\n:{served * (n + 1) // len(owners) - 1}\r\n"
        f"*4\r\n${len(host)}\r\n{host}\r\n:{owner.address.port}\r\n$2\r\nid\r\n*0\r\n"
        for n, owner in enumerate(owners)
    ]
    return f"*{len(rows)}\r\n{''.join(rows)}".encode()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # it is no event of ours
            await asyncio.sleep(0.005)


async def raised_by(call: Awaitable[Any]) -> Exception:
    try:
        await call
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")
