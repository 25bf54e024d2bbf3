"""Results in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from flowstore._trips.lanes import copy_of
from flowstore.backends.sqlite import writes
from flowstore.backends.sqlite.changes import Changes
from flowstore.backends.sqlite.connection import Connection, transaction, translated
from flowstore.backends.sqlite.format import NO_NAMESPACE, namespace_number, open_namespace
from flowstore.backends.sqlite.statements import (
    SQL,
    count_statement,
    fetches,
    history_statement,
    kept_statement,
    row_of,
    scan_statement,
)
from flowstore.engine import (
    ANYWHERE,
    SWEPT_PER_COMMIT,
    Asked,
    Change,
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
from flowstore.errors import SchemaTooNew, StorageError

T = TypeVar("T")

Removed = list[tuple[str, int | None]]

_OLDEST_SQLITE: Final = (3, 38, 0)


class SQLiteEngine(Engine):
    """One namespace of a file: one connection for writes and one for reads, each in a thread of its own.

    A verb is one hop, and a write is one transaction that carries all items of the call.
    """

    def __init__(self, path: Path, durability: str, namespace: str, timeout: float) -> None:
        self._path = path
        self._durability = durability
        self._namespace = namespace
        self._timeout = timeout
        self._connections: list[Connection] = []
        self._detector: Connection | None = None
        self._changes: Changes | None = None
        self._ns: int
        self._refusal: SchemaTooNew | None

    async def open(self, hints: Hints) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old, 3.38 is needed")
        try:
            self._writer = await self._connect(f"PRAGMA synchronous = {self._durability}")
            self._ns, self._refusal = await self._writer.run(
                lambda raw: open_namespace(raw, self._path, self._namespace)
            )
            self._reader = await self._connect("PRAGMA query_only = 1")
            self._changes = Changes(self._path, self._ns, hints, self._reader, self._connect_detector)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._changes is not None:
            await self._changes.close()
        while self._connections:
            with translated(self._path):
                await self._connections.pop().close()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        def work(raw: sqlite3.Connection) -> list[Outcome]:
            with transaction(raw):
                outcomes = list(map(writes.Commits(raw, self._ns, now).apply, commits))
                swept = self._sweep(raw, now, SWEPT_PER_COMMIT * len(commits))
            # After the commit, or a waiter would read the old state; and in this hop, which no cancellation
            # can cut short.
            self._tell(_written(commits, outcomes) | _removed(swept, now))
            return outcomes

        return await self._write(work)

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        return await self._reader.run(lambda raw: self._find(raw, ids, with_body))

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        changes = self._changes
        assert changes is not None
        # One hop: bind the doorbell, then read. The other way round, a commit between the two is missed.
        rows = await self._reader.run(lambda raw: self._find(raw, ids) if changes.listen() else None)
        if rows is None:
            await changes.ask()
            rows = await self.fetch(ids)
        return rows

    async def scan(self, query: Query, now: int) -> list[Row]:
        statement, values = scan_statement(query)
        return [row_of(found[:-1]) for found in await self._read(statement, now=now, **values)]

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        if where == ANYWHERE:
            return dict(await self._read(SQL["count"]))
        statement, values = count_statement(where)
        return dict(await self._read(statement, **values))

    async def names(self) -> list[str]:
        return [name for (name,) in await self._read(SQL["names"])]

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        def work(raw: sqlite3.Connection) -> list[bool]:
            with transaction(raw):
                applied = [writes.report(raw, self._ns, report, now) for report in reports]
            changed = [report.id for report, is_applied in zip(reports, applied, strict=True) if is_applied]
            self._tell({Change.REPORTED: changed})
            return applied

        return await self._write(work)

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        statement, values = history_statement(span)
        return [TransitionRow(*found) for found in await self._read(statement, now=now, **values)]

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        def work(raw: sqlite3.Connection) -> list[PutOutcome]:
            with transaction(raw):
                return [writes.put(raw, self._ns, put, now) for put in puts]

        return await self._write(work)

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        statement, values = kept_statement(asked)
        return sorted(Kept(*found) for found in await self._read(statement, now=now, **values))

    async def namespaces(self) -> list[str]:
        return [name for (name,) in await self._read(SQL["namespaces"])]

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        def work(raw: sqlite3.Connection) -> list[Removed]:
            with transaction(raw):
                removed = [self._delete(raw, "remove", id=task_id) for task_id in ids]
            self._tell(_removed([row for rows in removed for row in rows], now))
            return removed

        return [any(not _ran_out(row, now) for row in rows) for rows in await self._write(work)]

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        statement = "purge_everything" if everything else "purge_expired"

        def work(raw: sqlite3.Connection) -> Removed:
            with transaction(raw):
                removed = self._delete(raw, statement, now=now, limit=limit)
            self._tell(_removed(removed, now))
            return removed

        removed = await self._write(work)
        expired = sum(_ran_out(row, now) for row in removed)
        return Purged(live=len(removed) - expired, expired=expired, is_done=len(removed) < limit)

    async def _connect_detector(self) -> Connection:
        if self._detector is None:
            self._detector = await self._connect("PRAGMA query_only = 1")
        return self._detector

    async def _connect(self, *setup: str) -> Connection:
        connection = Connection(self._path, self._timeout, *setup)
        with translated(self._path):
            await connection
        self._connections.append(connection)
        return connection

    def _find(self, raw: sqlite3.Connection, ids: Sequence[str], with_body: bool = True) -> list[Row | None]:
        found: dict[str, Row] = {}
        ns = self._number(raw)
        for statement, values in fetches(ids, with_body):
            rows = raw.execute(statement, (ns, *values)).fetchall()
            found.update((row[0], row_of(row)) for row in rows)
        return list(map(found.get, ids))

    def _sweep(self, raw: sqlite3.Connection, now: int, limit: int) -> Removed:
        if not raw.execute(SQL["has_expired"], {"ns": self._ns, "now": now}).fetchall():
            return []
        return self._delete(raw, "purge_expired", now=now, limit=limit)

    def _delete(self, raw: sqlite3.Connection, statement: str, **values: object) -> Removed:
        return raw.execute(SQL[statement], {"ns": self._ns, **values}).fetchall()

    async def _read(self, statement: str, **values: Any) -> list[Any]:
        # Always fetchall: a cursor that is not exhausted keeps its snapshot, and the WAL can never be reset.
        def work(raw: sqlite3.Connection) -> list[Any]:
            return raw.execute(statement, {**values, "ns": self._number(raw)}).fetchall()

        return await self._reader.run(work)

    def _number(self, raw: sqlite3.Connection) -> int:
        """Of the namespace. One that this program may not add can be added by others at any time."""
        if self._ns == NO_NAMESPACE:
            self._ns = namespace_number(raw, self._namespace)
        return self._ns

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._refusal is not None:
            raise copy_of(self._refusal)
        return await self._writer.run(work)

    def _tell(self, changes: dict[Change, list[str]]) -> None:
        assert self._changes is not None
        self._changes.tell(changes)


def _written(commits: Sequence[Commit], outcomes: Sequence[Outcome]) -> dict[Change, list[str]]:
    changes: dict[Change, list[str]] = {}
    for commit, outcome in zip(commits, outcomes, strict=True):
        if outcome.is_applied:
            changes.setdefault(Change(commit.status), []).append(commit.id)
    return changes


def _removed(rows: Removed, now: int) -> dict[Change, list[str]]:
    return {
        Change.EXPIRED: [row[0] for row in rows if _ran_out(row, now)],
        Change.DELETED: [row[0] for row in rows if not _ran_out(row, now)],
    }


def _ran_out(row: tuple[str, int | None], now: int) -> bool:
    return row[1] is not None and row[1] <= now
