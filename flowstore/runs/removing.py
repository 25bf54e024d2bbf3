"""Removing a run with all that belongs to it: in bounded steps, and again after whatever interrupted it.

The run is marked first: it gets an attempt that no run has, and the storage refuses from then on whatever
somebody wants to add to it. Its own record goes last. Until then a call that is repeated finds it and carries
on, and no other run can begin under its id, whose records would be taken for those of this one.

Several may remove the same run, and one of them may be so late that the others have ended and another run of
that id has begun. So before each step one looks whether the run is still the one that was marked. What was
listed before belonged to it then, and is removed only as it was listed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from flowstore._core.core import steps
from flowstore._core.creating import create
from flowstore._core.storing import get
from flowstore._values.reading import stages_of_attempt
from flowstore.engine import Entry, Owner, Standing, Verdict
from flowstore.errors import RunInProgress, RunNotOpen, UnknownRun
from flowstore.models import MAX_RETRIES, TaskResult
from flowstore.runs.belongings import Belongings
from flowstore.runs.evaluations import closed
from flowstore.runs.ids import check_run, datasets_of, evaluations_of
from flowstore.runs.life import WITHOUT_VALUES, cancelled, check_finished, end, mark_removing
from flowstore.runs.models import REMOVING
from flowstore.runs.payloads import release
from flowstore.times import from_micros

_REMOVING: Final = stages_of_attempt(MAX_RETRIES)


async def remove_run(
    belongings: Belongings,
    run_id: str,
    *,
    force: bool = False,
    check: Callable[[TaskResult], None] = check_finished,
) -> bool:
    """False if there is nothing of such a run. ``force``: also one that is going on, which is cancelled then.

    ``check`` raises for a run, as it stands, that is to stay after all.
    """
    check_run(run_id)
    belongings.core.check_writable()
    if not await _mark(belongings, run_id, force, check):
        return False
    [entry] = await belongings.read([run_id], with_body=False)
    if entry is None or not _REMOVING[0] <= entry.stage <= _REMOVING[1]:
        return False  # somebody else has removed it
    try:
        return await _Doomed(belongings, entry).remove()
    except _Gone:
        return False


async def _mark(
    belongings: Belongings, run_id: str, force: bool, check: Callable[[TaskResult], None]
) -> bool:
    core = belongings.core
    while True:
        run = await get(core, run_id, WITHOUT_VALUES)
        if run is None:
            return await _mark_lost(belongings, run_id)
        if force and not run.is_finished:
            await _cancel(belongings, run_id)
        try:
            return await mark_removing(core, run_id, check)
        except RunInProgress:
            if not force:  # else somebody has resumed it in between
                raise


async def _mark_lost(belongings: Belongings, run_id: str) -> bool:
    """Of a run whose record was lost there may be something left: it gets a record that is marked."""
    counts = [await belongings.count(each) for each in (run_id, evaluations_of(run_id), datasets_of(run_id))]
    if not any(sum(each.values()) for each in counts):
        return False
    at = from_micros(belongings.core.clock())
    lost = TaskResult.cancelled(
        run_id, at=at, started_at=at, submitted_at=at, retries=MAX_RETRIES, meta={REMOVING: 0}
    )
    await create(belongings.core, lost)
    return True


async def _cancel(belongings: Belongings, run_id: str) -> None:
    try:
        await end(belongings.core, run_id, cancelled("it is being deleted"), None)
    except (RunNotOpen, UnknownRun):  # ended by somebody else
        return


class _Gone(Exception):
    """Somebody else has removed the run, and what has its id now is another one."""


class _Doomed:
    """A run that was marked, whose record is ``entry``. Its methods raise _Gone."""

    def __init__(self, belongings: Belongings, entry: Entry) -> None:
        self._belongings = belongings
        self._run_id = entry.id
        self._standing = Standing(entry.version, entry.check)
        self._owner = Owner(entry.id, *_REMOVING)

    async def remove(self) -> bool:
        run_id = self._run_id
        await self._remove_children(run_id)
        async for evaluations in self._belongings.walk(evaluations_of(run_id)):
            for evaluation in evaluations:
                await self._remove_evaluation(evaluation.id)
        await self._remove_children(datasets_of(run_id))
        await release(self._belongings, run_id, owner=self._owner)
        return bool(await self._belongings.remove([run_id], [self._standing]))

    async def _remove_evaluation(self, evaluation: str) -> None:
        [outcome] = await self._belongings.write([closed(self._belongings, evaluation, self._owner)])
        if outcome.verdict is Verdict.OWNERLESS:
            raise _Gone
        await self._remove_children(evaluation)
        # Last, or the values that are left after an interruption would be in no listing
        [entry] = await self._belongings.read([evaluation], with_body=False)
        if entry is not None:
            await self._remove([entry])

    async def _remove_children(self, parent: str) -> None:
        async for entries in self._belongings.walk(parent):
            await self._remove(entries)

    async def _remove(self, entries: Sequence[Entry]) -> None:
        belongings, core = self._belongings, self._belongings.core
        [run] = await belongings.read([self._run_id], with_body=False)
        if run is None or (run.version, run.check) != self._standing:
            raise _Gone
        readable = [entry for entry in entries if entry.status]
        standing = [Standing(entry.version, entry.check) for entry in readable]
        await belongings.remove([entry.id for entry in readable], standing)
        # What is no record stands as nothing that one could name
        others = [entry.id for entry in entries if not entry.status]
        async with core.life:
            for step in steps(others):
                await core.engine.remove(step, core.clock())
