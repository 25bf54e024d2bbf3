"""Results in Redis or Valkey, shared by any number of machines."""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import starmap
from typing import Any, Final, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from flowstore._trips.deadlines import in_time
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.client import storage_error
from flowstore.backends.redis.format import (
    FORMAT,
    IS_FORMAT_KEY,
    PER_CALL,
    bounds,
    kept_of,
    listed_row,
    member,
    namespace_of,
    outcome,
    packed,
    prefix_of,
    put_arguments,
    put_outcome,
    refusal,
    row_of,
    transition_of,
)
from flowstore.backends.redis.listener import Listener
from flowstore.engine import (
    ANY_STAGE,
    ANYWHERE,
    SWEPT_PER_COMMIT,
    Asked,
    Commit,
    Engine,
    Hints,
    Kept,
    Outcome,
    Purged,
    Put,
    PutOutcome,
    Query,
    Report,
    Row,
    Span,
    TransitionRow,
    Where,
)
from flowstore.engine.facets import EVERYTHING, groups_of
from flowstore.errors import CorruptRecord, StorageFull
from flowstore.models import TaskStatus

Item = TypeVar("Item")

_EXAMINED_PER_CALL: Final = 2_000
_COUNTED_PER_CALL: Final = 1_000
_CLEARED_PER_CALL: Final = 1_000
_KEYS_PER_SCAN: Final = 5_000


