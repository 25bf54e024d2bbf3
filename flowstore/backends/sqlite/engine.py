"""Results in one SQLite file, shared by the processes of one machine."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from flowstore._trips.lanes import copy_of
from flowstore.backends.sqlite import reads, statistics, vacuum, writes
from flowstore.backends.sqlite.audit import audit, disordered
from flowstore.backends.sqlite.backup import back_up
from flowstore.backends.sqlite.changes import Changes, of_removals, of_writes
from flowstore.backends.sqlite.connection import Connection, snapshot, transaction, translated
from flowstore.backends.sqlite.counting import count
from flowstore.backends.sqlite.facts import facts
from flowstore.backends.sqlite.format import NO_NAMESPACE, namespace_number, open_namespace
from flowstore.backends.sqlite.statements import (
    LEFT_OUT,
    OF_FINISHED,
    SQL,
    WHOLE,
    Stored,
    item_of,
    read_entries,
    read_parts,
    read_stored,
    scan_entries,
    timeline_statement,
)
from flowstore.engine import (
    SWEPT_PER_WRITE,
    Asked,
    Audited,
    Cell,
    Change,
    Counted,
    Engine,
    Entry,
    Expiry,
    Group,
    Hints,
    Item,
    Outcome,
    Purged,
    Put,
    Query,
    Report,
    Section,
    Span,
    Standing,
    StorageFacts,
    Tallied,
    Write,
)
from flowstore.errors import AccessDenied, SchemaTooNew, StorageError
from flowstore.observing import Place

T = TypeVar("T")

_OLDEST_SQLITE: Final = (3, 38, 0)
_MOST_WAL_BYTES: Final = 2**24
"""What a long reader made of the WAL is given back after it."""


class SQLiteEngine(Engine):
    """One namespace of a file: one connection for writes and one for reads, each in a thread of its own.

    A verb is one hop, and a write is one transaction that carries all items of the call.
    """

    counts_writes = True
    place = Place("sqlite")
    is_read_only = False

    def __init__(
        self, path: Path, durability: str, namespace: str, timeout: float, mode: int | None = None
    ) -> None:
        self._path = path
        self._mode = mode
        self._durability = durability
        self._namespace = namespace
        self._timeout = timeout
        self._connections: list[Connection] = []
        self._detector: Connection | None = None
        self._changes: Changes | None = None
        self._trimming = statistics.Trimming()
        self._ns: int
        self._refusal: SchemaTooNew | AccessDenied | None

    async def open(self, hints: Hints) -> None:
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise StorageError(f"SQLite {sqlite3.sqlite_version} is too old, 3.38 is needed")
        connections = self._connections = []
        try:
            self._writer = await self._connect(
                f"PRAGMA synchronous = {self._durability}", f"PRAGMA journal_size_limit = {_MOST_WAL_BYTES}"
            )
            self._ns, self._refusal = await self._writer.run(
                lambda raw: open_namespace(raw, self._path, self._namespace)
            )
            self._reader = await self._connect("PRAGMA query_only = 1")
            self._changes = Changes(self._writer.file, self._ns, hints, self._reader, self._connect_detector)
        except BaseException:
            await self._close(connections)
            raise

    async def close(self) -> None:
        if self._changes is not None:
            await self._changes.close()
        await self._close(self._connections)

    async def _close(self, connections: list[Connection]) -> None:
        while connections:
            with translated(self._path):
                await connections.pop().close()

    def abandon(self) -> None:
        # `_changes` stays: a hop that is still under way tells other processes of its commit. The list is
        # emptied: where an open died with the loop, it may be finalised after the next one, and finds nothing
        # to close.
        if self._changes is not None:
            self._changes.abandon()
        while self._connections:
            self._connections.pop().stop()
        self._detector = None

    async def write(self, writes_: Sequence[Write], now: int) -> list[Outcome]:
        def work(raw: sqlite3.Connection) -> list[Outcome]:
            with transaction(raw):
                outcomes = writes.write(raw, self._ns, writes_, now)
                swept = self._purge(raw, "expired", now, SWEPT_PER_WRITE * len(writes_))
            # After the commit, or a waiter would read the old state; and in this hop, which no cancellation
            # can cut short.
            self._tell(of_writes(writes_, outcomes) | of_removals(swept, now))
            return outcomes

        return await self._write(work)

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        if with_body and max_body is not None:
            return await self._read(lambda raw, ns: read_parts(raw, ns, ids, max_body))
        body = WHOLE if with_body else LEFT_OUT
        return await self._read(lambda raw, ns: read_entries(raw, ns, ids, body))

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        changes = self._changes
        assert changes is not None

        # One hop: bind the doorbell, then read. The other way round, a commit between the two is missed.
        def work(raw: sqlite3.Connection, ns: int) -> list[Entry | None] | None:
            return read_entries(raw, ns, ids, OF_FINISHED) if changes.listen() else None

        entries = await self._read(work)
        if entries is None:
            await changes.ask()
            entries = await self._read(lambda raw, ns: read_entries(raw, ns, ids, OF_FINISHED))
        return entries

    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self._read(lambda raw, ns: scan_entries(raw, ns, query, now))

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await self._read(lambda raw, ns: [count(raw, ns, query) for query in queries])

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await self._read(lambda raw, ns: reads.facets(raw, ns, prefix, limit, after))

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        def work(raw: sqlite3.Connection) -> list[bool]:
            with transaction(raw):
                applied = [writes.report(raw, self._ns, report, now) for report in reports]
            changed = [report.id for report, is_applied in zip(reports, applied, strict=True) if is_applied]
            self._tell({Change.REPORTED: changed})
            return applied

        return await self._write(work)

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        def work(raw: sqlite3.Connection) -> list[bool]:
            with transaction(raw):
                changed = [writes.expire(raw, self._ns, expiry, now) for expiry in expiries]
            ids = [expiry.id for expiry, is_changed in zip(expiries, changed, strict=True) if is_changed]
            self._tell({Change.EXPIRED: ids})
            return changed

        return await self._write(work)

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        def work(raw: sqlite3.Connection) -> list[Outcome]:
            with transaction(raw):
                return [writes.put(raw, self._ns, put, now) for put in puts]

        return await self._write(work)

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return await self._read(lambda raw, ns: reads.items(raw, ns, asked, now))

    async def timeline(self, span: Span, now: int) -> list[Item]:
        rows = await self._rows(*timeline_statement(span))
        return [item_of(Section.HISTORY, row[0], row[1:]) for row in rows]

    async def series(self, prefix: str) -> list[str]:
        return await self._read(lambda raw, ns: statistics.series(raw, ns, prefix))

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return await self._read(lambda raw, ns: statistics.tallies(raw, ns, asked))

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return await self._read(lambda raw, ns: statistics.totals(raw, ns, series))

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return await self._read(lambda raw, ns: statistics.groups(raw, ns, ids))

    async def facts(self) -> StorageFacts:
        may_write = self._refusal is None
        return await self._read(
            lambda raw, _: facts(raw, self._path, self._durability, is_writable=may_write)
        )

    async def namespaces(self) -> list[str]:
        def work(raw: sqlite3.Connection, _: int) -> list[str]:
            return [*{self._namespace, *(name for (name,) in raw.execute(SQL["namespaces"]).fetchall())}]

        return await self._read(work)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        def work(raw: sqlite3.Connection) -> bool:
            with transaction(raw):
                return writes.drop_namespace(raw, self._ns, limit, now)

        return await self._write(work)

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        def work(raw: sqlite3.Connection, ns: int) -> Audited:
            with snapshot(raw):
                return audit(raw, self._path, ns, prefix, after, limit)

        def mend(raw: sqlite3.Connection) -> Audited:
            tables = disordered(raw, after)
            with transaction(raw):
                return audit(raw, self._path, self._ns, prefix, after, limit, repair, tables)

        return await (self._write(mend) if repair else self._read(work))

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        def work(raw: sqlite3.Connection) -> list[bool]:
            with transaction(raw):
                found = read_stored(raw, self._ns, ids)
                wanted = ids if standing is None else writes.those_standing(found, ids, standing, now)
                removed = {task_id: found[task_id] for task_id in wanted if task_id in found}
                writes.remove(raw, self._ns, removed.values())
            self._tell(of_removals(removed.values(), now))
            gone = [None if task_id is None else removed.pop(task_id, None) for task_id in wanted]
            return [stored is not None and not stored.is_expired(now) for stored in gone]

        return await self._write(work)

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        def work(raw: sqlite3.Connection) -> tuple[list[Stored], bool]:
            with transaction(raw):
                removed = self._purge(raw, "anything" if everything else "expired", now, limit)
                if everything and len(removed) < limit:
                    writes.sweep(raw, self._ns)
                is_trimmed = self._trimming.step(raw, self._ns, now)
            self._tell(of_removals(removed, now))
            return removed, is_trimmed

        removed, is_trimmed = await self._write(work)
        expired = sum(stored.is_expired(now) for stored in removed)
        is_done = len(removed) < limit and is_trimmed
        return Purged(live=len(removed) - expired, expired=expired, is_done=is_done)

    async def vacuum(self, *, full: bool = False) -> int:
        if full:
            return await self._write(vacuum.write_anew)
        began = time.monotonic()
        freed = await self._write(vacuum.cut)
        if freed:
            # Other processes look for the lock now and then; in a row of steps they would never find it free.
            await asyncio.sleep(time.monotonic() - began)
        return freed

    async def backup(self, target: Path) -> int:
        """Copy the whole file, see backup.py; how many bytes. It has no timeout."""
        copier = await self._connect()  # its own: others go on reading and writing
        try:
            return await back_up(copier, target)
        finally:
            if copier in self._connections:  # else its loop is closed, and it has been stopped
                self._connections.remove(copier)
                await copier.end()

    async def _connect_detector(self) -> Connection:
        if self._detector is None:
            self._detector = await self._connect("PRAGMA query_only = 1")
        return self._detector

    async def _connect(self, *setup: str) -> Connection:
        connections = self._connections
        if connections:
            connection = connections[0].another(self._timeout, *setup)
        else:
            make = partial(Connection, read_only=self.is_read_only)
            connection = make(self._path, self._mode, self._timeout, *setup)
        connections.append(connection)  # before it connects: the loop may be closed meanwhile
        try:
            await connection
        except BaseException:
            if connection in connections:  # it has stopped by itself
                connections.remove(connection)
            raise
        return connection

    def _purge(self, raw: sqlite3.Connection, which: str, now: int, limit: int) -> list[Stored]:
        values = (self._ns, now, limit) if which == "expired" else (self._ns, limit)
        found = [Stored._make(row) for row in raw.execute(SQL[which], values).fetchall()]
        if found:
            writes.remove(raw, self._ns, found)
        return found

    async def _rows(self, statement: str, *values: object) -> list[Any]:
        # Always fetchall: a cursor that is not exhausted keeps its snapshot, and the WAL can never be reset.
        return await self._read(lambda raw, ns: raw.execute(statement, (ns, *values)).fetchall())

    async def _read(self, work: Callable[[sqlite3.Connection, int], T]) -> T:
        return await self._reader.run(lambda raw: work(raw, self._number(raw)))

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
