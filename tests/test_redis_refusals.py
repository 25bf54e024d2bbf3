"""Servers that answer, but refuse: each refusal is the error that a caller can act on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis._parsers.base import BaseParser

from flowstore import (
    AccessDenied,
    CorruptStore,
    RedisBackend,
    StorageError,
    StorageFull,
    StorageUnavailable,
    TaskResult,
)
from flowstore.backends.redis.client import storage_error
from flowstore.testing.support import failed
from tests.servers import SERVER_KINDS, Server, start_server

NEEDED = (
    "~flowstore:{default}:* resetchannels &flowstore:{default}:inbox:* "
    "+@read +@write +@scripting +@pubsub +@connection"
)


@pytest.fixture(scope="module", params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of its own, as these tests change its configuration."""
    started = start_server(request.param)
    yield started
    started.stop()


Calls = list[Callable[[], Coroutine[Any, Any, object]]]


def calls(backend: RedisBackend) -> Calls:
    return [
        lambda: backend.store("t", TaskResult.success("t")),
        lambda: backend.get("t"),
        lambda: backend.wait_for("t", 5),
        lambda: backend.page(),
        lambda: backend.count_by_status(),
        lambda: backend.delete("t"),
        lambda: backend.purge_expired(),
        lambda: backend.clear(),
    ]


async def test_named_rules_are_enough(server: Server, admin: Any) -> None:
    """A user with the rules that the error names can do everything; also one who had all channels before.

    That is what a new user of Redis 6.2 has: ``acl-pubsub-default`` is ``allchannels`` there.
    """
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">p", "allchannels", *NEEDED.split())
    async with RedisBackend(server.url.replace("//", "//limited:p@")) as backend:
        for call in calls(backend):
            await call()


@pytest.mark.parametrize(
    ("rules", "refused"),
    [
        ("~* &* +@all -evalsha", [0, 2, 3, 4, 5, 6, 7]),
        ("~* &* +@all -set -mget -getrange -zrangebylex -zcard -exists", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("~* &* +@all -sadd -smembers", [2]),
        ("~flowstore:{default}:format &* +@all", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("~* resetchannels +@all", [2]),
    ],
)
async def test_missing_rights(server: Server, admin: Any, rules: str, refused: list[int]) -> None:
    """Of a command, a key or a channel, inside of a script too: AccessDenied, saying what is needed."""
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">p", "~*", "&*", "+@all")
    async with RedisBackend(server.url.replace("//", "//limited:p@")) as backend:
        await backend.open()
        admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">p", *rules.split())
        for number in refused:
            with pytest.raises(AccessDenied) as caught:
                await calls(backend)[number]()
            assert NEEDED in str(caught.value)
            assert isinstance(caught.value.__cause__, redis.RedisError)


@pytest.mark.parametrize("command", ["evalsha", "exists", "zadd"])
async def test_store_without_a_right_writes_nothing(server: Server, admin: Any, command: str) -> None:
    """What a first store lacks is met before it writes."""
    admin.execute_command(
        "ACL", "SETUSER", "limited", "reset", "on", ">p", "~*", "&*", "+@all", f"-{command}"
    )
    async with RedisBackend(server.url.replace("//", "//limited:p@")) as backend:
        with pytest.raises(AccessDenied):
            await backend.store("t", TaskResult.success("t"))
        assert sorted(admin.keys()) == ["flowstore::namespaces", "flowstore:{default}:format"]


async def test_wait_without_channel_ends_when_the_right_is_given(server: Server, admin: Any) -> None:
    """The next wait subscribes."""
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", ">p", "~*", "resetchannels", "+@all")
    async with RedisBackend(server.url.replace("//", "//limited:p@")) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        for _ in range(3):
            with pytest.raises(AccessDenied, match="channel"):
                await backend.wait_for("t", 30)
        admin.execute_command("ACL", "SETUSER", "limited", "&*")
        while True:
            try:
                assert (await backend.wait_for("t", 30)).result == 1
                return
            except AccessDenied:
                continue


async def test_no_and_wrong_password(server: Server, admin: Any) -> None:
    """Both are AccessDenied at open."""
    admin.config_set("requirepass", "right")
    try:
        for url, code in [(server.url, "NOAUTH"), (server.url.replace("//", "//:s3cret@"), "WRONGPASS")]:
            with pytest.raises(AccessDenied, match=code) as caught:
                await RedisBackend(url).open()
            assert "s3cret" not in f"{caught.value!r} {caught.value.__cause__}"
    finally:
        admin.config_set("requirepass", "")


async def test_full_memory(server: Server, admin: Any) -> None:
    """StorageFull, nothing of the batch is written, and reading goes on."""
    async with RedisBackend(server.url) as backend:
        await backend.store("old", TaskResult.success("old", 1))
        before = sorted(admin.keys())
        admin.config_set("maxmemory", 1)
        try:
            for call in (backend.store("t", failed("t")), backend.store_many([failed("a"), failed("b")])):
                with pytest.raises(StorageFull, match="OOM"):
                    await call
            assert sorted(admin.keys()) == before
            assert (await backend.wait_for("old", 5)).result == 1
        finally:
            admin.config_set("maxmemory", 0)


