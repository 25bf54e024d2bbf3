"""Indexes, counts and items that somebody has set at odds with the records: found, named, and mended."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
import redis

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    InMemoryBackend,
    RedisBackend,
    SQLiteBackend,
    TaskResult,
    TaskStatus,
    Verification,
)
from flowstore.backends.redis.namespaces import prefix_of
from flowstore.engine import Section
from flowstore.testing.insides import storage_of, verified
from flowstore.testing.support import failed, walk
from tests import sqlite_jobs
from tests.redis_whole import raw
from tests.test_sqlite_outages import child

NAMES: Final = [f"t{n:02}" for n in range(20)]


async def fill(backend: BaseResultBackend) -> None:
    await backend.store_many(
        failed(name, n, task_name="n", labels={"x"}, parent_id="t00" if n else None)
        for n, name in enumerate(NAMES)
    )
    await backend.store("t01", TaskResult.running("t01", task_name="n"), overwrite=True, ttl=900)
    await backend.data.set("t02", "k", 2)
    await backend.checkpoints.save("t02", 2)
    await backend.store("evicted", failed("evicted"))
    await backend.data.set("evicted", "k", 3)


async def contents(backend: BaseResultBackend) -> list[Any]:
    """All that can be read by ids, which no repair may change."""
    found: list[Any] = []
    for name in NAMES:
        found += [await backend.get(name), await backend.history.of(name), await backend.data.all(name)]
        found.append(await backend.checkpoints.all(name))
    return found


async def listed(backend: BaseResultBackend) -> list[Any]:
    """All that the indexes and counts say."""
    found: list[Any] = [await backend.count_by_status(), await backend.workflows.types()]
    for filters in ({}, {"label": "x"}, {"name": "n"}, {"parent_id": "t00"}, {"order": "finished"}):
        statuses = "failed" if "order" in filters else None
        found += [[item.task_id for item in page.items] for page in await walk(backend, statuses, **filters)]
    found.append([step.task_id async for step in backend.history.iter()])
    return found


def told(found: Verification) -> set[tuple[str, str | None]]:
    return {(finding.kind.value, finding.task_id) for finding in found.findings}


async def check_mended(
    backend: BaseResultBackend, plant: Callable[[], Awaitable[object]], expected: set[tuple[str, str | None]]
) -> None:
    """What is planted is found, no more and no less; mended, all is as before, and no record has changed."""
    await fill(backend)
    before, lists = await contents(backend), await listed(backend)
    await plant()
    assert await contents(backend) == before
    found = await backend.integrity.verify()
    assert told(found) == expected
    assert (found.repaired, found.is_sound) == (0, False)
    assert told(await backend.integrity.verify()) == expected
    mended = await backend.integrity.verify(repair=True)
    assert told(mended) - {("miscounted", None)} <= expected  # what is mended may mend or move others
    assert (mended.repaired, mended.is_sound) == (mended.found, True)
    assert (await backend.integrity.verify()).found == 0
    assert await contents(backend) == before
    if ("dangling", "evicted") not in expected and ("orphaned", None) not in expected:
        assert await listed(backend) == lists


def _in_memory() -> dict[str, tuple[Callable[[Any], object], set[tuple[str, str | None]]]]:
    def listing(engine: Any, name: str) -> Any:
        return next(place for place in engine._listings.walk("failed", "", None) if place[1] == name)

    def gone(engine: Any) -> None:
        del engine._entries["evicted"]

    return {
        "not listed": (
            lambda engine: engine._listings.take("failed", "label:x", listing(engine, "t03")),
            {("unlisted", "t03")},
        ),
        "listed elsewhere": (
            lambda engine: engine._listings.put("success", "label:y", (5, "t03")),
            {("misplaced", "t03")},
        ),
        "no moment": (
            lambda engine: engine._histories.timeline.remove(
                next(engine._histories.timeline.between(None, None))
            ),
            {("unlisted", "t00")},
        ),
        "a moment too many": (
            lambda engine: engine._histories.timeline.add((5, f"{9:016}", "t03")),
            {("misplaced", "t03")},
        ),
        "does not expire": (
            lambda engine: engine._expiries.remove(next(engine._expiries.between(None, None))),
            {("unlisted", "t01")},
        ),
        "expires": (lambda engine: engine._expiries.add((2**60, "t03")), {("misplaced", "t03")}),
        "gone": (gone, {("dangling", "evicted"), ("orphaned", "evicted")}),
    }


IN_MEMORY: Final = _in_memory()


@pytest.mark.parametrize("name", IN_MEMORY)
async def test_in_memory(name: str) -> None:
    """Only a mistake of the program can do that."""
    plant, expected = IN_MEMORY[name]

    async def planted() -> None:
        plant(storage_of(backend))

    async with InMemoryBackend() as backend:
        await check_mended(backend, planted, expected)


SQL: Final[dict[str, tuple[str, set[tuple[str, str | None]]]]] = {
    "not listed": (
        "DELETE FROM facet WHERE facet = 'label:x' AND id = 't03'",
        {("unlisted", "t03")},
    ),
    "not listed at all": (
        "DELETE FROM facet WHERE id = 't03'; UPDATE tally SET tasks = tasks - 1 WHERE status = 4",
        {("unlisted", "t03")},
    ),
    "of another status": (
        "UPDATE facet SET status = 3 WHERE facet = 'label:x' AND id = 't03'",
        {("unlisted", "t03"), ("misplaced", "t03")},
    ),
    "at another place": (
        "UPDATE facet SET sort = sort + 1 WHERE facet = '~' AND id = 't03'",
        {("unlisted", "t03"), ("misplaced", "t03")},
    ),
    "by another row": (
        "UPDATE facet SET task = task + 1 WHERE facet = 'label:x' AND id = 't03'",
        {("unlisted", "t03"), ("misplaced", "t03")},
    ),
    "what nobody has": (
        "INSERT INTO facet SELECT ns, 'label:z', status, sort, id, task, 0 FROM facet WHERE facet = '~'"
        " AND id = 't03'; INSERT INTO facet VALUES (1, 'label:z', 4, 5, 'nobody', 900, 0)",
        {("misplaced", "t03"), ("dangling", "nobody")},
    ),
    "no moment": ("DELETE FROM timeline WHERE id = 't03'", {("unlisted", "t03")}),
    "another moment": (
        "UPDATE timeline SET at = at + 1 WHERE id = 't03'",
        {("unlisted", "t03"), ("misplaced", "t03")},
    ),
    "wrong counts": ("UPDATE tally SET tasks = tasks + 3", {("miscounted", None)}),
    "no counts": ("DELETE FROM tally", {("miscounted", None)}),
    "items of nobody": (
        "INSERT INTO item VALUES (1, 900, 1, 'k', 1, 5, 5, '{}'), (1, 900, 0, 1, 1, 5, 5, '[]')",
        {("orphaned", None)},
    ),
    "a record is gone": (
        "DELETE FROM task WHERE id = 'evicted'",
        {("dangling", "evicted"), ("orphaned", None)},
    ),
}


def by_hand(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(script)


@pytest.mark.parametrize("name", SQL)
async def test_in_sqlite(tmp_path: Path, name: str) -> None:
    """A change by hand."""
    script, expected = SQL[name]
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await check_mended(backend, lambda: asyncio.to_thread(by_hand, path, script), expected)


async def test_another_namespace_of_the_file(tmp_path: Path) -> None:
    """It is neither looked at nor mended."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend, SQLiteBackend(path, namespace="other") as other:
        await fill(backend)
        await fill(other)
        for table in ("facet", "timeline", "tally"):
            by_hand(path, f"DELETE FROM {table} WHERE ns = 2")
        assert (await backend.integrity.verify(repair=True)).found == 0
        assert not (await other.integrity.verify()).is_sound


