"""The ear of the Redis engine: one connection, one channel, which every store of an awaited id tells."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError

from flowstore.engine import Change, Hints

_QUIET: Final = 2.5
_DEAD: Final = 5.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0


class Listener:
    """Subscribes to ``inbox`` on the first ``ready`` and stays subscribed, whatever the connection does.

    Each further confirmation of the subscription follows a gap, so it asks for another look at everything.
    While somebody waits, a connection that was silent for 2.5 s is pinged, and given up after 5 s.
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

    async def ready(self) -> None:
        """Return once messages arrive; waits as long as the server cannot be reached.

        Raises the driver's error when the server lets this user not subscribe.
        """
        if self._task is None or self._task.done():  # done: somebody cancelled all tasks
            self._task = asyncio.get_running_loop().create_task(self._listen())
        await self._subscribed.wait()
        if self._refusal is not None:
            raise self._refusal

    async def close(self) -> None:
        self._is_closing = True
        while self._task is not None and not self._task.done():
            self._task.cancel()  # the driver turns some cancellations into errors of its own: say it again
            await asyncio.wait([self._task], timeout=0.1)

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
            except (AuthenticationError, NoPermissionError) as error:
                self._refusal = error
                self._subscribed.set()
            except (RedisError, OSError):
                pass  # rebuilt below; a waiter learns of the trouble from its own reads
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

    async def _hear(self, pubsub: Any) -> None:
        """Until the connection is dead. A None long before the time-out is a dead one too (ETIMEDOUT)."""
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
            elif clock() - heard >= _DEAD:
                return
            else:
                await pubsub.ping()

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            self._refusal = None
            self._subscribed.set()
            if self._has_gap:
                self._hints.look_again()
            self._has_gap = True
        elif message["type"] == "message":
            changes: dict[str, list[str]] = {}
            for change, task_id in json.loads(message["data"]):
                changes.setdefault(change, []).append(task_id)
            for change, ids in changes.items():
                self._hints.changed(ids, Change(change))


@contextmanager
def _unchecked(connection: Any) -> Iterator[None]:
    """Without the driver's health checks, whose answers come as None too. The pool may be the caller's."""
    interval, connection.health_check_interval = connection.health_check_interval, 0
    try:
        yield
    finally:
        connection.health_check_interval = interval
