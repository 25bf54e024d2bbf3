"""Connections to one node of a cluster, on which calls follow each other without waiting for answers.

A page asks each bucket, and so some dozens of calls leave for a node in one turn of the event loop. On a
connection that carries one call at a time each would take a connection or a round trip of its own; here they
leave in one write, and are answered in their order. Who calls alone waits for nobody.

A node may have died without a word. So where no answer has come for a while to calls that are in flight, it
is pinged on another connection; if it does not answer there either all of them fail, to be sent again. If it
does, a large answer may be on its way. But then nothing more may come on a connection that looks open, so its
silence has an end in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from redis.exceptions import ConnectionError, RedisError, ResponseError, TimeoutError

from flowstore._trips.background import in_background
from flowstore.backends.redis.driver import NodeConnection
from flowstore.engine import let_go

_PIPES: Final = 4
"""To each node, at most: a large answer holds up those behind it."""

Call = tuple[bytes, "asyncio.Future[Any]", bool]
"""The command, its answer, and whether it is asked of a node to which its slot is moving."""

_ASKING: Final = b"*1\r\n$6\r\nASKING\r\n"
_PING: Final = b"*1\r\n$4\r\nPING\r\n"


class Pipe:
    """A connection, and the calls that it carries, in the order in which they are answered.

    ``patience``: the seconds without an answer after which the node is pinged; ``limit``: after which the
    connection is given up though the node answers on others.
    """

    def __init__(self, connect: Callable[[], NodeConnection], patience: float, limit: float) -> None:
        self._connect = connect
        self._connection = connect()
        self._patience = patience
        self._limit = limit
        self._unsent: list[bytes] = []
        self._in_flight: deque[asyncio.Future[Any] | None] = deque()
        """None: nobody wants the answer."""
        self._heard = self._probed = asyncio.get_running_loop().time()
        self._watch: asyncio.TimerHandle | None = None
        self._probe: asyncio.Task[None] | None = None
        self._is_ready = False
        self.is_lost = False
        self._task = in_background(self._carry())

    def __len__(self) -> int:
        return len(self._in_flight)

    def send(self, calls: Sequence[Call]) -> None:
        """Send them in one write. The answer to each, or its error, becomes that of its future."""
        loop = asyncio.get_running_loop()
        if not self._in_flight:
            self._heard = loop.time()
        packed: list[bytes] = []
        for command, answer, is_asking in calls:
            if is_asking:  # for the next command of this connection, and no other
                packed.append(_ASKING)
                self._in_flight.append(None)
            packed.append(command)
            self._in_flight.append(answer)
        if self._is_ready:
            self._connection.send(packed)
        else:
            self._unsent += packed
        if self._watch is None:
            self._watch = loop.call_later(self._patience, self._look)

    async def close(self) -> None:
        self.lose(ConnectionError("the connection was closed"))
        for task in (self._task, self._probe):
            while task is not None and not task.done():
                task.cancel()  # again: the driver turns some cancellations into its own errors
                await asyncio.wait([task], timeout=0.1)

    def sever(self) -> None:
        """Close what belongs to a loop that is closed. Nobody can be told of the calls in flight."""
        self._in_flight.clear()
        let_go(self._task)
        let_go(self._probe)
        self._connection.sever()

    @property
    def is_over(self) -> bool:
        return self._task.done()

    async def _carry(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await self._connection.open()
            self._is_ready = True
            self._connection.send(self._unsent)
            while not self.is_lost:
                self._take(await self._answer())
        except RedisError as error:
            self.lose(error)
        except OSError as error:
            self.lose(ConnectionError(f"cannot connect: {str(error) or 'no answer'}"))
        except BaseException:
            self.lose(ConnectionError("the connection was given up"))
            raise
        finally:
            await self._connection.close()

    async def _answer(self) -> Any:
        """The next one, an error among them. Raises what the loss of the connection raises."""
        try:
            return await self._connection.receive()
        except RedisError as error:
            if not self._connection.is_open:
                self._settle(error)  # the driver closes it on some answers: that one has been given
                raise
            return error

    def _take(self, answer: Any) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._settle(answer)

    def _settle(self, answer: Any) -> None:
        if not self._in_flight:
            return
        future = self._in_flight.popleft()
        if future is None or future.done():  # nobody waits for it, or not any more
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _look(self) -> None:
        self._watch = None
        if not self._in_flight or self.is_lost:
            return
        loop = asyncio.get_running_loop()
        left = max(self._heard, self._probed) + self._patience - loop.time()
        if left > 0:
            self._watch = loop.call_later(left, self._look)
        elif loop.time() - self._heard >= self._limit:
            self._give_up(self._limit)
        else:
            self._probe = in_background(self._ask_again())

    async def _ask_again(self) -> None:
        """Ping on another connection, and give this one up if there is no answer there either."""
        connection = self._connect()
        try:
            async with asyncio.timeout(self._patience):
                await connection.open()
                connection.send([_PING])
                with suppress(ResponseError):  # a user without the right to ping has an answer as well
                    await connection.receive()
        except (RedisError, OSError):
            self._give_up(2 * self._patience)
        else:
            self._probed = asyncio.get_running_loop().time()
            self._look()
        finally:
            await connection.close()

    def _give_up(self, seconds: float) -> None:
        self.lose(TimeoutError(f"no answer within {seconds:g} s"))
        self._task.cancel()

    def lose(self, error: Exception) -> None:
        """Carry nothing more: the calls in flight get this error."""
        self.is_lost, self._is_ready = True, False
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        while self._in_flight:
            self._settle(error)


class Node:
    """One node. ``connect`` makes an unopened connection to it; see Pipe."""

    def __init__(self, connect: Callable[[], NodeConnection], patience: float, limit: float) -> None:
        self._connect = connect
        self._patience = patience
        self._limit = limit
        self._pipes: list[Pipe] = []
        self._leaving: list[Call] = []
        self._lost: list[Pipe] = []
        self._confirming: ConfirmingNode | None = None

    def confirming(self, wait: bytes) -> ConfirmingNode:
        """Its connections for writes that replicas confirm, which nothing else has to wait for."""
        if self._confirming is None:
            self._confirming = ConfirmingNode(self._connect, self._patience, self._limit, wait)
        return self._confirming

    def call(self, packed: bytes, *, is_asking: bool = False) -> asyncio.Future[Any]:
        """The answer to a packed command, which leaves at the end of this turn of the loop."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        if not self._leaving:
            loop.call_soon(self._leave)
        self._leaving.append((packed, answer, is_asking))
        return answer

    async def close(self) -> None:
        """All calls in flight fail at once. None may follow."""
        if self._confirming is not None:
            await self._confirming.close()
        pipes, self._pipes, self._lost = [*self._pipes, *self._lost], [], []
        calls, self._leaving = self._leaving, []
        _fail(calls, ConnectionError("the connection was closed"))
        for pipe in pipes:
            pipe.lose(ConnectionError("the connection was closed"))
        for pipe in pipes:
            await pipe.close()

    def sever(self) -> None:
        if self._confirming is not None:
            self._confirming.sever()
        for pipe in [*self._pipes, *self._lost]:
            pipe.sever()
        self._pipes, self._lost, self._leaving = [], [], []

    def _leave(self) -> None:
        """All calls of this turn of the loop, on the connection that has the least to do."""
        calls, self._leaving = [call for call in self._leaving if not call[1].done()], []
        if calls:
            self._send(calls)

    def _send(self, calls: list[Call]) -> None:
        try:
            self._idlest().send(calls)
        except Exception as error:  # a connection that cannot be made, as of an option that it has not
            _fail(calls, error)

    def _idlest(self) -> Pipe:
        self._lost = [pipe for pipe in self._lost if not pipe.is_over]
        self._lost += [pipe for pipe in self._pipes if pipe.is_lost]
        self._pipes = [pipe for pipe in self._pipes if not pipe.is_lost]
        idlest = min(self._pipes, key=len, default=None)
        if idlest is None or (len(idlest) and len(self._pipes) < _PIPES):
            idlest = Pipe(self._connect, self._patience, self._limit)
            self._pipes.append(idlest)
        return idlest


