"""Fixtures of all tests: real servers, empty databases, and checks that nothing blocks or is left running."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import re
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
import pytest_asyncio
import redis
from blockbuster import BlockBuster, BlockBusterFunction
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support")

# Imported late (E402): pytest rewrites the asserts of a module only if told before its import.
from flowstore.testing.support import IS_STRESS  # noqa: E402
from tests.clusters import Cluster  # noqa: E402
from tests.servers import CLUSTER_KINDS, SERVER_KINDS, Server, start_server  # noqa: E402
from tests.support.loops import LOOP, LOOPS  # noqa: E402

EXTERNAL = os.environ.get("FLOWSTORE_TEST_REDIS_URL")
KINDS = ["external"] if EXTERNAL else SERVER_KINDS
STORAGES = ["memory", "sqlite", *KINDS]
MOST_WORKERS = 8

# how long an example takes says more about the machine than about flowstore
settings.register_profile("flowstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("flowstore")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Of ``-n auto``: many tests wait more than they work, so there are more workers than processors."""
    return 0 if EXTERNAL else min(2 * (os.cpu_count() or 1), MOST_WORKERS)


def pytest_configure(config: pytest.Config) -> None:
    """A database that was given cannot be shared: tests empty it, and look at what its server did."""
    if LOOP not in LOOPS:
        raise pytest.UsageError(f"FLOWSTORE_LOOP={LOOP}: expected one of {', '.join(LOOPS)}")
    if EXTERNAL and config.getoption("numprocesses", None):
        raise pytest.UsageError("FLOWSTORE_TEST_REDIS_URL is one database for one process: use -n 0")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests in a browser run where they are asked for by their path: nox -s browser."""
    is_asked_for = any("browser" in argument for argument in config.args)
    return True if collection_path.name == "browser" and not is_asked_for else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not IS_STRESS:
        _keep_one_server_of_each_test(config, items)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.fixturenames.insert(0, "no_task_left")


def pytest_collection_finish() -> None:
    """Let garbage collections pass over all these tests: each took a second, and some ask for dozens."""
    gc.collect()
    gc.freeze()


def _keep_one_server_of_each_test(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of tests that could run on each kind of server: on the one that their name decides.

    Those of a class that is ``instead_of`` another one run there or here, one in four here.
    """
    named = {*KINDS, *CLUSTER_KINDS}
    kinds: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    others: defaultdict[str, set[str]] = defaultdict(set)
    for item in items:
        parts = re.split(r"([\[\]-])", item.nodeid)
        if sum(part in named for part in parts) == 1:
            name = "".join("*" if part in named else part for part in parts)
            kinds[name].append(item)
            others[_shared_name(item, name)].add(name)
    left_out = {
        item
        for name, alike in kinds.items()
        for number, item in enumerate(alike)
        if number != crc32(_deciding_name(item, name).encode()) % len(alike)
        or _is_elsewhere(item, len(others[_shared_name(item, name)]) > 1)
    }
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = [item for item in items if item not in left_out]


def _shared_name(item: pytest.Item, name: str) -> str:
    """Of a test and its twin on another kind of backend."""
    own = getattr(item, "cls", None)
    twin = getattr(own, "instead_of", None)
    return name if own is None or twin is None else f"{twin}::{name.partition('::')[2].partition('::')[2]}"


def _is_elsewhere(item: pytest.Item, has_twin: bool) -> bool:
    """Whether of a test and its twin the other one runs."""
    is_second = hasattr(getattr(item, "cls", None), "instead_of")
    return has_twin and is_second is not (crc32(item.name.partition("[")[0].encode()) % 4 == 0)


def _deciding_name(item: pytest.Item, name: str) -> str:
    """The tests of one module share one cluster, as it takes two seconds to start."""
    has_cluster = isinstance(item, pytest.Function) and "empty_cluster" in item.fixturenames
    return item.path.name if has_cluster else name


if LOOP != "asyncio":  # the lowest pytest-asyncio does not know the hook, and needs none for asyncio's

    @pytest.hookimpl(optionalhook=True)
    def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
        return {LOOP: LOOPS[LOOP]}


