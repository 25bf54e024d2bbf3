"""Receives the hints of the Redis engine: one connection and one channel per backend.

A subscription per id would cost a command and a message per wait. Here a wait registers the inbox of its
backend with the id (watch.lua), and a commit publishes to the inboxes registered for its ids.

redis-py subscribes again by itself after a lost connection, and does not report it; what was published in
between is gone. The only sign is another confirmation of the subscription, so each one means: look at
everything again. Confirmations that are ignored are hints that are lost.

A dead connection can look like a quiet one. After a black hole ETIMEDOUT reads as "no message", at once and
for ever, and the driver's health check never waits for its PONG. So silence is timed here: ping after 2.5 s,
give up after 5 s, and take an answer that came much too early for a dead connection. A primary that Sentinel
has replaced may answer pings for ever where nothing can tell it so: it is left as well.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from flowstore._trips.background import in_background
from flowstore.backends.redis.connections import told
from flowstore.backends.redis.driver import has_moved
from flowstore.engine import Change, Hints, let_go

_QUIET: Final = 2.5
_DEAD: Final = 5.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Listener:
    """Subscribes to ``inbox`` on the first ``ready`` and stays subscribed, whatever the connection does.

    Every confirmation after the first follows a gap, so it makes all awaited ids stale. A connection that is
    silent for 2.5 s while somebody waits is pinged, and given up after 5 s.
    """

    def __init__(self, client: Redis, inbox: str, hints: Hints) -> None:
        self._client = client
        self._inbox = inbox
        self._hints = hints
        self._task: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._refusal: RedisError | None = None
        self._is_closing = False
        self._has_gap = False  # nothing can be missed before the first subscription
        self._is_lost = False

    async def ready(self) -> None:
        """Return once subscribed; waits as long as the server cannot be reached.

        Raises the driver's error if this user is not allowed to subscribe.
        """
        if self._task is None or self._task.done():  # done: all tasks were cancelled
            self._task = in_background(self._listen())
        await self._subscribed.wait()
        if self._refusal is not None:
            raise self._refusal

    async def close(self) -> None:
        self._is_closing = True
        while self._task is not None and not self._task.done():
            self._task.cancel()  # again: the driver turns some cancellations into its own errors
            await asyncio.wait([self._task], timeout=0.1)

    def abandon(self) -> None:
        self._is_closing = True
        let_go(self._task)

    async def _listen(self) -> None:
        pause = _FIRST_PAUSE
        while not self._is_closing:
            began = asyncio.get_running_loop().time()
            try:
                async with self._client.pubsub() as pubsub:
                    async with asyncio.timeout(_DEAD):
                        await pubsub.subscribe(self._inbox)
                    with _unchecked(pubsub.connection):
                        await self._hear(pubsub)
                self._lose(ConnectionError("the connection that listens has died"))
            except (RedisError, OSError) as error:
                if isinstance(refusal := told(error), (AuthenticationError, NoPermissionError)):
                    self._refusal = refusal
                    self._subscribed.set()
                else:  # reconnects below
                    self._lose(error)
            except Exception as error:
                context = {
                    "message": "flowstore's Redis listener failed and starts again",
                    "exception": error,
                }
                asyncio.get_running_loop().call_exception_handler(context)
            finally:
                self._subscribed.clear()
            lasted = asyncio.get_running_loop().time() - began
            pause = _FIRST_PAUSE if lasted > _DEAD else min(2 * pause, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    def _lose(self, error: Exception) -> None:
        if self._has_gap and not self._is_lost and not self._is_closing:
            self._is_lost = True
            self._hints.interrupted(error)

    async def _hear(self, pubsub: Any) -> None:
        """Receive until the connection is dead. None long before the timeout means dead, too (ETIMEDOUT)."""
        clock = asyncio.get_running_loop().time
        heard = clock()
        while True:
            asked = clock()
            message = await pubsub.get_message(timeout=_QUIET)
            if message is not None:
                heard = clock()
                self._take(message)
            elif clock() - asked < _QUIET / 2:
                return
            elif not self._hints.is_waiting:
                heard = clock()
            elif clock() - heard >= _DEAD or has_moved(pubsub.connection):
                return
            else:
                await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._refusal = None
            self._subscribed.set()
            if self._has_gap:
                # The driver may have made the connection anew, without a word.
                self._lose(ConnectionError("the connection that listens was lost"))
                self._hints.look_again()
            self._has_gap, self._is_lost = True, False
        elif message["type"] == "message":
            tell(self._hints, message["data"])


def tell(hints: Hints, message: bytes | str) -> None:
    """The changes that a message is of, see telling.lua."""
    changes: dict[tuple[str, int | None], list[str]] = {}
    for change, task_id, *rest in json.loads(message):
        at = int(rest[0]) if rest else None  # as text: a number of Lua has no 16 digits in JSON
        changes.setdefault((change, at), []).append(task_id)
    for (change, at), ids in changes.items():
        hints.changed(ids, Change(change), at)


@contextmanager
def _unchecked(connection: Any) -> Iterator[None]:
    """Turn the driver's health checks off, whose answers come as None. The pool may belong to the caller."""
    interval, connection.health_check_interval = connection.health_check_interval, 0
    try:
        yield
    finally:
        connection.health_check_interval = interval
