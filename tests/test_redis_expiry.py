"""The expiry that the server itself has for the keys of a record, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from flowstore import RedisBackend, TaskResult, TaskStatus
from flowstore.backends.redis.lasting import GRACE_SECONDS
from flowstore.engine import every
from flowstore.testing import ManualClock
from flowstore.testing.insides import storage_of
from flowstore.testing.support import failed
from tests.redis_whole import PREFIX, check_whole
from tests.servers import SERVER_KINDS, start_server

LARGE = "x" * 50_000
NAMES = ("r:", "h:", "e:data:", "k:data:", "e:checkpoint:", "k:checkpoint:")
BESIDE = {"h:", "e:data:", "e:checkpoint:", "k:checkpoint:"}
"""What a task with a long history, data and checkpoints has besides its record."""


def kept(client: Any, task_id: str) -> dict[str, float | None]:
    """By the names of the keys of a task for how many seconds, but for the hour, they are kept; None: ever.

    Rounded to minutes, as the time that has passed in the test is less than that.
    """
    found = {name: client.pttl(f"{PREFIX}{name}{task_id}") for name in NAMES}
    there = {name: left for name, left in found.items() if left != -2}
    return {
        name: None if left == -1 else round((left / 1_000 - GRACE_SECONDS) / 60) * 60
        for name, left in there.items()
    }


async def fill(backend: RedisBackend, task_id: str, **options: Any) -> None:
    """A task with everything beside its record that there can be."""
    for n in range(40):
        await backend.store(task_id, TaskResult.running(task_id, worker_id=f"w{n}"), **options)
    await backend.data.set(task_id, "k", 1)
    await backend.checkpoints.save(task_id, 1)


@pytest.mark.parametrize("size", [10, 5_000])
async def test_a_record_that_expires_does_so_on_the_server(redis_url: str, client: Any, size: int) -> None:
    """An hour later, stored alone or with others, anew or over another, large or small; the others never."""
    clock = ManualClock()  # the server has another time
    async with RedisBackend(redis_url, clock=clock, ttl=600, failure_ttl=None) as backend:
        value = "x" * size
        await backend.store("alone", TaskResult.success("alone", value))
        await backend.store_many(TaskResult.success(f"t{n}", value) for n in range(3))
        await backend.store("again", TaskResult.running("again"))
        assert kept(client, "again") == {"r:": None}
        await backend.store("again", TaskResult.success("again", value))
        many = [TaskResult.success(f"t{n}", value) for n in (0, 1)]
        await backend.store_many([*many, failed("f0"), TaskResult.pending("p0")], ttl=1_200, overwrite=True)
        await backend.store("f", failed("f"))
        await backend.store("t2", TaskResult.success("t2", value), ttl=None, overwrite=True)
        assert kept(client, "alone") == kept(client, "again") == {"r:": 600}
        assert kept(client, "t0") == kept(client, "t1") == kept(client, "p0") == {"r:": 1_200}
        assert kept(client, "f") == kept(client, "t2") == {"r:": None}
        clock.advance(600)
        await backend.store("alone", TaskResult.running("alone"))
        assert kept(client, "alone") == {"r:": None}
    check_whole(client)


@pytest.mark.parametrize("together", [False, True])
async def test_what_belongs_to_it_is_kept_as_long(redis_url: str, client: Any, together: bool) -> None:
    """History, data and checkpoints: longer, for ever, and again not for ever."""
    async with RedisBackend(redis_url) as backend:

        async def store(result: TaskResult, ttl: float | None) -> None:
            others = [TaskResult.success("other")] if together else []
            stored = await backend.store_many([result, *others], ttl=ttl, overwrite=True)
            assert all(stored)

        await fill(backend, "t")
        assert kept(client, "t") == dict.fromkeys({"r:", *BESIDE})
        for ttl in (600, 1_200, None, 60):
            await store(TaskResult.success("t", ttl), ttl)
            assert kept(client, "t") == dict.fromkeys({"r:", *BESIDE}, ttl)
        await fill(backend, "u", ttl=3_600)
        assert kept(client, "u") == dict.fromkeys({"r:", *BESIDE}, 3_600)
        await backend.checkpoints.save("u", 1, keep=1)
        assert kept(client, "u") == dict.fromkeys({"r:", *BESIDE}, 3_600)
    check_whole(client)


async def test_expire_is_told_to_the_server(redis_url: str, client: Any) -> None:
    """For all keys of the record."""
    async with RedisBackend(redis_url) as backend:
        await fill(backend, "t")
        for ttl in (600, 60, None):
            assert await backend.expire("t", ttl) is True
            assert kept(client, "t") == dict.fromkeys({"r:", *BESIDE}, ttl)
    check_whole(client)


async def test_reports_and_the_expiry_of_the_server(redis_url: str, client: Any) -> None:
    """They leave it as it is, or renew it with that of the record."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.running("t"), ttl=600)
        for done in (1, 2, 1_000):  # in place, and as a whole
            assert await backend.set_progress("t", done) is True
            assert kept(client, "t") == {"r:": 600}
    clock = ManualClock()
    async with RedisBackend(redis_url, unfinished_ttl=600, clock=clock) as backend:
        await backend.store("u", TaskResult.running("u"))
        client.pexpire(PREFIX + "r:u", 5_000_000)
        clock.advance(300)
        assert await backend.set_progress("u", 1) is True
        assert kept(client, "u") == {"r:": 600}
    check_whole(client)


