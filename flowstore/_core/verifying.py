"""The one walk that reads everything: each record whole, what belongs to it, and what the indexes say of it.

The storage walks what it has stored, in bounded steps, and says in each where its indexes disagree
(``Engine.audit``). The records of a step are read as any reader does, so checksums and decoding are those of
every read. Others may write meanwhile: what is gone when it is read has been removed, and is no finding.

What is damaged stays as it is, and so does every index entry of it: a listing must not follow a record that
is not what was written. So a step that has found something is repeated with the ids that may be mended.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, TypeVar

from pydantic_core import from_json

from flowstore._core import grouping, leases
from flowstore._core.core import STEP, Core
from flowstore._core.findings import MOST_FINDINGS, Finding, Verification
from flowstore._core.keeping import Keeping
from flowstore._trips import counting
from flowstore._values.checks import is_whole_item
from flowstore._values.reading import DAMAGED, check_transition
from flowstore._waiting.portions import Portions
from flowstore.engine import (
    NAMESPACE,
    OWNED,
    WHOLE_STORE,
    Asked,
    Audited,
    Entry,
    Flaw,
    FlawKind,
    Item,
    Section,
    every,
)
from flowstore.engine.items import OF_NAMESPACE
from flowstore.errors import CorruptRecord, CorruptStore, UnreadableRecord

Progress = Callable[[int, int | None], object]
"""Called with how many records were read so far, and how many there are; None: that is not known."""

T = TypeVar("T")

_KEPT: Final = {
    leases.PREFIX: leases.FIELD,
    grouping.PREFIX: grouping.FIELD,
    counting.KEY: counting.FIELD,
}
"""What flowstore keeps for itself in Section.APP: how the keys begin, and what the values hold."""
_OWNERS_PER_READ: Final = {Section.HISTORY: STEP, Section.DATA: 50, Section.CHECKPOINT: 50}
"""Of how many records the items are read at once. Nobody knows before how large they are."""


class Verifier:
    """One verification of the records whose ids begin with ``prefix``, "" for all that the namespace has.

    ``is_meant``: of these only the ones for whose ids it is True.
    """

    def __init__(
        self,
        core: Core,
        prefix: str = "",
        *,
        repair: bool = False,
        progress: Progress | None = None,
        is_meant: Callable[[str], bool] | None = None,
    ) -> None:
        self._core = core
        self._prefix = prefix
        self._is_meant = is_meant
        self._is_repairing = repair
        if repair:
            core.check_writable()
        self._progress = progress
        self._portions = Portions()
        self._keeping = {section: Keeping(core, section) for section in Section}
        self.records = self.items = 0

    async def findings(self) -> AsyncGenerator[Finding, None]:
        """Each as soon as it is found. Every step is a call of its own, like those of a listing."""
        total, found = await self._total()
        for finding in found:
            yield finding
        after: object = None
        is_end = False
        while not is_end:
            found, after = await self._step(after)
            is_end = after is None
            if is_end and not self._prefix:
                found += await self._of_namespace()
            if self._progress is not None:
                self._progress(self.records, total)
            for finding in found:
                yield finding
            await asyncio.sleep(0)  # others may run between two steps, also where the storage never waits

    async def _total(self) -> tuple[int | None, list[Finding]]:
        """How many records there are, as far as that can be told: a damaged count must not hide the rest."""
        if self._prefix:
            return None, []
        async with self._core.life:
            try:
                [counts] = await self._core.engine.count([every()])
            except (CorruptStore, CorruptRecord) as error:
                return None, [_damaged(None, "counts", _reason(error))]
        return counts.total, []

    async def _step(self, after: object) -> tuple[list[Finding], object]:
        async with self._core.life:
            audited = self._meant(await self._core.engine.audit(self._prefix, after, STEP))
            if self._is_repairing and audited.flaws:
                audited = await self._repaired(after, audited)
            found = list(map(_of_flaw, audited.flaws))
            found += await self._read_records([record.id for record in audited.records])
            for section in OWNED:
                owners = [record.id for record in audited.records if section in record.sections]
                found += await self._read_items(section, owners)
        return found, audited.next

    async def _repaired(self, after: object, audited: Audited) -> Audited:
        ids = {flaw.id for flaw in audited.flaws} - {WHOLE_STORE}
        sound = {WHOLE_STORE, *[task_id for task_id in ids if await self._is_mendable(task_id)]}
        with suppress(CorruptStore):  # it cannot even be mended, and has been found
            return self._meant(await self._core.engine.audit(self._prefix, after, STEP, repair=sound))
        return audited

    def _meant(self, audited: Audited) -> Audited:
        if self._is_meant is None:
            return audited
        return replace(
            audited,
            records=tuple(record for record in audited.records if self._is_meant(record.id)),
            flaws=tuple(flaw for flaw in audited.flaws if self._is_meant(flaw.id)),
        )

    async def _is_mendable(self, task_id: str) -> bool:
        """Whether it is told what the indexes have to say of it: it is what was written, or is not there."""
        try:
            [entry] = await self._core.engine.read([task_id], with_body=False)
        except CorruptStore:
            return False
        return entry is None or (bool(entry.status) and self._core.records.is_whole(entry))

    async def _read_records(self, ids: Sequence[str]) -> list[Finding]:
        found: list[Finding] = []
        at = 0
        while at < len(ids):
            step = ids[at : at + self._portions.size]
            at += len(step)
            entries, findings = await _apart(step, self._core.engine.read)
            self._portions.answered(entries)
            found += [*findings, *self._look_at(entries)]
        return found

    def _look_at(self, entries: Iterable[Entry | None]) -> Iterator[Finding]:
        for entry in entries:
            if entry is None:
                continue
            self.records += 1
            try:
                self._core.records.decode(entry)
            except UnreadableRecord as error:
                yield _damaged(entry.id, "record", error.reason)

    async def _read_items(self, section: Section, owners: Sequence[str]) -> list[Finding]:
        found: list[Finding] = []
        for start in range(0, len(owners), _OWNERS_PER_READ[section]):
            step = owners[start : start + _OWNERS_PER_READ[section]]

            async def read(ids: Sequence[str]) -> list[list[Item]]:
                asked = [Asked(section, owner) for owner in ids]
                return await self._core.engine.items(asked, self._core.clock())

            items, findings = await _apart(step, read, f"{section}")
            found += findings
            for of_owner in items:
                found += self._look_at_items(section, of_owner)
        return found

    def _look_at_items(self, section: Section, items: Iterable[Item]) -> Iterator[Finding]:
        for item in items:
            self.items += 1
            try:
                self._decode(section, item)
            except (UnreadableRecord, ValueError) as error:
                reason = error.reason if isinstance(error, UnreadableRecord) else str(error)
                key = int(item.key) if section in (Section.HISTORY, Section.CHECKPOINT) else repr(item.key)
                yield _damaged(item.owner or None, f"{section} {key}", reason)

    def _decode(self, section: Section, item: Item) -> Any:
        if section is Section.HISTORY:
            return check_transition(item)
        if section is Section.WORKER:  # written by a newer program it may be anything, but it is JSON
            if not is_whole_item(section, item):
                raise CorruptRecord(item.key, DAMAGED, section)
            return from_json(item.value)
        name = "info" if section is Section.APP else "value"
        if section is Section.APP:
            of_key = [field for start, field in _KEPT.items() if item.key.startswith(start)]
            name = of_key[0] if of_key else name
        return self._keeping[section].decode(item.owner, item, name)

    async def _of_namespace(self) -> list[Finding]:
        found: list[Finding] = []
        async with self._core.life:
            for section in OF_NAMESPACE:
                asked = [Asked(section, NAMESPACE)]
                try:
                    [items] = await self._core.engine.items(asked, self._core.clock())
                except (CorruptStore, UnreadableRecord) as error:
                    found.append(_damaged(None, section, _reason(error)))
                else:
                    found += self._look_at_items(section, items)
        return found


async def verify(
    core: Core, prefix: str = "", *, repair: bool = False, progress: Progress | None = None
) -> Verification:
    """Walk it to its end, and sum up."""
    verifier = Verifier(core, prefix, repair=repair, progress=progress)
    return await summed_up(verifier, verifier.findings())


async def summed_up(verifier: Verifier, findings: AsyncIterable[Finding]) -> Verification:
    """``findings``: those of the verifier, and perhaps others."""
    kept: list[Finding] = []
    found = repaired = 0
    async for finding in findings:
        found += 1
        repaired += finding.is_repaired
        if found <= MOST_FINDINGS:
            kept.append(finding)
    return Verification(
        records=verifier.records, items=verifier.items, found=found, repaired=repaired, findings=tuple(kept)
    )


async def _apart(
    ids: Sequence[str], read: Callable[[Sequence[str]], Awaitable[list[T]]], where: str = "record"
) -> tuple[list[T], list[Finding]]:
    """What is read of these ids. What cannot be read hides no other: they are halved until it is alone."""
    if not ids:
        return [], []
    try:
        return await read(ids), []
    except (CorruptStore, CorruptRecord) as error:
        if len(ids) == 1:
            return [], [_damaged(ids[0], where, _reason(error))]
    half = len(ids) // 2
    first, found = await _apart(ids[:half], read, where)
    second, more = await _apart(ids[half:], read, where)
    return first + second, found + more


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, UnreadableRecord) else str(error)


def _damaged(task_id: str | None, where: str, reason: str) -> Finding:
    return Finding(kind=FlawKind.DAMAGED, task_id=task_id, where=where, reason=reason)


def _of_flaw(flaw: Flaw) -> Finding:
    return Finding(
        kind=flaw.kind,
        task_id=None if flaw.id == WHOLE_STORE else flaw.id,
        where=flaw.where,
        reason=flaw.reason,
        is_repaired=flaw.is_repaired,
    )
