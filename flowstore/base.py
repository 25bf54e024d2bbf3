"""BaseResultBackend: what every backend promises, and every rule, written once.

A storage is an ``Engine`` (engine.py); a concrete backend is this class plus a constructor.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from flowstore import arguments
from flowstore.apps import AppMethods
from flowstore.audience import Waiting
from flowstore.checkpoints import CheckpointMethods
from flowstore.core import applied, steps
from flowstore.engine import Outcome, Row
from flowstore.errors import VersionConflict, WaitTimeout
from flowstore.fields import check_text
from flowstore.models import TaskResult
from flowstore.progress import ProgressMethods
from flowstore.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.removing import RemovingMethods
from flowstore.tracking import TrackMethods
from flowstore.watching import WatchMethods
from flowstore.workers import WorkerMethods
from flowstore.workflows import WorkflowMethods


class BaseResultBackend(
    TrackMethods,
    WorkflowMethods,
    RemovingMethods,
    CheckpointMethods,
    WorkerMethods,
    AppMethods,
    ProgressMethods,
    WatchMethods,
):
    """Keeps the results of tasks; all backends behave alike.

    Opens by itself at the first call, or with ``async with``; once closed it stays closed. Lives in
    one event loop of one process: elsewhere every call raises WrongLoop or WrongProcess, after
    ``close`` BackendClosed. Any call may raise StorageError when the storage fails.

    A task id is any str of 1 to 512 UTF-8 bytes. Reading never returns an expired record.
    """

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

        FamilyConflict: the parent that is named descends from the task, or another one is known.

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
        is_applied = applied(commit, outcome)
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
        """``store`` each, those of one id in order. All are checked and encoded before the first is sent.

        Each write is atomic, the whole is not: after a StorageError a part may have been stored, after
        FamilyConflict or CorruptRecord, which names the first that could not be, all others.
        """
        arguments.check_bool("overwrite", overwrite)
        now = self._clock()
        checked = [arguments.check_result(result) for result in results]
        commits = [self._records.commit(result, now, ttl, overwrite) for result in checked]
        outcomes: list[Outcome] = []
        async with self._life:
            for step in steps(commits):
                await self._engine.room()
                outcomes += await self._engine.commit(step, now)
        return [applied(*pair) for pair in zip(commits, outcomes, strict=True)]

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
            for step in steps(ids):
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

    def _live(self, rows: Iterable[Row | None]) -> list[Row]:
        now = self._clock()
        return [row for row in rows if row is not None and not row.is_expired(now)]


def _in_time(result: TaskResult[Any] | None, task_id: str, seconds: float) -> TaskResult[Any]:
    if result is None:
        raise WaitTimeout(task_id, seconds)
    return result