def vanish(client: Any, ids: Sequence[str]) -> None:
    """What the server does at the end of its time with them, or when it evicts them."""
    for task_id in ids:
        client.unlink(*(f"{PREFIX}{name}{task_id}" for name in NAMES))


async def fill_with(backend: RedisBackend, count: int, ttl: float | None) -> list[str]:
    """Members of families, in all kinds of indexes."""
    ids = [f"{'t' if ttl else 'kept'}{n}" for n in range(count)]
    await backend.store_many(
        (
            failed(
                name, n, task_name=f"n{n % 7}", labels={f"l{ttl} {n}"}, parent_id=f"p{n % 50}", worker_id="w"
            )
            for n, name in enumerate(ids)
        ),
        ttl=ttl,
    )
    return ids


async def test_purging_finds_what_the_server_has_removed(redis_url: str, client: Any) -> None:
    """Once their time has come, in all indexes, whatever facets they had; what stands stays listed."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock, stats=None) as backend:
        await fill_with(backend, 30, None)
        gone = await fill_with(backend, 700, 60)
        vanish(client, gone)
        assert await backend.purge_expired() == 0
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 730
        clock.advance(60)
        assert await backend.purge_expired() == 0
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 30
        assert (await backend.count_by_status(parent_id="p3"))[TaskStatus.FAILED] == 1
        assert sorted(await storage_of(backend).facets("label:l6")) == []
        assert len(check_whole(client)) == 30
        assert not client.exists(PREFIX + "g")
        assert await backend.clear() == 30
        assert client.keys(PREFIX.replace("{", "[{]") + "[^c]*") == [PREFIX + "format"]


@pytest.mark.parametrize("ttl", [None, 30, 600])
async def test_ids_that_are_stored_again(redis_url: str, client: Any, ttl: float | None) -> None:
    """What the server has removed is told from what is there now under the same id."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        ids = await fill_with(backend, 300, 60)
        for _ in range(2):
            await backend.data.set("t3", "k", 1)
        vanish(client, ids)
        clock.advance(1)
        again = [TaskResult.success(name, task_name="again", labels={"x"}) for name in ids]
        await backend.store_many(again[:200], ttl=ttl)
        await backend.data.set("t3", "k", 2)
        clock.advance(60)
        assert await backend.purge_expired() == (200 if ttl == 30 else 0)
        assert len(check_whole(client)) == (0 if ttl == 30 else 200)
        assert await backend.data.get("t3", "k") == (None if ttl == 30 else 2)
        assert not client.exists(PREFIX + "g")


