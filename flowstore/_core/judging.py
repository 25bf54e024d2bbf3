"""Which records an action is about: what matches, what it would do to each, and what that comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from flowstore._core import listing
from flowstore._core.core import STEP, Core
from flowstore._core.deeds import BEGINNING, Chosen, Deed
from flowstore._core.matching import Matching, matching_of
from flowstore._core.operations import Action, Effect, FailedTask, Preview, is_left
from flowstore._core.viewing import View
from flowstore.engine import Entry, Position
from flowstore.errors import UnreadableRecord
from flowstore.models import TaskResult, TaskStatus
from flowstore.times import OF_NO_TASK

_STEP_WITH_VALUES: Final = 100
_LOOKED_AT: Final = 10_000
_SAMPLES: Final = 10
_WITHOUT_VALUES: Final = View(with_body=False)


class Found(NamedTuple):
    """A task that matches, and what the action does to it."""

    entry: Entry
    task: TaskResult
    effect: Effect


@dataclass
class Judged:
    """What a step of the walk has found. ``last``: the record it ends with; None: the walk is over."""

    found: list[Found] = field(default_factory=list)
    failures: list[FailedTask] = field(default_factory=list)
    last: Entry | None = None
    looked_at: int = 0

    @property
    def chosen(self) -> list[Chosen]:
        return [Chosen(*each) for each in self.found if not is_left(each.effect)]

    @property
    def effects(self) -> Counter[str]:
        return Counter(each.effect.value for each in self.found)


class Judge:
    """Finds the tasks that match, as they were at ``started``, step by step."""

    def __init__(self, core: Core, matching: Matching, deed: Deed, started: int) -> None:
        self._core = core
        self._matching = matching
        self._deed = deed
        self._started = started
        wanted = matching.listing
        if matching.needs_values:
            wanted = replace(wanted, limit=_STEP_WITH_VALUES, with_body=True)
        else:
            most = BEGINNING if deed.needs_beginning else None
            wanted = replace(wanted, limit=STEP, with_body=deed.needs_beginning, max_body=most)
        self._listing = wanted

    async def step(self, after: Position | None, most: int | None) -> Judged:
        """The next step of the walk, of which at most ``most`` tasks are to be changed; None: all."""
        async with self._core.life:
            entries = await listing.step(self._core, replace(self._listing, after=after))
        return self._judged(entries, most)

    def place(self, entry: Entry, after: Position | None) -> Position:
        """Behind what the walk goes on. Raises CorruptRecord, as listings do."""
        return listing.behind(entry, replace(self._listing, after=after))

    def _judged(self, entries: Iterable[Entry], most: int | None) -> Judged:
        judged, changing = Judged(), 0
        for entry in entries:
            judged.last = entry
            judged.looked_at += 1
            try:
                found = self._look(entry)
            except UnreadableRecord as error:
                judged.failures.append(FailedTask(task_id=entry.id, reason=error.reason))
                continue
            if found is not None:
                judged.found.append(found)
                changing += not is_left(found.effect)
                if changing == most:
                    break
        return judged

    def _look(self, entry: Entry) -> Found | None:
        """None: it does not match, is no task but a typed result, or was not there at the start."""
        if entry.submitted_at == OF_NO_TASK or (entry.version == 1 and entry.updated_at > self._started):
            return None
        seen = entry if self._matching.needs_values else entry._replace(body=None, body_size=None)
        task = self._core.records.decode(seen)
        if not self._matching.holds(task):
            return None
        if self._matching.needs_values:
            task = _WITHOUT_VALUES.of(task)
        is_changed = entry.updated_at > self._started
        return Found(entry, task, Effect.LEFT_CHANGED if is_changed else self._deed.effect_on(task))


async def judge_of(core: Core, query: str, deed: Deed, started: int) -> Judge:
    """``query`` means what it meant at ``started``, whenever it is walked. Raises what the query does."""
    return Judge(core, await matching_of(core, query, STEP, started), deed, started)


async def preview(core: Core, action: Action, query: str, limit: int | None, is_host_told: bool) -> Preview:
    judge = await judge_of(core, query, Deed(core, action), core.clock())
    seen, judged = _Seen(), Judged()
    position: Position | None = None
    while seen.changing != limit and seen.looked_at < _LOOKED_AT:
        judged = await judge.step(position, None if limit is None else limit - seen.changing)
        seen.add(judged)
        if judged.last is None:
            break
        position = judge.place(judged.last, position)
    return Preview(
        action=action,
        query=query,
        count=seen.by_status.total(),
        is_exact=judged.last is None or seen.changing == limit,
        by_status=dict(seen.by_status),
        effects=dict(seen.effects),
        samples=seen.samples,
        unreadable=seen.unreadable,
        is_host_told=is_host_told,
    )


@dataclass
class _Seen:
    """The sum of several steps."""

    by_status: Counter[TaskStatus] = field(default_factory=Counter)
    effects: Counter[str] = field(default_factory=Counter)
    samples: list[TaskResult] = field(default_factory=list)
    unreadable: int = 0
    changing: int = 0
    looked_at: int = 0

    def add(self, judged: Judged) -> None:
        self.by_status.update(each.task.status for each in judged.found)
        self.effects.update(judged.effects)
        self.samples += [each.task for each in judged.found[: _SAMPLES - len(self.samples)]]
        self.unreadable += len(judged.failures)
        self.changing += len(judged.chosen)
        self.looked_at += judged.looked_at
