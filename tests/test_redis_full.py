"""Redis and Valkey that reached their ``maxmemory``, with several clients at work."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from flowstore import RedisBackend, StorageFull, TaskResult, TaskStatus
from flowstore.testing import ManualClock
from flowstore.testing.support import failed, seen, waiting
from tests.redis_whole import PREFIX, check_whole
from tests.servers import SERVER_KINDS, Server, start_server

MAXMEMORY = 6 * 2**20
LARGE = "x" * 20_000


@pytest.fixture(params=SERVER_KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """With little room, which evicts nothing."""
    started = start_server(request.param, "--maxmemory", str(MAXMEMORY), "--maxmemory-policy", "noeviction")
    yield started
    started.stop()


@pytest.fixture
def admin(server: Server) -> Iterator[Any]:
    with redis.Redis.from_url(server.url, decode_responses=True) as opened:
        yield opened


async def live(backend: RedisBackend, task_id: str) -> list[bool]:
    """The three stores of a task, each tried once; which of them there was room for."""
    states = [
        TaskResult.pending(task_id, task_name="n"),
        TaskResult.running(task_id, task_name="n"),
        TaskResult.success(task_id, LARGE, task_name="n"),
    ]
    stored = []
    for state in states:
        try:
            stored.append(await backend.store(task_id, state, ttl=600))
        except StorageFull:
            stored.append(False)
    return stored


async def fill(backend: RedisBackend) -> dict[str, list[bool]]:
    """Tasks, twenty at once, until there was no room for twenty."""
    tasks: dict[str, list[bool]] = {}
    while sum(not stored[2] for stored in tasks.values()) < 20:
        names = [f"t{len(tasks) + n}" for n in range(20)]
        tasks |= zip(names, await asyncio.gather(*(live(backend, name) for name in names)), strict=True)
    return tasks


def exceed(admin: Any, amount: int) -> None:
    """Let it be over its limit by so many bytes, also when it lets go of the buffers of the last calls."""
    admin.config_set("maxmemory", admin.info("memory")["used_memory"] - amount)


async def test_full_under_load(server: Server, admin: Any) -> None:
    """What was acknowledged is there with its index entries, what was refused is nowhere; the limit holds."""
    async with RedisBackend(server.url) as one, RedisBackend(server.url) as two:
        filled = await asyncio.gather(fill(one), fill(two))
        last: dict[str, str] = {}
        for step, status in enumerate(["pending", "running", "success"]):
            last |= {name: status for tasks in filled for name, stored in tasks.items() if stored[step]}
        assert admin.info("memory")["used_memory"] < MAXMEMORY + 2**20
        assert check_whole(admin) == last
        found = await one.get_many(last)
        assert {name: result.status for name, result in found.items()} == last
        assert (await one.count_by_status())[TaskStatus.SUCCESS] == list(last.values()).count("success")


async def test_full_server_is_read_awaited_and_emptied(server: Server, admin: Any) -> None:
    """Also by who opens it only now, and when it has forgotten the scripts; then stores succeed again."""
    async with RedisBackend(server.url) as worker:
        tasks = await fill(worker)
        exceed(admin, 2**20)
        admin.script_flush()
        async with RedisBackend(server.url, recheck_interval=600) as backend:
            finished = [name for name, stored in tasks.items() if stored[2]]
            assert (await backend.wait_for(finished[0], 30)).unwrap() == LARGE
            assert len((await backend.page(TaskStatus.SUCCESS, limit=10)).items) == 10
            waits = {name: await waiting(backend, name) for name in ("later", *finished[:5], "never")}
            assert [(await waits[name]).unwrap() for name in finished[:5]] == [LARGE] * 5
            while admin.exists(PREFIX + "w:later", PREFIX + "w:never") != 2:
                await backend.exists("t")
            with pytest.raises(StorageFull):
                await worker.store("later", TaskResult.success("later", 1))
            with pytest.raises(StorageFull):
                await worker.store(finished[0], failed(finished[0]), overwrite=True)
            assert await backend.delete_many(finished[:100]) == 100
            assert await worker.store("later", TaskResult.success("later", 1)) is True
            assert (await waits["later"]).unwrap() == 1
            admin.config_set("maxmemory", MAXMEMORY)
            await fill(worker)
            left = len(check_whole(admin))
            assert await backend.clear() == left
            assert await worker.store("never", TaskResult.success("never", 1)) is True
            assert (await waits["never"]).unwrap() == 1


async def test_what_expired_makes_room_by_itself(server: Server, admin: Any) -> None:
    """Though no store goes through that could sweep it on the way."""
    clock = ManualClock()
    async with RedisBackend(server.url, clock=clock) as backend:
        await fill(backend)
        exceed(admin, 2**20)
        with pytest.raises(StorageFull):
            await backend.store("new", TaskResult.success("new", LARGE))
        clock.advance(601)
        left = len(check_whole(admin))
        while not (await live(backend, "new"))[2]:
            assert len(check_whole(admin)) < left
            left = len(check_whole(admin))
        check_whole(admin)


async def test_first_open_of_a_full_server(server: Server, admin: Any) -> None:
    """There is no room for what an empty namespace needs: StorageFull, and the next try may succeed."""
    admin.config_set("maxmemory", 1)
    backend = RedisBackend(server.url)
    with pytest.raises(StorageFull):
        await backend.open()
    admin.config_set("maxmemory", MAXMEMORY)
    async with backend:
        assert await backend.store("t", TaskResult.success("t")) is True


async def test_wait_on_a_full_server_is_seen(server: Server, admin: Any) -> None:
    """The wait that began there is told like any other."""
    async with RedisBackend(server.url, recheck_interval=600) as backend:
        await backend.store("t", TaskResult.pending("t"))
        admin.config_set("maxmemory", 1)
        wait = await waiting(backend, "t")
        while not admin.exists(PREFIX + "w:t"):
            await backend.exists("t")
        admin.config_set("maxmemory", MAXMEMORY)
        await seen(backend, wait, "t")
        await backend.store("t", TaskResult.success("t", 1))
        assert (await wait).unwrap() == 1
