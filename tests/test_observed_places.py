"""What observers are told of the storage of each backend: where it is, and what its round trips carry."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

import flowstore
from flowstore import InMemoryBackend, RedisBackend, SQLiteBackend, TaskResult
from flowstore.observing import NOWHERE, BatchEnded, CallEnded, Place
from flowstore.testing.contract.observing import Notes
from tests.support.toy import ToyEngine


async def place(backend: flowstore.BaseResultBackend, notes: Notes) -> Place:
    async with backend:
        await backend.exists("t")
    return notes.of(CallEnded)[0].place


async def test_memory_and_files_have_no_address(tmp_path: Path) -> None:
    """No path is told: it may name people."""
    notes, others = Notes(), Notes()
    assert await place(InMemoryBackend(observers=[notes]), notes) == Place("memory")
    assert await place(SQLiteBackend(tmp_path / "x.db", observers=[others]), others) == Place("sqlite")


async def test_servers_have_one(redis_url: str) -> None:
    """Of a URL and of a client that was given."""
    notes, url = Notes(), urlsplit(redis_url)
    wanted = Place("redis", url.hostname, url.port)
    assert await place(RedisBackend(redis_url, observers=[notes]), notes) == wanted
    async with Redis.from_url(redis_url) as client:
        assert RedisBackend(client=client)._core.engine.place == wanted


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("redis://user:secret@db", Place("redis", "db", 6379)),
        ("valkeys://db:7/1", Place("redis", "db", 7)),
        ("unix:///run/redis.sock?db=1", Place("redis", "/run/redis.sock")),
    ],
)
async def test_places_of_urls(url: str, wanted: Place) -> None:
    """With the default port, without a password."""
    backend = RedisBackend(url)
    assert backend._core.engine.place == wanted


async def test_an_engine_that_says_nothing() -> None:
    notes = Notes()
    backend = flowstore.BaseResultBackend(ToyEngine(), observers=[notes])
    assert await place(backend, notes) == NOWHERE


@pytest.mark.parametrize("name", ["sqlite", "redis"])
async def test_round_trips_that_write(name: str, tmp_path: Path, redis_url: str) -> None:
    """Calls that are made at the same time share one, and each is told once, with all of its items."""
    notes = Notes()
    url = redis_url if name == "redis" else f"sqlite:///{tmp_path / 'x.db'}"
    async with flowstore.connect(url, observers=[notes], purge_interval=None) as backend:
        await asyncio.gather(
            *(
                backend.store_many([TaskResult.pending(f"t{n}"), TaskResult.pending(f"u{n}")])
                for n in range(40)
            )
        )
        await backend.delete("t0")
    batches = notes.of(BatchEnded)
    assert sum(batch.items for batch in batches if batch.verb == "write") == 80
    assert len(batches) < 40
    assert [batch.items for batch in batches if batch.verb == "remove"] == [1]
    assert all(batch.seconds > 0 for batch in batches)
    assert max(batch.queued for batch in batches) <= 80
