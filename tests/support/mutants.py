"""Engines with one mistake each, such as authors of storages make. The contract of engines must find them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import count
from typing import Any, cast

from sortedcontainers import SortedDict

from flowstore.backends.memory.engine import MemoryEngine
from flowstore.backends.memory.statistics import Statistics
from flowstore.engine import (
    BY_FINISH,
    MOST_GROUPS,
    NAMESPACE,
    NO_LIMIT,
    OF_GROUP,
    Asked,
    Cell,
    Change,
    Counted,
    Engine,
    EngineWrapper,
    Entry,
    Expiry,
    Hints,
    Item,
    Listed,
    Noted,
    Outcome,
    Owner,
    Position,
    Purged,
    Put,
    Query,
    Report,
    Section,
    Standing,
    Tallied,
    Tier,
    Verdict,
    Write,
)
from flowstore.testing.faults import Mute

_fresh = map("fresh {}".format, count())

Tell = Callable[[Collection[str], Change], None]


class _Told:
    """Hints that are told in another way: ``tell`` gets the real ones' ``changed``, ids and change."""

    def __init__(self, hints: Hints, tell: Callable[[Tell, Collection[str], Change], None]) -> None:
        self._hints = hints
        self._tell = tell

    @property
    def is_waiting(self) -> bool:
        return self._hints.is_waiting

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        self._tell(self._hints.changed, ids, change)

    def interrupted(self, error: Exception) -> None:
        self._hints.interrupted(error)

    def look_again(self) -> None:
        self._hints.look_again()


class _Wrapped(EngineWrapper):
    def __init__(self, namespace: str = "default") -> None:
        super().__init__(MemoryEngine(namespace))


class _Telling(_Wrapped):
    """Passes hints through ``tell``."""

    async def open(self, hints: Hints) -> None:
        await self.inner.open(_Told(hints, self.tell))

    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        tell(ids, change)


class WatchersLookedUpBeforeTheCommit(_Telling):
    """Who registers while the write is on its way reads too early, and is not told."""

    watched: frozenset[str] = frozenset()
    told: frozenset[str] = frozenset()

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        self.watched |= {*ids}
        return await self.inner.watch(ids, until)

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        told = self.watched
        await asyncio.sleep(0)
        self.told = told
        return await self.inner.write(writes, now)

    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        tell([task_id for task_id in ids if {task_id, ""} & self.told], change)


class ToldBeforeItCanBeRead(_Wrapped):
    """A hint that its reader acts upon too early."""

    async def open(self, hints: Hints) -> None:
        self.hints = hints
        await Mute(self.inner).open(hints)

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        for write in writes:
            self.hints.changed([write.entry.id], Change(write.entry.status))
        for _ in range(3):
            await asyncio.sleep(0)
        return await self.inner.write(writes, now)


class ReadBeforeRegistered(_Telling):
    """The other half of the classic: it looks, and only then registers."""

    watched: frozenset[str] = frozenset()

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        entries = await self.inner.watch(ids, until)
        await asyncio.sleep(0)
        self.watched |= {*ids}
        return entries

    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        tell([task_id for task_id in ids if {task_id, ""} & self.watched], change)


class RemovalsEndNoWait(MemoryEngine):
    def _tell_removed(self, entries: Any, now: int) -> None:
        pass


class AnyIdToldTwice(_Telling):
    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        tell([*ids, *ids], change)


class OneHintPerCall(_Telling):
    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        tell([*ids][:1], change)


class RefusedIsTold(_Wrapped):
    async def open(self, hints: Hints) -> None:
        self.hints = hints
        await self.inner.open(hints)

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        outcomes = await self.inner.write(writes, now)
        for write, outcome in zip(writes, outcomes, strict=True):
            if not outcome.is_applied:
                self.hints.changed([write.entry.id], Change(write.entry.status))
        return outcomes


class TokenIgnored(_Wrapped):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self.inner.write([write._replace(token=next(_fresh)) for write in writes], now)


class CeilingExclusive(_Wrapped):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self.inner.write([write._replace(ceiling=write.ceiling - 1) for write in writes], now)


class CeilingBesideVersion(MemoryEngine):
    """``if_version`` holds, but the ceiling is read as well."""

    def _write(self, write: Write, now: int) -> Outcome:
        standing = self._live(write.entry.id, now)
        if write.if_version is not None and standing is not None and standing.stage > write.ceiling:
            return Outcome(Verdict.STANDING, standing.version)
        return super()._write(write, now)


