"""BaseResultBackend: what every backend promises, and every rule, written once.

A storage is an ``Engine`` (engine.py); a concrete backend is this class plus a constructor.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Self, TypeVar, Unpack

from flowstore import arguments, cursors
from flowstore.codec import Codec
from flowstore.engine import Commit, Engine, Outcome, Query, Row
from flowstore.errors import CorruptRecord, VersionConflict, WaitTimeout
from flowstore.lifecycle import Lifecycle
from flowstore.listing import Statuses, query_of, walk
from flowstore.models import Page, TaskResult, TaskStatus, check_text
from flowstore.options import BackendOptions, op_timeout, recheck_interval
from flowstore.records import DEFAULT_TTL, DefaultTtl, Records, Ttl
from flowstore.waiting import Waiters, Waiting

Item = TypeVar("Item")

_STEP: Final = 500
_PURGE_STEP: Final = 1_000


class BaseResultBackend:
    """Keeps the results of tasks; all backends behave alike.

    Opens by itself at the first call, or with ``async with``; once closed it stays closed. Lives in
    one event loop of one process: elsewhere every call raises WrongLoop or WrongProcess, after
    ``close`` BackendClosed. Any call may raise StorageError when the storage fails.

    A task id is any str of 1 to 512 UTF-8 bytes. Reading never returns an expired record.
    """

    def __init__(self, engine: Engine, *, namespace: str, **options: Unpack[BackendOptions]) -> None:
        self.namespace = check_text("namespace", namespace)
        self._engine = engine
        self._clock = options.get("clock", _wall_clock)
        limit = arguments.check_int("max_result_bytes", options.get("max_result_bytes", 64 * 2**20), 1)
        self._records = Records(
            Codec(options.get("types", ()), max_bytes=limit),
            ttl=arguments.check_ttl("ttl", options.get("ttl")),
            failure_ttl=arguments.check_ttl("failure_ttl", options.get("failure_ttl", options.get("ttl"))),
        )
        op_timeout(options)
        recheck = recheck_interval(options)
        reads = (lambda ids: engine.watch(ids)), (lambda ids: engine.fetch(ids))
        self._waiters = Waiters(*reads, self._records.decode, self._clock, recheck)
        self._life = Lifecycle(lambda: engine.open(self._waiters), self._waiters.close, engine.close)

    async def open(self) -> None:
        """Connect. Needed only to fail early: the first call opens by itself."""
        await self._life.open()

    async def close(self) -> None:
        """Wake all waiters with BackendClosed, let calls in flight end, release everything. Idempotent."""
        await self._life.close()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __del__(self) -> None:
        life = getattr(self, "_life", None)
        if life is not None and life.is_open:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(namespace={self.namespace!r})"

    @property
    def waiting(self) -> int:
        """The number of ids that somebody waits for here."""
        return len(self._waiters)

    async def store(
        self,
        task_id: str,
        result: TaskResult[Any],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
        if_version: int | None = None,
    ) -> bool:
        """Write ``result``; True when it is the stored state now, False when a newer or finished one stands.

        A record only advances: by (retries, rank) with pending < running = retrying < finished. Within
        one try the first finished write wins; a write of an earlier try is a zombie and loses.
        ``overwrite`` writes whatever stands. ``if_version`` writes only over that version (0: only
        where there is no record) and raises VersionConflict otherwise. ``ttl`` in seconds from now,
        None for ever; by default ``result.expires_at``, or else the backend's ttl.

        Returning means durable as the backend promises. NotSerializable names the path of a value
        that would not come back as it went in; then, as after any bad argument, nothing is written.
        """
        check_text("task_id", task_id)
        if task_id != arguments.check_result(result).task_id:
            raise ValueError(f"task_id: {task_id!r} is not the result's own task_id {result.task_id!r}")
        arguments.check_bool("overwrite", overwrite)
        if if_version is not None:
            arguments.check_int("if_version", if_version, 0, 2**53)
            if overwrite:
                raise ValueError("overwrite: cannot be combined with if_version")
        async with self._life:
            await self._engine.room()
            now = self._clock()
            commit = self._records.commit(result, now, ttl, overwrite, if_version)
            [outcome] = await self._engine.commit([commit], now)
        is_applied = _applied(commit, outcome)
        if if_version is not None and not is_applied:
            raise VersionConflict(task_id, if_version, outcome.version)
        return is_applied

    async def store_many(
        self,
        results: Iterable[TaskResult[Any]],
        *,
        ttl: Ttl | DefaultTtl = DEFAULT_TTL,
        overwrite: bool = False,
    ) -> list[bool]:
        """``store`` each, in order. All are checked and encoded before the first is sent.

        Each write is atomic, the whole is not: after a StorageError a part may have been stored, after
        CorruptRecord, which names the first that could not be, all others.
        """
        arguments.check_bool("overwrite", overwrite)
        now = self._clock()
        checked = [arguments.check_result(result) for result in results]
        commits = [self._records.commit(result, now, ttl, overwrite) for result in checked]
        outcomes: list[Outcome] = []
        async with self._life:
            for step in _steps(commits):
                await self._engine.room()
                outcomes += await self._engine.commit(step, now)
        return [_applied(*pair) for pair in zip(commits, outcomes, strict=True)]

    async def get(self, task_id: str) -> TaskResult[Any] | None:
        """The record, a fresh object; None when there is none. Raises CorruptRecord."""
        check_text("task_id", task_id)
        async with self._life:
            [row] = await self._engine.fetch([task_id])
        return None if row is None or row.is_expired(self._clock()) else self._records.decode(row)

    async def get_many(self, task_ids: Iterable[str]) -> dict[str, TaskResult[Any]]:
        """The records that exist, by id, in the order asked for."""
        ids = arguments.check_ids(task_ids)
        found: dict[str, TaskResult[Any]] = {}
        async with self._life:
            for step in _steps(ids):
                rows = self._live(await self._engine.fetch(step))
                found.update((row.id, self._records.decode(row)) for row in rows)
        return found

    async def exists(self, task_id: str) -> bool:
        """Whether ``get`` would find a record; its value is not read."""
        ids = [check_text("task_id", task_id)]
        async with self._life:
            return any(self._live(await self._engine.fetch(ids, with_body=False)))

    async def wait_for(self, task_id: str, timeout: float | None = None) -> TaskResult[Any]:
        """The finished result, as soon as it is stored; waiting may start before the id exists.

        ``timeout`` in seconds; None or inf: for ever; 0 or less: one look. Raises WaitTimeout at the
        deadline, ResultDeleted or ResultExpired when the record goes away during the wait, and
        BackendClosed. A storage that cannot be reached is tried again until the deadline; but where this
        call is the one that opens the backend, that is tried once, within ``op_timeout``. Waiters of
        one id in one backend share one result object.
        """
        check_text("task_id", task_id)
        seconds = arguments.check_timeout(timeout)
        if seconds is not None and seconds <= 0:
            return (await self.wait_for_many([task_id], seconds))[task_id]
        async with self._life:
            wait = self._waiters.register(task_id, seconds)
        try:
            return await wait
        finally:
            self._waiters.release(task_id, wait)
            del wait  # the traceback of its error would hold this frame, and the frame the error

    async def wait_for_many(
        self, task_ids: Iterable[str], timeout: float | None = None
    ) -> dict[str, TaskResult[Any]]:
        """``wait_for`` all of them under one deadline; the results by id, in the order asked for.

        Raises what the first failing wait raises, WaitTimeout naming one that was late.
        """
        ids = arguments.check_ids(task_ids)
        seconds = arguments.check_timeout(timeout)
        if seconds is not None and seconds <= 0:
            found = {
                task_id: result
                for task_id, result in (await self.get_many(ids)).items()
                if result.is_finished
            }
            return {task_id: _in_time(found.get(task_id), task_id, seconds) for task_id in ids}
        async with self._life:
            waits = {task_id: self._waiters.register(task_id) for task_id in ids}
        try:
            if waits:
                await asyncio.wait(waits.values(), timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
            return self._finished(waits, seconds)
        finally:
            for task_id, wait in waits.items():
                self._waiters.release(task_id, wait)

    def _finished(self, waits: Mapping[str, Waiting], seconds: float | None) -> dict[str, TaskResult[Any]]:
        for wait in waits.values():
            if wait.done():
                wait.result()
        late = next((task_id for task_id, wait in waits.items() if not wait.done()), None)
        if late is not None:
            raise WaitTimeout(late, seconds or 0.0) from self._waiters.trouble
        return {task_id: wait.result() for task_id, wait in waits.items()}

    async def as_completed(
        self, task_ids: Iterable[str], timeout: float | None = None
    ) -> AsyncIterator[TaskResult[Any]]:
        """Yield the results as they finish, in that order, under one deadline as in ``wait_for_many``."""
        ids = arguments.check_ids(task_ids)
        seconds = arguments.check_timeout(timeout)
        if seconds is not None and seconds <= 0:
            for result in (await self.wait_for_many(ids, seconds)).values():
                yield result
            return
        done: asyncio.Queue[Waiting] = asyncio.Queue()
        async with self._life:
            deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
            waits = {task_id: self._waiters.register(task_id) for task_id in ids}
        try:
            for wait in waits.values():
                wait.add_done_callback(done.put_nowait)
            for _ in range(len(waits)):
                self._life.check_place()  # whoever takes the next need not be who took the last
                try:
                    async with asyncio.timeout_at(deadline):
                        wait = await done.get()
                except TimeoutError:
                    self._finished(waits, seconds)
                    raise
                yield wait.result()
        finally:
            for task_id, wait in waits.items():
                self._waiters.release(task_id, wait)

    async def delete(self, task_id: str) -> bool:
        """Remove the record and all that belongs to it; False when there was none. Wakes its waiters."""
        return await self.delete_many([check_text("task_id", task_id)]) == 1

    async def delete_many(self, task_ids: Iterable[str]) -> int:
        """``delete`` each; the number of records that there were."""
        ids = arguments.check_ids(task_ids)
        deleted = 0
        async with self._life:
            for step in _steps(ids):
                await self._engine.room()  # behind a store of the same id that waits for room
                deleted += sum(await self._engine.remove(step, self._clock()))
        return deleted

    async def clear(self) -> int:
        """Remove every record of this namespace, in bounded steps; the number of records that there were."""
        cleared = 0
        async with self._life:
            while True:
                step = await self._engine.purge(_PURGE_STEP, self._clock(), everything=True)
                cleared += step.live
                if step.is_done:
                    return cleared

    async def purge_expired(self, limit: int = _PURGE_STEP) -> int:
        """Free the room of at most ``limit`` expired records; how many. Stores do a little of it each."""
        arguments.check_int("limit", limit, 0)
        purged = 0
        async with self._life:
            while purged < limit:
                step = await self._engine.purge(min(_PURGE_STEP, limit - purged), self._clock())
                purged += step.expired
                if step.is_done:
                    break
        return purged

    async def list_by_status(
        self, status: TaskStatus, limit: int | None = None, offset: int = 0
    ) -> list[TaskResult[Any]]:
        """The records in ``status``: newest ``submitted_at`` first, those without one last, ties by task_id.

        ``limit`` None: all, 0: none. Skipping ``offset`` records costs time in proportion; to go
        through many, use ``page`` or ``iter_by_status``, which never repeat or skip.
        """
        wanted = Query(statuses=(arguments.check_status("status", status),), limit=_STEP)
        arguments.check_int("offset", offset, 0)
        left = None if limit is None else arguments.check_int("limit", limit, 0)
        async with self._life:
            if left == 0:
                return []
            skipping = walk(self._engine, replace(wanted, with_body=False), self._clock, offset)
            last: Row | None = None
            async for rows in skipping:
                last, offset = rows[-1], offset - len(rows)
            if offset:
                return []
            start = replace(wanted, after=last.position if last else None)
            return [
                self._records.decode(row)
                async for rows in walk(self._engine, start, self._clock, left)
                for row in rows
            ]

    async def page(
        self,
        statuses: Statuses = None,
        *,
        name: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = True,
    ) -> Page[Any]:
        """One page of the records in ``statuses`` (None: any), of tasks called ``name`` (None: any).

        In the order of ``list_by_status``, or its exact reverse. ``limit`` is 1 to 10,000. ``cursor``
        is the ``next_cursor`` of the page before, None for the first page; it belongs to its statuses,
        name and order, and anything else is refused with InvalidCursor. A record that keeps its status
        and submission time during the walk is on exactly one page. With ``load_result`` False the
        items' result, args and kwargs are NOT_LOADED.
        """
        arguments.check_int("limit", limit, 1, arguments.MAX_PAGE)
        query = query_of(statuses, name, limit + 1, newest_first, load_result)
        bound_to = (self.namespace, query.statuses, name, newest_first)
        if cursor is not None:
            query = replace(query, after=cursors.decode(cursor, *bound_to))
        async with self._life:
            rows = await self._engine.scan(query, self._clock()) if query.statuses else []
        next_cursor = cursors.encode(rows[limit - 1].position, *bound_to) if len(rows) > limit else None
        return Page(items=[self._records.decode(row) for row in rows[:limit]], next_cursor=next_cursor)

    async def iter_by_status(
        self,
        statuses: Statuses = None,
        *,
        name: str | None = None,
        batch_size: int = 100,
        newest_first: bool = True,
        load_result: bool = True,
    ) -> AsyncIterator[TaskResult[Any]]:
        """All records that ``page`` would show, one by one, read ``batch_size`` at a time."""
        arguments.check_int("batch_size", batch_size, 1, arguments.MAX_PAGE)
        query = query_of(statuses, name, batch_size, newest_first, load_result)
        while True:
            async with self._life:
                rows = await self._engine.scan(query, self._clock()) if query.statuses else []
            for row in rows:
                yield self._records.decode(row)
            if len(rows) < batch_size:
                return
            query = replace(query, after=rows[-1].position)

    async def count_by_status(self) -> dict[TaskStatus, int]:
        """How many records there are in each status, at a cost that does not grow with them.

        Expired records count until the next purge step removes them.
        """
        async with self._life:
            counts = await self._engine.count()
        return {status: counts.get(status, 0) for status in TaskStatus}

    def _live(self, rows: Iterable[Row | None]) -> list[Row]:
        now = self._clock()
        return [row for row in rows if row is not None and not row.is_expired(now)]


def _wall_clock() -> int:
    return time.time_ns() // 1_000


def _steps(items: list[Item]) -> Iterator[list[Item]]:
    return (items[start : start + _STEP] for start in range(0, len(items), _STEP))


def _applied(commit: Commit, outcome: Outcome) -> bool:
    if outcome.version < 0:
        raise CorruptRecord(commit.id, f"{outcome.reason}; nothing was written")
    return outcome.is_applied


def _in_time(result: TaskResult[Any] | None, task_id: str, seconds: float) -> TaskResult[Any]:
    if result is None:
        raise WaitTimeout(task_id, seconds)
    return result
