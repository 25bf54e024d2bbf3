"""Results in this process: dicts and sorted indexes, each verb one step of the event loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Unpack

from sortedcontainers import SortedList

from flowstore.arguments import check_int
from flowstore.base import BaseResultBackend
from flowstore.engine import (
    APPLIED,
    SWEPT_PER_COMMIT,
    Change,
    Commit,
    Engine,
    Hints,
    Outcome,
    Position,
    Purged,
    Query,
    Row,
)
from flowstore.options import BackendOptions


class InMemoryBackend(BaseResultBackend):
    """Results in the memory of this process, gone with it. Values still go through the codec.

    ``max_results``: beyond so many finished results the ones finished first are dropped; None: never.
    """

    def __init__(
        self,
        *,
        max_results: int | None = None,
        namespace: str = "default",
        **options: Unpack[BackendOptions],
    ) -> None:
        if max_results is not None:
            check_int("max_results", max_results, 1)
        super().__init__(MemoryEngine(max_results), namespace=namespace, **options)


class MemoryEngine(Engine):
    def __init__(self, max_results: int | None = None) -> None:
        self._max_results = max_results
        self._rows: dict[str, Row] = {}
        self._index: dict[tuple[str, str | None], SortedList[Position]] = {}
        self._expiries: SortedList[tuple[int, str]] = SortedList()
        self._finished: dict[str, None] = {}
        self._hints: Hints

    async def open(self, hints: Hints) -> None:
        self._hints = hints

    async def close(self) -> None:
        self._rows.clear()
        self._index.clear()
        self._expiries.clear()
        self._finished.clear()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        outcomes = [self._commit(commit, now) for commit in commits]
        self._sweep(SWEPT_PER_COMMIT * len(commits), now)
        self._evict()
        return outcomes

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        rows = [self._rows.get(task_id) for task_id in ids]
        return rows if with_body else [row and row._replace(body=None) for row in rows]

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await self.fetch(ids)

    async def scan(self, query: Query, now: int) -> list[Row]:
        ranges = [self._range(self._index.get((status, query.name)), query) for status in query.statuses]
        positions = merge(*ranges, reverse=not query.newest_first)
        rows = (self._rows[position.id] for position in positions)
        live = islice((row for row in rows if not row.is_expired(now)), query.limit)
        return [row if query.with_body else row._replace(body=None) for row in live]

    async def count(self) -> dict[str, int]:
        return {status: len(index) for (status, name), index in self._index.items() if name is None}

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        rows = [self._drop(task_id) for task_id in ids]
        self._tell_removed([row for row in rows if row], now)
        return [row is not None and not row.is_expired(now) for row in rows]

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if not everything:
            expired = self._sweep(limit, now)
            return Purged(live=0, expired=expired, is_done=expired < limit)
        rows = [row for task_id in list(islice(self._rows, limit)) if (row := self._drop(task_id))]
        self._tell_removed(rows, now)
        expired = sum(row.is_expired(now) for row in rows)
        return Purged(live=len(rows) - expired, expired=expired, is_done=len(rows) < limit)

    def _commit(self, commit: Commit, now: int) -> Outcome:
        standing = self._rows.get(commit.id)
        if standing is not None and standing.is_expired(now):
            standing = None
        version = standing.version if standing else 0
        if commit.if_version is None:
            is_allowed = standing is None or standing.stage <= commit.ceiling
        else:
            is_allowed = version == commit.if_version
        if not is_allowed:
            return Outcome(is_applied=False, version=version)
        self._drop(commit.id)
        self._insert(commit, version + 1)
        self._hints.changed((commit.id,), Change.FINISHED if commit.is_finished else Change.WRITTEN)
        return APPLIED

    def _insert(self, commit: Commit, version: int) -> None:
        row = Row(
            id=commit.id,
            status=commit.status,
            stage=commit.stage,
            version=version,
            name=commit.name,
            submitted_at=commit.submitted_at,
            expires_at=commit.expires_at,
            head=commit.head,
            body=commit.body,
        )
        self._rows[row.id] = row
        for key in _index_keys(row):
            self._index.setdefault(key, SortedList()).add(row.position)
        if row.expires_at is not None:
            self._expiries.add((row.expires_at, row.id))
        if commit.is_finished:
            self._finished[row.id] = None

    def _drop(self, task_id: str) -> Row | None:
        row = self._rows.pop(task_id, None)
        if row is None:
            return None
        for key in _index_keys(row):
            self._index[key].remove(row.position)
            if not self._index[key]:
                del self._index[key]
        if row.expires_at is not None:
            self._expiries.remove((row.expires_at, row.id))
        self._finished.pop(row.id, None)
        return row

    def _sweep(self, limit: int, now: int) -> int:
        due = list(islice(self._expiries.irange(maximum=(now + 1, ""), inclusive=(True, False)), limit))
        self._tell_removed([row for _, task_id in due if (row := self._drop(task_id))], now)
        return len(due)

    def _evict(self) -> None:
        if self._max_results is not None:
            for task_id in list(islice(self._finished, max(0, len(self._finished) - self._max_results))):
                self._drop(task_id)

    def _tell_removed(self, rows: Iterable[Row], now: int) -> None:
        for row in rows:
            self._hints.changed((row.id,), Change.EXPIRED if row.is_expired(now) else Change.DELETED)

    def _range(self, index: SortedList[Position] | None, query: Query) -> Iterator[Position]:
        if index is None:
            return iter(())
        if query.newest_first:
            return index.irange(minimum=query.after, inclusive=(False, True))
        return index.irange(maximum=query.after, inclusive=(True, False), reverse=True)


def _index_keys(row: Row) -> list[tuple[str, str | None]]:
    keys: list[tuple[str, str | None]] = [(row.status, None)]
    if row.name is not None:
        keys.append((row.status, row.name))
    return keys
