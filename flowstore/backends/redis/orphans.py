"""Connections of redis-py whose event loop is closed.

A client may be used in one loop after another, but its pool keeps the connections of the first, and hands
them out in the second, where they raise or hang: a reader of another loop is never woken. Nor can they be
closed in the usual way. A transport asks its loop to close the socket later, and a closed loop refuses; then
the socket is left to the garbage collector, which warns of it. So the socket is closed here, and the
connection looks like one that was lost: the driver connects again when it is next used.

asyncio's locks remember the first loop in which somebody had to wait for them, and refuse every other. One
may even be held for ever, by a task that died with its loop. Those of the pool are made anew.

uvloop closes its sockets with the loop, warns of each, and hides what is looked for here.

Where a loop ends in an orderly way, as in ``asyncio.run``, all that need not happen: it closes the generators
that were begun in it before it closes itself, and ``with_the_loop`` is one of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any

from redis.asyncio import Redis

from flowstore.errors import WrongLoop


async def with_the_loop(end: Callable[[], Awaitable[None]]) -> AsyncGenerator[None, None]:
    """Once begun, calls ``end`` when its loop is about to close, or ``aclose`` is called."""
    try:
        yield
    finally:
        await end()


def sever(connection: Any) -> bool:
    """Close a connection of the driver if its loop is closed; whether it was one of those."""
    loop = _loop_of(connection)
    if loop is None or not loop.is_closed():
        return False
    _close(connection._writer.transport)
    if not connection._writer.is_closing():  # uvloop's never says so once its loop is closed
        connection._writer._transport = _Closed()
    connection._parser.on_disconnect()
    connection._reader = connection._writer = None
    return True


def sever_all(client: Redis) -> list[Any]:
    """Make the pool of ``client`` usable in another loop; returns the connections that were severed.

    Those that were in use are in use still. If nobody gives them back, ``forget`` them.
    """
    pool: Any = client.connection_pool
    severed = [one for one in [*pool._available_connections, *pool._in_use_connections] if sever(one)]
    owners = [vars(pool), vars(client)]
    if severed or any(_is_of_closed_loop(lock) for attributes in owners for lock in _locks(attributes)):
        for attributes in owners:
            for name, value in list(attributes.items()):
                if isinstance(value, asyncio.Lock | asyncio.Condition):
                    attributes[name] = type(value)()
    return severed


def forget(client: Redis, severed: list[Any]) -> None:
    """Give back the places in the pool of connections whose borrowers died with their loop."""
    pool: Any = client.connection_pool
    for connection in severed:
        if connection is not getattr(client, "connection", None):  # that of a client with a single one
            pool._in_use_connections.discard(connection)


def check_idle(client: Redis) -> None:
    """Raise WrongLoop if the pool would hand out connections of another loop that is still open.

    In a child process they are those of its parent, if its loop was copied with it.
    """
    pool: Any = client.connection_pool
    for connection in pool._available_connections:
        if _loop_of(connection) not in (None, asyncio.get_running_loop()):
            raise WrongLoop(
                "client: it has connections of another event loop or process; make a client for each of them"
            )


class _Closed(asyncio.Transport):
    """In the place of a transport that does not know that it is closed, of which asyncio would warn."""

    def is_closing(self) -> bool:
        return True


def _loop_of(connection: Any) -> asyncio.AbstractEventLoop | None:
    """None where it is not connected."""
    return getattr(connection._reader, "_loop", None)


def _locks(attributes: dict[str, Any]) -> Iterator[Any]:
    for value in attributes.values():
        if isinstance(value, asyncio.Lock | asyncio.Condition):
            yield value
            yield getattr(value, "_lock", value)  # a condition waits for two things


def _is_of_closed_loop(lock: Any) -> bool:
    return lock._loop is not None and lock._loop.is_closed()


def _close(transport: Any) -> None:
    with suppress(RuntimeError):  # the loop is closed: it is marked as closing, and that is all
        transport.abort()
    inner = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    with suppress(RuntimeError):
        inner.abort()
    opened = getattr(inner, "_sock", None)
    if opened is not None:
        opened.close()
        inner._sock = None  # or it would warn of the socket when it is collected
