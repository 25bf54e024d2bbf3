"""Retention of runs: the policy is that of tasks, and what goes is a whole run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

from flowstore._core.listing import Listing, Reading, walk
from flowstore._core.policies import RetentionOutcome, RetentionPlan, RetentionPolicy
from flowstore._core.retaining import Subject, apply, plan
from flowstore._values.arguments import check_callable
from flowstore.engine import Entry, Standing
from flowstore.errors import RunInProgress, RunNotOpen
from flowstore.features.retention import check_policy
from flowstore.models import TaskResult, Unreadable
from flowstore.runs.belongings import Belongings
from flowstore.runs.life import is_removing
from flowstore.runs.listing import listing_of_runs
from flowstore.runs.models import PINNED
from flowstore.runs.removing import remove_run
from flowstore.runs.sizes import size_of
from flowstore.times import to_micros

_STEP: Final = 20
"""How many runs are judged, and removed, at once: each in steps of its own."""


class RunsRetention:
    """What to keep of finished runs, by a policy: ``backend.runs.retention``.

    The newest are those that were started last. A run that is going on, or is pinned, never goes, and does
    not count. The size of a run is ``runs.size(run_id).total``: a payload that it shares is part of it.
    """

    def __init__(self, belongings: Callable[[], Belongings]) -> None:
        self._belongings = belongings

    async def plan(
        self, policy: RetentionPolicy, *, group: str | None = None, label: str | None = None
    ) -> RetentionPlan:
        """What ``apply`` would remove now, and why. Nothing is changed.

        ``group``, ``label``: only among the runs of that group, or with that label.
        """
        check_policy(policy)
        source = _Runs(self._belongings(), listing_of_runs(group, label))
        return await plan(source.belongings.core, source, policy)

    async def apply(
        self,
        policy: RetentionPolicy,
        *,
        group: str | None = None,
        label: str | None = None,
        progress: Callable[[RetentionOutcome], object] | None = None,
    ) -> RetentionOutcome:
        """Remove the runs that the policy does not keep, each with all that belongs to it; what was done.

        A run goes only if it is still as it was judged: one that is resumed, pinned or ended anew meanwhile
        stays. One call at a time, in whatever process; others raise RetentionBusy. After an error, or if the
        process dies, call it again: it first ends what was begun, whatever the policy says, and goes on.
        ``progress`` is called after each step, with what was done so far.
        """
        if progress is not None:
            check_callable("progress", progress)
        check_policy(policy)
        source = _Runs(self._belongings(), listing_of_runs(group, label))
        source.is_removing = True
        return await apply(source.belongings.core, source, policy, progress)


class _Runs:
    """Runs as subjects of a policy, in the order of a listing by their first start."""

    def __init__(self, belongings: Belongings, listing: Listing) -> None:
        self.belongings = belongings
        self.is_removing = False
        self._listing = listing
        self._reading = Reading(self._read)

    @property
    def unreadable(self) -> list[Unreadable]:
        return self._reading.unreadable

    async def steps(self, policy: RetentionPolicy) -> AsyncGenerator[list[Subject], None]:
        core = self.belongings.core
        async for entries in walk(core, replace(self._listing, limit=_STEP, with_body=False)):
            subjects = []
            for run, standing in self._reading.decoded(entries):
                if is_removing(run):
                    await self._end(run)
                else:
                    size = await self._size(run) if policy.max_bytes is not None else None
                    subjects.append(_subject(run, standing, size))
            yield subjects

    def _read(self, entry: Entry) -> tuple[TaskResult, Standing]:
        run = self.belongings.core.records.decode(entry._replace(body=None))
        return run, Standing(entry.version, entry.check)

    async def _end(self, run: TaskResult) -> None:
        """Another call has begun to remove it, and did not come to its end; a plan leaves that alone."""
        if self.is_removing:
            await remove_run(self.belongings, run.task_id)

    async def _size(self, run: TaskResult) -> int:
        async def only() -> AsyncIterator[str]:
            yield run.task_id

        return (await size_of(self.belongings, only())).total

    async def remove(self, subjects: Sequence[Subject]) -> list[bool]:
        # At once, so that they share trips
        return [*await asyncio.gather(*(self._remove(subject) for subject in subjects))]

    async def _remove(self, subject: Subject) -> bool:
        def check(run: TaskResult) -> None:
            if run.version != subject.standing.version:
                raise RunInProgress(run.task_id)

        try:
            return await remove_run(self.belongings, subject.id, check=check)
        except (RunInProgress, RunNotOpen):  # it is not what was judged any more
            return False


def _subject(run: TaskResult, standing: Standing, size: int | None) -> Subject:
    finished = run.finished_at or run.updated_at
    return Subject(
        id=run.task_id,
        group=run.task_name,
        status=run.status,
        finished_at=0 if finished is None else to_micros(finished),
        is_finished=run.is_finished,
        is_pinned=bool(run.meta.get(PINNED)),
        standing=standing,
        size=size,
    )
