"""Results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from importlib.resources import files
from itertools import starmap
from operator import methodcaller
from typing import Any, Final, TypeVar, Unpack

from redis.asyncio import ConnectionPool, Redis
from redis.exceptions import RedisError

from flowstore.backends.redis_client import client_from, storage_error
from flowstore.backends.redis_listener import Listener
from flowstore.base import BaseResultBackend
from flowstore.batching import MAX_TRIP_BYTES, SharedTrips
from flowstore.deadlines import in_time
from flowstore.engine import (
    APPLIED,
    SWEPT_PER_COMMIT,
    Commit,
    Engine,
    Hints,
    Outcome,
    Position,
    Purged,
    Query,
    Row,
)
from flowstore.errors import CorruptStore, SchemaTooNew
from flowstore.models import TaskStatus, check_text
from flowstore.options import BackendOptions, op_timeout, recheck_interval

Item = TypeVar("Item")

FORMAT: Final = 1
_MAX_CONNECTIONS: Final = 10
_PER_CALL: Final = 500
_EXAMINED_PER_CALL: Final = 2_000
_CLEARED_PER_CALL: Final = 1_000
_KEYS_PER_SCAN: Final = 5_000
_SORT_OFFSET: Final = 2**63
_NAME_FACET: Final = "name:"
_RECORD: Final = re.compile(
    rb"1 (%s) (\d{1,16}) (\d{1,16}) (-|-?\d{1,19}) (-|-?\d{1,19}) \S+ [0-9a-f]{16} (\[[^\n]*\])\n"
    rb"([^\n]*)(\n?)" % "|".join(TaskStatus).encode()
)
_IS_APPLIED: Final = -1


class RedisBackend(BaseResultBackend):
    """Results in one Redis (6.2 or later) or Valkey database, under one hash tag for each namespace.

    Give a ``url`` (redis, rediss or unix) or a ``client``. The backend closes the client that it made,
    never one it was given; a given one must not decode responses. As durable as the server: a failover
    can lose acknowledged writes.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Redis | None = None,
        namespace: str = "default",
        **options: Unpack[BackendOptions],
    ) -> None:
        if (url is None) == (client is None):
            raise TypeError("url, client: expected exactly one of them")
        timeout, recheck = op_timeout(options), recheck_interval(options)
        self._shown = "client=..."
        if url is not None:
            client, where = client_from(url, timeout)
            self._shown = repr(where)
        assert client is not None
        _check_pool(client.connection_pool)
        engine = RedisEngine(client, check_text("namespace", namespace), timeout, recheck)
        engine.owns_client = url is not None
        self._redis = engine
        super().__init__(SharedTrips(engine, timeout, write_lanes=2), namespace=namespace, **options)

    async def clear(self) -> int:
        """Remove every record of this namespace, as on every backend; the number of live ones.

        Then all that is left of it, but for its format and the waits going on, such as records that no
        index lists: they are found by looking through the keys of the whole database.
        """
        async with self._life:
            listed = await super().clear()
            return listed + await self._redis.purge_unlisted(self._clock())

    def __repr__(self) -> str:
        return f"RedisBackend({self._shown}, namespace={self.namespace!r})"


def _check_pool(pool: ConnectionPool) -> None:
    options = pool.connection_kwargs
    if options.get("decode_responses"):
        raise ValueError("url, client: expected decode_responses=False, results are bytes")
    if codecs.lookup(options.get("encoding", "utf-8")).name != "utf-8":
        raise ValueError(f"url, client: expected encoding='utf-8', got {options['encoding']!r}")
    if pool.max_connections < 2:
        raise ValueError("url, client: expected max_connections of at least 2, as one connection listens")


