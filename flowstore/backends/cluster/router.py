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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)

from flowstore._trips.background import in_background
from flowstore.backends.cluster.pipes import Node
from flowstore.backends.cluster.slots import SLOTS
from flowstore.backends.redis.driver import NodeConnection, packed
from flowstore.engine import let_go

T = TypeVar("T")

_PASSES: Final = (
    *(TryAgainError, ClusterDownError, BusyLoadingError, ReadOnlyError),
    *(ConnectionError, TimeoutError, OSError),
)
"""What passes by itself, or once another node has taken over. The driver takes a refused password for it."""
_FIRST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.25
_BETWEEN_LOOKS: Final = 0.05
_MOST_REDIRECTS: Final = 5
"""In a row, before there is a pause: two nodes may send a call to each other for a moment."""
_UNKNOWN: Final = ("", "?", None)
"""The names of a node that does not know its own."""
_PATIENCE: Final = 1.0
"""Seconds without an answer after which a node is doubted."""


class ClusterClosed(RedisError):
    """Whoever still calls comes too late."""


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
        self._leaving: set[asyncio.Task[None]] = set()
        self._trouble: dict[Address, float] = {}
        """When a node was last out of reach, or could not serve what it should."""
        self._looking: asyncio.Task[None] | None = None
        self._looked = 0.0

    async def open(self) -> None:
        """Learn the map. Raises the driver's error if no node tells it in time."""
        self._is_closed = False
        deadline = asyncio.get_running_loop().time() + self._timeout
        pause = _FIRST_PAUSE
        while True:
            try:
                await self._look()
                return
            except _PASSES as error:
                if isinstance(error, AuthenticationError) or isinstance(error.__cause__, ValueError):
                    raise  # a password, a certificate: another try meets the same
                if asyncio.get_running_loop().time() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def close(self) -> None:
        self._is_closed = True
        while self._looking is not None and not self._looking.done():
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=0.1)
        for address in list(self._nodes):
            self._let_go_of(address)
        while self._leaving:
            await asyncio.wait(self._leaving)

    def abandon(self) -> None:
        """Let go of the loop that is closed. The map stays."""
        let_go(self._looking)
        for leaving in self._leaving:
            let_go(leaving)
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
        data = packed(command)

        async def ask(node: Node, is_asking: bool) -> Any:
            return await node.call(data, is_asking=is_asking)

        return await self._until_answered(ask, lambda: self._map.owners[slot])

    async def call_confirmed(
        self, slot: int, replicas: int, ms: int, *command: str | bytes | int
    ) -> tuple[Any, int]:
        """As ``call``, and how many replicas have confirmed it; it waits ``ms`` at most for ``replicas``."""
        data, wait = packed(command), packed(("WAIT", replicas, ms))

        async def ask(node: Node, is_asking: bool) -> tuple[Any, int]:
            return await node.confirming(wait).call_confirmed(data, is_asking=is_asking)

        return await self._until_answered(ask, lambda: self._map.owners[slot])

    def send(self, slot: int, data: bytes) -> asyncio.Future[Any] | None:
        """The answer of whoever is known to serve the slot, if anybody is, or an error, without another try.

        What has failed is left to ``call``.
        """
        address = self._map.owners[slot]
        return None if address is None else self._node(address).call(data)

    async def call_at(self, address: Address, *command: str | bytes | int) -> Any:
        """The answer of one node, whatever it serves."""
        return await self._node(address).call(packed(command))

    async def _until_answered(
        self, ask: Callable[[Node, bool], Awaitable[T]], owner: Callable[[], Address | None]
    ) -> T:
        deadline = asyncio.get_running_loop().time() + self._timeout
        pause, redirects = _FIRST_PAUSE, 0
        address, is_asking = owner(), False
        while True:
            try:
                if address is None:
                    raise ClusterDownError("no node serves the hash slot that this belongs to")
                return await ask(self._node(address), is_asking)
            except AskError as error:  # MovedError is one
                is_asking, address = not isinstance(error, MovedError), _address(error, address)
                if not is_asking:
                    self._learn(error.slot_id, address)
                redirects += 1
                if redirects < _MOST_REDIRECTS:
                    continue
                failure: Exception = ClusterDownError(
                    f"nodes send a call to each other, the last one to {address}"
                )
            except AuthenticationError:
                raise
            except _PASSES as error:
                if not isinstance(error, TryAgainError):
                    self._doubt(address)
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

    def _doubt(self, address: Address | None) -> None:
        if address is not None:
            self._trouble[address] = asyncio.get_running_loop().time()
        self.look_soon()

    def look_soon(self) -> None:
        """Renew the map, in the background, unless that is being done."""
        if self._is_closed:
            return
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
        """Renew the map by that of a node, of any one that answers. Raises the last error if none does.

        Who was in trouble last is asked last: it may not answer, or be cut off from the others and not know.
        """
        addresses = list({**dict.fromkeys(self.owners), **dict.fromkeys(self._seeds)})
        random.shuffle(addresses)
        addresses.sort(key=lambda address: self._trouble.get(address, 0.0))
        failure: Exception = ConnectionError("there is no node to ask")
        for address in addresses:
            try:
                found = await self._map_of(address)
                if found:
                    self._take(found, address)
                    return
                failure = ClusterDownError("no slot is served by any node")
            except (RedisError, OSError) as error:
                failure = error
            self._trouble[address] = asyncio.get_running_loop().time()
        raise failure

    async def _map_of(self, address: Address) -> Sequence[Any]:
        try:
            async with asyncio.timeout(self._patience):
                found: Sequence[Any] = await self.call_at(address, "CLUSTER", "SLOTS")
                return found
        except OSError as error:  # that of the limit has no words
            raise TimeoutError(f"{address} did not answer within {self._patience:g} s") from error

    def _take(self, found: Sequence[Any], told_by: Address) -> None:
        owners: list[Address | None] = [None] * SLOTS
        is_sharded = True
        for first, last, master, *_ in found:
            host, port, _, *more = master
            is_sharded = is_sharded and bool(more)  # what these are is told from 7.0 on
            name = host.decode() if isinstance(host, bytes) else host
            address = Address(told_by.host if name in _UNKNOWN else name, int(port))
            owners[first : last + 1] = [address] * (last + 1 - first)
        has_changed = owners != self._map.owners
        self._map = Map(owners, is_sharded)
        self._looked = asyncio.get_running_loop().time()
        known = {*self.owners, *self._seeds}
        self._trouble = {address: at for address, at in self._trouble.items() if address in known}
        for address in self._nodes.keys() - set(owners):
            self._let_go_of(address)
        if has_changed:
            self.on_change()

    def _let_go_of(self, address: Address) -> None:
        """Who serves nothing may hang, with calls that others would answer: these are sent again at once."""
        leaving = in_background(self._nodes.pop(address).close())
        self._leaving.add(leaving)
        leaving.add_done_callback(self._leaving.discard)

    def _node(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            if self._is_closed:
                raise ClusterClosed("the backend is closed")
            node = self._nodes[address] = Node(
                lambda: self._connect(address), self._patience, self._timeout / 2
            )
        return node


def _address(error: AskError, asked: Address | None) -> Address:
    """Where a call is sent on to. A node without a name is known by the address by which it was asked."""
    host = str(error.host)
    unknown = asked.host if asked is not None else host
    return Address(unknown if host in _UNKNOWN else host, int(error.port))
