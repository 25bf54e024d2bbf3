"""Changing the records of a step, and finding out what became of them where an answer was lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from flowstore._core.core import Core
from flowstore._core.deeds import BEGINNING, Chosen, Deed
from flowstore._core.ledger import Sent
from flowstore._core.operations import Effect, FailedTask
from flowstore._core.rows import without_values
from flowstore.engine import Asked, Entry, Section
from flowstore.errors import UnreadableRecord

PART: Final = 100
"""How many records are changed in one call: while it is carried out, the storage may serve nobody else."""


@dataclass
class Made:
    """What was made of some records. ``done``: the ids of those that were changed."""

    done: list[str] = field(default_factory=list)
    effects: Counter[str] = field(default_factory=Counter)
    failures: list[FailedTask] = field(default_factory=list)


class Changes:
    """Records that are to be changed, each of which is ``left`` until it is known what became of it.

    ``times``: see Step. What is ``known`` is as it was read; where a call has failed nobody knows, and the
    records are read again.
    """

    def __init__(
        self, core: Core, deed: Deed, started: int, sent: Iterable[Sent], times: tuple[int, ...] = ()
    ) -> None:
        self._core = core
        self._deed = deed
        self._started = started
        self._times = times
        self._left = {each.id: each for each in sent}
        self._known: dict[str, Chosen] = {}
        self._unsure = set(self._left) if times else set[str]()
        """Those whose change may have been made though no answer has told so."""
        self._refused: set[str] = set()
        """Those that were not changed here, as the storage has answered."""
        self._made = Made()

    @classmethod
    def of(cls, core: Core, deed: Deed, started: int, chosen: Iterable[Chosen]) -> Changes:
        """Of records that were just read."""
        known = {each.entry.id: each for each in chosen}
        made = cls(
            core, deed, started, (Sent(id, one.entry.version, one.effect) for id, one in known.items())
        )
        made._known = known
        return made

    @property
    def left(self) -> tuple[Sent, ...]:
        return tuple(self._left.values())

    def take(self) -> Made:
        """What was made since the last call of this."""
        made, self._made = self._made, Made()
        return made

    async def make(self, at: int) -> None:
        """Change all that are left. After an error, call it again: nothing is changed twice."""
        self._times = (*self._times, at)
        while self._left:
            await self.look()
            known = [*self._known.values()]
            for start in range(0, len(known), PART):
                await self._make(known[start : start + PART], at)
                await asyncio.sleep(0)  # others may run, also where the storage never waits

    async def _make(self, part: list[Chosen], at: int) -> None:
        for each in part:
            del self._known[each.entry.id]  # until there is an answer, it may be changed or not
        try:
            fates = await self._deed.carry_out(part, at)
        except BaseException:
            self._unsure.update(each.entry.id for each in part)
            self._refused -= self._unsure
            raise
        for each, fate in zip(part, fates, strict=True):
            if fate.is_done:
                self._end(each.entry.id)
            elif fate.reason is not None:
                self._fail(each.entry.id, fate.reason)
            elif each.entry.id not in self._unsure:
                self._refused.add(each.entry.id)

    async def look(self) -> None:
        """Read those of which nobody knows, and end those that are as wanted, or are others by now."""
        ids = [id for id in self._left if id not in self._known]
        for start in range(0, len(ids), PART):
            part = ids[start : start + PART]
            most = BEGINNING if self._deed.needs_beginning else None
            entries = await self._core.engine.read(part, with_body=most is not None, max_body=most)
            now = max([self._core.clock(), *self._times])
            live = [None if entry is None or entry.is_expired(now) else entry for entry in entries]
            found = dict(zip(part, live, strict=True))
            for id in await self._changed([id for id, entry in found.items() if not self._ends(id, entry)]):
                self._end(id, is_done=False)

    def _ends(self, id: str, entry: Entry | None) -> bool:
        """Whether it is known what becomes of it; False: the history may still tell."""
        version = self._left[id].version
        if id not in self._refused and self._deed.is_done(entry, version, self._started, self._times):
            self._end(id)
        elif entry is not None and entry.version == version and entry.updated_at <= self._started:
            try:
                task = self._core.records.decode(without_values(entry))
            except UnreadableRecord as error:
                self._fail(id, error.reason)
            else:
                self._known[id] = Chosen(entry, task, Effect(self._left[id].effect))
        else:
            return False
        return True

    async def _changed(self, ids: list[str]) -> list[str]:
        """Those that others have changed. One that was changed here before has that in its history."""
        if not ids or not self._times or not self._deed.leaves_versions:
            return ids
        asked = [Asked(Section.HISTORY, id, [f"{self._left[id].version + 1:016}"]) for id in ids]
        items = await self._core.engine.items(asked, self._core.clock())
        is_ours = [any(item.at in self._times for item in of_one) for of_one in items]
        for id, ours in zip(ids, is_ours, strict=True):
            if ours:
                self._end(id)
        return [id for id, ours in zip(ids, is_ours, strict=True) if not ours]

    def _end(self, id: str, *, is_done: bool = True) -> None:
        sent = self._left.pop(id)
        self._made.effects[sent.effect if is_done else Effect.LEFT_CHANGED.value] += 1
        if is_done:
            self._made.done.append(id)

    def _fail(self, id: str, reason: str) -> None:
        del self._left[id]
        self._made.failures.append(FailedTask(task_id=id, reason=reason))
