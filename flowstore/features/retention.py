"""Retention of tasks: how many of each name stay, for how long, and what goes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Final

from flowstore._core.core import Core
from flowstore._core.filters import Filters, where_of
from flowstore._core.listing import Listing, Reading, walk
from flowstore._core.policies import PINNED, RetentionOutcome, RetentionPlan, RetentionPolicy
from flowstore._core.retaining import Subject, apply, plan
from flowstore._core.stepping import step_one
from flowstore._values.arguments import check_callable
from flowstore.engine import Entry, Standing
from flowstore.models import FINISHED, TaskResult, TaskStatus, Unreadable
from flowstore.times import OF_NO_TASK

STEP: Final = 200
"""How many tasks are removed at once: while it is done, the storage may serve nobody else."""


class Retention:
    """What to keep of finished tasks, by a policy: ``backend.retention``.

    A group are the tasks of one name; those without a name are one, too. The newest are those that were
    submitted last. Tasks with the label "pinned" (``flowstore.PINNED``) stay. The size of a task is that of
    its result and its arguments, as they are stored.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def plan(
        self, policy: RetentionPolicy, *, name: str | None = None, label: str | None = None
    ) -> RetentionPlan:
        """What ``apply`` would remove now, and why. Nothing is changed.

        ``name``, ``label``: only among the tasks of that name, or with that label. It reads every finished
        task among them, but for the values.
        """
        return await plan(self._core, self._tasks(policy, name, label), policy)

    async def apply(
        self,
        policy: RetentionPolicy,
        *,
        name: str | None = None,
        label: str | None = None,
        progress: Callable[[RetentionOutcome], object] | None = None,
    ) -> RetentionOutcome:
        """Remove what the policy does not keep, with all that belongs to it, in steps of 200; what was done.

        A task goes only if it is still in the state that was judged: one that is requeued, pinned or stored
        in any way meanwhile stays. Its children stay. Waiters of a task that goes are woken as by ``delete``.
        ``progress`` is called after each step, with what was done so far.

        One call at a time applies a policy to a namespace, in whatever process; others raise RetentionBusy.
        After an error, or if the process dies, call it again: it goes on with what is left, half a minute
        after the last sign of the process that has died.
        """
        if progress is not None:
            check_callable("progress", progress)
        return await apply(self._core, self._tasks(policy, name, label), policy, progress)

    async def pin(self, task_id: str) -> bool:
        """Give the task the label "pinned", so that it stays; False if there is no such task.

        That is an event of its history, "pinned". Nothing else changes, and values are not decoded. Raises
        UnreadableRecord.
        """
        return await self._relabel(task_id, "pinned", lambda labels: labels | {PINNED})

    async def unpin(self, task_id: str) -> bool:
        """Take the label "pinned" away; False if there is no such task. Otherwise like ``pin``."""
        return await self._relabel(task_id, "unpinned", lambda labels: labels - {PINNED})

    async def _relabel(
        self, task_id: str, event: str, change: Callable[[frozenset[str]], frozenset[str]]
    ) -> bool:
        def step(task: TaskResult, at: datetime) -> TaskResult | None:
            labels = change(task.labels)
            return None if labels == task.labels else task.model_copy(update={"labels": labels})

        return await step_one(self._core, task_id, step, {"name": event}) is not None

    def _tasks(self, policy: RetentionPolicy, name: str | None, label: str | None) -> _Tasks:
        check_policy(policy)
        return _Tasks(self._core, {"name": name, "label": label})


def check_policy(policy: object) -> None:
    if not isinstance(policy, RetentionPolicy):
        raise TypeError(f"policy: expected RetentionPolicy, got {type(policy).__name__}")


class _Tasks:
    """Finished tasks, in the order of a listing by submission."""

    def __init__(self, core: Core, filters: Filters) -> None:
        self._core = core
        self._where = where_of(core, filters)
        self._reading = Reading(self._subject)

    @property
    def unreadable(self) -> list[Unreadable]:
        return self._reading.unreadable

    async def steps(self, policy: RetentionPolicy) -> AsyncGenerator[list[Subject], None]:
        statuses = policy.statuses or FINISHED
        with_size = policy.max_bytes is not None
        listing = Listing(tuple(status for status in TaskStatus if status in statuses), STEP, self._where)
        # One byte of each body is enough to be told how many there are.
        listing = replace(listing, with_body=with_size, max_body=1)
        async with aclosing(walk(self._core, listing)) as steps:
            async for entries in steps:
                yield self._reading.decoded(entry for entry in entries if entry.submitted_at != OF_NO_TASK)

    def _subject(self, entry: Entry) -> Subject:
        task = self._core.records.decode(entry._replace(body=None))
        finished_at = entry.updated_at if entry.finished_at is None else entry.finished_at
        return Subject(
            id=entry.id,
            group=task.task_name,
            status=entry.status,
            finished_at=finished_at,
            is_finished=task.is_finished,
            is_pinned=PINNED in task.labels,
            standing=Standing(entry.version, entry.check),
            size=None if entry.body is None else self._size(entry),
        )

    def _size(self, entry: Entry) -> int:
        cut = self._core.records.cut(entry, 1)
        return cut.body_size or len(cut.body or b"")

    async def remove(self, subjects: Sequence[Subject]) -> list[bool]:
        ids, standing = [one.id for one in subjects], [one.standing for one in subjects]
        async with self._core.life:
            await self._core.engine.room()
            return await self._core.engine.remove(ids, self._core.clock(), standing)