@pytest.fixture(scope="session")
def empty_database() -> Iterator[Callable[[str], str]]:
    """From a kind of server to the URL of an empty database on one, started when first asked for.

    Valkey comes with a package from PyPI, redis-server is used where it is on PATH;
    FLOWSTORE_TEST_REDIS_URL names a database to use instead of both.
    """
    servers: dict[str, Server] = {}

    def empty(kind: str) -> str:
        if EXTERNAL is None and kind not in servers:
            servers[kind] = start_server(kind)
        url = EXTERNAL or servers[kind].url
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        return url

    yield empty
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def empty_cluster() -> Iterator[Callable[..., Cluster]]:
    """From one of CLUSTER_KINDS, and a number of replicas of each master, to a cluster without keys.

    It is started when first asked for, in some two seconds, and anew where a test left it with other nodes or
    other roles; slots go back to where they were. A test that breaks nodes makes a cluster of its own.
    """
    clusters: dict[tuple[str, int], Cluster] = {}

    def empty(kind: str, replicas: int = 0) -> Cluster:
        cluster = clusters.get((kind, replicas))
        if cluster is not None and not cluster.is_as_formed:
            clusters.pop((kind, replicas)).stop()
            cluster = None
        if cluster is None:
            cluster = clusters[kind, replicas] = Cluster(kind, replicas=replicas)
        cluster.empty()
        return cluster

    yield empty
    for cluster in clusters.values():
        cluster.stop()


@pytest.fixture(params=CLUSTER_KINDS)
def cluster(request: pytest.FixtureRequest, empty_cluster: Callable[..., Cluster]) -> Cluster:
    """Three masters of each kind of server, without keys, which tests share."""
    return empty_cluster(request.param)


@pytest.fixture(params=STORAGES)
def url(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    """An empty storage of each kind."""
    if request.param == "memory":
        return "memory://"
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'results.db'}"
    return empty_database(request.param)


@pytest.fixture(params=KINDS)
def redis_url(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
    """An empty database of each kind of server."""
    return empty_database(request.param)


@pytest.fixture
def admin(server: Server) -> Iterator[Any]:
    """A view of the server that a module has for itself, emptied, in text."""
    with redis.Redis.from_url(server.url, decode_responses=True) as opened:
        opened.flushall()
        yield opened


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    """A view behind the backend's back of the database at ``redis_url``, in text."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as opened:
        yield opened


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """After a test no thread that it started runs, be it a daemon or not.

    None has to be tolerated. It looks after the test's event loop was closed (no_task_left asks for it,
    so it is torn down later), which joined the pool of ``asyncio.to_thread``; the timer of pytest-timeout
    is older than the test, and hypothesis starts no thread.
    """
    before = set(threading.enumerate())
    yield
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(10)  # a connection that was closed has answered, and its thread may be on its way out
        assert not thread.is_alive(), f"threads left running: {left}"


@pytest.fixture(autouse=True, scope="session")
def no_blocking_call() -> Iterator[BlockBuster]:
    """flowstore never blocks an event loop: what may wait there for a file, a lock or a peer raises.

    What the tests themselves do is left alone, also where the kit calls them: a disturbance of a crowd, a
    note of a history that goes through a pipe. And so are two things that flowstore lets happen: the source
    lines of a traceback are read (TaskError.from_exception), which blockbuster allows everywhere, and
    redis-py reads its own version from disk for each connection of a client that it was given, or that
    the queue of a host has. pynenc calls its backends in event loops, and waits for the answer.
    """
    blockbuster = BlockBuster("flowstore")
    for name in ("os.open", "os.chmod", "io.open", "builtins.open"):
        blockbuster.functions[name] = BlockBusterFunction(None, name, scanned_modules="flowstore")
    for function in blockbuster.functions.values():
        function.can_block_in("tests/test_redis.py", "test_given_client_is_not_closed")
        function.can_block_in("taskiq_redis/redis_broker.py", "kick")
        function.can_block_in("tests/test_redis_chaos.py", {"hang_up", "forget"})
        function.can_block_in("flowstore/testing/faults/history.py", "_tell")
        for host in ("saq", "arq"):  # which connect with clients of their own
            function.can_block_in(
                f"flowstore/integrations/{host}.py", {"enqueue", "retry", "finish", "_abort"}
            )
        function.can_block_in("flowstore/integrations/_pynenc_store.py", "call")
    for driver in ("sqlite", "redis"):  # it is loaded on first use, which may well be inside of a loop
        import_module(f"flowstore.backends.{driver}")
    blockbuster.activate()
    yield blockbuster
    blockbuster.deactivate()


@pytest_asyncio.fixture
async def no_task_left(no_thread_left: None) -> AsyncIterator[None]:
    """After an async test no other task runs."""
    yield
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"tasks left running: {left}"
