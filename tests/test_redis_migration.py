"""From format 2 to 3: what is large, and what was interrupted."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import RedisBackend, StorageError
from flowstore.backends.redis.calls import Calls
from tests.redis_whole import PREFIX, check_whole, raw

MOVES = 9_000


def fill(plain: Any, moves: int, body: bytes = b"{}", name: str = "hb") -> None:
    """A record of format 2 with so many transitions, a value and a checkpoint."""
    sort, facets = f"{2**63 - 1_000:016x}", ("", "label:x", "parent:p", "root:p")
    header = f'2 running 1 {moves} - 1000 7.0 {sort} ["label:x", "parent:p", "root:p"]\n\n{{}}\n'
    plain.set(PREFIX + "format", 2)
    plain.set(f"{PREFIX}r:{name}", header.encode() + body)
    for facet in facets:
        plain.zadd(f"{PREFIX}i:running:{facet}", {f"{sort}{name}": 0})
    log = [f"{2**63 + 1_000 + seq:016x}{seq:016x} running 1 0 {name}" for seq in range(1, moves + 1)]
    plain.rpush(f"{PREFIX}h:{name}", *log)
    plain.zadd(f"{PREFIX}t", dict.fromkeys(log, 0))
    plain.hset(f"{PREFIX}e:data:{name}", "k", '1 5\n{"value":1}')


async def check(url: str, client: Any, moves: int = MOVES) -> None:
    async with RedisBackend(url) as backend:
        assert check_whole(client) == {"hb": "running"}
        assert [step.seq for step in await backend.history.of("hb")] == list(range(1, moves + 1))
        assert [task.task_id for task in (await backend.page(label="x")).items] == ["hb"]
        assert await backend.data.all("hb") == {"k": 1}
        assert client.ttl(PREFIX + "h:hb") < 0
        assert client.keys("flowstore:[{]default}:m:*") == []
        assert await backend.delete("hb")
    assert client.keys(PREFIX.replace("{", "[{]") + "[ikthre]:*") == []


async def test_a_record_of_many_transitions(redis_url: str, client: Any) -> None:
    """They do not fit in one command of a script."""
    with raw(client) as plain:
        fill(plain, MOVES)
    await check(redis_url, client)


async def test_it_may_end_at_every_step(redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after each script call; the next opening goes on, and loses nothing."""
    read = Calls.read
    left = 0

    async def failing(calls: Calls, script: str, *arguments: Any) -> Any:
        nonlocal left
        left -= script == "migrate"
        if left < 0:
            raise StorageError("interrupted")
        if script == "migrate":
            await read(calls, script, *arguments)  # sent again
        return await read(calls, script, *arguments)

    with raw(client) as plain:
        for steps in range(1, 40):
            plain.flushall()
            fill(plain, MOVES)
            left = steps
            with monkeypatch.context() as patched:
                patched.setattr(Calls, "read", failing)
                try:
                    async with RedisBackend(redis_url):
                        break
                except StorageError:
                    assert client.get(PREFIX + "format") == "2"
            plain.delete("none", *plain.keys(PREFIX.replace("{", "[{]") + "m:*"))  # it would expire
            await check(redis_url, client)
        assert 3 < steps < 39
    await check(redis_url, client)


async def test_a_record_that_an_older_program_left_half_done(redis_url: str, client: Any) -> None:
    """It is of format 3 and listed nowhere but under its old entry, as is its value."""
    with raw(client) as plain:
        fill(plain, 20)
        async with RedisBackend(redis_url):
            record = plain.get(PREFIX + "r:hb")
        plain.flushall()
        fill(plain, 20)
        plain.set(PREFIX + "r:hb", record)
        plain.delete(PREFIX + "h:hb")
    await check(redis_url, client, 20)


async def test_calls_are_bounded(redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes and by arguments: records of 3 MB go one by one, and many transitions in pieces."""
    read = Calls.read
    sizes: list[tuple[int, int]] = []

    async def measured(calls: Calls, script: str, *arguments: Any) -> Any:
        found = await read(calls, script, *arguments)
        if script == "read_old":
            sizes.append((len(found), sum(len(value or b"") for value, *_ in found)))
        else:
            texts = [argument for argument in arguments if not isinstance(argument, int)]
            sizes.append((len(arguments), sum(map(len, texts))))
        return found

    with raw(client) as plain:
        for n in range(6):
            fill(plain, 1, b"x" * 3_000_000, f"t{n}")
        fill(plain, MOVES, name="long")
    monkeypatch.setattr(Calls, "read", measured)
    async with RedisBackend(redis_url):
        assert len(check_whole(client)) == 7
    assert max(size for _, size in sizes) < 2**22 + 10_000
    assert max(count for count, _ in sizes) < 9_000