class RedisEngine(Engine):
    owns_client = False

    def __init__(self, client: Redis, namespace: str, timeout: float, recheck_interval: float) -> None:
        escaped = namespace.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
        self._prefix = f"flowstore:{{{escaped}}}:"
        self._inbox = f"{self._prefix}inbox:{secrets.token_hex(8)}"
        self._registered_ms = round(max(60.0, 3 * recheck_interval) * 1_000)
        self._client = client
        self._timeout = timeout
        self._listener: Listener
        most = client.connection_pool.max_connections - 1  # one listens
        self._slots = asyncio.Semaphore(min(_MAX_CONNECTIONS, most))
        self._idle: list[Redis] = []
        self._scripts = {name: client.register_script(source) for name, source in _SOURCES.items()}

    async def open(self, hints: Hints) -> None:
        self._listener = Listener(self._client, self._inbox, hints)
        try:
            await self._check_format()
        except BaseException:
            await self._close_client()
            raise

    async def close(self) -> None:
        await self._listener.close()
        await self._close_client()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for count, lines, data in _packed(commits):
            replies = await self._run("commit", now, SWEPT_PER_COMMIT * count, lines, data)
            outcomes += map(_outcome, replies)
        return outcomes

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        rows: list[Row | None] = []
        for step in _steps(ids):
            if with_body:
                keys = [f"{self._prefix}r:" + task_id for task_id in step]
                values = await self._guarded(methodcaller("mget", keys))
            else:
                values = await self._run("fetch", *step)
            rows += map(_row, step, values)
        return rows

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        try:
            await self._listener.ready()
        except RedisError as error:
            raise storage_error(error, self._prefix) from error
        rows: list[Row | None] = []
        for step in _steps(ids):
            values = await self._run("watch", self._inbox, self._registered_ms, *step)
            rows += map(_row, step, values)
        return rows

    async def scan(self, query: Query, now: int) -> list[Row]:
        rows: list[Row] = []
        after = "" if query.after is None else _member(query.after)
        facet = "" if query.name is None else _NAME_FACET + query.name
        while len(rows) < query.limit:
            flags = (int(query.newest_first), after, int(query.with_body), facet, _EXAMINED_PER_CALL)
            after, found = await self._run("scan", now, query.limit - len(rows), *flags, *query.statuses)
            rows += filter(None, starmap(_listed_row, found))
            if not after:
                break
        return rows

    async def count(self) -> dict[str, int]:
        return dict(zip(TaskStatus, await self._run("count"), strict=True))

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        removed: list[bool] = []
        for step in _steps(ids):
            removed += map(bool, await self._run("remove", now, *step))
        return removed

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if everything:
            indexes = [f"{self._prefix}i:{status}:" for status in TaskStatus]
            live, expired, is_done = await self._run("clear", now, limit, *indexes)
        else:
            live, (expired, is_done) = 0, await self._run("purge", now, limit)
        return Purged(live=live, expired=expired, is_done=bool(is_done))

    async def purge_unlisted(self, now: int) -> int:
        """Remove all that no status index lists, in bounded trips; the number of live records among it."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"
        removed = cursor = 0
        while True:
            scan = methodcaller("scan", cursor, match=pattern, count=_KEYS_PER_SCAN)
            cursor, keys = await in_time(self._guarded(scan), self._timeout)
            for step in _steps(keys):
                is_done = False
                while not is_done:
                    trip = self._run("clear", now, _CLEARED_PER_CALL, *step)
                    live, _, is_done = await in_time(trip, self._timeout)
                    removed += live
            if not cursor:
                return removed

    async def _check_format(self) -> None:
        key = f"{self._prefix}format"
        await self._guarded(methodcaller("set", key, FORMAT, nx=True))
        found = await self._guarded(methodcaller("get", key))
        if not found or not found.isdigit():
            raise CorruptStore(f"{key} holds {found!r}, expected the number of a format")
        if int(found) > FORMAT:
            raise SchemaTooNew(key, int(found), FORMAT)

    async def _close_client(self) -> None:
        if self.owns_client:
            for client in (*self._idle, self._client):
                await client.aclose()

    async def _run(self, script: str, *arguments: Any) -> Any:
        return await self._guarded(
            lambda client: self._scripts[script](keys=[self._prefix], args=arguments, client=client)
        )

    async def _guarded(self, call: Callable[[Redis], Awaitable[Any]]) -> Any:
        """A call of the driver. Its time-out is that of the trip."""
        try:
            async with self._slots:
                client = self._idle.pop() if self._idle else self._new_client()
                try:
                    return await call(client)
                finally:
                    self._idle.append(client)
        except (RedisError, OSError) as error:
            raise storage_error(error, self._prefix) from error

    def _new_client(self) -> Redis:
        """One that keeps its connection, which saves a fifth of a call; but not those of a given client."""
        return self._client.client() if self.owns_client else self._client


def _packed(commits: Sequence[Commit]) -> Iterator[tuple[int, str, bytes]]:
    """Bounded script calls: how many writes, a line for each, and what the lines tell the lengths of.

    One argument for all, because the driver takes longer for an argument than the server for a write.
    """
    lines: list[str] = []
    data: list[bytes] = []
    size = 0
    for commit in commits:
        task_id = commit.id.encode()
        payload = len(commit.head) + 1 + len(commit.body)
        if lines and (len(lines) == _PER_CALL or size + payload > MAX_TRIP_BYTES):
            yield len(lines), "".join(lines), b"".join(data)
            lines, data, size = [], [], 0
        lines.append(f"{len(task_id)} {payload} {_line(commit)}\n")
        data += (task_id, commit.head, b"\n", commit.body)
        size += payload
    if lines:
        yield len(lines), "".join(lines), b"".join(data)


def _line(commit: Commit) -> str:
    """What the write needs, then the header of the record but for its version. As LINE in commit.lua."""
    needs = f"<={commit.ceiling}" if commit.if_version is None else f"={commit.if_version}"
    expires = "-" if commit.expires_at is None else commit.expires_at
    submitted = "-" if commit.submitted_at is None else commit.submitted_at
    facets = "[]" if commit.name is None else json.dumps([_NAME_FACET + commit.name], ensure_ascii=False)
    times = f"{expires} {submitted} {commit.token} {commit.sort + _SORT_OFFSET:016x}"
    return f"{needs} {commit.status} {commit.stage} {times} {facets}"


def _outcome(reply: int | bytes) -> Outcome:
    if isinstance(reply, bytes):
        return Outcome(is_applied=False, version=-1, reason=reply.decode(errors="replace"))
    return APPLIED if reply == _IS_APPLIED else Outcome(is_applied=False, version=reply)


def _member(position: Position) -> str:
    """An entry of an index: bytewise order is the order of listings."""
    return f"{position.sort + _SORT_OFFSET:016x}{position.id}"


def _row(task_id: str, value: bytes | None) -> Row | None:
    if not value:
        return None
    record = _RECORD.match(value)
    if record is None or (facets := _facets(record[6])) is None:
        return Row(task_id, "", 0, 0, None, None, None, head=value[:200], body=None)
    status, stage, version, expires, submitted, _, head, has_body = record.groups()
    return Row(
        task_id,
        status.decode(),
        int(stage),
        int(version),
        facets[0].removeprefix(_NAME_FACET) if facets else None,
        None if submitted == b"-" else int(submitted),
        None if expires == b"-" else int(expires),
        head,
        value[record.end() :] if has_body else None,
    )


def _listed_row(task_id: bytes, value: bytes) -> Row | None:
    """None for an entry whose id nobody can have stored."""
    try:
        return _row(task_id.decode(), value)
    except UnicodeDecodeError:
        return None


def _facets(text: bytes) -> list[str] | None:
    """None unless ``text`` is a JSON list of str."""
    if text == b"[]":
        return []
    try:
        facets = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    return facets if set(map(type, facets)) <= {str} else None


def _steps(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + _PER_CALL] for start in range(0, len(items), _PER_CALL)]


def _sources() -> dict[str, str]:
    folder = files(__package__)
    library = folder.joinpath("lib.lua").read_text("utf-8")
    names = ("clear", "commit", "count", "fetch", "purge", "remove", "scan", "watch")
    return {name: library + folder.joinpath(f"{name}.lua").read_text("utf-8") for name in names}


_SOURCES: Final = _sources()
