"""Retention: which of many subjects a policy keeps, and the removal of the others, step by step.

A subject is whatever has a group, an end and a size: a task, or a run with all its records. Where they come
from and how one is removed is said by a ``Source``; which ones go is decided here, and nowhere else.

One walk from the newest to the oldest is enough: of each group it remembers how many stay and how large they
are. So a million subjects cost no more memory than a thousand. Removing goes along with the walk, a step at a
time. A process that is killed leaves no plan behind, and nothing by half: the next walk decides anew, finds
those that stay in the same places, and goes on with what is left.

Between the decision and the removal a subject may be begun again or pinned. So each is removed only if it is
still in the state that was judged, which the storage decides in one step with the removal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

from flowstore._core.core import Core
from flowstore._core.leases import Lease
from flowstore._core.policies import RetentionItem, RetentionOutcome, RetentionPlan, RetentionPolicy
from flowstore._values.arguments import check_age
from flowstore.engine import Standing
from flowstore.errors import RetentionBusy
from flowstore.models import Unreadable
from flowstore.times import from_micros

_LEASE = "retention"


class Subject(NamedTuple):
    """What stays or goes. Times are in microseconds.

    ``finished_at`` is not read unless it ``is_finished``. ``size`` is None unless it was asked for.
    ``standing``: the state that is judged here, as the storage tells it from all others.
    """

    id: str
    group: str | None
    status: str
    finished_at: int
    is_finished: bool
    is_pinned: bool
    standing: Standing
    size: int | None = None


class Source(Protocol):
    """Where subjects come from, and where they are removed. One object serves one walk."""

    @property
    def unreadable(self) -> list[Unreadable]:
        """Those that the walk could not read so far, which it leaves out; the first 100 at most."""

    def steps(self, policy: RetentionPolicy) -> AsyncGenerator[list[Subject], None]:
        """All subjects that the policy may be about, in bounded steps: of each group the newest first.

        They have sizes if ``policy.max_bytes`` is given. Others, which are not finished or of other statuses,
        may be among them.
        """

    async def remove(self, subjects: Sequence[Subject]) -> list[bool]:
        """Remove each with all that belongs to it; False where it is gone, or not the one that was judged."""


class _Going(NamedTuple):
    subject: Subject
    reason: str


@dataclass(slots=True)
class _Kept:
    """What stays of a group so far. ``is_full``: nothing older fits into ``max_bytes``."""

    count: int = 0
    size: int = 0
    is_full: bool = False


@dataclass
class _Judge:
    """Decides about subjects of which each is older than those of its group before."""

    policy: RetentionPolicy
    now: int
    kept: int = 0
    _groups: dict[str | None, _Kept] = field(default_factory=dict)

    def __post_init__(self) -> None:
        age, statuses = self.policy.max_age, self.policy.statuses
        self._max_age = None if age is None else check_age("max_age", age)
        self._statuses = None if statuses is None else {*statuses}

    def going(self, subjects: Sequence[Subject]) -> list[_Going]:
        """Those that do not stay, and why."""
        found = []
        for subject in subjects:
            if self._is_meant(subject):
                group = self._groups.setdefault(subject.group, _Kept())
                reason = None if group.count < self.policy.keep_latest else self._reason(subject, group)
                if reason is not None:
                    found.append(_Going(subject, reason))
                    continue
                group.count += 1
                group.size += subject.size or 0
                self.kept += 1
        return found

    def _is_meant(self, subject: Subject) -> bool:
        if not subject.is_finished or subject.is_pinned:
            return False
        return self._statuses is None or subject.status in self._statuses

    def _reason(self, subject: Subject, group: _Kept) -> str | None:
        """Why it goes; None: it stays."""
        age, policy = self.now - subject.finished_at, self.policy
        if self._max_age is not None and age > self._max_age:
            return f"finished {_shown(age)} ago; max_age is {_shown(self._max_age)}"
        if policy.max_per_group is not None and group.count >= policy.max_per_group:
            return f"{group.count} newer of its group stay; max_per_group is {policy.max_per_group}"
        if policy.max_bytes is not None:
            group.is_full = group.is_full or group.size + (subject.size or 0) > policy.max_bytes
            if group.is_full:
                taken = f"newer ones of its group take {group.size} bytes"
                return f"with {subject.size} bytes it does not fit: {taken}; max_bytes is {policy.max_bytes}"
        return None


def _shown(micros: int) -> timedelta:
    """Whole seconds where there are any."""
    return timedelta(seconds=micros // 1_000_000) if micros >= 1_000_000 else timedelta(microseconds=micros)


async def _judged(judge: _Judge, subjects: Sequence[Subject]) -> list[_Going]:
    """Those that go. Others may run before each step, also where a storage in memory never waits."""
    await asyncio.sleep(0)
    return judge.going(subjects)


async def plan(core: Core, source: Source, policy: RetentionPolicy) -> RetentionPlan:
    judge = _Judge(policy, core.clock())
    async with aclosing(source.steps(policy)) as steps:
        items = [_item(going) async for step in steps for going in await _judged(judge, step)]
    return RetentionPlan(items=items, kept=judge.kept, unreadable=source.unreadable)


def _item(going: _Going) -> RetentionItem:
    subject = going.subject
    return RetentionItem(
        id=subject.id,
        group=subject.group,
        status=subject.status,
        finished_at=from_micros(subject.finished_at),
        size=subject.size,
        reason=going.reason,
    )


async def apply(
    core: Core,
    source: Source,
    policy: RetentionPolicy,
    progress: Callable[[RetentionOutcome], object] | None = None,
) -> RetentionOutcome:
    """Remove what goes. ``progress`` is called after each step that removed some.

    Raises RetentionBusy if another process does, or has taken over because this one was silent for too long.
    What was removed by then, or before any other error, is removed.
    """
    judge = _Judge(policy, core.clock())
    removed = changed = size = 0

    def outcome() -> RetentionOutcome:
        return RetentionOutcome(
            removed=removed,
            size=None if policy.max_bytes is None else size,
            kept=judge.kept,
            changed=changed,
            unreadable=[*source.unreadable],
        )

    async with Lease(core, _LEASE, RetentionBusy) as lease, aclosing(source.steps(policy)) as steps:
        async for step in steps:
            await lease.renew()
            subjects = [going.subject for going in await _judged(judge, step)]
            if not subjects:
                continue
            gone = await source.remove(subjects)
            removed += sum(gone)
            changed += len(gone) - sum(gone)
            size += sum(one.size or 0 for one, is_gone in zip(subjects, gone, strict=True) if is_gone)
            if progress is not None:
                progress(outcome())
    return outcome()
