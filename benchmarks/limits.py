"""What the storage itself can do: driven by hand, as fast as was found, with nothing of a result backend
but a guarded write, one status index and a wake-up. What comes back is equal; nothing else is promised.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import secrets
import socket
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiosqlite
from redis.asyncio import Redis

from benchmarks.peers.base import Peer, Unsupported, Value

_COMMIT = """
local told = {}
local results = {}
for n = 1, #ARGV, 4 do
    local id, status, payload, at = ARGV[n], ARGV[n + 1], ARGV[n + 2], ARGV[n + 3]
    results[#results + 1] = 0
    if redis.call('SET', KEYS[1] .. 'r:' .. id, payload, 'NX') then
        redis.call('ZADD', KEYS[1] .. 'i:' .. status, at, id)
        for _, inbox in ipairs(redis.call('SMEMBERS', KEYS[1] .. 'w:' .. id)) do
            told[inbox] = told[inbox] or {}
            table.insert(told[inbox], id)
        end
        results[#results] = 1
    end
end
for inbox, ids in pairs(told) do redis.call('PUBLISH', inbox, cjson.encode(ids)) end
return results
"""
_WATCH = """
local found = {}
for n = 2, #ARGV do
    local value = redis.call('GET', KEYS[1] .. 'r:' .. ARGV[n])
    if not value then
        redis.call('SADD', KEYS[1] .. 'w:' .. ARGV[n], ARGV[1])
        redis.call('EXPIRE', KEYS[1] .. 'w:' .. ARGV[n], 60)
    end
    found[n - 1] = value
end
return found
"""
_PAGE = """
local ids = redis.call('ZRANGE', KEYS[1] .. 'i:failed', ARGV[1], ARGV[2], 'REV')
local keys = {}
for n, id in ipairs(ids) do keys[n] = KEYS[1] .. 'r:' .. id end
return {ids, #keys > 0 and redis.call('MGET', unpack(keys)) or keys}
"""


class _Batch:
    """Whatever is asked for during a trip leaves together in the next."""

    def __init__(self, trip: Callable[[list[Any]], Any]) -> None:
        self._trip = trip
        self._asked: list[tuple[Any, asyncio.Future[Any]]] = []
        self._driver: asyncio.Task[None] | None = None

    async def ask(self, item: Any) -> Any:
        answer = asyncio.get_running_loop().create_future()
        self._asked.append((item, answer))
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())
        return await answer

    async def _drive(self) -> None:
        while self._asked:
            asked, self._asked = self._asked[:500], self._asked[500:]
            replies = await self._trip([item for item, _ in asked])
            for (_, answer), reply in zip(asked, replies, strict=True):
                answer.set_result(reply)
        self._driver = None


class BareRedis(Peer):
    name = "limit: redis-py, batched scripts"
    package = "redis"
    storage = "redis"

    async def open(self) -> None:
        self._client = Redis.from_url(self.location)
        self._commit_script = self._client.register_script(_COMMIT)
        self._watch_script = self._client.register_script(_WATCH)
        self._page_script = self._client.register_script(_PAGE)
        self._commits = _Batch(self._commit)
        self._gets = _Batch(lambda ids: self._client.mget([f"bare:r:{task_id}" for task_id in ids]))
        self._watches = _Batch(self._watch)
        self._inbox = f"bare:inbox:{secrets.token_hex(4)}"
        self._waiting: dict[str, asyncio.Future[Value]] = {}
        self._pubsub = self._client.pubsub()
        self._listener: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._stored = 0

    async def close(self) -> None:
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.wait([self._listener])
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py's
        await self._client.aclose()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        self._stored += 1
        payload = json.dumps(value, ensure_ascii=False)
        await self._commits.ask((task_id, "failed" if is_failed else "success", payload, self._stored))

    async def get(self, task_id: str) -> Value:
        return _loaded(await self._gets.ask(task_id))

    async def wait(self, task_id: str, timeout: float) -> Value:
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        await self._subscribed.wait()
        future: asyncio.Future[Value] = asyncio.get_running_loop().create_future()
        self._waiting[task_id] = future
        if value := await self._watches.ask(task_id):
            return _loaded(value)
        async with asyncio.timeout(timeout):
            return await future

    async def failed(self, limit: int, skip: int) -> list[str]:
        ids, bodies = await self._page_script(keys=["bare:"], args=[skip, skip + limit - 1])
        return [task_id.decode() for task_id, body in zip(ids, bodies, strict=True) if _loaded(body)]

    async def _commit(self, items: list[Any]) -> Any:
        return await self._commit_script(keys=["bare:"], args=[part for item in items for part in item])

    async def _watch(self, ids: list[str]) -> Any:
        return await self._watch_script(keys=["bare:"], args=[self._inbox, *ids])

    async def _listen(self) -> None:
        await self._pubsub.subscribe(self._inbox)
        while True:
            message = await self._pubsub.get_message(timeout=None)
            if message is None or message["type"] != "message":
                self._subscribed.set()
                continue
            ids = json.loads(message["data"])
            values = await self._client.mget([f"bare:r:{task_id}" for task_id in ids])
            for task_id, value in zip(ids, values, strict=True):
                self._waiting.pop(task_id).set_result(_loaded(value))


class OneScriptCall(BareRedis):
    name = "limit: redis-py, a script call each"

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        payload = json.dumps(value, ensure_ascii=False)
        self._stored += 1
        await self._commit([(task_id, "failed" if is_failed else "success", payload, self._stored)])

    async def get(self, task_id: str) -> Value:
        return _loaded(await self._client.get(f"bare:r:{task_id}"))


class BareSqlite(Peer):
    """A thread that takes all that was asked for meanwhile, and one durable transaction for it."""

    name = "limit: sqlite3, group commit"
    package = "flowstore"
    storage = "sqlite"

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._folder = Path(self.location + "-bare")
        self._folder.mkdir(exist_ok=True)
        self._bell_name = secrets.token_hex(4)
        self._threads = [self._start(self._write), self._start(self._read)]
        (self._writes, _), (self._reads, _) = self._threads
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._bell: socket.socket | None = None
        self._stored = 0
        await self._call(self._writes, ("", "", None, 0))  # the table is there

    async def close(self) -> None:
        for calls, thread in self._threads:
            calls.put(None)
            await asyncio.to_thread(thread.join)
        if self._bell is not None:
            self._loop.remove_reader(self._bell)
            self._bell.close()
            (self._folder / self._bell_name).unlink()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        self._stored += 1
        payload = json.dumps(value, ensure_ascii=False)
        await self._call(self._writes, (task_id, "failed" if is_failed else "success", payload, self._stored))

    async def get(self, task_id: str) -> Value:
        return _loaded(await self._call(self._reads, ("SELECT body FROM r WHERE id = ?", (task_id,))))

    async def wait(self, task_id: str, timeout: float) -> Value:
        if self._bell is None:
            self._bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._bell.bind(str(self._folder / self._bell_name))
            self._loop.add_reader(self._bell, self._listen)
        future = self._waiting[task_id] = self._loop.create_future()
        if not await self._call(self._reads, ("SELECT body FROM r WHERE id = ?", (task_id,))):
            async with asyncio.timeout(timeout):
                await future
        return await self.get(task_id)

    async def failed(self, limit: int, skip: int) -> list[str]:
        """By the place in the index, which the caller of a deep page knows; here ``at`` counts the stores."""
        if not getattr(self, "_starts", None):
            every = "SELECT at FROM r WHERE status = 'failed' ORDER BY at DESC"
            self._starts = [at for (at,) in await self._call(self._reads, (every, (), "all"))]
        page = "SELECT id, body FROM r WHERE status = 'failed' AND at <= ? ORDER BY at DESC LIMIT ?"
        start = self._starts[skip] if self._starts else 0
        rows = await self._call(self._reads, (page, (start, limit), "all"))
        return [task_id for task_id, body in rows if _loaded(body)]

    async def _call(self, calls: queue.SimpleQueue[Any], work: Any) -> Any:
        answer = self._loop.create_future()
        calls.put((work, answer))
        return await answer

    def _start(self, work: Callable[[queue.SimpleQueue[Any]], None]) -> tuple[Any, threading.Thread]:
        calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        thread = threading.Thread(target=work, args=(calls,), daemon=True)
        thread.start()
        return calls, thread

    def _write(self, calls: queue.SimpleQueue[Any]) -> None:
        raw = sqlite3.connect(self.location, isolation_level=None, timeout=30)
        raw.execute("PRAGMA journal_mode = WAL")
        raw.execute("PRAGMA synchronous = FULL")
        raw.execute("CREATE TABLE IF NOT EXISTS r (id TEXT PRIMARY KEY, status TEXT, body TEXT, at INTEGER)")
        raw.execute("CREATE INDEX IF NOT EXISTS by_status ON r (status, at)")
        while batch := _taken(calls):
            rows = [row for row, _ in batch if row[0]]
            raw.execute("BEGIN IMMEDIATE")
            raw.executemany("INSERT INTO r VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", rows)
            raw.execute("COMMIT")
            self._loop.call_soon_threadsafe(_answer, [(answer, None) for _, answer in batch])
            self._ring([row[0] for row in rows])
        raw.close()

    def _read(self, calls: queue.SimpleQueue[Any]) -> None:
        raw = sqlite3.connect(self.location, isolation_level=None)
        while batch := _taken(calls):
            answers = [(answer, _found(raw, *work)) for work, answer in batch]
            self._loop.call_soon_threadsafe(_answer, answers)
        raw.close()

    def _ring(self, ids: list[str]) -> None:
        for name in os.listdir(self._folder):
            if name != self._bell_name:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.sendto(json.dumps(ids).encode(), str(self._folder / name))

    def _listen(self) -> None:
        assert self._bell is not None
        for task_id in json.loads(self._bell.recv(200_000)):
            if future := self._waiting.get(task_id):
                future.set_result(None)


class OneDurableCommit(Peer):
    """The usual way: aiosqlite, a statement and a commit for each."""

    name = "limit: aiosqlite, a commit each"
    package = "aiosqlite"
    storage = "sqlite"

    async def open(self) -> None:
        self._db = await aiosqlite.connect(self.location, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS r (id TEXT PRIMARY KEY, status TEXT, body TEXT)",
        ):
            await self._db.execute(statement)

    async def close(self) -> None:
        await self._db.close()

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        body = json.dumps(value, ensure_ascii=False)
        await self._db.execute("INSERT INTO r VALUES (?, ?, ?)", (task_id, "success", body))

    async def get(self, task_id: str) -> Value:
        rows = await self._db.execute_fetchall("SELECT body FROM r WHERE id = ?", (task_id,))
        for (body,) in rows:
            return _loaded(body)
        raise LookupError(task_id)

    async def wait(self, task_id: str, timeout: float) -> Value:
        async with asyncio.timeout(timeout):
            while True:
                with suppress(LookupError):
                    return await self.get(task_id)
                await asyncio.sleep(0.05)

    async def failed(self, limit: int, skip: int) -> list[str]:
        raise Unsupported("kept out of it: no index")


class BareMemory(Peer):
    """References in a dict, a future for each wait."""

    name = "limit: a dict, in memory"
    package = "flowstore"
    storage = "memory"

    async def open(self) -> None:
        self._results: dict[str, Value] = {}
        self._failed: list[str] = []
        self._waiting: dict[str, asyncio.Future[Value]] = {}

    async def close(self) -> None:
        pass

    async def store(self, task_id: str, value: Value, *, is_failed: bool = False) -> None:
        self._results[task_id] = value
        if is_failed:
            self._failed.append(task_id)
        if waiting := self._waiting.pop(task_id, None):
            waiting.set_result(value)

    async def get(self, task_id: str) -> Value:
        return self._results[task_id]

    async def wait(self, task_id: str, timeout: float) -> Value:
        if task_id in self._results:
            return self._results[task_id]
        self._waiting[task_id] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(timeout):
            return await self._waiting[task_id]

    async def failed(self, limit: int, skip: int) -> list[str]:
        return self._failed[::-1][skip : skip + limit]


def _loaded(text: Any) -> Value:
    value: Value = json.loads(text)
    return value


def _taken(calls: queue.SimpleQueue[Any]) -> list[Any]:
    """All calls that are there, at least one; empty at the end."""
    batch = [calls.get()]
    while len(batch) < 500 and not calls.empty():
        batch.append(calls.get())
    return [] if None in batch else batch


def _found(raw: sqlite3.Connection, statement: str, values: tuple[Any, ...], which: str = "one") -> Any:
    rows = raw.execute(statement, values).fetchall()
    if which == "all":
        return rows
    return rows[0][0] if rows else None


def _answer(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for answer, value in answers:
        answer.set_result(value)