class ConfirmingNode(Node):
    """Whose calls are followed by ``wait``, the packed command: once for all that leave together.

    It counts the replicas that have what came before on its connection, and nothing that comes behind is
    carried out until it is answered.
    """

    def __init__(
        self, connect: Callable[[], NodeConnection], patience: float, limit: float, wait: bytes
    ) -> None:
        super().__init__(connect, patience, limit)
        self._wait = wait
        self._confirmed: asyncio.Future[Any]

    async def call_confirmed(self, packed: bytes, *, is_asking: bool = False) -> tuple[Any, int]:
        """The answer to a packed command, and how many replicas have confirmed it."""
        if not self._leaving:
            self._confirmed = asyncio.get_running_loop().create_future()
            self._confirmed.add_done_callback(_retrieve)
        confirmed = self._confirmed
        answer = await self.call(packed, is_asking=is_asking)
        return answer, await asyncio.shield(confirmed)  # others wait for it as well

    def _send(self, calls: list[Call]) -> None:
        super()._send([*calls, (self._wait, self._confirmed, False)])


def _retrieve(future: asyncio.Future[Any]) -> None:
    """Nobody may be left who would."""
    if not future.cancelled():
        future.exception()


def _fail(calls: Sequence[Call], error: Exception) -> None:
    for _, answer, _ in calls:
        if not answer.done():
            answer.set_exception(error)
