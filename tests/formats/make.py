"""Write the fixtures of the formats of today, for the tests of tomorrow: ``python -m tests.formats.make``.

Run it when a format got a new number, and commit what it writes. Fixtures that exist are never written again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import redis

from flowstore import (
    BaseResultBackend,
    InMemoryBackend,
    RedisBackend,
    RedisClusterBackend,
    SQLiteBackend,
    TaskResult,
)
from flowstore._dumping.files import FORMAT as ARCHIVE_FORMAT
from flowstore._values.codec import Codec
from flowstore._values.compression import ZLIB, ZSTD, compress
from flowstore.backends.redis.format import FORMAT as REDIS_FORMAT
from flowstore.backends.sqlite.format import FORMAT as SQLITE_FORMAT
from flowstore.testing import ManualClock
from flowstore.typed.tree.content import FORMAT as TREE_FORMAT
from flowstore.typed.tree.files import OWN
from tests.clusters import Cluster
from tests.formats.sample import TYPES, VALUE, at, results
from tests.formats.tree_sample import fill_tree
from tests.servers import start_server

FOLDER = Path(__file__).parent
COMPRESSED = FOLDER / "compressed.json"


async def fill(backend: BaseResultBackend, clock: ManualClock) -> None:
    clock.advance(10)
    for result in results():
        assert await backend.store(result.task_id, result)
        clock.advance(1)
    clock.advance(-1)
    await backend.data.set("root", "config", {"n": (1, 2)})
    await backend.data.set("root", "config", {"n": (1, 3)})
    await backend.data.set("root", "plain", "x")
    for n in range(3):
        await backend.checkpoints.save("step", {"row": n})
    await backend.workers.register("w1", host="h1", pid=7, labels=["gpu"])
    await backend.workers.register("w2", host="h2", pid=8, parent_id="w1")
    await backend.app.register({"name": "importer", "version": (1, 2)})


async def fill_sqlite(path: Path) -> None:
    clock = ManualClock()
    async with SQLiteBackend(path, types=TYPES, clock=clock, namespace="app") as backend:
        await fill(backend, clock)
    async with SQLiteBackend(path, namespace="other") as backend:
        await backend.store("t", TaskResult.pending("t", at=at(0)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")  # no WAL beside the fixture
        connection.execute("VACUUM")


async def fill_redis(url: str) -> None:
    clock = ManualClock()
    async with RedisBackend(url, types=TYPES, clock=clock, namespace="app") as backend:
        await fill(backend, clock)


async def fill_cluster(url: str) -> None:
    clock = ManualClock()
    how: dict[str, Any] = {"types": TYPES, "clock": clock, "namespace": "app"}
    async with RedisClusterBackend(url, buckets=16, **how) as backend:
        await fill(backend, clock)


def dump(clients: Sequence[Any], path: Path) -> None:
    """One line for each key: its name, its type, and what it holds. Answers of calls are left out.

    Bytes that are no UTF-8 are lone surrogates, as ``surrogateescape`` makes them.
    """
    lines = sorted(_text([key, *_held(client, key)]) for client in clients for key in _keys(client))
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), "ascii")


def _keys(client: Any) -> list[bytes]:
    return [key for key in client.keys("flowstore:{app*") if not key.partition(b"}:")[2].startswith(b"c:")]


def _held(client: Any, key: bytes) -> tuple[bytes, Any]:
    readers = {
        b"string": client.get,
        b"set": lambda key: sorted(client.smembers(key)),
        b"list": lambda key: client.lrange(key, 0, -1),
        b"hash": lambda key: sorted(client.hgetall(key).items()),
        b"zset": lambda key: client.zrange(key, 0, -1, withscores=True),
    }
    kind = client.type(key)
    return kind, readers[kind](key)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode(errors="surrogateescape")
    return list(map(_text, value)) if isinstance(value, list | tuple) else value


def _bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="surrogateescape")
    return list(map(_bytes, value)) if isinstance(value, list) else value


def load(client: Any, path: Path) -> None:
    """What ``dump`` wrote, into an empty database."""
    load_where(lambda key: client, path)


def load_where(client_of: Callable[[bytes], Any], path: Path) -> None:
    """The same, each key to a server of its own."""
    for line in path.read_text("utf-8").split("\n")[:-1]:
        key, kind, value = _bytes(json.loads(line))
        client = client_of(key)
        if kind == b"string":
            client.set(key, value)
        elif kind == b"set":
            client.sadd(key, *value)
        elif kind == b"list":
            client.rpush(key, *value)
        elif kind == b"hash":
            client.hset(key, mapping=dict(value))
        else:
            client.zadd(key, dict(value))


def compressed() -> dict[str, str]:
    """The body of a sample as each algorithm compresses it, in base64."""
    plain = Codec(TYPES).encode_fields({"result": [VALUE] * 9})
    made = {name: compress(plain, how) for name, how in {"zlib": ZLIB, "zstd": ZSTD}.items()}
    return {name: base64.b64encode(data).decode() for name, data in made.items()}


async def export(path: Path) -> None:
    clock = ManualClock()
    # The first of these lines were written before there were error groups, and so are all of this format.
    async with InMemoryBackend(types=TYPES, clock=clock, namespace="app", error_groups=False) as backend:
        await fill(backend, clock)
        await backend.archive.export(path)


def main() -> None:
    lines = FOLDER / f"archive-{ARCHIVE_FORMAT}.lines"
    if not lines.exists():
        asyncio.run(export(lines))
    sqlite, dumped = FOLDER / f"sqlite-{SQLITE_FORMAT}.db", FOLDER / f"redis-{REDIS_FORMAT}.jsonl"
    tree = FOLDER / f"tree-{TREE_FORMAT}"
    if not tree.exists():
        asyncio.run(fill_tree(str(tree)))
        for lock in (tree / OWN).glob("*.lock"):
            lock.unlink()
    if not COMPRESSED.exists():
        COMPRESSED.write_text(f"{json.dumps(compressed(), indent=1)}\n", "ascii")
    if not sqlite.exists():
        with TemporaryDirectory() as folder:
            made = Path(folder) / "made.db"
            asyncio.run(fill_sqlite(made))
            sqlite.write_bytes(made.read_bytes())
    if not dumped.exists():
        server = start_server("valkey")
        try:
            asyncio.run(fill_redis(server.url))
            with redis.Redis.from_url(server.url) as client:
                dump([client], dumped)
        finally:
            server.stop()
    divided = FOLDER / f"cluster-{REDIS_FORMAT}.jsonl"
    if not divided.exists():
        cluster = Cluster("valkey")
        try:
            asyncio.run(fill_cluster(cluster.url))
            dump([redis.Redis(port=node.port) for node in cluster.masters], divided)
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
