"""What is left in the storage of a namespace that was dropped."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flowstore import RedisBackend, SQLiteBackend, TaskResult, TaskStatus
from flowstore.backends.redis.namespaces import REGISTER
from flowstore.testing.support import failed, seen, waiting

PREFIX = "flowstore:{default}:"
TABLES = ("task", "facet", "tally", "item", "timeline")


async def fill(backend: SQLiteBackend | RedisBackend) -> None:
    await backend.store_many(failed(f"t{n}", task_name="n", labels={"x"}) for n in range(50))
    await backend.store("child", TaskResult.running("child", parent_id="t1"), ttl=60)
    await backend.data.set("t1", "k", 1)
    await backend.checkpoints.save("t1", 1)
    await backend.workers.register("w")
    await backend.app.register({"name": "x"})


def rows(file: Path) -> dict[str, int]:
    with closing(sqlite3.connect(file)) as raw:
        return {table: raw.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in TABLES}


async def test_in_a_file(tmp_path: Path) -> None:
    """The mark that it was dropped, and its number: a process that has it open must find no other there."""
    file = tmp_path / "x.db"
    async with SQLiteBackend(file) as backend, SQLiteBackend(file) as other:
        await fill(backend)
        await other.open()
        assert await backend.drop_namespace() == 51
        assert rows(file) == {**dict.fromkeys(TABLES, 0), "item": 1}
        async with SQLiteBackend(file, namespace="new") as neighbour:
            await neighbour.store("t", TaskResult.success("t", "theirs"))
            assert await neighbour.app.namespaces() == ["new"]
            await other.store("t", TaskResult.success("t", "ours"))
            assert (await backend.wait_for("t", 5)).unwrap() == "ours"
            assert (await neighbour.wait_for("t", 5)).unwrap() == "theirs"
            assert await neighbour.app.namespaces() == ["default", "new"]


async def test_what_somebody_changed_in_a_file_by_hand(tmp_path: Path) -> None:
    """Counts that are wrong, listings and transitions of nobody: gone, and what is stored then counts."""
    file = tmp_path / "x.db"
    async with SQLiteBackend(file) as backend:
        await fill(backend)
    with closing(sqlite3.connect(file)) as raw, raw:
        raw.execute("UPDATE tally SET tasks = 700")
        raw.execute("DELETE FROM task WHERE id LIKE 't%'")
        raw.execute("UPDATE item SET section = 9 WHERE section = 1")
    async with SQLiteBackend(file) as backend:
        assert await backend.drop_namespace() == 1
        assert rows(file) == {**dict.fromkeys(TABLES, 0), "item": 1}
        await backend.store("t1", failed("t1"))
        assert {status: n for status, n in (await backend.count_by_status()).items() if n} == {
            TaskStatus.FAILED: 1
        }
        assert len(await backend.history.of("t1")) == 1


def left(client: Any) -> list[str]:
    """But for what expires by itself: answers, and those who wait."""
    keys = client.keys(PREFIX.replace("{", "[{]") + "*")
    lasting = [key.removeprefix(PREFIX) for key in keys if client.ttl(key) == -1]
    assert all(key[len(PREFIX)] in "cw" for key in keys if client.ttl(key) != -1), keys
    return sorted(lasting)


async def test_on_a_server(redis_url: str, client: Any) -> None:
    """Nothing, and it is in the register no more; waits for what is not stored yet go on."""
    async with RedisBackend(redis_url) as backend, RedisBackend(redis_url, namespace="other") as other:
        await fill(backend)
        await other.app.namespaces()  # from now on the register is complete
        wait = await waiting(backend, "later")
        await seen(backend, wait, "later")
        assert await backend.drop_namespace() == 52
        assert left(client) == []
        assert client.smembers(REGISTER) == {"", "other"}
        await backend.app.register({})
        assert left(client) == ["e:app:", "format"]
        assert client.smembers(REGISTER) == {"", "default", "other"}
        await backend.store("later", TaskResult.success("later", 1))
        assert (await wait).unwrap() == 1


async def test_keys_of_the_wrong_type(redis_url: str, client: Any) -> None:
    """Are dropped as well, whatever they are."""
    names = ["e:worker:", "k:worker:", "e:app:", "k:app:", "x", "f", "g", "i:failed:", "w:t1"]
    async with RedisBackend(redis_url) as backend:
        await fill(backend)
        for name in names:
            client.delete(PREFIX + name)
            client.set(PREFIX + name, "foreign")
        await backend.drop_namespace()
        assert left(client) == []
        await backend.workers.register("w")
        await backend.app.register({})
        assert await backend.store("t2", failed("t2"), ttl=5) is True


async def test_on_a_full_server(redis_url: str, client: Any) -> None:
    """It makes room."""
    async with RedisBackend(redis_url) as backend:
        await fill(backend)
        client.config_set("maxmemory", 1)
        try:
            assert await backend.drop_namespace() == 51
        finally:
            client.config_set("maxmemory", 0)
        assert left(client) == []


@pytest.mark.parametrize("rule", ["resetkeys ~flowstore:{default}:*", "-srem"])
async def test_where_the_register_is_forbidden(redis_url: str, client: Any, rule: str) -> None:
    """It is not needed."""
    client.execute_command(
        "ACL", "SETUSER", "limited", "reset", "on", ">p", "~*", "&*", "+@all", *rule.split()
    )
    try:
        async with RedisBackend(redis_url.replace("//", "//limited:p@")) as backend:
            await backend.workers.register("w")
            assert await backend.drop_namespace() == 0
            assert left(client) == []
    finally:
        client.execute_command("ACL", "DELUSER", "limited")
