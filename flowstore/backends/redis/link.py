"""How an engine reaches its server: what its calls travel on, and what hears its messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from redis.asyncio import Redis

from flowstore.backends.redis.client import place_of
from flowstore.backends.redis.driver import OwnConnection
from flowstore.backends.redis.listener import Listener
from flowstore.backends.redis.orphans import check_idle, forget, sever_all
from flowstore.engine import Hints
from flowstore.observing import Place


class Way(Protocol):
    """What carries one call at a time. A call whose answer was lost is sent again."""

    @property
    def call(self) -> Callable[..., Awaitable[Any]]:
        """Takes the parts of a command, and returns its answer or raises an error of the driver."""

    async def call_confirmed(self, replicas: int, ms: int, *command: str | bytes | int) -> tuple[Any, int]:
        """As ``call``, and by how many replicas it was confirmed: it waits ``ms`` at most for ``replicas``.

        WAIT counts from the last write of its own connection. So it leaves behind the command, in one send,
        and both are sent again where a reply was lost: on a new connection WAIT alone would confirm nothing.
        """

    async def close(self) -> None: ...

    def sever(self) -> None:
        """Close what belongs to a loop that is closed."""


class Ear(Protocol):
    """What hears the messages to one inbox, and gives them to the hints that it was made with."""

    async def ready(self) -> None:
        """Return once nothing that is published from now on can be missed unnoticed."""

    async def close(self) -> None: ...

    def abandon(self) -> None:
        """As ``Engine.abandon``."""


class Link(Protocol):
    """The way from an engine to where its keys are. It outlives the event loop."""

    @property
    def place(self) -> Place: ...

    @property
    def most_ways(self) -> int:
        """How many there may be at once."""

    @property
    def publishes(self) -> str:
        """The command by which scripts tell those who wait."""

    @property
    def call(self) -> Callable[..., Awaitable[Any]] | None:
        """Carries any number of calls at once, in any order; None: each needs a way."""

    def open(self) -> None:
        """Make it usable in the running loop. Raises WrongLoop where it is in use in another one."""

    def way(self) -> Way: ...

    def ear(self, inbox: str, hints: Hints) -> Ear: ...

    async def close(self) -> None:
        """Close what it has made but for its ways."""

    def abandoned(self) -> AbstractContextManager[None]:
        """Let go of the loop that is closed, around the end of all that was made there."""


class ClientLink:
    """A client of redis-py. If ``is_owned`` each way keeps a connection, which saves a third of a call."""

    publishes = "PUBLISH"
    call = None

    def __init__(self, client: Redis, *, is_owned: bool = False) -> None:
        self._client = client
        self.pool = client.connection_pool
        self._clients = [client]
        """All that have connections. That to the server comes first."""
        self._is_owned = is_owned
        self.place = place_of(client)
        self.most_ways: int = client.connection_pool.max_connections - 1  # one listens

    def open(self) -> None:
        for client in self._clients:
            forget(client, sever_all(client))
        check_idle(self._client)

    def way(self) -> Way:
        return OwnConnection(self._client.connection_pool) if self._is_owned else _Shared(self._client)

    def ear(self, inbox: str, hints: Hints) -> Ear:
        return Listener(self._client, inbox, hints)

    async def close(self) -> None:
        if self._is_owned:
            await self._client.aclose()

    @contextmanager
    def abandoned(self) -> Iterator[None]:
        severed = [(client, sever_all(client)) for client in self._clients]
        yield
        for client, connections in severed:
            forget(client, connections)


class _Shared:
    """The client of a caller, with its pool: nothing of it is ours to close."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self.call: Callable[..., Awaitable[Any]] = client.execute_command

    async def call_confirmed(self, replicas: int, ms: int, *command: str | bytes | int) -> tuple[Any, int]:
        pipeline = self._client.pipeline(transaction=False)  # which has one connection
        pipeline.execute_command(*command)
        pipeline.execute_command("WAIT", replicas, ms)
        answer, confirmed = await pipeline.execute(raise_on_error=False)
        for reply in (answer, confirmed):
            if isinstance(reply, Exception):
                raise reply
        return answer, confirmed

    async def close(self) -> None: ...

    def sever(self) -> None: ...
