"""Statistics on Redis: what is wrong with their keys fails no write, and answers take few round trips."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flowstore import EVER, BaseResultBackend, RedisBackend, TaskError, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.statistics import counted
from tests.redis_whole import PREFIX
from tests.test_redis import commands

NOW = datetime.now(UTC)
KEYS = ("s", "s:", "p", "p:last", "e:app:")


async def store_some(backend: BaseResultBackend, first: int) -> None:
    """One by one, and several at once."""
    for n in range(first, first + 3):
        await backend.store(
            f"t{n}", TaskResult.failed(f"t{n}", OSError(f"x{'abc'[n % 3]}"), task_name=f"n{n}")
        )
    many = [TaskResult.failed(f"u{n}", OSError("y"), task_name=f"m{n}") for n in range(first, first + 5)]
    assert all(await backend.store_many(many))


@pytest.mark.parametrize("key", KEYS)
async def test_keys_of_another_type_fail_no_write(redis_url: str, client: Any, key: str) -> None:
    """Nor do they after a minute, when the list of names is read again: a new backend reads it at once."""
    async with RedisBackend(redis_url) as backend:
        await store_some(backend, 0)
        client.delete(PREFIX + key)
        client.set(PREFIX + key, "foreign")
        await store_some(backend, 100)
    async with RedisBackend(redis_url) as backend:
        await store_some(backend, 200)
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 24
        await backend.purge_expired()


async def test_totals_of_what_older_programs_have_counted(redis_url: str, client: Any) -> None:
    """They know of no totals, so all of the 90 days is added to these, whoever comes first afterwards."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        for day in range(80):
            await backend.store(f"t{day}", TaskResult.success(f"t{day}", task_name=f"n{day % 2}"))
            clock.advance(86_400)
        client.delete(PREFIX + "s:f")
        client.zremrangebyscore(PREFIX + "s", "+inf", "+inf")
        assert (await backend.stats.total(since=EVER)).ended == 80
        await backend.store("u", TaskResult.success("u", task_name="n0"))
        for _ in range(2):
            assert (await backend.stats.total(since=EVER)).ended == 81
            await backend.purge_expired()
        assert client.zrange(PREFIX + "s", "+inf", "+inf", byscore=True) == ["f", "t:=n0", "t:=n1"]
        clock.advance(100 * 86_400)
        await backend.purge_expired()
        assert (await backend.stats.total(since=EVER)).ended == 81
        assert len(client.keys(PREFIX + "s:[mh]:*")) == 0


@pytest.mark.parametrize("key", ["s:f", "s:t:=n0", "s:h:20454:=n0"])
async def test_totals_that_another_program_has_damaged(redis_url: str, client: Any, key: str) -> None:
    """They fail neither writes nor purges, and of other names they are told."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        for n in range(4):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", task_name=f"n{n % 2}"))
            clock.advance(86_400)
            client.delete(PREFIX + key)
            client.rpush(PREFIX + key, "foreign")
            await backend.purge_expired()
            assert (await backend.stats.total("n1", since=EVER)).ended == (n + 1) // 2


@pytest.mark.parametrize("value", [b"x", b"\0" * 24, b"\0" * 24 + b"{", b"\xff" * 40])
async def test_a_damaged_list_of_names(redis_url: str, client: Any, value: bytes) -> None:
    """Tasks are stored all the same, and the list is made anew where it can be."""
    async with RedisBackend(redis_url) as backend:
        await store_some(backend, 0)
        client.hset(PREFIX + "e:app:", "statistics:names", value)
    async with RedisBackend(redis_url) as backend:
        await store_some(backend, 100)
        assert (await backend.stats.total()).failed == 16


async def test_damaged_counters_and_groups_are_passed_over(redis_url: str, client: Any) -> None:
    """The others are told; a group of impossible times is none."""
    async with RedisBackend(redis_url) as backend:
        await store_some(backend, 0)
        before = counted(await backend.stats.total())
        for name in client.zrange(PREFIX + "s", 0, "(+inf", byscore=True):
            client.hset(
                f"{PREFIX}s:{name}",
                mapping={"00x\u00ff": "1", "zz": "1", "01s9": "no number", "02s99999": "1"},
            )
        found = counted(await backend.stats.total())
        assert {name: found[name] for name in before} == before
        groups = await backend.errors.groups()
        for value in (b"\xff" * 40, b"\0" * 40, b"short"):
            client.hset(PREFIX + "p", "f" * 16, value)
            assert await backend.errors.groups() == groups
            assert await backend.errors.get("f" * 16) is None


async def test_an_evicted_order_of_groups_is_made_again(redis_url: str, client: Any) -> None:
    """Else they would stay for ever."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        await store_some(backend, 0)
        before = client.zrange(PREFIX + "p:last", 0, -1, withscores=True)
        client.delete(PREFIX + "p:last")
        await backend.purge_expired()
        assert client.zrange(PREFIX + "p:last", 0, -1, withscores=True) == before
        clock.advance(91 * 86_400)
        await backend.purge_expired()
        assert await backend.errors.groups() == []


@pytest.mark.parametrize("forbidden", ["hincrby", "hmget", "hset", "hget", "pexpire", "zadd"])
async def test_a_user_without_a_command(redis_url: str, client: Any, forbidden: str) -> None:
    """Whoever may store without statistics may store with them."""
    name = f"user-{forbidden}"
    client.execute_command("ACL", "SETUSER", name, "on", ">secret", "~*", "&*", "+@all", f"-{forbidden}")
    try:
        url = redis_url.replace("redis://", f"redis://{name}:secret@")
        stored: list[object] = []
        for stats in (None, "minute"):
            async with RedisBackend(url, namespace=f"{forbidden}-{stats}", stats=stats) as backend:
                try:
                    await backend.store("t", TaskResult.success("t", task_name="n"))
                    await backend.store_many(TaskResult.success(f"u{n}", task_name="n") for n in range(3))
                except Exception as error:
                    stored.append(type(error))
                else:
                    stored.append(True)
        assert stored[0] == stored[1]
    finally:
        client.execute_command("ACL", "DELUSER", name)


async def test_answers_take_few_round_trips(redis_url: str, client: Any) -> None:
    """At most four, for 60 groups and 20 names. The clock stands: longer times have more minutes to read."""
    async with RedisBackend(redis_url, clock=ManualClock(NOW)) as backend:
        failed = [
            TaskResult.failed(f"t{n}", TaskError(type=f"E{n % 60}", message="x"), task_name=f"n{n % 20}")
            for n in range(600)
        ]
        await backend.store_many(failed)
        for ask in (
            lambda: backend.stats.total(),
            lambda: backend.stats.series(),
            lambda: backend.stats.by("name"),
            lambda: backend.stats.percentiles(0.5, name="n1"),
            lambda: backend.stats.total(since=NOW - timedelta(minutes=5)),
            lambda: backend.stats.by("name", since=EVER),
            lambda: backend.errors.groups(),
            lambda: backend.errors.groups(since=NOW - timedelta(hours=24)),
            lambda: backend.errors.groups(since=NOW - timedelta(minutes=30)),
            lambda: backend.errors.groups(since=NOW - timedelta(hours=24), order="recent"),
        ):
            before = commands(client).get("evalsha", 0)
            assert await ask()
            assert commands(client)["evalsha"] - before <= 4