class FixedBeforeTheGuard(MemoryEngine):
    def _write(self, write: Write, now: int) -> Outcome:
        standing = self._live(write.entry.id, now)
        if standing is not None and standing.fixed not in ((), write.entry.fixed):
            return Outcome(Verdict.FIXED, standing.version, fixed=standing.fixed)
        return super()._write(write, now)


class VersionGoesOnAfterExpiry(MemoryEngine):
    def _write(self, write: Write, now: int) -> Outcome:
        before = self._entries.get(write.entry.id)
        outcome = super()._write(write, now)
        if outcome.is_applied and before is not None and before.is_expired(now):
            entry = self._entries[write.entry.id]
            self._entries[entry.id] = entry._replace(version=before.version + 1)
        return outcome


class RefusedWriteEndsTheCall(_Wrapped):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for write in writes:
            is_over = bool(outcomes) and not outcomes[-1].is_applied
            outcomes += outcomes[-1:] if is_over else await self.inner.write([write], now)
        return outcomes


class SweepsNothing(MemoryEngine):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await super().write(writes, min(now, int(min(self._next_expiry, 2**62)) - 1))


class KeepDropsTheNewest(MemoryEngine):
    def _put(self, put: Put, now: int) -> Outcome:
        outcome = super()._put(put._replace(keep=None), now)
        items = self._items.get((put.owner, put.section), SortedDict())
        while put.keep is not None and len(items) > put.keep:
            items.popitem(-1)
        return outcome


class KeepsOneTooMany(_Wrapped):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self.inner.write(
            [
                write._replace(logged=write.logged._replace(keep=write.logged.keep + 1))
                if write.logged and write.logged.keep
                else write
                for write in writes
            ],
            now,
        )


class NumbersByCounting(_Wrapped):
    """The next number is taken from how many items there are, not from the highest."""

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        outcomes = []
        for put in puts:
            if put.key is None:
                [items] = await self.inner.items([Asked(put.section, put.owner)], now)
                put = put._replace(key=f"{len(items) + 1:016}")
            outcomes += await self.inner.put([put], now)
        return outcomes


class AbsentKeyIsRemoved(_Wrapped):
    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        outcomes = await self.inner.put(puts, now)
        return [
            Outcome(Verdict.APPLIED, 0, outcome.key)
            if put.value is None and outcome.verdict is Verdict.STANDING and not outcome.version
            else outcome
            for put, outcome in zip(puts, outcomes, strict=True)
        ]


class ItemsSurviveTheirRecord(MemoryEngine):
    def _drop(self, task_id: str) -> Entry | None:
        kept = {place: items for place, items in self._items.items() if place[0] == task_id}
        entry = super()._drop(task_id)
        self._items.update(kept)
        return entry


class PurgeTakesTheNamespace(MemoryEngine):
    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if everything:
            self._items.pop((NAMESPACE, Section.WORKER), None)
        return await super().purge(limit, now, everything=everything)


class HistoryByTime(_Wrapped):
    """The items of a history in the order of their times, which is not that of writing."""

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        found = await self.inner.items(asked, now)
        return [sorted(items, key=lambda item: item.at) for items in found]