async def test_replicas(server: Server, admin: Any) -> None:
    """One that may not write, one that lost its master, a master without replicas: StorageUnavailable."""
    async with RedisBackend(server.url) as backend:
        await backend.store("t", TaskResult.success("t", 1))
        try:
            admin.config_set("min-replicas-to-write", 1)
            with pytest.raises(StorageUnavailable, match="NOREPLICAS"):
                await backend.store("t2", TaskResult.success("t2"))
            admin.execute_command("REPLICAOF", "127.0.0.1", 1)
            with pytest.raises(StorageUnavailable, match="READONLY"):
                await backend.store("t2", TaskResult.success("t2"))
            with pytest.raises(StorageUnavailable, match="READONLY"):
                await RedisBackend(server.url).open()
            assert (await backend.get_many(["t", "t2"])).keys() == {"t"}
            waiting = asyncio.ensure_future(backend.wait_for("t2", 30))
            admin.config_set("replica-serve-stale-data", "no")
            with pytest.raises(StorageUnavailable, match="MASTERDOWN"):
                await backend.get("t")
        finally:
            admin.execute_command("REPLICAOF", "NO", "ONE")
            admin.config_set("replica-serve-stale-data", "yes")
            admin.config_set("min-replicas-to-write", 0)
        await backend.store("t2", TaskResult.success("t2", 2))
        assert (await waiting).result == 2


async def test_failing_disk(server: Server, admin: Any) -> None:
    """A server that stopped writes because it cannot save is unavailable: the disk may be full, or gone."""
    folder = Path(admin.config_get("dir")["dir"])
    async with RedisBackend(server.url) as backend:
        await backend.store("t", TaskResult.success("t"))
        (folder / "dump.rdb").mkdir()
        try:
            admin.config_set("save", "3600 1")
            admin.bgsave()
            while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
                await backend.exists("t")
            with pytest.raises(StorageUnavailable, match="MISCONF"):
                await backend.store("t2", TaskResult.success("t2"))
            assert await backend.exists("t2") is False
        finally:
            admin.config_set("save", "")


async def test_busy_server(server: Server, admin: Any) -> None:
    """Another client's endless script: StorageUnavailable at once, and the writes go on afterwards."""

    def run_for_ever() -> None:
        with pytest.raises(redis.ResponseError, match="killed"), redis.Redis.from_url(server.url) as other:
            other.eval("while true do end", 0)

    def ask_until_it_is_busy() -> None:
        with pytest.raises(redis.ResponseError, match="BUSY"):
            all(iter(admin.ping, False))

    admin.config_set("lua-time-limit", 20)  # what Redis before 7 calls busy-reply-threshold
    async with RedisBackend(server.url) as backend:
        await backend.store("t", TaskResult.success("t"))
        endless = asyncio.ensure_future(asyncio.to_thread(run_for_ever))
        await asyncio.to_thread(ask_until_it_is_busy)
        try:
            for call in (backend.store("t2", TaskResult.success("t2")), backend.get("t")):
                with pytest.raises(StorageUnavailable, match="BUSY"):
                    await call
        finally:
            admin.script_kill()
            await endless
        assert await backend.store("t2", TaskResult.success("t2")) is True


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("LOADING Redis is loading the dataset in memory", StorageUnavailable),
        ("CLUSTERDOWN The cluster is down", StorageUnavailable),
        ("TRYAGAIN Multiple keys request during rehashing of slot", StorageUnavailable),
        ("MISCONF Errors writing to the AOF file: No space left on device", StorageUnavailable),
        ("ERR max number of clients reached", StorageUnavailable),
        ("ERR Error running script (call to f_1): @user_script:9: -OOM command not allowed", StorageFull),
        ("ERR Error running script (call to f_1): @user_script:9: -READONLY You can't", StorageUnavailable),
        ("ERR Error running script (call to f_1): @user_script:9: -NOPERM this user has", AccessDenied),
        ("ERR Error running script (call to f_1): @user_script:9: WRONGTYPE Operation", CorruptStore),
        ("NOAUTH Authentication required.", AccessDenied),
        ("ERR AUTH <password> called without any password configured for the default user. "
         "Are you sure your configuration is correct?", AccessDenied),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", CorruptStore),
        ("MOVED 3999 127.0.0.1:6381", StorageError),
        ("ERR user_script:1: attempt to index a nil value", StorageError),
    ],
)  # fmt: skip
def test_texts_of_other_servers(text: str, kind: type[StorageError]) -> None:
    """Among them those of Redis 6.2, which wraps what a script met."""
    error = storage_error(BaseParser.parse_error(text), "p:")  # type: ignore[no-untyped-call]  # the driver's
    assert type(error) is kind
    assert text.removeprefix("ERR ") in str(error)
