"""Keys and messages in Redis that somebody else made, well formed where a damage would not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowstore import CorruptRecord, RedisBackend, TaskResult, TaskStatus, UnreadableRecords
from flowstore.engine import APPLIED, STATUSES, Outcome, Owner, Query, Verdict
from flowstore.testing.insides import storage_of
from flowstore.testing.samples import NOW, sample_write
from flowstore.testing.support import failed, ids, seen, waiting, walk

PREFIX = "flowstore:{default}:"
LAST = b"\xff" * 8


async def drain(backend: RedisBackend, newest_first: bool, found: list[str]) -> None:
    walked = backend.iter_by_status(TaskStatus.FAILED, batch_size=1, newest_first=newest_first)
    while (item := await anext(walked, None)) is not None:
        found.append(item.task_id)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("sort", [LAST, b"\0" * 8, b"\x80" + b"\0" * 7])
async def test_a_record_at_another_place_than_it_says(
    redis_url: str, client: Any, sort: bytes, newest_first: bool
) -> None:
    """It is in no listing, its entry is dropped, and the walk goes on to all others."""
    async with RedisBackend(redis_url) as backend:
        await backend.store_many(failed(f"t{n}", n) for n in range(9))
        client.setrange(PREFIX + "r:t4", 26, sort)
        found: list[str] = []
        async with asyncio.timeout(30):
            await drain(backend, newest_first, found)
        assert sorted(found) == [f"t{n}" for n in range(9) if n != 4]
        assert client.zcard(PREFIX + "i:failed:") == 8
        with pytest.raises(CorruptRecord, match="'t4'"):
            await backend.get("t4")


async def test_a_record_that_is_none_keeps_its_place(redis_url: str, client: Any) -> None:
    """It is named where it is listed."""
    async with RedisBackend(redis_url) as backend:
        await backend.store_many(failed(f"t{n}", n) for n in range(9))
        client.set(PREFIX + "r:t4", "no record")
        with pytest.raises(UnreadableRecords, match="'t4'"):
            await backend.list_by_status(TaskStatus.FAILED)
        pages = await walk(backend, limit=3)
        assert [ids(page.items) for page in pages] == [["t8", "t7", "t6"], ["t5", "t3"], ["t2", "t1", "t0"]]
        assert [[one.task_id for one in page.unreadable] for page in pages] == [[], ["t4"], []]


@pytest.mark.parametrize("groups", [(), (("~",),)])
async def test_what_is_no_record_has_a_place(redis_url: str, client: Any, groups: Any) -> None:
    """As a scan has it, with its body and without: only the index says where it belongs."""
    writes = [sample_write(f"t{n}", facets=("~", "t:x"), submitted_at=NOW + n) for n in range(4)]
    async with RedisBackend(redis_url) as backend:
        await backend.count_by_status()
        engine = storage_of(backend)
        await engine.write(writes, NOW)
        client.set(PREFIX + "r:t2", "no record")
        for with_body in (True, False):
            query = Query(STATUSES, 9, groups, with_body=with_body)
            entries = await engine.at_places(query, await engine.places(query, NOW), NOW)
            assert entries == await engine.scan(query, NOW)
            assert [entry.id for entry in entries if entry is not None and not entry.status] == ["t2"]


async def test_a_listing_goes_on_behind_what_is_no_record(redis_url: str, client: Any) -> None:
    """Also where a step of a skipped part ends with one."""
    async with RedisBackend(redis_url) as backend:
        await backend.store_many(failed(f"t{n:04}", -n) for n in range(1_200))
        client.set(PREFIX + "r:t0499", "no record")
        listed = await backend.list_by_status(TaskStatus.FAILED, offset=1_000)
        assert ids(listed) == [f"t{n:04}" for n in range(1_000, 1_200)]


@pytest.mark.parametrize("at", [1, 18])
@pytest.mark.parametrize("number", [2**53, 2**64 - 1])
async def test_numbers_that_lua_cannot_count(redis_url: str, client: Any, at: int, number: int) -> None:
    """Beyond exact integers a version would stand still: refused by each call, until it is deleted."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", failed("t"))
        client.setrange(PREFIX + "r:t", at, number.to_bytes(8))
        result = failed("t", retries=9)
        for call in (
            backend.get("t"),
            backend.wait_for("t", 5),
            backend.store("t", result),
            backend.store("t", result, overwrite=True),
        ):
            with pytest.raises(CorruptRecord, match="'t'"):
                await call
        assert [one.task_id for one in (await backend.page()).unreadable] == ["t"]
        assert await backend.delete("t") is True
        assert await backend.store("t", result) is True