async def test_a_foreign_key_in_place_of_the_walk(redis_url: str, client: Any) -> None:
    """It hinders neither purges nor clear."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", failed("t"))
        client.set(PREFIX + "g", "x")
        assert await backend.purge_expired() == 0
        client.hset(PREFIX + "g", mapping={"cursor": 1, "names": "x"})
        assert await backend.purge_expired() == 0
        assert not client.exists(PREFIX + "g")
        assert await backend.clear() == 1


async def test_a_listing_that_meets_one_is_enough(redis_url: str, client: Any) -> None:
    """Evicted ones are found long before their time: then the next purge removes all their entries."""
    async with RedisBackend(redis_url) as backend:
        gone = await fill_with(backend, 60, 3_600)
        await fill_with(backend, 10, None)
        vanish(client, gone[::2])
        assert len((await backend.page(label="l3600 2")).items) == 0
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 70
        assert await backend.purge_expired() == 0
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 40
        assert len(check_whole(client)) == 40


async def test_clear_finds_what_the_server_has_removed(redis_url: str, client: Any) -> None:
    """Of families as well, whose indexes are in no register."""
    async with RedisBackend(redis_url, stats=None) as backend:
        vanish(client, await fill_with(backend, 700, 60))
        await fill_with(backend, 5, None)
        assert await backend.clear() == 5
        assert client.keys(PREFIX.replace("{", "[{]") + "[^c]*") == [PREFIX + "format"]


async def test_what_an_evicted_record_leaves_is_not_that_of_the_next(redis_url: str, client: Any) -> None:
    """The server may evict a record and keep its data, and resume a task from a checkpoint of another."""
    async with RedisBackend(redis_url) as backend:
        for name in ("t", "u"):
            await fill(backend, name, ttl=600)
            client.unlink(f"{PREFIX}r:{name}")
            await backend.store(name, TaskResult.running(name))
            assert await backend.data.all(name) == {}
            assert await backend.data.get(name, "k") is None
            assert await backend.checkpoints.all(name) == []
        assert await backend.checkpoints.save("t", 2) == 1
        assert await backend.data.set("u", "l", 2) == 1
        assert await backend.data.all("t") == {}
        assert await backend.data.all("u") == {"l": 2}
        assert await backend.checkpoints.latest("u") is None
        names = {"r:", "h:", "e:checkpoint:", "k:checkpoint:"}
        assert kept(client, "t") == dict.fromkeys(names) | {"h:": 600}


async def test_records_that_cannot_be_read_leave_nothing_behind(redis_url: str, client: Any) -> None:
    """Only their own bytes could tell where they are listed: once they are removed, the purge finds it."""
    async with RedisBackend(redis_url) as backend:
        names = await fill_with(backend, 10, None)
        for name in names[::2]:
            client.set(f"{PREFIX}r:{name}", "x")
        assert await backend.delete(names[0])
        assert await backend.clear("failed", label="lNone 2") == 1
        assert await backend.delete_many(names) == 8
        assert await backend.purge_expired() == 0
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 0
        assert check_whole(client) == {}
        assert not client.exists(PREFIX + "g")


async def test_the_search_goes_in_steps_that_anybody_takes(redis_url: str, client: Any) -> None:
    """Each looks at a bounded number of entries; records and neighbours that look alike are left alone."""
    clock = ManualClock()
    names = [f"n*{n}" for n in range(2)] + ["n?[x]"]
    backends = [RedisBackend(redis_url, clock=clock, namespace=name, purge_interval=None) for name in names]
    engines = []
    for backend in backends:
        await backend.store_many((failed(f"t{n}", task_name="n") for n in range(1_300)), ttl=60)
        await backend.store("kept", failed("kept"))
        engines.append(storage_of(backend))
    one, _, other = engines
    for name in (names[0], names[2]):
        client.unlink(*(f"flowstore:{{{name}}}:r:t{n}" for n in range(1_300)))
    again = RedisBackend(redis_url, clock=clock, namespace=names[0], purge_interval=None)
    assert await again.exists("kept")
    both = [one, storage_of(again)]
    now, steps = clock() + 60_000_000, 0
    while not (await both[steps % 2].purge(2_000, now)).is_done:
        steps += 1
        assert steps < 50
    assert steps > 2
    assert (await one.count([every()]))[0].counts["failed"] == 1
    assert (await other.count([every()]))[0].counts["failed"] == 1_301
    assert (await engines[1].purge(2_000, now)).expired == 1_000
    check_whole(client, f"flowstore:{{{names[0]}}}:")
    for backend in (*backends, again):
        await backend.close()


async def test_nothing_is_searched_without_need(redis_url: str, client: Any) -> None:
    """A purge that meets no such entries costs one trip, and looks at no index."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        await fill_with(backend, 50, 60)
        clock.advance(60)
        client.config_resetstat()
        assert await backend.purge_expired() == 50
        stats = client.info("commandstats")
        assert stats["cmdstat_evalsha"]["calls"] + stats.get("cmdstat_eval", {"calls": 0})["calls"] <= 2
        assert "cmdstat_scan" not in stats


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl"])
async def test_a_server_that_evicts_what_expires(policy: str) -> None:
    """Stores go on when it is full, in the room of older results, and the indexes follow."""
    server = start_server(SERVER_KINDS[0], "--maxmemory", str(6 * 2**20), "--maxmemory-policy", policy)
    try:
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            await _check_evictions(client, server.url)
    finally:
        server.stop()


async def _check_evictions(client: Any, url: str) -> None:
    async with RedisBackend(url, purge_interval=None) as backend:
        await backend.store("kept", failed("kept", result=LARGE))
        for n in range(500):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", LARGE, task_name=f"n{n}"), ttl=600 + n)
        client.config_set("maxmemory", 0)  # or more would be evicted to make room for the answers
        found = await backend.get_many(f"t{n}" for n in range(500))
        assert 10 < len(found) < 400
        listed = [task.task_id async for task in backend.iter_by_status("success")]
        assert sorted(listed) == sorted(found)
        assert await backend.purge_expired() == 0
        counts = await backend.count_by_status()
        assert (counts[TaskStatus.SUCCESS], counts[TaskStatus.FAILED]) == (len(found), 1)
        assert check_whole(client).keys() == {"kept", *found}