async def test_a_record_that_was_changed_by_hand(tmp_path: Path) -> None:
    """No index is made to agree with what is not what was written: it stays listed where it was."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await fill(backend)
        lists = await listed(backend)
        by_hand(path, "UPDATE task SET status = 3 WHERE id = 't03'")
        for repair in (False, True):
            found = await backend.integrity.verify(repair=repair)
            assert {("damaged", "t03"), ("unlisted", "t03"), ("misplaced", "t03")} == told(found)
            assert found.repaired == 0
        with pytest.raises(CorruptRecord):
            await backend.get("t03")
        by_hand(path, "UPDATE task SET status = 4 WHERE id = 't03'")
        assert (await backend.integrity.verify()).is_sound
        assert await listed(backend) == lists


async def test_a_prefix_sees_its_own_flaws(tmp_path: Path) -> None:
    """Those of other ids, and counts, are left alone."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await fill(backend)
        by_hand(path, "DELETE FROM facet WHERE id IN ('t03', 't13'); DELETE FROM timeline WHERE id = 't14'")
        by_hand(path, "UPDATE tally SET tasks = 1")
        assert told(await verified(backend, "t1", repair=True)) == {("unlisted", "t13"), ("unlisted", "t14")}
        assert (await verified(backend, "t1")).is_sound
        assert told(await backend.integrity.verify(repair=True)) == {
            ("unlisted", "t03"),
            ("miscounted", None),
        }


