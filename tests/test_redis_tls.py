"""TLS with a CA of one's own and client certificates: what works, and what each way to fail is called.

The server speaks TLS itself where one on this machine can. Elsewhere, and with ``stress`` as well, TLS ends
in front of a server without it, as it does with stunnel.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator
from inspect import signature
from typing import Any, Final, NamedTuple

import pytest
import pytest_asyncio
import redis.asyncio
import trustme
from redis.asyncio import SSLConnection

from flowstore import RedisBackend, StorageError, StorageTimeout, StorageUnavailable, TaskResult
from flowstore.backends.redis.client import client_from
from flowstore.backends.redis.driver import OWN_NAME
from flowstore.testing.support import IS_STRESS
from tests.certificates import Certificates, start_tls_server, tls_port
from tests.servers import Server, start_server

PASSWORD: Final = "s3cret-of-the-key"
HAS_PASSWORD: Final = "ssl_password" in signature(SSLConnection).parameters  # not in redis-py before 7.2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    made = Certificates(tmp_path_factory.mktemp("tls"))
    made.add("elsewhere", "redis.example.org")
    made.add_expired("expired", "localhost", "127.0.0.1")
    made.add_expired("late", "worker@example.org")
    other = trustme.CA()
    other.cert_pem.write_to_path(str(made.folder / "other.pem"))
    made.add("foreign", "worker@example.org", of=other)
    made.add_locked("locked", PASSWORD)
    (made.folder / "empty.pem").write_text("no certificate\n")
    return made


@pytest.fixture(scope="module", params=["own", "front"] if IS_STRESS else ["own"])
def started(
    request: pytest.FixtureRequest, certificates: Certificates
) -> Iterator[tuple[Server, int | None]]:
    """A server, and the port at which it speaks TLS itself or None."""
    own = start_tls_server(certificates) if request.param == "own" else None
    server, port = own or (start_server("valkey"), None)
    yield server, port
    server.stop()


class Place(NamedTuple):
    server: Server
    port: int

    def url(self, query: str, host: str = "127.0.0.1") -> str:
        return f"rediss://{host}:{self.port}/0?{query}"


@pytest_asyncio.fixture
async def place(started: tuple[Server, int | None], certificates: Certificates) -> AsyncIterator[Place]:
    server, port = started
    with redis.Redis.from_url(server.url) as admin:
        admin.flushall()
    if port is not None:
        yield Place(server, port)
        return
    async with tls_port(certificates.context(), server.port) as front:
        yield Place(server, front)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_stores_reads_and_waits(place: Place, certificates: Certificates, host: str) -> None:
    """Across two backends, whose connections for wake-ups have TLS as well: nothing else is spoken there."""
    url = place.url(certificates.query(), host)
    async with RedisBackend(url) as waiting, RedisBackend(url, recheck_interval=600) as storing:
        assert repr(waiting) == f"RedisBackend('rediss://{host}:{place.port}/0', namespace='default')"
        await storing.store("t", TaskResult.pending("t"))
        wait = asyncio.ensure_future(waiting.wait_for("t", 30))
        with redis.Redis.from_url(place.server.url) as admin:
            while not admin.pubsub_channels("flowstore:{default}:inbox:*"):
                await storing.exists("t")
        await storing.store("t", TaskResult.success("t", 1))
        assert (await wait).result == 1


async def test_after_a_restart(place: Place, certificates: Certificates) -> None:
    """Of the server: all connections are made anew, that for wake-ups too."""
    async with RedisBackend(place.url(certificates.query()), recheck_interval=600) as backend:
        wait = asyncio.ensure_future(backend.wait_for("t", 60))
        await backend.store("other", TaskResult.success("other"))
        place.server.kill()
        with pytest.raises(StorageUnavailable):
            await backend.get("other")
        await asyncio.to_thread(place.server.restart)
        await backend.store("t", TaskResult.success("t", 2))
        assert (await wait).result == 2


async def test_a_given_client(place: Place, certificates: Certificates) -> None:
    """As redis-py makes it, with the same options."""
    files: dict[str, Any] = {
        "ssl_ca_certs": str(certificates.folder / "ca.pem"),
        "ssl_certfile": str(certificates.folder / "client.pem"),
        "ssl_keyfile": str(certificates.folder / "client.key"),
    }
    client = redis.asyncio.Redis(host="127.0.0.1", port=place.port, ssl=True, **files, **OWN_NAME)
    async with client, RedisBackend(client=client) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        assert (await backend.wait_for("t", 30)).result == 1


async def test_a_host_that_is_not_verified(certificates: Certificates, place: Place) -> None:
    """Where the URL says so, the name in the certificate may be another one; the CA may not."""
    async with tls_port(certificates.context("elsewhere"), place.server.port) as port:
        url = Place(place.server, port).url(f"{certificates.query()}&ssl_check_hostname=false")
        async with RedisBackend(url) as backend:
            assert await backend.store("t", TaskResult.success("t", 1)) is True


async def refusal(url: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        await RedisBackend(url, op_timeout=60).open()
    return caught.value


async def test_what_is_wrong_with_certificates(place: Place, certificates: Certificates) -> None:
    """Each is an error at once, and says which certificate or option is not as it has to be."""
    query = certificates.query
    async with (
        tls_port(certificates.context("elsewhere")) as elsewhere,
        tls_port(certificates.context("expired")) as expired,
    ):
        no_key = query().partition("&ssl_keyfile")[0]
        cases = {
            place.url(query(ca="other")): "CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs names a file with its CA",
            place.url(query(ca="")): "CERTIFICATE_VERIFY_FAILED.*ssl_ca_certs names a file with its CA",
            place._replace(port=elsewhere).url(query()): "certificate is not valid for '127.0.0.1'",
            place._replace(port=expired).url(query()): "certificate has expired",
            place.url(query(certificate="")): "wants a client certificate .* ssl_certfile and ssl_keyfile",
            place.url(query(certificate="foreign")): "wants a client certificate of a CA that it trusts",
            place.url(query(certificate="late")): "wants a client certificate of a CA that it trusts",
            place.url(query(ca="none")): "Redis: ssl_ca_certs: No such file or directory$",
            place.url(query(ca="empty")): "Redis: ssl_ca_certs: .*(NO_CERTIFICATE|PEM|no start line)",
            place.url(query(certificate="none")): "Redis: ssl_certfile, ssl_keyfile: No such file or direct",
            place.url(query(key="server")): "Redis: ssl_certfile, ssl_keyfile: .*KEY_VALUES_MISMATCH",
            place.url(no_key): "ssl_certfile",
            f"redis://127.0.0.1:{place.port}/0": "expects TLS: then the URL begins with rediss://",
        }
        found = await asyncio.gather(*map(refusal, cases))
    for (url, words), error in zip(cases.items(), found, strict=True):
        assert type(error) is StorageUnavailable, url
        with pytest.raises(StorageUnavailable, match=words):
            raise error


async def test_a_port_without_tls(place: Place, certificates: Certificates) -> None:
    """It waits for the rest of what it takes for a command: that is told before the time is over."""
    without = f"rediss://127.0.0.1:{place.server.port}/0?{certificates.query()}"
    error = await refusal(f"{without}&socket_connect_timeout=0.2")
    assert type(error) is StorageTimeout
    assert "a port without TLS does not answer rediss://" in str(error)


def test_how_long_a_handshake_may_take() -> None:
    """Twice that is less than a call, unless little time is left for both."""
    for op_timeout, limit in ((60, 20), (9, 3), (1, 0.5), (0.1, 0.1)):
        client, _ = client_from("rediss://localhost", op_timeout, "name")
        assert client.connection_pool.connection_kwargs["socket_connect_timeout"] == limit


@pytest.mark.skipif(not HAS_PASSWORD, reason="redis-py before 7.2 has no such option")
async def test_the_password_of_a_key(place: Place, certificates: Certificates) -> None:
    """It opens the key, and is never shown. Without it nobody is asked at the terminal."""
    locked = place.url(certificates.query(key="locked"))
    async with RedisBackend(f"{locked}&ssl_password={PASSWORD}") as backend:
        await backend.store("t", TaskResult.success("t", 1))
        assert "s3cret" not in repr(backend)
    for url in (locked, f"{locked}&ssl_password={PASSWORD}-no-more"):
        error = await refusal(url)
        assert type(error) is StorageUnavailable
        assert "ssl_keyfile" in str(error)
        assert "ssl_password is another one" in str(error)
        assert "s3cret" not in "".join(traceback.format_exception(error))
