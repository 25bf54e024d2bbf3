"""redis-py from 5.0 to the newest: the only module that knows how its versions differ.

Other queues pin redis-py to different versions, and flowstore must work beside each of them.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import redis
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from flowstore.backends.redis.connections import OURS, longest_handshake, unanswered
from flowstore.backends.redis.orphans import sever

_RETRIES: Final = 3
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 0.5
_IS_REPLICA: Final = re.compile(r"\b(READONLY|MASTERDOWN|UNBLOCKED|replica instances)\b").search
"""The third comes where it becomes one while WAIT waits, the last where it has become one before."""
_CODES: Final[tuple[tuple[type[Exception], str, str], ...]] = (
    (AuthenticationError, "Authentication required", "NOAUTH"),
    (AuthenticationError, "invalid username-password pair", "WRONGPASS"),
    (BusyLoadingError, "", "LOADING"),
    (ClusterDownError, "", "CLUSTERDOWN"),
    (MasterDownError, "", "MASTERDOWN"),
    (MovedError, "", "MOVED"),
    (NoPermissionError, "", "NOPERM"),
    (OutOfMemoryError, "", "OOM"),
    (ReadOnlyError, "", "READONLY"),
    (TryAgainError, "", "TRYAGAIN"),
)
"""The code that the driver cut off, by the class that it chose and the beginning of the remaining text."""


class Client(Redis):
    """Without the driver's finaliser, which needs a running loop. The connections close by themselves."""

    def __del__(self, *_: object) -> None:
        pass


def new_client(url: str, timeout: float, client_name: str) -> Redis:
    """A client without a socket timeout, which costs 20 to 30 us per call: every trip has its deadline.

    ``client_name``: of its connections, unless ``url`` has another one.
    """
    return Client.from_pool(ConnectionPool(**pool_options(url, timeout, client_name)))


def pool_options(url: str, timeout: float, client_name: str) -> dict[str, Any]:
    """What ``new_client`` makes its pool of."""
    has_tls = urlsplit(url).scheme == "rediss"
    # before 6.0 none is sent again unless it stands here
    retried: tuple[type[RedisError], ...] = (ConnectionError,) if has_tls else (ConnectionError, TimeoutError)
    options: dict[str, Any] = {
        "socket_timeout": None,
        "socket_connect_timeout": longest_handshake(timeout) if has_tls else timeout,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.02), _RETRIES, retried),
        "retry_on_error": list(retried),
        "redis_connect_func": _introduced(None if "client_name" in _options(url) else client_name),
        **OWN_NAME,
        **_verified(url),
        **parse_url(url),
    }
    kind = options.get("connection_class")
    return options if kind is None else {**options, "connection_class": OURS.get(kind, kind)}


def _introduced(client_name: str | None) -> Callable[[Any], Awaitable[None]]:
    """What the driver does with a new connection, and names it for those who list the server's clients.

    A user without the right to do that needs no name. The driver's own option would not let him connect.
    """

    async def introduce(connection: Any) -> None:
        try:
            await connection.on_connect()
            if client_name is not None:
                await connection.send_command("CLIENT", "SETNAME", client_name)
                with suppress(ResponseError):
                    await connection.read_response()
        except ConnectionError as error:
            raise unanswered(connection, error) from error.__cause__

    return introduce


