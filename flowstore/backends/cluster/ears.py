"""Hears the messages to the inboxes of all buckets: one connection to each node that has some of them.

A message to a sharded channel goes to the node of its slot and its replicas, where PUBLISH goes to all nodes
of a cluster. Each bucket has an inbox of its own, whose channel has its hash tag: so scripts may
publish to it. It is subscribed to when somebody waits for an id of the bucket for the first time.

A subscription ends when its connection does, and when the slot moves: then the server says so. Either way
the channel is subscribed to wherever the slot is now, and as messages may have been missed until that is
confirmed, all that is awaited is looked at again. While a channel has no home, nobody new is registered in
it: ``ready`` waits for the confirmation. What is heard at a former home counts for nothing: a primary that
hung while another one took over may carry out what was sent to it before, and tell of it.

A dead connection can look like a quiet one, so silence is timed, as in flowstore/backends/redis/listener.py.

Before Redis 7.0 there are no sharded channels, and all of that goes over plain ones.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis.exceptions import (
    AuthenticationError,
    ConnectionError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from flowstore._trips.background import in_background
from flowstore.backends.cluster.router import Address, Router
from flowstore.backends.redis.driver import NodeConnection, packed
from flowstore.backends.redis.listener import tell
from flowstore.engine import Hints, let_go

_QUIET: Final = 2.5
_DEAD: Final = 5.0
_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.5


class Channel:
    """The inbox of one bucket. It is an Ear of flowstore/backends/redis/link.py."""

    def __init__(self, ears: Ears, name: str, slot: int, hints: Hints) -> None:
        self._ears = ears
        self.name = name.encode()
        self.slot = slot
        self.hints = hints
        self.home: _Ear | None = None
        """Who has subscribed to it, or is about to."""
        self.was_heard = False
        """Whether it has been subscribed to before: the next time there was a gap."""
        self.refusal: RedisError | None = None
        self.is_confirmed = asyncio.Event()

    async def ready(self) -> None:
        if not self.is_confirmed.is_set():
            self._ears.listen_to(self)
            await self.is_confirmed.wait()
        if self.refusal is not None:
            raise self.refusal

    async def close(self) -> None: ...  # with the others

    def abandon(self) -> None: ...


class Ears:
    """All channels of a backend, and the connections that hear them."""

    def __init__(self, router: Router) -> None:
        self._router = router
        router.on_change = self._follow
        self._begin()

    def _begin(self) -> None:
        self._channels: dict[bytes, Channel] = {}
        self._ears: dict[Address, _Ear] = {}
        self._homing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        """Those of all ears, also of such as are on their way out."""
        self._pause = _FIRST_PAUSE
        """Before the next attempt to bring channels home."""
        self._is_closing = False
        self._is_interrupted = False
        self._is_stale = False

    def channel(self, name: str, slot: int, hints: Hints) -> Channel:
        return Channel(self, name, slot, hints)

    def listen_to(self, channel: Channel) -> None:
        """Subscribe, or wait for who does."""
        self._channels[channel.name] = channel
        if channel.home is None and (self._homing is None or self._homing.done()):
            self._homing = in_background(self._bring_home())

    async def close(self) -> None:
        self._is_closing = True
        while tasks := {task for task in (self._homing, *self._tasks) if task and not task.done()}:
            for task in tasks:
                task.cancel()  # again: the driver turns some cancellations into its own errors
            await asyncio.wait(tasks, timeout=0.1)
        self._begin()

    def abandon(self) -> None:
        """Let go of the loop that is closed."""
        self._is_closing = True
        let_go(self._homing)
        for ear in self._ears.values():
            ear.sever()
        self._begin()

    async def _bring_home(self) -> None:
        """Until each channel has an ear at the node that serves its slot."""
        while not self._is_closing:
            homeless = [channel for channel in self._channels.values() if channel.home is None]
            settled = [self._settle(channel) for channel in homeless]
            if all(settled):
                return
            self._router.look_soon()
            await self._rest()

    async def _rest(self) -> None:
        """Longer each time, until a channel is confirmed."""
        pause, self._pause = self._pause, min(2 * self._pause, _LONGEST_PAUSE)
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    def _settle(self, channel: Channel) -> bool:
        """Subscribe where its slot is; False if nobody serves it."""
        address = self._router.owner(channel.slot)
        if address is None:
            return False
        ear = self._ears.get(address)
        if ear is None or ear.is_over:
            connection = self._router.connection(address, protocol=2)
            ear = _Ear(self, address, connection, is_sharded=self._router.is_sharded)
            self._ears[address] = ear
            self._tasks.add(ear.task)
            ear.task.add_done_callback(self._tasks.discard)
        channel.home = ear
        ear.subscribe(channel)
        return True

    def confirmed(self, name: bytes, ear: _Ear) -> None:
        channel = self._channels.get(name)
        if channel is None or channel.home is not ear:
            return
        self._pause = _FIRST_PAUSE
        channel.refusal = None
        channel.is_confirmed.set()
        if channel.was_heard:
            self._look_again(channel.hints)
        channel.was_heard = True

    def heard(self, name: bytes, message: bytes, ear: _Ear) -> None:
        channel = self._channels.get(name)
        if channel is not None and channel.home is ear:
            tell(channel.hints, message)

    def refused(self, ear: _Ear, error: RedisError, name: bytes | None = None) -> None:
        """This user may not subscribe: those who wait are told, and it is tried again when others ask."""
        for channel in self._of(ear):
            if name in (None, channel.name):
                channel.refusal, channel.home = error, None
                channel.is_confirmed.set()
                channel.is_confirmed.clear()  # those who wait are told all the same

    def lost(self, ear: _Ear, error: Exception, names: set[bytes] | None = None) -> None:
        """What it heard, or some of it, needs another home, perhaps at another node: the map is renewed."""
        lost = [channel for channel in self._of(ear) if names is None or channel.name in names]
        for channel in lost:
            channel.home = None
            channel.is_confirmed.clear()
        if not lost or self._is_closing:
            return
        if not self._is_interrupted and any(channel.was_heard for channel in lost):
            self._is_interrupted = True
            lost[0].hints.interrupted(error)
        self._router.look_soon()
        if self._homing is None or self._homing.done():
            self._homing = in_background(self._home_soon())

    async def _home_soon(self) -> None:
        await self._rest()
        await self._bring_home()

    def _follow(self) -> None:
        """The map has changed: what is not where its slot is needs another home."""
        moved: dict[_Ear, set[bytes]] = {}
        for channel in self._channels.values():
            owner = self._router.owner(channel.slot)
            if channel.home is not None and owner not in (None, channel.home.address):
                moved.setdefault(channel.home, set()).add(channel.name)
        for ear, names in moved.items():
            self.lost(ear, ConnectionError("the slot of a channel has moved"), names)
            if not self._of(ear):
                self._ears.pop(ear.address, None)
                ear.task.cancel()

    def _of(self, ear: _Ear) -> list[Channel]:
        return [channel for channel in self._channels.values() if channel.home is ear]

    def _look_again(self, hints: Hints) -> None:
        """Once for all channels that are confirmed in this turn of the loop."""
        if not self._is_stale:
            self._is_stale = True
            asyncio.get_running_loop().call_soon(self._say_so, hints)

    def _say_so(self, hints: Hints) -> None:
        self._is_stale = self._is_interrupted = False
        if not self._is_closing:
            hints.look_again()

    @property
    def is_waiting(self) -> bool:
        return any(channel.hints.is_waiting for channel in self._channels.values())


class _Ear:
    """One connection to one node, and what is subscribed on it. It is not repaired: another one follows."""

    def __init__(self, ears: Ears, address: Address, connection: NodeConnection, *, is_sharded: bool) -> None:
        self._ears = ears
        self.address = address
        self._connection = connection
        prefix, self._verb = ("s", "SSUBSCRIBE") if is_sharded else ("", "SUBSCRIBE")
        self._takes: dict[bytes, Callable[[bytes, Any], None]] = {
            f"{prefix}subscribe".encode(): self._confirmed,
            f"{prefix}message".encode(): self._told,
            f"{prefix}unsubscribe".encode(): self._unsubscribed,
        }
        self._unsent: list[bytes] | None = []
        """None: it is connected."""
        self._asked: deque[bytes] = deque()
        """The channels whose subscriptions have not been answered, in the order in which they will be."""
        self._heard = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None
        self.task = in_background(self._listen())

    @property
    def is_over(self) -> bool:
        return self.task.done() or (self._unsent is None and not self._connection.is_open)

    def subscribe(self, channel: Channel) -> None:
        """One command for each, as they are in different slots."""
        self._asked.append(channel.name)
        command = packed((self._verb, channel.name))
        if self._unsent is None:
            self._connection.send([command])
        else:
            self._unsent.append(command)

    def sever(self) -> None:
        let_go(self.task)
        self._connection.sever()

    async def _listen(self) -> None:
        failure: Exception = ConnectionError("the connection that listens has died")
        try:
            async with asyncio.timeout(_DEAD):
                await self._connection.open()
            unsent, self._unsent = self._unsent or [], None
            self._connection.send(unsent)
            self._look()
            while True:
                await self._hear()
        except (AuthenticationError, NoPermissionError) as error:
            self._ears.refused(self, error)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, RedisError | OSError):
                self._report(error)
            failure = error
        finally:
            if self._watch is not None:
                self._watch.cancel()
            self._ears.lost(self, failure)
            await self._connection.close()

    async def _hear(self) -> None:
        try:
            self._take(await self._connection.receive())
        except ResponseError as error:  # a subscription is refused, or redirected
            if not self._connection.is_open or not self._asked:
                raise
            name = self._asked.popleft()
            if isinstance(error, NoPermissionError):
                self._ears.refused(self, error, name)
            else:
                self._ears.lost(self, error, {name})

    def _take(self, message: Any) -> None:
        self._heard = asyncio.get_running_loop().time()
        if isinstance(message, list) and len(message) == 3:
            take = self._takes.get(message[0])
            if take is not None:
                take(message[1], message[2])

    def _confirmed(self, name: bytes, _: Any) -> None:
        if self._asked and self._asked[0] == name:
            self._asked.popleft()
        self._ears.confirmed(name, self)

    def _told(self, name: bytes, message: bytes) -> None:
        self._ears.heard(name, message, self)

    def _unsubscribed(self, name: bytes, _: Any) -> None:
        self._ears.lost(self, ConnectionError("the slot of a channel has moved"), {name})

    def _look(self) -> None:
        """Ping a connection that is silent while somebody waits, and give it up if it stays so."""
        loop = asyncio.get_running_loop()
        silence = loop.time() - self._heard
        if not self._ears.is_waiting:
            self._heard = loop.time()
        elif silence >= _DEAD:
            self.task.cancel()
            return
        elif silence >= _QUIET:
            self._connection.send([packed(("PING",))])
        self._watch = loop.call_later(_QUIET, self._look)

    def _report(self, error: Exception) -> None:
        context = {"message": "flowstore's listener to a cluster failed and starts again", "exception": error}
        asyncio.get_running_loop().call_exception_handler(context)