@pytest.fixture
def client(client: Any) -> Iterator[Any]:
    """In bytes."""
    with raw(client) as plain:
        yield plain


@pytest_asyncio.fixture
async def redis_backend(redis_url: str) -> AsyncIterator[RedisBackend]:
    async with RedisBackend(redis_url, namespace="a*{b}") as backend:
        yield backend


KEYS: Final = prefix_of("a*{b}")

Plant = Callable[[Any], object]


def entry(client: Any, key: str, name: str) -> bytes:
    members: list[bytes] = client.zrange(KEYS + key, 0, -1)
    return next(member for member in members if member.endswith(name.encode()))


def _move(client: Any, name: str) -> None:
    member = entry(client, "i:failed:label:x", name)
    client.zrem(KEYS + "i:failed:label:x", member)
    client.zadd(KEYS + "i:success:label:x", {member: 0})


IN_REDIS: Final[dict[str, tuple[Plant, set[tuple[str, str | None]]]]] = {
    "not listed": (
        lambda client: client.zrem(KEYS + "i:failed:label:x", entry(client, "i:failed:label:x", "t03")),
        {("unlisted", "t03")},
    ),
    "listed by none": (
        lambda client: client.delete(KEYS + "i:running:"),
        {("unlisted", "t01")},
    ),
    "of another status": (lambda client: _move(client, "t03"), {("unlisted", "t03"), ("misplaced", "t03")}),
    "what nobody has": (
        lambda client: client.zadd(KEYS + "i:failed:label:z", {b"\x7f" * 8 + b"nobody": 0}),
        {("dangling", "nobody")},
    ),
    "at another place": (
        lambda client: client.zadd(KEYS + "i:failed:", {b"\x7f" * 8 + b"t03": 0}),
        {("misplaced", "t03")},
    ),
    "no moment": (
        lambda client: client.zrem(KEYS + "t", entry(client, "t", "t03")),
        {("unlisted", "t03")},
    ),
    "a moment too many": (
        lambda client: client.zadd(KEYS + "t", {b"\x7f" * 8 + bytes(7) + b"\x09t03": 0}),
        {("misplaced", "t03")},
    ),
    "does not expire": (lambda client: client.delete(KEYS + "x"), {("unlisted", "t01")}),
    "expires": (
        lambda client: client.zadd(KEYS + "x", {b"\xf0" * 8 + b"t03": 0}),
        {("misplaced", "t03")},
    ),
    "no register": (
        lambda client: client.zrem(KEYS + "f", "label:x"),
        {("unlisted", name) for name in NAMES if name != "t01"},
    ),
    "evicted": (
        lambda client: client.delete(KEYS + "r:evicted"),
        {("dangling", "evicted"), ("orphaned", "evicted")},
    ),
    "items of nobody": (
        lambda client: (client.hset(KEYS + "e:data:nobody", "k", "v"), client.rpush(KEYS + "h:nobody", "x")),
        {("orphaned", "nobody")},
    ),
    "items of one that has none": (
        lambda client: client.hset(KEYS + "e:checkpoint:t05", "k", "v"),
        {("orphaned", "t05")},
    ),
}


@pytest.mark.parametrize("name", IN_REDIS)
async def test_in_redis(redis_backend: RedisBackend, redis_url: str, client: Any, name: str) -> None:
    """What an eviction leaves, or a change by hand; another namespace is not looked at."""
    plant, expected = IN_REDIS[name]
    async with RedisBackend(redis_url, namespace="a") as other:
        await fill(other)
        await check_mended(redis_backend, lambda: asyncio.to_thread(plant, client), expected)
        assert (await other.integrity.verify()).found == 0


async def test_a_history_that_is_gone(redis_backend: RedisBackend, client: Any) -> None:
    """Its older part is a key of its own, which the record says must be there: that cannot be mended."""
    for n in range(50):
        await redis_backend.store("t", TaskResult.running("t", worker_id=f"w{n}"))
    assert (await redis_backend.integrity.verify()).found == 0
    client.delete(KEYS + "h:t")
    found = await redis_backend.integrity.verify(repair=True)
    assert {("missing", "t"), ("misplaced", "t")} == told(found)
    assert told(await redis_backend.integrity.verify()) == {("missing", "t")}
    assert (await redis_backend.get("t")) is not None