MESSAGES = [b"x", b"\xff", b"[7]", b"[" * 30_000, b'[["q","t"]]', b'[["w",[]]]']


@pytest.mark.parametrize("forged", ["", "no record", "x" * 300, None], ids=["empty", "short", "long", "cut"])
async def test_an_owner_that_is_no_record(redis_url: str, client: Any, forged: str | None) -> None:
    """Is none, for a write that comes alone or with others; they are stored all the same."""
    async with RedisBackend(redis_url) as backend:
        engine = storage_of(backend)
        await engine.write([sample_write("run", facets=("f" * 300,))], NOW)
        if forged is None:
            cut = "redis.call('SET', KEYS[1], string.sub(redis.call('GET', KEYS[1]), 1, 200))"
            client.eval(cut, 1, PREFIX + "r:run")
        else:
            client.set(PREFIX + "r:run", forged)
        assert await engine.write([sample_write("t", owner=Owner("run"))], NOW) == [
            Outcome(Verdict.OWNERLESS)
        ]
        writes = [sample_write("t", owner=Owner("run")), sample_write("u")]
        assert await engine.write(writes, NOW) == [Outcome(Verdict.OWNERLESS), APPLIED]
        client.delete(PREFIX + "r:run")
        client.lpush(PREFIX + "r:run", "another type")
        writes = [sample_write("t", owner=Owner("run")), sample_write("v")]
        assert await engine.write(writes, NOW) == [Outcome(Verdict.OWNERLESS), APPLIED]


async def test_forged_messages(redis_url: str, client: Any) -> None:
    """What cannot be read is reported to the loop; the wait goes on and hears of its store."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with RedisBackend(redis_url, recheck_interval=1_000) as waiter, RedisBackend(redis_url) as worker:
        task = await waiting(waiter, "t")
        await seen(waiter, task, "t")
        for number, message in enumerate(MESSAGES, 1):
            while not client.publish(storage_of(waiter)._inbox, message):
                await seen(waiter, task, f"t before {number}")  # a listener that failed subscribes again
            while len(told) < number:
                await seen(waiter, task, f"t after {number}")
        await worker.store("t", TaskResult.success("t", 1))
        assert (await task).result == 1
    assert {context["message"] for context in told} == {"flowstore's Redis listener failed and starts again"}


@pytest.mark.parametrize("forged", [["a", "list"], "9007199254740993", "99999999999 x", "inf", "nan", ""])
async def test_what_others_write_to_the_keys_of_lines(
    redis_url: str, client: Any, forged: str | list[str]
) -> None:
    """Keys that carry no answers: each write is carried out all the same, once, and the next ones as well."""
    async with RedisBackend(redis_url) as backend:
        await asyncio.gather(*(backend.store(f"t{n}", TaskResult.pending(f"t{n}")) for n in range(50)))
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: backend.store("t0", TaskResult.running("t0")),
            lambda: backend.checkpoints.save("t0", "c"),
            lambda: backend.set_progress("t0", 1),
            lambda: backend.expire("t0", 60),
            lambda: backend.delete("t1"),
            lambda: backend.purge_expired(),
            lambda: backend.clear(),
        ]
        answers = []
        for call in calls:
            for key in client.keys(PREFIX.replace("{", "[{]") + "c:*"):
                client.delete(key)
                if isinstance(forged, list):
                    client.rpush(key, *forged)
                else:
                    client.set(key, forged)
            answers.append(await call())
        assert answers == [True, 1, True, True, True, 0, 49]
        assert storage_of(backend).calls._unfenced == {}
