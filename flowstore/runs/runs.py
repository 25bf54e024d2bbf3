"""Runs: experiments and pipelines that keep their records, evaluations and datasets. ``backend.runs``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from flowstore._core.awaiting import wait_for
from flowstore._core.core import Core
from flowstore._core.findings import Verification
from flowstore._core.listing import Listing, page, results, walk
from flowstore._core.storing import get
from flowstore._core.verifying import Progress, summed_up
from flowstore._core.viewing import WHOLE, view_of
from flowstore._values.arguments import (
    MAX_PAGE,
    Seconds,
    check_bool,
    check_callable,
    check_int,
    check_patience,
    check_statuses,
)
from flowstore._values.typed import TypeForm
from flowstore.errors import UnknownRun
from flowstore.features.checkpoints import Checkpoint, Checkpoints
from flowstore.models import FINISHED, Statuses, StatusName, T, TaskResult, TaskStatus
from flowstore.runs import evaluations, life, records
from flowstore.runs.archive import RunsArchive
from flowstore.runs.belongings import Belongings
from flowstore.runs.datasets import Datasets
from flowstore.runs.ids import check_key, check_run
from flowstore.runs.life import Beginning
from flowstore.runs.listing import ids_of_runs, listing_of_runs
from flowstore.runs.models import (
    EvaluatedValue,
    Evaluation,
    RecordPage,
    Run,
    RunPage,
    RunProgress,
    RunRecord,
    UnreadableItem,
    run_of_result,
    total_of,
)
from flowstore.runs.place import Place
from flowstore.runs.records import Keep
from flowstore.runs.removing import remove_run
from flowstore.runs.retaining import RunsRetention
from flowstore.runs.running import RunningRun
from flowstore.runs.sizes import RunSize, size_of
from flowstore.runs.verifying import RunVerifier
from flowstore.task_error import TaskError

_BATCH: Final = 500


class Runs:
    """Runs and what belongs to them: ``backend.runs``.

    They are kept in a namespace of their own beside the tasks: no listing, count or ``clear`` of tasks has
    anything to do with them, and no ttl. A run id is a
    str of 1 to 200 UTF-8 bytes without control characters, a key one of 1 to 200 bytes. Values are encoded
    like results: what comes back equals what went in.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._of: Belongings | None = None
        self.datasets = Datasets(lambda: self._belongings)
        self.retention = RunsRetention(lambda: self._belongings)
        self.archive = RunsArchive(lambda: self._belongings)

    @property
    def _core(self) -> Core:
        return self._place.core

    @property
    def _belongings(self) -> Belongings:
        if self._of is None:
            self._of = Belongings(self._core)
        return self._of

    async def start(
        self,
        run_id: str,
        *,
        group: str | None = None,
        config: Any = None,
        labels: Iterable[str] = (),
        total: int | None = None,
        resume: bool = False,
    ) -> Run:
        """Begin a run. Raises RunExists if there is one, unless ``resume``: then begin its next attempt.

        ``group``: what it is compared with and cleaned up with ("default"). ``config``: any value, kept as it
        is now. ``total``: how many records are expected. A resumed run keeps its records and all of these but
        ``total``; those that are given again must be as they were, or RunExists is raised. Whatever its state
        was, it is running then, and what the attempt before still appends as such is refused.
        """
        beginning = Beginning(run_id, group, config, labels, total)
        return run_of_result(await life.start(self._core, beginning, check_bool("resume", resume)))

    def run(
        self,
        run_id: str,
        *,
        group: str | None = None,
        config: Any = None,
        labels: Iterable[str] = (),
        total: int | None = None,
        resume: bool = False,
        checkpoint_every: int | None = None,
        keep: int | None = 3,
        patience: Seconds | None = None,
    ) -> RunningRun:
        """Use as ``async with backend.runs.run("r1") as run:`` around the code of one attempt at a run.

        Starts the run, with the arguments of ``start``. When the block ends, completes it with
        ``run.result``; cancels it after asyncio.CancelledError; fails it after any other exception, which
        propagates. ``patience``: for how many seconds, or how long a timedelta, the end is tried again if the
        storage is full or out of reach; None: ``op_timeout``. ``checkpoint_every``: after how many records a
        checkpoint is saved, of what ``run.checkpoint_with`` was given; ``keep``: how many of them stay.
        """
        beginning = Beginning(run_id, group, config, labels, total)
        if checkpoint_every is not None:
            check_int("checkpoint_every", checkpoint_every, 1)
        if keep is not None:
            check_int("keep", keep, 1)
        waited = check_patience(patience, self._place.tasks.op_timeout)
        is_resumed = check_bool("resume", resume)
        return RunningRun(lambda: self._belongings, beginning, is_resumed, checkpoint_every, keep, waited)

    async def complete(self, run_id: str, result: Any = None, *, attempt: int | None = None) -> Run:
        """End the run as successful. Raises RunNotOpen if it is finished, UnknownRun if there is none.

        ``attempt``: only if that one is current.
        """
        core = self._core
        if result is not None:
            return run_of_result(await life.complete_with(core, run_id, result, attempt))
        return await self._as_ended(await life.end(core, run_id, life.completed, attempt))

    async def fail(self, run_id: str, error: BaseException | TaskError, *, attempt: int | None = None) -> Run:
        """End the run as failed with ``error``. Raises as ``complete`` does."""
        return await self._as_ended(await life.end(self._core, run_id, life.failed(error), attempt))

    async def cancel(self, run_id: str, reason: str | None = None, *, attempt: int | None = None) -> Run:
        """End the run as cancelled: what it still appends is refused. Raises as ``complete`` does."""
        return await self._as_ended(await life.end(self._core, run_id, life.cancelled(reason), attempt))

    async def _as_ended(self, result: TaskResult) -> Run:
        """With its values, unless somebody has removed or resumed it by now."""
        ended, run = run_of_result(result), await self.get(result.task_id)
        is_standing = run is not None and (run.attempt, run.status) == (ended.attempt, ended.status)
        return run if run is not None and is_standing else ended

    async def get(self, run_id: str) -> Run | None:
        """The run; None if there is none. Raises UnreadableRecord."""
        result = await get(self._core, check_run(run_id))
        return None if result is None else run_of_result(result)

    async def wait_for(self, run_id: str, timeout: Seconds | None = None) -> Run:
        """The finished run, as soon as it is. The wait may begin before it is started.

        ``timeout``: as in ``backend.wait_for``, whose errors it raises.
        """
        return run_of_result(await wait_for(self._core, check_run(run_id), timeout, WHOLE))

    def iter(
        self,
        *,
        group: str | None = None,
        status: Statuses = None,
        label: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = True,
        load_values: bool = True,
    ) -> AsyncGenerator[Run, None]:
        """All runs that ``list`` would show. UnreadableRecords names the others at the end."""
        return self._runs_of(listing_of_runs(group, label, status, since, until, newest_first, load_values))

    async def _runs_of(self, wanted: Listing) -> AsyncGenerator[Run, None]:
        core, view = self._core, view_of(None, wanted.with_body)
        async for result in results(core, walk(core, wanted), view):
            yield run_of_result(result)

    async def progress(self, run_id: str) -> RunProgress:
        """How many records there are, counted by the storage: exact whoever appends. Raises UnknownRun.

        ``done`` are those that are finished: successful, failed or cancelled.
        """
        run = await get(self._core, check_run(run_id), life.WITHOUT_VALUES)
        if run is None:
            raise UnknownRun(run_id)
        counts = await self._belongings.count(run_id)
        done = sum(count for status, count in counts.items() if status in FINISHED)
        return RunProgress(done=done, total=total_of(run), counts=counts)

    async def pin(self, run_id: str) -> bool:
        """Let retention leave the run alone; False if it was so before. Raises UnknownRun."""
        return await life.pin(self._core, run_id, True)

    async def unpin(self, run_id: str) -> bool:
        """Take that back; False if the run was not pinned. Raises UnknownRun."""
        return await life.pin(self._core, run_id, False)

    async def delete(self, run_id: str, *, force: bool = False) -> bool:
        """Remove the run and all that belongs to it, in bounded steps; False if there is none.

        Raises RunInProgress for one that is going on, unless ``force``: it is cancelled then. Nobody can add
        anything once it has begun, and a call that was interrupted may be repeated. Shared payloads go with
        the last run that has them.
        """
        check_bool("force", force)
        return await remove_run(self._belongings, run_id, force=force)

    async def append(
        self,
        run_id: str,
        value: Any,
        *,
        key: str | None = None,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        error: BaseException | TaskError | None = None,
        keep: Keep = "last",
        attempt: int | None = None,
    ) -> bool:
        """Append a record; as durable as a ``store``, and counted by the same write.

        ``key``: what it is found by. Of several with one key one stands, the one that came last, which takes
        its place at the end, or with ``keep="first"`` the first: False then, if another one stands. None: a
        key that nobody else has. Raises RunNotOpen if the run is finished, or in another attempt than
        ``attempt``, UnknownRun, and NotSerializable; then nothing is written.
        """
        how = records.appending(run_id, status, error, keep, attempt)
        [is_kept] = await records.append(self._belongings, how, [(key, value)])
        return is_kept

    async def append_many(
        self,
        run_id: str,
        values: Mapping[str, Any] | Iterable[tuple[str | None, Any]],
        *,
        status: TaskStatus | StatusName = TaskStatus.SUCCESS,
        keep: Keep = "last",
        attempt: int | None = None,
    ) -> list[bool]:
        """``append`` each value under its key, in order; one bool for each.

        All are checked and encoded before the first is sent. Each is atomic, the whole is not.
        """
        how = records.appending(run_id, status, None, keep, attempt)
        return await records.append(self._belongings, how, records.pairs(values))

    async def exists(self, run_id: str, key: str) -> bool:
        """Whether there is a record with this key, in any status."""
        [status] = await records.existing(self._belongings, check_run(run_id), [check_key(key)])
        return status is not None

    async def get_by_key(self, run_id: str, key: str, *, as_: TypeForm[T] = None) -> RunRecord[T] | None:
        """The record with this key; None if there is none. ``as_``: the type that its value is to have."""
        return await records.by_key(self._belongings, run_id, key, as_)

    def records(
        self,
        run_id: str,
        *,
        status: Statuses = None,
        newest_first: bool = False,
        batch_size: int = _BATCH,
        as_: TypeForm[T] = None,
    ) -> AsyncGenerator[RunRecord[T], None]:
        """The records in the order of appending, or its reverse, ``batch_size`` in memory at a time.

        The order is that of the clocks of those who append. Records that keep their place come exactly once;
        those that are appended meanwhile may come, also again. Unreadable ones are reported at the end, by
        UnreadableRecords. A run that does not exist has none. ``as_``: the type of the values.
        """
        check_int("batch_size", batch_size, 1, MAX_PAGE)
        check_bool("newest_first", newest_first)
        statuses, view = check_statuses(status), view_of(as_, load_result=True)
        return records.in_order(
            lambda: self._belongings, check_run(run_id), statuses, newest_first, batch_size, view
        )

    async def page(
        self,
        run_id: str,
        *,
        status: Statuses = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = False,
        as_: TypeForm[T] = None,
    ) -> RecordPage[T]:
        """One page of the records, in the order of ``records``; ``cursor`` as in ``backend.page``."""
        check_bool("newest_first", newest_first)
        statuses, view = check_statuses(status), view_of(as_, load_result=True)
        return await records.one_page(
            self._belongings, check_run(run_id), statuses, newest_first, limit, cursor, view
        )

    async def missing(self, run_id: str, keys: Iterable[str], *, status: Statuses = None) -> list[str]:
        """Those of ``keys`` that no record has, in order, each once: what a resumed run has still to do.

        ``status``: only records in these statuses count, so ``status="success"`` also has those that failed.
        """
        return await records.missing(self._belongings, check_run(run_id), keys, check_statuses(status))

    async def evaluate(
        self, run_id: str, key: str, value: Any, *, eval_id: str = "default", config: Any = None
    ) -> None:
        """Say ``value`` of the record with this key, in place of what was said before; also when it is over.

        Values with another ``eval_id`` or another ``config`` are kept apart. ``config`` may be what
        ``cache_key`` takes. Raises UnknownRun and NotSerializable.
        """
        await evaluations.evaluate(self._belongings, run_id, [(key, value)], eval_id, config)

    async def evaluate_many(
        self,
        run_id: str,
        values: Mapping[str, Any] | Iterable[tuple[str, Any]],
        *,
        eval_id: str = "default",
        config: Any = None,
    ) -> None:
        """``evaluate`` each key with its value. All are encoded before the first is sent."""
        await evaluations.evaluate(self._belongings, run_id, records.pairs(values, "values"), eval_id, config)

    def evaluations(
        self, run_id: str, eval_id: str = "default", config: Any = None, *, as_: TypeForm[T] = None
    ) -> AsyncGenerator[EvaluatedValue[T], None]:
        """The values of one evaluation of one config, in the order in which they were given."""
        evaluation = evaluations.set_id(run_id, eval_id, config)
        return evaluations.values(
            lambda: self._belongings, evaluation, _BATCH, view_of(as_, load_result=True)
        )

    async def evaluation(
        self,
        run_id: str,
        key: str,
        eval_id: str = "default",
        config: Any = None,
        *,
        as_: TypeForm[T] = None,
    ) -> EvaluatedValue[T] | None:
        """What an evaluation says of one key; None: nothing."""
        evaluation = evaluations.set_id(run_id, eval_id, config)
        return await evaluations.value(self._belongings, evaluation, key, view_of(as_, load_result=True))

    async def all_evaluations(self, run_id: str) -> list[Evaluation]:
        """Which evaluations of the run there are, of which configs, the oldest first."""
        return await evaluations.all_of(self._belongings, run_id)

    async def checkpoint(self, run_id: str, value: Any, *, keep: int | None = None) -> int:
        """Save a checkpoint, as ``backend.checkpoints.save`` does for a task; returns its seq."""
        return await records.checkpoint(self._core, check_run(run_id), value, keep)

    async def latest_checkpoint(self, run_id: str, *, as_: TypeForm[T] = None) -> Checkpoint[T] | None:
        """The last one that was saved; None if there is none."""
        return await Checkpoints(self._core).latest(check_run(run_id), as_=as_)

    async def checkpoints(self, run_id: str, *, as_: TypeForm[T] = None) -> list[Checkpoint[T]]:
        """All checkpoints of the run, in the order in which they were saved."""
        return await Checkpoints(self._core).all(check_run(run_id), as_=as_)

    async def size(self, run_id: str | None = None, *, group: str | None = None) -> RunSize:
        """How many bytes a run takes, or all of a group, or all there are; without reading payloads."""
        if run_id is not None and group is not None:
            raise ValueError("group: cannot be combined with run_id")
        if run_id is not None and await get(self._core, check_run(run_id), life.WITHOUT_VALUES) is None:
            raise UnknownRun(run_id)
        return await size_of(self._belongings, self._ids_of(run_id, group))

    async def verify(
        self, run_id: str | None = None, *, repair: bool = False, progress: Progress | None = None
    ) -> Verification:
        """Read a run, or all, with all that belongs to them, and sum up what is not as it was written.

        As ``backend.integrity.verify`` does, and besides: what belongs to no run, datasets without payloads
        and payloads without datasets. ``repair`` mends indexes and claims, and removes payloads that nobody
        has; a record that is damaged, or whose run is gone, stays. Raises UnknownRun.
        """
        verifier = await self._verifier(run_id, repair, progress)
        return await summed_up(verifier, verifier.findings())

    async def _verifier(self, run_id: str | None, repair: bool, progress: Progress | None) -> RunVerifier:
        check_bool("repair", repair)
        if progress is not None:
            check_callable("progress", progress)
        if run_id is not None and not (await self._belongings.read([check_run(run_id)], with_body=False))[0]:
            raise UnknownRun(run_id)
        return RunVerifier(self._belongings, run_id, repair=repair, progress=progress)

    async def _ids_of(self, run_id: str | None, group: str | None) -> AsyncGenerator[str, None]:
        if run_id is not None:
            yield run_id
            return
        async for run_ids in ids_of_runs(self._core, group):
            for each in run_ids:
                yield each

    # At the end, as it is what the annotations of what follows would mean by list
    async def list(
        self,
        *,
        group: str | None = None,
        status: Statuses = None,
        label: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_values: bool = True,
    ) -> RunPage:
        """One page of runs, by their first start, the newest first, or its exact reverse.

        ``since``, ``until``: bounds of that start, the first included. ``limit``, ``cursor``: as in
        ``backend.page``. ``load_values=False``: config and result are NOT_LOADED.
        """
        wanted = listing_of_runs(group, label, status, since, until, newest_first, load_values)
        found = await page(self._core, wanted, limit, cursor, view_of(None, load_values))
        return RunPage(
            items=[run_of_result(result) for result in found.items],
            next_cursor=found.next_cursor,
            unreadable=[UnreadableItem(key=each.task_id, reason=each.reason) for each in found.unreadable],
        )
