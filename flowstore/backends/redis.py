"""Results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from itertools import starmap
from typing import Any, Final, TypeVar, Unpack
from urllib.parse import parse_qsl, urlsplit

import redis.exceptions as driver
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff

from flowstore.backends.redis_listener import Listener
from flowstore.base import BackendOptions, BaseResultBackend
from flowstore.batching import SharedTrips
from flowstore.engine import Commit, Engine, Hints, Outcome, Position, Purged, Query, Row
from flowstore.errors import (
    AccessDenied,
    CorruptStore,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
)
from flowstore.models import TaskStatus

Item = TypeVar("Item")

FORMAT: Final = 1
_SCHEMES: Final = ("redis", "rediss", "unix")
_MAX_CONNECTIONS: Final = 10
_RETRIES: Final = 3
_PER_CALL: Final = 500
_EXAMINED_PER_CALL: Final = 2_000
_CLEARED_PER_CALL: Final = 1_000
_KEYS_PER_SCAN: Final = 5_000
_SWEEP_PER_COMMIT: Final = 2
_SORT_OFFSET: Final = 2**63
_NAME_FACET: Final = "name:"
_HEADER: Final = re.compile(
    rb"1 (%s) (\d{1,16}) (\d{1,16}) (-|-?\d{1,19}) (-|-?\d{1,19}) \S+ [0-9a-f]{16} (\[.*\])"
    % "|".join(TaskStatus).encode()
)
_REFUSED: Final = (
    driver.AuthenticationError,
    driver.AuthorizationError,
    driver.AuthenticationWrongNumberOfArgsError,
    driver.NoPermissionError,
)
_KINDS: Final[dict[str, type[StorageError]]] = {
    "OOM": StorageFull,
    "WRONGTYPE": CorruptStore,
    **dict.fromkeys(("NOPERM", "ACL failure in script", "user executing the script can't"), AccessDenied),
    **dict.fromkeys(("READONLY", "MISCONF", "NOREPLICAS", "MASTERDOWN"), StorageUnavailable),
    **dict.fromkeys(("LOADING", "BUSY", "CLUSTERDOWN", "TRYAGAIN"), StorageUnavailable),
}
"""What servers begin an error with, or the texts into which they wrap one that a script met."""
_KIND: Final = re.compile(rf"\b({'|'.join(_KINDS)})\b")


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
        timeout = options.get("op_timeout", 10.0)
        self._shown = "client=..."
        if url is not None:
            client, where = _client_from(url, timeout)
            self._shown = repr(where)
        if client is None or client.connection_pool.connection_kwargs.get("decode_responses"):
            raise ValueError("client: expected one with decode_responses=False, results are bytes")
        engine = RedisEngine(client, namespace, timeout, options.get("recheck_interval", 15.0))
        engine.owns_client = url is not None
        self._redis = engine
        super().__init__(SharedTrips(engine, timeout), namespace=namespace, **options)

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


def _client_from(url: str, timeout: float) -> tuple[Redis, str]:
    """A client, and where it connects to. No more of ``url`` is shown: a password may be anywhere in it."""
    if not isinstance(url, str):
        raise TypeError(f"url: expected str, got {type(url).__name__}")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ValueError(f"url: expected a URL beginning with {'://, '.join(_SCHEMES)}://")
    try:
        _check_url(url)
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=_MAX_CONNECTIONS,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), _RETRIES),
        )
        return Redis.from_pool(pool), _location(scheme, pool.connection_class(**pool.connection_kwargs))
    except (ValueError, TypeError, AttributeError, driver.RedisError):
        pass  # raised below, where this error and its text are no context of the new one
    advice = "check host, port, database and options, and percent-encode @ : / ? # % in a password"
    raise ValueError(f"url: not a usable {scheme}:// URL; {advice}")


def _check_url(url: str) -> None:
    """Raise ValueError for what the driver would drop or take for something else, such as half a password."""
    parts = urlsplit(url)
    url.encode()
    if parts.query:
        parse_qsl(parts.query, strict_parsing=True)
    where = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
    form = r"/.+" if parts.scheme == "unix" else r"[^/]*(/[0-9]*)?"
    if "#" in url or not re.fullmatch(form, where):
        raise ValueError


def _location(scheme: str, connection: Any) -> str:
    if scheme == "unix":
        return f"unix://{connection.path}?db={connection.db}"
    host = f"[{connection.host}]" if ":" in connection.host else connection.host
    return f"{scheme}://{host}:{connection.port}/{connection.db}"


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
        self._scripts = {name: client.register_script(source) for name, source in _sources().items()}

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
        for step in _steps(commits):
            arguments: list[Any] = [now, _SWEEP_PER_COMMIT * len(step)]
            for commit in step:
                arguments += _arguments(commit)
            outcomes += map(_outcome, await self._run("commit", *arguments))
        return outcomes

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        rows: list[Row | None] = []
        for step in _steps(ids):
            if with_body:
                keys = [f"{self._prefix}r:{task_id}" for task_id in step]
                values = await self._guarded(partial(self._client.mget, keys))
            else:
                values = await self._run("fetch", *step)
            rows += map(_row, step, values)
        return rows

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        await self._guarded(self._listener.ready)
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
            scan = partial(self._client.scan, cursor, match=pattern, count=_KEYS_PER_SCAN)
            cursor, keys = await self._guarded(scan)
            for step in _steps(keys):
                is_done = False
                while not is_done:
                    live, _, is_done = await self._run("clear", now, _CLEARED_PER_CALL, *step)
                    removed += live
            if not cursor:
                return removed

    async def _check_format(self) -> None:
        key = f"{self._prefix}format"
        await self._guarded(lambda: self._client.set(key, FORMAT, nx=True))
        found = await self._guarded(lambda: self._client.get(key))
        if not found or not found.isdigit():
            raise CorruptStore(f"{key} holds {found!r}, expected the number of a format")
        if int(found) > FORMAT:
            raise SchemaTooNew(key, int(found), FORMAT)

    async def _close_client(self) -> None:
        if self.owns_client:
            await self._client.aclose()

    async def _run(self, script: str, *arguments: Any) -> Any:
        return await self._guarded(lambda: self._scripts[script](keys=[self._prefix], args=arguments))

    async def _guarded(self, call: Callable[[], Any]) -> Any:
        async with _translated(self._timeout, self._prefix), asyncio.timeout(self._timeout):
            return await call()


@asynccontextmanager
async def _translated(timeout: float, prefix: str) -> AsyncIterator[None]:
    """Driver errors become flowstore's; the driver's stays the cause."""
    try:
        yield
    except (driver.TimeoutError, TimeoutError) as error:
        raise StorageTimeout(f"Redis did not answer within {timeout:g} s") from error
    except (driver.RedisError, OSError) as error:
        kind = _kind(error)
        text = f"Redis: {_text(error)}"
        if kind is AccessDenied:
            rules = f"~{prefix}* &{prefix}inbox:* +@read +@write +@scripting +@pubsub +@connection"
            text += f"; flowstore needs a user with the ACL rules {rules}"
        raise kind(text) from error


def _text(error: Exception) -> str:
    """As the server put it: the driver cuts off the codes that it knows."""
    return f"{getattr(error, 'status_code', None) or ''} {error}".strip()


def _kind(error: Exception) -> type[StorageError]:
    if isinstance(error, _REFUSED):
        return AccessDenied
    if isinstance(error, (driver.ConnectionError, OSError)):
        return StorageUnavailable
    found = _KIND.search(_text(error))
    return _KINDS[found[0]] if found else StorageError


def _arguments(commit: Commit) -> list[Any]:
    """In the order of FIELDS in commit.lua."""
    facets = [] if commit.name is None else [_NAME_FACET + commit.name]
    return [
        commit.id,
        str(commit.status),
        commit.stage,
        commit.ceiling,
        "" if commit.if_version is None else commit.if_version,
        int(commit.is_finished),
        "-" if commit.expires_at is None else commit.expires_at,
        "-" if commit.submitted_at is None else commit.submitted_at,
        commit.token,
        _member(Position(commit.sort, "")),
        json.dumps(facets, ensure_ascii=False),
        commit.head + b"\n" + commit.body,
    ]


def _outcome(reply: list[Any]) -> Outcome:
    applied, version, *reason = reply
    return Outcome(bool(applied), version, b"".join(reason).decode(errors="replace"))


def _member(position: Position) -> str:
    """An entry of an index: bytewise order is the order of listings."""
    return f"{position.sort + _SORT_OFFSET:016x}{position.id}"


def _row(task_id: str, value: bytes | None) -> Row | None:
    if not value:
        return None
    header, *rest = value.split(b"\n", 2)
    fields = _HEADER.fullmatch(header)
    if fields is None or not rest or (facets := _facets(fields[6])) is None:
        return Row(task_id, "", 0, 0, None, None, None, head=value[:200], body=None)
    status, stage, version, expires, submitted, _ = fields.groups()
    return Row(
        id=task_id,
        status=status.decode(),
        stage=int(stage),
        version=int(version),
        name=facets[0].removeprefix(_NAME_FACET) if facets else None,
        submitted_at=None if submitted == b"-" else int(submitted),
        expires_at=None if expires == b"-" else int(expires),
        head=rest[0],
        body=rest[1] if len(rest) > 1 else None,
    )


def _listed_row(task_id: bytes, value: bytes) -> Row | None:
    """None for an entry whose id nobody can have stored."""
    try:
        return _row(task_id.decode(), value)
    except UnicodeDecodeError:
        return None


def _facets(text: bytes) -> list[str] | None:
    """None unless ``text`` is a JSON list of str."""
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
