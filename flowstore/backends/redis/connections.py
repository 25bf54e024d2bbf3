"""Connections with TLS and over Unix sockets: what keeps one from being made, in words that one can act on.

redis-py has those of the operating system and of OpenSSL, which name no option: "No such file or directory".
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from typing import Any, Final

from redis.asyncio import SSLConnection, UnixDomainSocketConnection
from redis.exceptions import ConnectionError, RedisError

_SHORTEST: Final = 0.5  # seconds
_UNANSWERED: Final = re.compile("while (reading|writing)|closed by server", re.IGNORECASE)
_WHOM: Final = {
    False: "expects TLS: then the URL begins with rediss://",
    True: "wants a client certificate of a CA that it trusts: ssl_certfile and ssl_keyfile",
}
"""Who closes a connection, with TLS or without, instead of answering the first command."""
_ADVICE: Final = (
    (re.compile("self.signed certificate|local issuer"), "ssl_ca_certs names a file with its CA"),
    (re.compile("PEM lib"), "a certificate or a key is missing there, or ssl_password is another one"),
    (re.compile("Timeout connecting"), "a port without TLS does not answer rediss://"),
)


def longest_handshake(timeout: float) -> float:
    """In seconds, of the ``timeout`` for a call.

    A port without TLS waits for more of what it takes for a command, so it never answers. That has to be told
    before the time for the call is over, also when it is tried twice.
    """
    return min(timeout, max(_SHORTEST, timeout / 3))


class TlsConnection(SSLConnection):
    """Which says why there is no TLS, and never asks for a password at the terminal.

    It raises ValueErrors: what the driver does not know, it does not try again while it connects, and it
    keeps their text in its own error.
    """

    async def _connect(self) -> None:
        try:
            await super()._connect()  # type: ignore[no-untyped-call]  # the driver's
        except ssl.SSLError as error:  # of which older drivers say no more than "Error 1"
            raise ValueError(f"no TLS with {self.host}:{self.port}: {error}") from error

    def _connection_arguments(self) -> Mapping[str, Any]:
        context: Any = self.ssl_context
        if getattr(context, "password", "") is None:  # redis-py before 7.2 has none
            context.password = ""  # for None OpenSSL asks at the terminal, and waits
        try:
            return super()._connection_arguments()
        except OSError as error:  # those of ssl among them
            reason = error.strerror or error.args[0]
            raise ValueError(f"{', '.join(_meant(context)) or 'TLS'}: {reason}") from error


class UnixConnection(UnixDomainSocketConnection):
    """Which introduces itself once it is connected, as others do.

    The driver's does while it connects as well. A password that is refused there looks like a server that
    cannot be reached, and is sent 16 times.
    """

    async def _connect(self) -> None:
        async with asyncio.timeout(self.socket_connect_timeout):
            self._reader, self._writer = await asyncio.open_unix_connection(path=self.path)


OURS: Final[dict[type, type]] = {SSLConnection: TlsConnection, UnixDomainSocketConnection: UnixConnection}
"""By the driver's class of connections, what takes its place."""


def _meant(context: Any) -> list[str]:
    """The options that may be at fault."""
    try:
        if context.ca_certs:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(context.ca_certs)
    except OSError:
        return ["ssl_ca_certs"]
    return [f"ssl_{name}" for name in ("certfile", "keyfile", "ciphers") if getattr(context, name, None)]


def unanswered(connection: object, error: ConnectionError) -> ConnectionError:
    """What to raise for ``error``, which the first command of a new ``connection`` has met."""
    is_unanswered = type(error) is ConnectionError and _UNANSWERED.search(str(error))
    if not is_unanswered or isinstance(connection, UnixDomainSocketConnection):
        return error
    whom = _WHOM[isinstance(connection, SSLConnection)]
    return ConnectionError(f"{error}; a new connection is closed like this by a server that {whom}")


def told(error: Exception) -> Exception:
    """What the server has said, where the driver says that it could not connect.

    On Unix sockets a client that was given introduces itself while it connects, and wraps what it meets.
    """
    cause = error.__cause__
    return cause if type(error) is ConnectionError and isinstance(cause, RedisError) else error


def advice(text: str) -> str:
    """What to do about an error, behind its own words; "" where these suffice."""
    return next((f"; {then}" for found, then in _ADVICE if found.search(text)), "")
