"""Servers behind Unix sockets: what works, and what each way to fail is called."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from flowstore import AccessDenied, RedisBackend, StorageError, StorageUnavailable, TaskResult
from flowstore.backends.redis.driver import OWN_NAME
from tests.servers import SERVER_KINDS, Server, start_server

NEEDED = "+@read +@write +@scripting +@pubsub +@connection"


@pytest.fixture(scope="module", params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    started = start_server(request.param, "--unixsocket", "redis.sock")
    yield started
    started.stop()


@pytest.fixture
def guarded(admin: Any) -> Iterator[None]:
    """With a password, which another connection of the administrator does not need."""
    admin.config_set("requirepass", "s3cret-word")
    yield
    admin.config_set("requirepass", "")


def socket_of(server: Server) -> Path:
    return server.folder / "redis.sock"


async def test_stores_reads_and_waits(server: Server, admin: Any) -> None:
    """In the database of the URL; those who wait hear of it over the socket as well."""
    url = f"unix://{socket_of(server)}?db=1"
    async with RedisBackend(url) as waiting, RedisBackend(url) as storing:
        assert repr(waiting) == f"RedisBackend('{url}', namespace='default')"
        wait = asyncio.ensure_future(waiting.wait_for("t", 30))
        await storing.store("t", TaskResult.success("t", 1))
        assert (await wait).result == 1
        assert {one["flags"] for one in admin.client_list() if one["name"]} <= {"U", "PU"}
    assert (admin.info("keyspace").keys()) == {"db1"}


async def test_after_a_restart(server: Server, admin: Any) -> None:
    """Of the server: a wait that it interrupts ends."""
    async with RedisBackend(f"unix://{socket_of(server)}", recheck_interval=600) as backend:
        wait = asyncio.ensure_future(backend.wait_for("t", 60))
        await backend.store("other", TaskResult.success("other"))
        server.kill()
        with pytest.raises(StorageUnavailable):
            await backend.get("other")
        await asyncio.to_thread(server.restart)
        await backend.store("t", TaskResult.success("t", 2))
        assert (await wait).result == 2


@pytest.mark.usefixtures("guarded")
@pytest.mark.parametrize("form", ["unix://:s3cret-word@{}", "unix://{}?db=1&password=s3cret-word"])
async def test_with_a_password(server: Server, form: str) -> None:
    """Before the path or behind it, and never shown."""
    async with RedisBackend(form.format(socket_of(server))) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        assert (await backend.wait_for("t", 30)).result == 1
        assert "s3cret" not in repr(backend)


async def refusal(backend: RedisBackend) -> StorageError:
    with pytest.raises(StorageError) as caught:
        await backend.open()
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    return caught.value


@pytest.mark.usefixtures("guarded")
async def test_no_and_wrong_password(server: Server) -> None:
    """As over TCP, also for a client that was given; there the driver says that it cannot connect."""
    path = socket_of(server)
    once = Retry(NoBackoff(), 0)
    given = redis.asyncio.Redis(unix_socket_path=str(path), password="s3cret-no", retry=once, **OWN_NAME)
    backends = {
        RedisBackend(f"unix://{path}"): "NOAUTH",
        RedisBackend(f"unix://:s3cret-no@{path}"): "WRONGPASS",
        RedisBackend(client=given): "WRONGPASS",
    }
    async with given:
        errors = await asyncio.gather(*map(refusal, backends))
    for code, error in zip(backends.values(), errors, strict=True):
        assert type(error) is AccessDenied
        assert code in str(error)


async def test_a_password_that_is_taken_away(server: Server, admin: Any) -> None:
    """A wait that is to connect anew is told that it may not, not that nobody is there."""
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">s3cret", "~*", "&*", *NEEDED.split())
    async with RedisBackend(f"unix://limited:s3cret@{socket_of(server)}", recheck_interval=600) as backend:
        await backend.store("t", TaskResult.pending("t"))
        admin.execute_command("ACL", "DELUSER", "limited")
        with pytest.raises(AccessDenied, match="WRONGPASS"):
            await backend.wait_for("t", 30)


async def test_where_no_server_is(server: Server, tmp_path: Path) -> None:
    """The path is named, and what is wrong with it."""
    (tmp_path / "file").write_text("")
    cases = {
        tmp_path / "none.sock": "No such file or directory",
        tmp_path / "none" / "redis.sock": "No such file or directory",
        tmp_path / "file" / "redis.sock": "Not a directory",
        tmp_path / "file": "Connection refused",
        tmp_path / ("x" * 108): "path too long",
    }
    errors = await asyncio.gather(*(refusal(RedisBackend(f"unix://{path}")) for path in cases))
    for (path, words), error in zip(cases.items(), errors, strict=True):
        assert type(error) is StorageUnavailable
        assert words in str(error)
        assert str(path) in str(error)


async def test_a_database_that_the_server_does_not_have(server: Server) -> None:
    error = await refusal(RedisBackend(f"unix://{socket_of(server)}?db=99"))
    assert "DB index is out of range" in str(error)