class IdsInTheOrderOfUtf16(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        entries = await self.inner.scan(query, now)
        return sorted(
            entries,
            key=lambda entry: (entry.position.sort, entry.id.encode("utf-16-be")),
            reverse=not query.newest_first,
        )


class AfterInclusive(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        if query.after is not None and query.newest_first:
            sort, id_ = query.after
            before = Position(sort, id_[:-1] + chr(ord(id_[-1]) - 1) + "\U0010ffff")
            query = replace(query, after=before)
        return await self.inner.scan(query, now)


class WithinExclusive(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        if query.within is not None:
            query = replace(query, within=(query.within[0], query.within[1] - 1))
        return await self.inner.scan(query, now)


class LimitBeforeTheOtherGroups(_Wrapped):
    """Takes the first of the index that is walked, and only then tests the other groups."""

    async def scan(self, query: Query, now: int) -> list[Entry]:
        entries = await self.inner.scan(replace(query, groups=query.groups[:1]), now)
        return [
            entry
            for entry in entries
            if all({*entry.fixed, *entry.facets} & {*group} for group in query.groups)
        ]


class ExpiredAreListed(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self.inner.scan(query, now - 1)


class FinishIsIgnored(MemoryEngine):
    """Facets that begin with ~ are listed by submission."""

    async def scan(self, query: Query, now: int) -> list[Entry]:
        entries = await super().scan(query, now)
        if query.groups and query.groups[0][0].startswith(BY_FINISH):
            entries.sort(key=lambda entry: entry.position, reverse=not query.newest_first)
        return entries


class BodiesComeAlong(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self.inner.scan(replace(query, with_body=True), now)


class SizeOfWhatIsLeft(MemoryEngine):
    """The size is that of the beginning, not of the whole."""

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        entries = await super().read(ids, with_body=with_body, max_body=max_body)
        return [
            entry if entry is None or entry.body_size is None else entry._replace(body_size=max_body)
            for entry in entries
        ]


class BodiesAreCutAsText(_Wrapped):
    """By characters."""

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        entries = await self.inner.read(ids, with_body=with_body)
        return [entry if entry is None else self._cut(entry, max_body) for entry in entries]

    def _cut(self, entry: Entry, max_body: int | None) -> Entry:
        body = entry.body or b""
        if max_body is None or len(body) <= max_body:
            return entry
        return entry._replace(body=body.decode(errors="ignore")[:max_body].encode(), body_size=len(body))


class ListedBodiesAreWhole(_Wrapped):
    async def scan(self, query: Query, now: int) -> list[Entry]:
        return await self.inner.scan(replace(query, max_body=None), now)


class FacetsAreLeftBehind(MemoryEngine):
    """A record stays in the listings of the facets that it had."""

    def _unlist(self, entry: Entry) -> None:
        self._listings.remove(entry._replace(facets=()))
        super_entry = entry._replace(facets=(), fixed=())
        if super_entry.expires_at is not None:
            self._expiries.remove((super_entry.expires_at, entry.id))


class CountsAreRemembered(_Wrapped):
    def __init__(self, namespace: str = "default") -> None:
        super().__init__(namespace)
        self.counts: dict[Query, Counted] = {}

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        for query, counted in zip(queries, await self.inner.count(queries), strict=True):
            if counted.total:
                self.counts.setdefault(query, counted)
        return [self.counts.get(query, Counted({})) for query in queries]


class CountsWhatItFinds(_Wrapped):
    """The limit is how many records it looks at: a rare match would have it walk through all of them."""

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        whole = await self.inner.count([replace(query, limit=NO_LIMIT) for query in queries])
        limited = await self.inner.count(queries)
        return [
            all_ if all_.total <= query.limit else some
            for query, all_, some in zip(queries, whole, limited, strict=True)
        ]


class CountsAnyFirst(MemoryEngine):
    """Those of one status after those of another, and not the newest."""

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return [await self._of(query) for query in queries]

    async def _of(self, query: Query) -> Counted:
        counts, left, place = dict[str, int](), query.limit, None
        for status in query.statuses:
            [counted] = await super().count([replace(query, statuses=(status,), limit=max(1, left))])
            counts |= counted.counts if left else {}
            left, place = max(0, left - counted.total), place or counted.next
        return Counted(counts, place)


class CountsOutsideOfTheBounds(MemoryEngine):
    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return await super().count([replace(query, within=None) for query in queries])


class CountsForever(MemoryEngine):
    """It never says where it has stopped."""

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return [counted._replace(next=None) for counted in await super().count(queries)]


class FixedAreFacets(MemoryEngine):
    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        facets = {facet for entry in self._entries.values() for facet in (*entry.fixed, *entry.facets)}
        return sorted(facet for facet in facets if facet.startswith(prefix))[:limit]


class FacetsBeginAnywhere(MemoryEngine):
    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return (await super().facets(prefix, None, after))[-(limit or 0) :]


class FacetsIncludeTheLast(MemoryEngine):
    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return await super().facets(prefix, limit, after and after[:-1])


class ReportsOnTheFinished(MemoryEngine):
    def _report(self, report: Report, now: int) -> bool:
        entry = self._live(report.id, now)
        if entry is None:
            return False
        self._entries[entry.id] = entry._replace(progress=report.progress)
        return True


class ExpiryOfAnyVersion(MemoryEngine):
    def _expire(self, expiry: Expiry, now: int) -> bool:
        entry = self._live(expiry.id, now)
        standing = entry and expiry._replace(version=entry.version, standing=entry.check)
        return standing is not None and super()._expire(standing, now)


class OldExpiryStays(MemoryEngine):
    """It is purged at the time at which it was to expire first."""

    def _expire(self, expiry: Expiry, now: int) -> bool:
        entry = self._live(expiry.id, now)
        if entry is None or (entry.version, entry.check) != (expiry.version, expiry.standing):
            return False
        self._entries[entry.id] = entry._replace(expires_at=expiry.expires_at, check=expiry.check)
        return True


class ExpiryIsNotTold(_Telling):
    is_expiring = False

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        self.is_expiring = True
        try:
            return await self.inner.expire(expiries, now)
        finally:
            self.is_expiring = False

    def tell(self, tell: Tell, ids: Collection[str], change: Change) -> None:
        if not self.is_expiring:
            tell(ids, change)


class ExpiredWasLive(MemoryEngine):
    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await super().remove(ids, 0, standing)


class PatchesWhateverStands(MemoryEngine):
    def _write(self, write: Write, now: int) -> Outcome:
        standing = self._entries.get(write.entry.id)
        if write.standing is not None and standing is not None:
            write = write._replace(standing=standing.check)
        return super()._write(write, now)


class OwnerIsNotAsked(_Wrapped):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        return await self.inner.write([write._replace(owner=None) for write in writes], now)


class _OwnersRead(_Wrapped):
    """Reads the owners first, and then writes what has one."""

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        refused = [await self.refused(write.owner, now) if write.owner else None for write in writes]
        if any(write.owner for write in writes):
            await self.between()
        free = [
            write._replace(owner=None)
            for write, refusal in zip(writes, refused, strict=True)
            if refusal is None
        ]
        outcomes = iter(await self.inner.write(free, now))
        return [refusal or next(outcomes) for refusal in refused]

    async def refused(self, owner: Owner, now: int) -> Outcome | None:
        [entry] = await self.inner.read([owner.id])
        if entry is None or entry.is_expired(now):
            return Outcome(Verdict.OWNERLESS)
        is_met = owner.admits(entry.status, entry.stage)
        return None if is_met else Outcome(Verdict.OWNERLESS, entry.version)

    async def between(self) -> None:
        pass


class OwnersReadForTheWholeCall(_OwnersRead):
    """What the call itself writes of an owner does not count."""


class OwnersReadBeforeTheTransaction(_OwnersRead):
    """One that is finished in between gets another record."""

    async def between(self) -> None:
        await asyncio.sleep(0)


class OwnerBeforeTheToken(MemoryEngine):
    def _write(self, write: Write, now: int) -> Outcome:
        refused = write.owner and self._ownerless(write.owner, now)
        return refused or super()._write(write, now)


class OwnerAfterTheGuard(MemoryEngine):
    def _write(self, write: Write, now: int) -> Outcome:
        standing = self._live(write.entry.id, now)
        version = standing.version if standing else 0
        is_lost = write.if_version is None and standing is not None and standing.stage > write.ceiling
        if is_lost or write.if_version not in (None, version):
            return Outcome(Verdict.STANDING, version)
        return super()._write(write, now)


class _OwnersAskedFor(_Wrapped):
    """Asks for another owner than the write does."""

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        asked = [write._replace(owner=self.asked(write.owner)) if write.owner else write for write in writes]
        return await self.inner.write(asked, now)

    def asked(self, owner: Owner) -> Owner:
        raise NotImplementedError


class FinishedOwnersServe(_OwnersAskedFor):
    def asked(self, owner: Owner) -> Owner:
        return owner._replace(is_open=False)


class HighestStageExclusive(_OwnersAskedFor):
    def asked(self, owner: Owner) -> Owner:
        return owner._replace(highest=owner.highest - 1)


class LowestStageExclusive(_OwnersAskedFor):
    def asked(self, owner: Owner) -> Owner:
        return owner._replace(lowest=owner.lowest + 1)


class ExpiredOwnersServe(MemoryEngine):
    def _ownerless(self, owner: Owner, now: int) -> Outcome | None:
        return super()._ownerless(owner, 0)


class RemovesWhateverStands(_Wrapped):
    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        return await self.inner.remove(ids, now)


class RemovesByVersionAlone(_Wrapped):
    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        if standing is not None:
            entries = await self.inner.read(ids)
            standing = [
                each._replace(check=entry.check) if entry else each
                for each, entry in zip(standing, entries, strict=True)
            ]
        return await self.inner.remove(ids, now, standing)


class PurgesWithoutBounds(_Wrapped):
    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        return await self.inner.purge(10_000, now, everything=everything)


class DropsNothing(MemoryEngine):
    async def drop_namespace(self, limit: int, now: int) -> bool:
        return True


class DropStopsAtTheLimit(MemoryEngine):
    async def drop_namespace(self, limit: int, now: int) -> bool:
        await super().drop_namespace(limit, now)
        return True


class DropTakesWhatWasStored(MemoryEngine):
    async def drop_namespace(self, limit: int, now: int) -> bool:
        await self.purge(limit, now, everything=True)
        return await super().drop_namespace(limit, now)


class _Miscounting(MemoryEngine):
    """Its statistics are those of ``counting``."""

    counting: type[Statistics] = Statistics

    def __init__(self, namespace: str = "default") -> None:
        super().__init__(namespace)
        self._statistics = self.counting()


class _EachWrite(Statistics):
    def add(self, write: Write, standing: Entry | None) -> None:
        super().add(write, None if standing is None else standing._replace(stage=-1))


class EachWriteCounts(_Miscounting):
    counting = _EachWrite


class _NoFirst(Statistics):
    def add(self, write: Write, standing: Entry | None) -> None:
        super().add(write, standing or write.entry._replace(stage=-1))


class NoneIsTheFirst(_Miscounting):
    counting = _NoFirst


class _StatusAlone(Statistics):
    def add(self, write: Write, standing: Entry | None) -> None:
        same = standing is not None and standing.status == write.entry.status
        super().add(write, standing._replace(stage=write.entry.stage) if same and standing else standing)


class NextAttemptIsTheSame(_Miscounting):
    counting = _StatusAlone


class _LastToCome(Statistics):
    def _note(self, noted: Noted, at: int) -> None:
        super()._note(noted, at)
        known = self._groups[noted.group]
        self._groups[noted.group] = known._replace(last_at=at, example=noted.example)


class LastToComeWasTheLast(_Miscounting):
    counting = _LastToCome


class RefusedWritesCount(_Miscounting):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        outcomes = await super().write(writes, now)
        for write, outcome in zip(writes, outcomes, strict=True):
            if not outcome.is_applied:
                self._statistics.add(write, None)
        return outcomes


class ResentWritesCount(_Miscounting):
    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        again = [write for write in writes if self._tokens.get(write.entry.id) == write.token]
        for write in again:
            self._statistics.add(write, None)
        return await super().write(writes, now)


class ExpiredPredecessorStands(_Miscounting):
    def _write(self, write: Write, now: int) -> Outcome:
        stored = self._entries.get(write.entry.id)
        outcome = super()._write(write._replace(marks=()), now)
        if write.marks and outcome.is_applied:
            self._statistics.add(write, stored)
        return outcome


class _OverlongEnd(Statistics):
    def tallies(self, asked: Tallied) -> list[Cell]:
        return super().tallies(asked._replace(end=asked.end + 1))


class EndIsIncluded(_Miscounting):
    counting = _OverlongEnd


class _Kept(Statistics):
    def purge(self, now: int) -> None:
        pass


class StatisticsAreNeverPurged(_Miscounting):
    counting = _Kept


class _Cleared(Statistics):
    def add(self, write: Write, standing: Entry | None) -> None:
        super().add(write, standing)
        while len(self._groups) > MOST_GROUPS - 1:
            self._groups.popitem()


class NewestGroupGoes(_Miscounting):
    counting = _Cleared


def _added(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {bucket: one.get(bucket, 0) + other.get(bucket, 0) for bucket in {*one, *other}}


class _Forgotten(Statistics):
    def totals(self, series: Iterable[str]) -> list[dict[str, int]]:
        self._settle()
        hours = [self._series[Tier.HOUR].get(one, {}) for one in series if not one.startswith(OF_GROUP)]
        return [reduce(_added, of_one.values(), {}) for of_one in hours]


class TotalsForgetWhatIsDropped(_Miscounting):
    counting = _Forgotten


class _AddedTwice(Statistics):
    def purge(self, now: int) -> None:
        before = {name: dict(periods) for name, periods in self._series[Tier.HOUR].items()}
        super().purge(now)
        for name, periods in before.items():
            for start in periods.keys() - self._series[Tier.HOUR].get(name, {}).keys():
                self._totals[name] = _added(self._totals.get(name, {}), periods[start])


class DroppedHoursCountTwice(_Miscounting):
    counting = _AddedTwice


class _WithGroups(Statistics):
    def totals(self, series: Iterable[str]) -> list[dict[str, int]]:
        totals = super().totals(asked := list(series))
        return [
            {"": 1} if one.startswith(OF_GROUP) else total for one, total in zip(asked, totals, strict=True)
        ]


class GroupsHaveTotals(_Miscounting):
    counting = _WithGroups


class _Lasting(Statistics):
    def clear(self) -> None:
        before = dict(self._totals)
        super().clear()
        self._totals.update(before)


class TotalsOutliveTheNamespace(_Miscounting):
    counting = _Lasting


class PlacesOfTheFirstGroup(MemoryEngine):
    """The limit is one of what is walked, and the end comes too early."""

    async def places(self, query: Query, now: int) -> list[Listed]:
        walked = await super().places(replace(query, groups=query.groups[:1], has_fixed=None), now)
        return [place for place in walked if query.admits(cast("Entry", place.mark))]


class PlacesBySubmission(MemoryEngine):
    async def places(self, query: Query, now: int) -> list[Listed]:
        entries = await self.scan(query, now)
        return [Listed(entry.position, entry.status, entry) for entry in entries]


class PlacesFromTheStart(MemoryEngine):
    async def places(self, query: Query, now: int) -> list[Listed]:
        return await super().places(replace(query, newest_first=True), now)


class PlacesAreNotLookedAtAgain(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await self.read([place.position.id for place in places], max_body=query.max_body)


class ExpiredAtTheirPlaces(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await super().at_places(query, places, 0)


class GoneAreLeftOut(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return [entry for entry in await super().at_places(query, places, now) if entry is not None]


class PlacesOfWholeBodies(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await super().at_places(replace(query, max_body=None), places, now)


class PlacesWithTheirBodies(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await super().at_places(replace(query, with_body=True), places, now)


class PlacesAreSorted(MemoryEngine):
    async def at_places(self, query: Query, places: Sequence[Listed], now: int) -> list[Entry | None]:
        return await super().at_places(query, sorted(places), now)


MUTANTS: dict[Callable[[], Engine], str] = {
    WatchersLookedUpBeforeTheCommit: "test_no_change_is_lost_between_registration_and_read",
    PatchesWhateverStands: "test_only_over_what_was_read",
    OwnerIsNotAsked: "test_an_owner_has_to_be_there",
    OwnersReadForTheWholeCall: "test_an_owner_that_is_written_in_the_same_call",
    OwnersReadBeforeTheTransaction: "test_nothing_is_stored_for_an_owner_that_has_finished",
    OwnerBeforeTheToken: "test_the_token_is_judged_before_the_owner",
    OwnerAfterTheGuard: "test_the_owner_is_judged_before_the_guard",
    FinishedOwnersServe: "test_an_owner_that_has_to_be_open",
    HighestStageExclusive: "test_the_stage_of_an_owner",
    LowestStageExclusive: "test_the_stage_of_an_owner",
    ExpiredOwnersServe: "test_an_expired_owner_is_absent",
    RemovesWhateverStands: "test_remove_only_what_was_read",
    RemovesByVersionAlone: "test_remove_only_what_was_read",
    ReadBeforeRegistered: "test_no_change_is_lost_between_registration_and_read",
    ToldBeforeItCanBeRead: "test_a_stored_record_can_be_read_with_its_hint",
    RemovalsEndNoWait: "test_a_removal_is_told",
    AnyIdToldTwice: "test_any_id",
    OneHintPerCall: "test_a_watch_lasts",
    RefusedIsTold: "test_what_was_refused_is_not_told",
    TokenIgnored: "test_a_write_that_is_sent_again_is_not_repeated",
    CeilingExclusive: "test_the_ceiling_is_the_highest_stage_that_is_replaced",
    CeilingBesideVersion: "test_if_version_is_exactly_the_one_that_stands",
    FixedBeforeTheGuard: "test_the_guard_is_judged_before_fixed_facets",
    VersionGoesOnAfterExpiry: "test_the_version_begins_again_after_expiry",
    RefusedWriteEndsTheCall: "test_a_refused_write_affects_no_other",
    SweepsNothing: "test_writes_remove_expired_records_along_the_way",
    KeepDropsTheNewest: "test_keep_the_highest_keys",
    KeepsOneTooMany: "test_history_keeps_the_newest",
    NumbersByCounting: "test_numbers_after_a_removal",
    AbsentKeyIsRemoved: "test_an_absent_key_is_removed_in_vain",
    ItemsSurviveTheirRecord: "test_items_of_an_expired_predecessor",
    PurgeTakesTheNamespace: "test_items_of_the_namespace_stay",
    HistoryByTime: "test_an_applied_write_leaves_an_item",
    IdsInTheOrderOfUtf16: "test_ties_are_in_the_order_of_ids",
    AfterInclusive: "test_after_is_not_included",
    WithinExclusive: "test_within_includes_both_bounds",
    LimitBeforeTheOtherGroups: "test_list_by_several_groups",
    ExpiredAreListed: "test_expired_records_are_in_no_listing",
    FinishIsIgnored: "test_list_by_finish",
    BodiesComeAlong: "test_listing_without_bodies",
    SizeOfWhatIsLeft: "test_the_beginnings_of_bodies",
    BodiesAreCutAsText: "test_the_beginnings_of_bodies",
    ListedBodiesAreWhole: "test_listing_with_the_beginnings_of_bodies",
    PlacesOfTheFirstGroup: "test_places_are_those_of_a_scan",
    PlacesBySubmission: "test_places_are_those_of_a_scan",
    PlacesFromTheStart: "test_places_one_by_one",
    PlacesAreNotLookedAtAgain: "test_what_changes_before_its_place_is_asked_for",
    ExpiredAtTheirPlaces: "test_expired_records_are_at_no_place",
    GoneAreLeftOut: "test_what_changes_before_its_place_is_asked_for",
    PlacesOfWholeBodies: "test_bodies_at_places",
    PlacesWithTheirBodies: "test_bodies_at_places",
    PlacesAreSorted: "test_some_of_the_places",
    FacetsAreLeftBehind: "test_a_record_leaves_the_listings_it_was_in",
    CountsAreRemembered: "test_counts_follow_writes_and_removals",
    CountsWhatItFinds: "test_the_limit_is_what_is_looked_at",
    CountsAnyFirst: "test_the_newest_are_counted_first",
    CountsOutsideOfTheBounds: "test_count_within_bounds",
    CountsForever: "test_a_count_goes_on_where_it_stopped",
    FacetsBeginAnywhere: "test_facets_in_steps",
    FacetsIncludeTheLast: "test_facets_in_steps",
    FixedAreFacets: "test_fixed_facets_are_not_among_them",
    ReportsOnTheFinished: "test_nothing_is_reported_for_a_record_that_is_finished_or_gone",
    ExpiryOfAnyVersion: "test_expire_only_what_was_read",
    OldExpiryStays: "test_the_new_expiry_holds",
    ExpiryIsNotTold: "test_another_expiry_is_told",
    ExpiredWasLive: "test_remove_tells_who_was_live",
    PurgesWithoutBounds: "test_purge_of_expired_records",
    DropsNothing: "test_items_of_the_namespace_are_dropped",
    DropStopsAtTheLimit: "test_items_of_the_namespace_are_dropped",
    EachWriteCounts: "test_only_a_change_counts",
    NoneIsTheFirst: "test_a_write_counts_in_each_series_and_tier",
    NextAttemptIsTheSame: "test_only_a_change_counts",
    LastToComeWasTheLast: "test_groups",
    RefusedWritesCount: "test_what_is_refused_counts_nothing",
    ResentWritesCount: "test_a_write_that_is_sent_again_counts_once",
    ExpiredPredecessorStands: "test_a_record_that_comes_anew_is_a_first_one",
    EndIsIncluded: "test_spans_are_added_up",
    StatisticsAreNeverPurged: "test_a_purge_drops_what_is_over",
    TotalsForgetWhatIsDropped: "test_totals_are_exact_whenever_hours_are_dropped",
    DroppedHoursCountTwice: "test_totals_are_exact_whenever_hours_are_dropped",
    GroupsHaveTotals: "test_totals",
    TotalsOutliveTheNamespace: "test_a_dropped_namespace_has_no_totals_either",
    NewestGroupGoes: "test_of_too_many_groups_the_oldest_goes",
    DropTakesWhatWasStored: "test_what_was_stored_since_stays",
}
"""Each mistake, and the test that must find it."""