def _options(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


class OwnConnection:
    """One connection, without the driver's client around it, which takes a quarter of a call.

    It connects when it is first used, and again after it was lost or a call was cancelled. A command whose
    reply got lost is sent again, as often as the driver would.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        self._is_checked = bool(self._connection.health_check_interval)
        self._loop = asyncio.get_running_loop()

    async def call(self, *command: str | bytes | int) -> Any:
        return await self._made(packed(command), self._answer)

    async def call_confirmed(self, replicas: int, ms: int, *command: str | bytes | int) -> tuple[Any, int]:
        answer: tuple[Any, int] = await self._made(
            packed(command) + packed(("WAIT", replicas, ms)), self._confirmed_answer
        )
        return answer

    async def _made(self, data: bytes, receive: Callable[[], Awaitable[Any]]) -> Any:
        connection = self._connection
        try:
            return await self._call(data, receive)
        except (ConnectionError, TimeoutError, OSError) as error:
            # The driver makes these of whatever happens while it connects, even where a call that died with
            # its loop is finalised, in another one or none. It must not connect there.
            if asyncio._get_running_loop() is not self._loop:
                raise GeneratorExit from error
            await connection.disconnect(nowait=True)
        return await connection.retry.call_with_retry(lambda: self._call(data, receive), self._give_up)

    async def _call(self, data: bytes, receive: Callable[[], Awaitable[Any]]) -> Any:
        await self._connection.send_packed_command(data, check_health=self._is_checked)
        return await receive()

    async def _answer(self) -> Any:
        return await self._connection.read_response()

    async def _confirmed_answer(self) -> tuple[Any, int]:
        """Two replies, though the first may be an error: what is left would be taken for the next one."""
        answer, error = None, None
        try:
            answer = await self._connection.read_response()
        except ResponseError as refused:
            error = refused
        confirmed = await self._connection.read_response()
        if error is not None:
            raise error
        return answer, confirmed

    async def _give_up(self, error: Exception, *_: object) -> None:
        await self._connection.disconnect(nowait=True)

    async def close(self) -> None:
        await self._connection.disconnect()

    def sever(self) -> None:
        """Close what belongs to a loop that is closed."""
        sever(self._connection)


class NodeConnection:
    """A connection on which commands are sent without waiting for the answers of those before.

    ``options``: those of the driver's connection that are other than in ``pool``. It is opened once.
    """

    def __init__(self, pool: ConnectionPool, **options: Any) -> None:
        never_again = {"retry": Retry(NoBackoff(), 0), "retry_on_error": []}
        self._connection: Any = pool.connection_class(**pool.connection_kwargs | never_again | options)

    @property
    def is_open(self) -> bool:
        return bool(self._connection.is_connected)

    async def open(self) -> None:
        await self._connection.connect()

    def send(self, packed: Sequence[bytes]) -> None:
        """Nothing is raised where the connection is lost: the next answer does that."""
        if self._connection.is_connected:
            self._connection._writer.writelines(packed)

    async def receive(self) -> Any:
        """The next answer. Raises it if it is an error, and ConnectionError if there is none."""
        return await self._connection.read_response()

    async def close(self) -> None:
        await self._connection.disconnect(nowait=True)

    def sever(self) -> None:
        """Close what belongs to a loop that is closed."""
        sever(self._connection)


class PrimaryConnection(OwnConnection):
    """To the primary that Sentinel names at the time of each connect.

    It leaves a server that is the primary no more, and looks for the next one for ``patience`` seconds before
    it raises the last error.
    """

    def __init__(self, pool: ConnectionPool, patience: float) -> None:
        super().__init__(pool)
        self._connection.retry = Retry(NoBackoff(), 0)  # or the tries to connect would multiply
        self._patience = patience

    async def call_confirmed(self, replicas: int, ms: int, *command: str | bytes | int) -> tuple[Any, int]:
        answer, confirmed = await super().call_confirmed(replicas, ms, *command)
        if confirmed < replicas:  # perhaps cut off from the others, which have elected another one
            await self._connection.disconnect(nowait=True)
        return answer, confirmed

    async def _made(self, data: bytes, receive: Callable[[], Awaitable[Any]]) -> Any:
        end, pause = None, _FIRST_PAUSE
        while True:
            try:
                return await super()._made(data, receive)
            except (AuthenticationError, AuthorizationError):
                raise
            except (ConnectionError, TimeoutError, OSError):
                now = self._loop.time()
                end = now + self._patience if end is None else end
                if now + pause > end:
                    raise
            await asyncio.sleep(pause * random.uniform(0.5, 1))
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _call(self, data: bytes, receive: Callable[[], Awaitable[Any]]) -> Any:
        connection = self._connection
        if has_moved(connection):
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            await connection.connect()  # sending would connect as well, from 6.0 on to where it was before
        try:
            return await super()._call(data, receive)
        except ResponseError as error:
            if not _IS_REPLICA(text_of(error)):
                raise
            await connection.disconnect(nowait=True)
            raise ConnectionError(f"the server is a replica by now: {error}") from error


def has_moved(connection: Any) -> bool:
    """Whether Sentinel has named another primary since this connection was made."""
    primary = getattr(getattr(connection, "connection_pool", None), "master_address", None)
    return primary is not None and connection.is_connected and primary != (connection.host, connection.port)


def packed(command: Sequence[str | bytes | int]) -> bytes:
    """A command as it is sent."""
    return b"*%d\r\n%b" % (len(command), packed_parts(command))


def packed_parts(parts: Sequence[str | bytes | int]) -> bytes:
    """Some parts of a command: those of several may be joined, behind the number of all."""
    found = []
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        found.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(found)


def _own_name() -> dict[str, Any]:
    """Given once, since the driver, from 7.2 on, would read its version from disk for each connection."""
    return {"driver_info": redis.DriverInfo()} if hasattr(redis, "DriverInfo") else {}


OWN_NAME: Final = _own_name()


def _verified(url: str) -> dict[str, Any]:
    """Verify the host name in the certificate, as is the default from 6.0 on, unless ``url`` says otherwise.

    If ``url`` wants no certificate, the host name must not be verified either: before 6.1 that is an error.
    """
    if urlsplit(url).scheme != "rediss":
        return {}
    return {"ssl_check_hostname": _options(url).get("ssl_cert_reqs") != ["none"]}


def text_of(error: Exception) -> str:
    """The server's own words. The driver cuts off the codes that it knows, and keeps them from 7.2 on."""
    code = getattr(error, "status_code", None) or _code(error, str(error))
    return f"{code} {error}".strip()


def _code(error: Exception, text: str) -> str:
    found = (code for kind, start, code in _CODES if isinstance(error, kind) and text.startswith(start))
    return next(found, "")