async def test_keys_of_another_type(redis_backend: RedisBackend, client: Any) -> None:
    """An index that is none is named and left alone, since it may be somebody's; a record is damaged."""
    await fill(redis_backend)
    client.delete(KEYS + "i:failed:label:x")
    client.set(KEYS + "i:failed:label:x", "mine")
    client.delete(KEYS + "r:t04")
    client.rpush(KEYS + "r:t04", "mine")
    for repair in (False, True):
        found = await redis_backend.integrity.verify(repair=repair)
        assert ("damaged", None) in told(found)
        assert ("damaged", "t04") in told(found)
        assert found.repaired == 0
    assert client.get(KEYS + "i:failed:label:x") == b"mine"


async def test_large_indexes_take_several_steps(redis_backend: RedisBackend, client: Any) -> None:
    """Flaws at the end of a walk of many steps are found like those at its beginning."""
    await redis_backend.store_many(TaskResult.success(f"t{n:05}", n) for n in range(3_000))
    bad = [b"\x00" * 8 + b"first", b"\xff" * 8 + b"last"]
    client.zadd(KEYS + "i:success:", dict.fromkeys(bad, 0))
    assert told(await redis_backend.integrity.verify(repair=True)) == {
        ("dangling", "first"),
        ("dangling", "last"),
    }
    assert (await redis_backend.integrity.verify()).is_sound
    assert (await redis_backend.count_by_status())[TaskStatus.SUCCESS] == 3_000


async def test_many_steps_in_sqlite(tmp_path: Path) -> None:
    """The same on SQLite, where a listing is walked backwards."""
    path = tmp_path / "x.db"
    async with SQLiteBackend(path) as backend:
        await backend.store_many(failed(f"t{n:05}", n % 7) for n in range(3_000))
        by_hand(path, "DELETE FROM facet WHERE id IN ('t00000', 't01500', 't02999')")
        by_hand(path, "INSERT INTO facet VALUES (1, '', 4, 2 - (1 << 62), 'low', 9000, 0)")
        by_hand(path, "INSERT INTO facet VALUES (1, '', 4, 1 << 62, 'high', 9000, 0)")
        by_hand(path, "INSERT INTO timeline VALUES (1, 5, 1, 'low', 9000), (1, 1 << 62, 1, 'high', 9000)")
        expected = {("unlisted", "t00000"), ("unlisted", "t01500"), ("unlisted", "t02999")}
        expected |= {("dangling", "low"), ("dangling", "high")}
        found = await backend.integrity.verify(repair=True)
        assert told(found) == expected
        assert found.records == 3_000
        assert (await backend.integrity.verify()).is_sound


async def test_beside_a_process_that_is_killed(tmp_path: Path) -> None:
    """Nothing is found beside it, nor in what it leaves behind."""
    path = tmp_path / "x.db"
    for life in range(3):
        with child(sqlite_jobs.write_until_killed, path, life) as (process, pipe):
            await asyncio.to_thread(pipe.recv)
            async with SQLiteBackend(path) as backend:
                for repair in (False, True):
                    assert (await backend.integrity.verify(repair=repair)).found == 0
                process.kill()
                await asyncio.to_thread(process.join)
                assert (await backend.integrity.verify()).found == 0


def test_sections_are_those_of_records() -> None:
    """An audit names the sections that a record may have, so a new one belongs there as well."""
    assert {"history", "data", "checkpoint", "worker", "app"} == {section.value for section in Section}


async def test_a_damaged_count_hides_nothing(redis_url: str) -> None:
    """It is a finding, and everything else is looked at all the same."""
    async with RedisBackend(redis_url, namespace="n") as backend:
        await backend.store_many(TaskResult.success(f"t{n}", n) for n in range(5))
        with redis.Redis.from_url(redis_url) as client:
            client.delete("flowstore:{n}:i:success:")
            client.set("flowstore:{n}:i:success:", "no index")
        found = await backend.integrity.verify()
        assert found.records == 5
        assert "counts" in {finding.where for finding in found.findings}
        assert {finding.task_id for finding in found.findings} > {f"t{n}" for n in range(5)}
