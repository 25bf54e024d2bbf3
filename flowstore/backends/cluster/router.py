"""Which node a call goes to, and again, until it has an answer or its time is up.

redis-py has a cluster client of its own, and this is not it, for what was measured of its release 8.1: it
sends ASKING on one connection and the command on another, so that a slot that moves cannot be reached; it
raises AttributeError where another task has closed a connection; and a node that hangs holds up the calls to
all others. So it is one connection of the driver after another, with these rules of the specification:

MOVED: the slot is there now, and others may have moved as well, so the map is asked for again. ASK: this one
call goes there. TRYAGAIN: the slot is moving, and keys of the call are on both sides. Everything else that
passes by itself, from a node that starts to one that is gone: a pause, and again, while the map is renewed.

A write that is sent again carries its line and its number, which go with the slot wherever it moves and to a
replica that takes over. So it takes effect once (see flowstore/backends/redis/calls.py).

https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#redirection-and-resharding
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from flowstore._trips.background import in_background
from flowstore.backends.cluster.pipes import Node
from flowstore.backends.cluster.slots import SLOTS
from flowstore.backends.redis.driver import NodeConnection, packed
from flowstore.engine import let_go

_PASSES: Final = (
    *(TryAgainError, ClusterDownError, BusyLoadingError, ReadOnlyError),
    *(ConnectionError, TimeoutError, OSError),
)
"""What passes by itself, or once another node has taken over."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25
_BETWEEN_LOOKS: Final = 0.05
_MOST_REDIRECTS: Final = 5
"""In a row, before there is a pause: two nodes may send a call to each other for a moment."""
_PATIENCE: Final = 1.0
"""Seconds without an answer after which a node is doubted."""


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Map(NamedTuple):
    """Who serves which slot, None: nobody. ``is_sharded``: whether channels may belong to slots."""

    owners: list[Address | None]
    is_sharded: bool


class Router:
    """Calls to the nodes of a cluster. ``connect``: makes an unopened connection to an address.

    ``timeout``: the seconds for which a call is tried again.
    """

    def __init__(
        self, seeds: Sequence[Address], connect: Callable[..., NodeConnection], timeout: float
    ) -> None:
        self._seeds = seeds
        self._connect = connect
        self._timeout = timeout
        self._patience = min(_PATIENCE, timeout / 4)
        self._map = Map([None] * SLOTS, is_sharded=True)
        self.on_change: Callable[[], object] = lambda: None
        """Called when a slot has another owner than before."""
        self._begin()

    def _begin(self) -> None:
        self._nodes: dict[Address, Node] = {}
        self._looking: asyncio.Task[None] | None = None
        self._looked = 0.0

    async def open(self) -> None:
        """Learn the map. Raises the driver's error if no node tells it in time."""
        deadline = asyncio.get_running_loop().time() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._look()
                return
            except (RedisError, OSError) as error:
                if isinstance(error, AuthenticationError | ResponseError) and not isinstance(error, _PASSES):
                    raise
                if asyncio.get_running_loop().time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self) -> None:
        while self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=0.1)
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.close()

    def abandon(self) -> None:
        """Let go of the loop that is closed. The map stays."""
        let_go(self._looking)
        for node in self._nodes.values():
            node.sever()
        self._begin()

    @property
    def is_sharded(self) -> bool:
        return self._map.is_sharded

    def owner(self, slot: int) -> Address | None:
        return self._map.owners[slot]

    @property
    def owners(self) -> list[Address]:
        """The nodes that serve slots."""
        return list({owner: None for owner in self._map.owners if owner is not None})

    def connection(self, address: Address, **options: Any) -> NodeConnection:
        return self._connect(address, **options)

    async def call(self, slot: int, *command: str | bytes | int) -> Any:
        """The answer of whoever serves the slot. Raises the driver's error if there is none in time."""
        return await self._until_answered(packed(command), lambda: self._map.owners[slot])

    def send(self, slot: int, data: bytes) -> asyncio.Future[Any] | None:
        """The answer of whoever is known to serve the slot, if anybody is, or an error, without another try.

        What has failed is left to ``call``.
        """
        address = self._map.owners[slot]
        return None if address is None else self._node(address).call(data)

    async def call_at(self, address: Address, *command: str | bytes | int) -> Any:
        """The answer of one node, whatever it serves."""
        return await self._node(address).call(packed(command))

    async def _until_answered(self, data: bytes, owner: Callable[[], Address | None]) -> Any:
        deadline = asyncio.get_running_loop().time() + self._timeout
        pause, redirects = _FIRST_PAUSE, 0
        address, is_asking = owner(), False
        while True:
            try:
                if address is None:
                    raise ClusterDownError("CLUSTERDOWN no node serves the slot of this namespace")
                return await self._node(address).call(data, is_asking=is_asking)
            except AskError as error:  # MovedError is one
                is_asking, address = not isinstance(error, MovedError), _address(error, address)
                if not is_asking:
                    self._learn(error.slot_id, address)
                redirects += 1
                if redirects < _MOST_REDIRECTS:
                    continue
                failure: Exception = error
            except AuthenticationError:
                raise
            except _PASSES as error:
                if not isinstance(error, TryAgainError):
                    self.look_soon()
                failure = error
            if asyncio.get_running_loop().time() + pause >= deadline:
                raise failure
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause, redirects = min(2 * pause, _LONGEST_PAUSE), 0
            address, is_asking = owner(), False

    def _learn(self, slot: int, address: Address) -> None:
        if self._map.owners[slot] != address:
            self._map.owners[slot] = address
            self.on_change()
        self.look_soon()

    def look_soon(self) -> None:
        """Renew the map, in the background, unless that is being done."""
        if self._looking is None or self._looking.done():
            self._looking = in_background(self._look_again())

    async def _look_again(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._looked + _BETWEEN_LOOKS - loop.time()))
        try:
            await self._look()
        except (RedisError, OSError):
            self._looked = loop.time()  # whoever finds the map wrong looks again

    async def _look(self) -> None:
        """Renew the map by that of a node, of any one that answers. Raises the last error if none does."""
        addresses = list({**dict.fromkeys(self.owners), **dict.fromkeys(self._seeds)})
        random.shuffle(addresses)
        failure: Exception = ConnectionError("there is no node to ask")
        for address in addresses:
            try:
                async with asyncio.timeout(self._patience):
                    found = await self.call_at(address, "CLUSTER", "SLOTS")
                if found:
                    self._take(found, address)
                    return
                failure = ClusterDownError("CLUSTERDOWN no slot is served by any node")
            except (RedisError, OSError) as error:
                failure = error
        raise failure

    def _take(self, found: Sequence[Any], told_by: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        is_sharded = True
        for first, last, master, *_ in found:
            host, port, _, *more = master
            is_sharded = is_sharded and bool(more)  # what these are is told from 7.0 on
            name = host.decode() if isinstance(host, bytes) else host
            address = Address(name or told_by.host, int(port))
            owners[first : last + 1] = [address] * (last + 1 - first)
        has_changed = owners != self._map.owners
        self._map = Map(owners, is_sharded)
        self._looked = asyncio.get_running_loop().time()
        if has_changed:
            self.on_change()

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            node = self._nodes[address] = Node(lambda: self._connect(address), self._patience)
        return node


def _address(error: AskError, asked: Address | None) -> Address:
    """Where a call is sent on to. A node without a name is known by the address by which it was asked."""
    host = str(error.host)
    unknown = asked.host if asked is not None else host
    return Address(unknown if host in ("", "?") else host, int(error.port))
