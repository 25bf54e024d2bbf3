"""A network between the nodes of a cluster, and their clients, that can be divided while all processes run.

Each node announces the ports of two gates instead of its own, for its data and for the bus. A gate passes on
what comes in, unless the node behind it or the one in front of it is cut off. Who is in front it hears from
the first words of a connection: on the bus a node says its id, and a replica its port when it asks for data.
All others are clients.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, Final, TypeVar

from tests.cluster_nodes import Node

_T = TypeVar("_T")
_PATIENCE: Final = 10.0  # seconds
_MOST_BYTES: Final = 65_536
_FIRST_WORDS: Final = 8  # pieces of data in which one says who one is
_BUS_SENDER: Final = slice(40, 80)  # of a message on the bus
_REPLICA: Final = re.compile(rb"listening-port\r\n\$\d+\r\n(\d+)")


@dataclass(eq=False)
class _Link:
    """A connection through a gate."""

    gate: Gate
    task: asyncio.Task[None]
    peer: str | None = None
    heard: int = 0

    def hear(self, data: bytes, names: dict[bytes, str]) -> None:
        if self.peer is None and self.heard < _FIRST_WORDS:
            self.heard += 1
            self.peer = names.get(_spoken_name(data))


def _spoken_name(data: bytes) -> bytes:
    if data.startswith(b"RCmb"):
        return data[_BUS_SENDER]
    found = _REPLICA.search(data)
    return found[1] if found else b""


@dataclass(eq=False)
class Gate:
    """``port`` leads to ``target``, a port of the node ``name``; nowhere before ``lead``."""

    port: int
    target: int = 0
    name: str = ""

    def lead(self, name: str, target: int) -> None:
        self.name, self.target = name, target


@dataclass(frozen=True)
class _Cut:
    is_silent: bool
    keeps_clients: bool
    healed: asyncio.Event = field(default_factory=asyncio.Event)


class Network:
    """Gates in a thread of their own, so that a test may block its event loop."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._cuts: dict[str, _Cut] = {}
        self._links: set[_Link] = set()
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="network of a cluster")
        self._thread.start()

    def start_node(self, binary: Path, *options: str) -> Node:
        data, bus = self._run(self._open_gate()), self._run(self._open_gate())
        announced = f"--cluster-announce-port {data.port} --cluster-announce-bus-port {bus.port}"
        node = Node(binary, *options, *announced.split())
        node.public_port, node.public_bus_port = data.port, bus.port
        data.lead(node.id, node.port)
        bus.lead(node.id, node.bus_port)
        self._names |= {node.id.encode(): node.id, str(node.port).encode(): node.id}
        return node

    def cut_off(self, name: str, *, is_silent: bool, keeps_clients: bool) -> None:
        self._run(self._cut_off(name, is_silent, keeps_clients))

    def heal(self, name: str) -> None:
        self._run(self._heal(name))

    def stop(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)

    async def _open_gate(self) -> Gate:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):  # how a cut ends it, and asyncio would report that
                await self._serve(gate, reader, writer)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        gate = Gate(server.sockets[0].getsockname()[1])
        return gate

    async def _cut_off(self, name: str, is_silent: bool, keeps_clients: bool) -> None:
        self._cuts[name] = _Cut(is_silent, keeps_clients)
        for link in self._links:
            if not is_silent and self._cut_of(link):
                link.task.cancel()

    async def _heal(self, name: str) -> None:
        self._cuts.pop(name).healed.set()

    def _cut_of(self, link: _Link) -> _Cut | None:
        """What is between its two ends, if anything."""
        if link.peer in self._cuts:
            return self._cuts[link.peer]
        cut = self._cuts.get(link.gate.name)
        return None if cut and cut.keeps_clients and link.peer is None else cut

    async def _serve(self, gate: Gate, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection. Where it ends on one side, it is closed on the other."""
        task = asyncio.current_task()
        assert task is not None
        link, writers = _Link(gate, task), [writer]
        self._links.add(link)
        try:
            behind, answers = await asyncio.open_connection("127.0.0.1", gate.target)
            writers.append(answers)
            async with asyncio.TaskGroup() as ways:
                ways.create_task(self._carry(link, reader, answers))
                ways.create_task(self._carry(link, behind, writer))
        except* OSError:
            pass
        finally:
            self._links.discard(link)
            for each in writers:
                each.transport.abort()

    async def _carry(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_MOST_BYTES):
            link.hear(data, self._names)
            if cut := self._cut_of(link):
                if cut.is_silent:
                    await cut.healed.wait()
                raise ConnectionAbortedError("what was on its way is lost")
            writer.write(data)
            await writer.drain()
        raise ConnectionAbortedError("it ended on this side")

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        tasks = [link.task for link in self._links]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for server in self._servers:
            await server.wait_closed()
