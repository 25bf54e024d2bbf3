"""Which records an action is about: what matches, what it would do to each, and what that comes to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Final, NamedTuple

from flowstore._core import listing
from flowstore._core.core import STEP, Core
from flowstore._core.deeds import BEGINNING, Chosen, Deed
from flowstore._core.matching import Matching, matching_of
from flowstore._core.operations import Action, Effect, FailedTask, Preview, is_left
from flowstore._core.rows import without_values
from flowstore._core.sifting import MOST_WITH_VALUES, Sieve, Sifted
from flowstore.engine import Entry, Position
from flowstore.errors import UnreadableRecord
from flowstore.models import TaskResult, TaskStatus
from flowstore.observing import RecordUnreadable
from flowstore.queries import TaskQuery
from flowstore.times import OF_NO_TASK

_LOOKED_AT: Final = 10_000
_SAMPLES: Final = 10
_LONGEST_STEP: Final = 3.0
"""Seconds. The lease is renewed between two steps, and large values take their time to be searched."""
_UNDECIDED: Final = "only the first MiB of its values was searched for text that they must not have"


class Found(NamedTuple):
    """A task that matches, and what the action does to it."""

    entry: Entry
    task: TaskResult
    effect: Effect


@dataclass
class Judged:
    """What a step of the walk has found. ``last``: the record it ends with; None: the walk is over.

    Unless ``is_sure``, values of which only the beginning was searched may hide that others match, or not.
    """

    found: list[Found] = field(default_factory=list)
    failures: list[FailedTask] = field(default_factory=list)
    last: Entry | None = None
    looked_at: int = 0
    is_sure: bool = True

    def add(self, found: Found | FailedTask | None) -> bool:
        """Whether it is to be changed."""
        if isinstance(found, FailedTask):
            self.failures.append(found)
        elif found is not None:
            self.found.append(found)
            return not is_left(found.effect)
        return False

    @property
    def chosen(self) -> list[Chosen]:
        return [Chosen(*each) for each in self.found if not is_left(each.effect)]

    @property
    def effects(self) -> Counter[str]:
        return Counter(each.effect.value for each in self.found)


class Judge:
    """Finds the tasks that match, as they were at ``started``, step by step."""

    def __init__(self, core: Core, matching: Matching, deed: Deed, started: int) -> None:
        self.query = matching.query
        """With all that it meant at the start, but for times."""
        self._core = core
        self._matching = matching
        self._deed = deed
        self._started = started
        self._sieve = Sieve(core, matching)
        self._listing = replace(
            matching.listing,
            limit=MOST_WITH_VALUES if matching.needs_values else STEP,
            with_body=deed.needs_beginning,
            max_body=BEGINNING if deed.needs_beginning else None,
        )

    async def step(self, after: Position | None, most: int | None) -> Judged:
        """The next step of the walk, of which at most ``most`` tasks are to be changed; None: all."""
        async with self._core.life:
            entries = await listing.step(self._core, replace(self._listing, after=after))
        return await self._judged(entries, most)

    def place(self, entry: Entry, after: Position | None) -> Position:
        """Behind what the walk goes on. Raises CorruptRecord, as listings do."""
        return listing.behind(entry, replace(self._listing, after=after))

    async def _judged(self, entries: Sequence[Entry], most: int | None) -> Judged:
        judged, changing, until = Judged(), 0, perf_counter() + _LONGEST_STEP
        async with aclosing(self._sieve.sift(entries)) as sifted:
            async for each in sifted:
                judged.last = entries[judged.looked_at]
                judged.looked_at += 1
                if self._is_meant(each.entry):
                    judged.is_sure &= each.is_sure
                    found = self._look(each) if each.is_wanted else None
                    changing += judged.add(found)
                if changing == most or perf_counter() > until:
                    break
        return judged

    def _is_meant(self, entry: Entry) -> bool:
        """False: it is no task but a typed result, or was not there at the start."""
        is_new = entry.version == 1 and entry.updated_at > self._started
        return entry.submitted_at != OF_NO_TASK and not is_new

    def _look(self, sifted: Sifted) -> Found | FailedTask:
        """What the action does to one that matches, or why nobody can tell whether it matches."""
        entry = sifted.entry
        try:
            if sifted.error is not None:
                self._core.observers.tell(RecordUnreadable(self._core.namespace, entry.id, sifted.error))
                raise sifted.error
            task = self._core.records.decode(without_values(entry))
        except UnreadableRecord as error:
            return FailedTask(task_id=entry.id, reason=error.reason)
        if not sifted.is_sure:
            return FailedTask(task_id=entry.id, reason=_UNDECIDED)
        is_changed = entry.updated_at > self._started
        effect = Effect.LEFT_CHANGED if is_changed else self._deed.effect_on(task)
        return Found(_begun(entry) if self._deed.needs_beginning else without_values(entry), task, effect)


def _begun(entry: Entry) -> Entry:
    """As a listing that is asked for the beginnings of values has it."""
    body = entry.body
    if type(body) is not bytes or len(body) <= BEGINNING:  # values that the storage keeps as objects
        return entry
    return entry._replace(body=body[:BEGINNING], body_size=entry.body_size or len(body))


async def judge_of(core: Core, query: TaskQuery, deed: Deed, started: int) -> Judge:
    """Raises what the query does."""
    return Judge(core, await matching_of(core, query, STEP, started), deed, started)


async def judge_again(core: Core, query: str, deed: Deed, started: int) -> Judge:
    """Of the query that a judge had at the start: it means what it meant then, whenever it is walked."""
    return Judge(core, await matching_of(core, query, STEP, started, known=()), deed, started)


async def preview(
    core: Core, action: Action, query: TaskQuery, limit: int | None, is_host_told: bool
) -> Preview:
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
        query=str(query),
        count=seen.by_status.total(),
        is_exact=seen.is_sure and (judged.last is None or seen.changing == limit),
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
    is_sure: bool = True

    def add(self, judged: Judged) -> None:
        self.by_status.update(each.task.status for each in judged.found)
        self.effects.update(judged.effects)
        self.samples += [each.task for each in judged.found[: _SAMPLES - len(self.samples)]]
        self.unreadable += len(judged.failures)
        self.changing += len(judged.chosen)
        self.looked_at += judged.looked_at
        self.is_sure &= judged.is_sure
