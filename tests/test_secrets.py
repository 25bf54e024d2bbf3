"""What must not be found in any byte that a backend stores, looked for behind its back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from flowstore import BaseResultBackend, InMemoryBackend, RedisBackend, SQLiteBackend, TaskError, TaskResult
from flowstore.testing.insides import storage_of

SECRET = "s3cret in a local variable"
Kept = tuple[Callable[..., BaseResultBackend], Callable[[BaseResultBackend], bytes]]


def bytes_in_memory(backend: BaseResultBackend) -> bytes:
    engine = storage_of(backend)
    return repr((vars(engine), vars(engine._listings))).encode()


def bytes_in_files(backend: BaseResultBackend) -> bytes:
    assert isinstance(backend, SQLiteBackend)
    return b"".join(path.read_bytes() for path in backend.path.parent.iterdir() if path.is_file())


def bytes_in_redis(url: str) -> bytes:
    with redis.Redis.from_url(url) as client:
        strings: Any = client.mget(list(client.scan_iter(_type="string")))
        indexes: Any = [client.zrange(key, 0, -1) for key in client.scan_iter(_type="zset")]
        lists: Any = [client.lrange(key, 0, -1) for key in client.scan_iter(_type="list")]
        sets: Any = [client.smembers(key) for key in client.scan_iter(_type="set")]
        hashes: Any = [client.hgetall(key) for key in client.scan_iter(_type="hash")]
        assert sum(map(len, (strings, indexes, lists, sets, hashes))) == client.dbsize()
    return b"".join(strings) + repr((indexes, lists, sets, hashes)).encode()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Kept:
    """A maker of backends, and a reader of all that one stored."""
    if request.param == "memory":
        return InMemoryBackend, bytes_in_memory
    if request.param == "sqlite":
        return lambda **options: SQLiteBackend(tmp_path / "x.db", **options), bytes_in_files
    url: str = request.getfixturevalue("empty_database")("valkey")
    return lambda **options: RedisBackend(url, **options), lambda _: bytes_in_redis(url)


def fail(argument: str) -> None:
    password = f"{argument} and {argument}"
    held = {"password": [password]}
    try:
        raise KeyError("shown first")
    except KeyError:
        raise ValueError("shown then") from ExceptionGroup("shown group", [RuntimeError(f"{len(held)}")])


def caught() -> Exception:
    try:
        fail(SECRET.upper().lower())
    except ValueError as error:
        return error
    raise AssertionError("fail() does not")


async def test_tracebacks_hold_no_local_variables(kept: Kept) -> None:
    """Neither arguments nor locals of any frame of the chain; the message and the lines are there."""
    make, stored = kept
    async with make() as backend:
        await backend.store("t", TaskResult.failed("t", caught()))
        await backend.store("u", TaskResult.retrying("u", caught()))
        found = stored(backend)
    for shown in (b"shown then", b"shown group", b"in fail", b"test_secrets.py"):
        assert shown in found
    assert SECRET.encode() not in found
    assert SECRET.encode("utf-16-le") not in found


def redact(result: TaskResult) -> TaskResult:
    error = TaskError(type="hidden", message="hidden") if result.error else None
    return result.model_copy(update={"result": "hidden", "args": (), "kwargs": {}, "error": error})


async def test_redacted_values_are_not_stored(kept: Kept) -> None:
    """Not as result, argument, message or cause; without the hook they are found."""
    make, stored = kept
    failed = TaskResult.failed("t", ValueError(SECRET), args=(SECRET,), kwargs={"k": {SECRET: SECRET}})
    results = [failed, TaskResult.success("u", [SECRET])]
    async with make(redact=redact) as backend:
        await backend.store_many(results)
        await backend.store("t", failed, overwrite=True)
        found = stored(backend)
    assert b"hidden" in found
    assert SECRET.encode() not in found
    async with make() as backend:
        await backend.store_many(results, overwrite=True)
        assert SECRET.encode() in stored(backend)