class RedisEngine(Engine):
    """One namespace of a database, under one hash tag. A verb is one script call, or a few for long lists."""

    def __init__(self, client: Redis, namespace: str, timeout: float, recheck_interval: float) -> None:
        self._prefix = prefix_of(namespace)
        self._inbox = f"{self._prefix}inbox:{secrets.token_hex(8)}"
        # Registrations expire, so that a process that died leaves none behind. They outlast the recheck that
        # renews them, even if one is missed.
        self._registered_ms = round(max(60.0, 3 * recheck_interval) * 1_000)
        self._client = client
        self._timeout = timeout
        self._listener: Listener
        self.calls = Calls(client, self._prefix, timeout)

    async def open(self, hints: Hints) -> None:
        self._listener = Listener(self._client, self._inbox, hints)
        try:
            await self._check_format()
        except BaseException:
            await self.calls.close()
            raise

    async def close(self) -> None:
        await self._listener.close()
        await self.calls.close()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for count, lines, data in packed(commits):
            replies = await self.calls.write("commit", now, SWEPT_PER_COMMIT * count, lines, data)
            outcomes += map(outcome, replies)
        return outcomes

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        rows: list[Row | None] = []
        for step in _steps(ids):
            if with_body:  # MGET is cheaper than a script that returns the whole value anyway
                values = await self._values(step)
            else:
                values = await self.calls.read("fetch", *step)
            rows += map(row_of, step, values)
        return rows

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        if self.calls.refusal is not None:  # nobody may be registered there: the re-check has to do
            return await self.fetch(ids)
        # Subscribed first, registered second: a message to an inbox that nobody reads is lost.
        try:
            await self._listener.ready()
        except RedisError as error:
            raise storage_error(error, self._prefix) from error
        rows: list[Row | None] = []
        for step in _steps(ids):
            values = await self.calls.read("watch", self._inbox, self._registered_ms, *step)
            rows += map(row_of, step, values)
        return rows

    async def scan(self, query: Query, now: int) -> list[Row]:
        rows: list[Row] = []
        after = "" if query.after is None else member(query.after)
        groups = json.dumps(groups_of(query.where) or [EVERYTHING], ensure_ascii=False)
        while len(rows) < query.limit:
            flags = (int(query.newest_first), after, int(query.with_body), _EXAMINED_PER_CALL)
            narrow = (groups, query.where.root or "", *query.statuses)
            after, found = await self.calls.read("scan", now, query.limit - len(rows), *flags, *narrow)
            rows += filter(None, starmap(listed_row, found))
            if not after:
                break
        return rows

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        groups = groups_of(where) or [EVERYTHING]
        if len(groups) > 1:
            return await self._count_each(where)
        facets = json.dumps(groups[0], ensure_ascii=False)
        return dict(zip(TaskStatus, await self.calls.read("count", facets, where.root or ""), strict=True))

    async def _count_each(self, where: Where) -> dict[str, int]:
        """Count by reading every record of the first index, in bounded trips."""
        query = Query(tuple(TaskStatus), _COUNTED_PER_CALL, where, with_body=False)
        counts: Counter[str] = Counter()
        while rows := await self.scan(query, 0):
            counts.update(row.status for row in rows)
            query = replace(query, after=rows[-1].position)
        return counts

    async def names(self) -> list[str]:
        return [name.decode(errors="replace") for name in await self.calls.read("names")]

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        applied: list[bool] = []
        for step in _steps(reports):
            flat = [
                part
                for report in step
                for part in (report.id, *(report.stages or (0, ANY_STAGE)), report.progress)
            ]
            applied += map(bool, await self.calls.write("report", now, *flat))
        return applied

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        rows: list[TransitionRow] = []
        behind, to, start = bounds(span)
        while len(rows) < span.limit:
            flags = (span.id or "", int(span.first_only), behind, to, span.limit - len(rows))
            last, entries = await self.calls.read("history", now, *flags, _EXAMINED_PER_CALL, start)
            rows += filter(None, map(transition_of, entries))
            if not last:
                break
            behind = b"(" + last
        if span.id is None:
            return rows
        # The list of a task is in order of writing, which is not that of time if a clock went back.
        behind_it = (row for row in rows if span.after is None or row > span.after)
        return sorted(row for row in behind_it if span.start <= row.at <= span.end)[: span.limit]

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        outcomes: list[PutOutcome] = []
        for step in _steps(puts):
            flat = [part for put in step for part in put_arguments(put)]
            outcomes += map(put_outcome, await self.calls.write("put", now, *flat))
        return outcomes

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        if asked.keys is not None and not asked.keys:
            return []
        last = "-" if asked.last is None else asked.last
        found = await self.calls.read("kept", now, asked.section, asked.owner, last, *(asked.keys or ()))
        try:
            return sorted(starmap(kept_of, zip(found[::2], found[1::2], strict=True)))
        except ValueError as error:
            raise CorruptRecord(asked.owner, f"{asked.section}: {error}") from error

    async def namespaces(self) -> list[str]:
        names: set[str] = set()
        async for keys in self._scanned("flowstore:{*}:format"):
            names.update(map(namespace_of, filter(IS_FORMAT_KEY, keys)))
        return sorted(names)

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        removed: list[bool] = []
        for step in _steps(ids):
            removed += map(bool, await self.calls.write("remove", now, *step))
        return removed

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if everything:
            indexes = [f"{self._prefix}i:{status}:" for status in TaskStatus]
            live, expired, is_done = await self.calls.write("clear", now, limit, *indexes)
        else:
            live, (expired, is_done) = 0, await self.calls.write("purge", now, limit)
        return Purged(live=live, expired=expired, is_done=bool(is_done))

    async def purge_unlisted(self, now: int) -> int:
        """Remove everything that no status index lists, in bounded trips; returns how many live records."""
        removed = 0
        async for keys in self._scanned(re.sub(r"([*?\[\]\\])", r"\\\1", self._prefix) + "*"):
            removed += await self._clear_keys(keys, now)
        return removed + await self._clear_keys([f"{self._prefix}t"], now)  # now that no record is left

    async def _clear_keys(self, keys: Sequence[str | bytes], now: int) -> int:
        removed = 0
        for step in _steps(keys):
            is_done = False
            while not is_done:
                trip = self.calls.write("clear", now, _CLEARED_PER_CALL, *step)
                live, _, is_done = await in_time(trip, self._timeout)
                removed += live
        return removed

    async def _scanned(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """The keys of the database that match, in bounded trips. SCAN may return a key more than once."""
        cursor = 0
        while True:
            cursor, keys = await in_time(self._look_through(cursor, pattern), self._timeout)
            yield keys
            if not cursor:
                return

    async def _values(self, ids: Sequence[str]) -> Any:
        keys = [f"{self._prefix}r:" + task_id for task_id in ids]
        return await self.calls.guarded(lambda line: line.client.mget(keys))

    async def _look_through(self, cursor: int, pattern: str) -> Any:
        return await self.calls.guarded(
            lambda line: line.client.scan(cursor, match=pattern, count=_KEYS_PER_SCAN)
        )

    async def _check_format(self) -> None:
        key = f"{self._prefix}format"
        full = None
        try:
            await self.calls.guarded(lambda line: line.client.set(key, FORMAT, nx=True))
        except StorageFull as error:  # what is stored already can still be read, and deleted
            full = error
        found = await self.calls.guarded(lambda line: line.client.get(key))
        if found is None and full is not None:
            raise full
        self.calls.refusal = refusal(key, found)


def _steps(items: Sequence[Item]) -> list[Sequence[Item]]:
    return [items[start : start + PER_CALL] for start in range(0, len(items), PER_CALL)]
