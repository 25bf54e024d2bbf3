"""Results in this process: dicts and sorted indexes.

No verb awaits anything, so each is one step of the event loop, and atomic without a lock. An await inside a
verb would let other calls see half a write. Hints are given in that same step, once the change can be read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import compress, groupby, islice
from math import inf
from operator import itemgetter
from typing import Any, Final

from flowstore.backends.memory.audit import Parts, audit
from flowstore.backends.memory.entries import is_over, shortened
from flowstore.backends.memory.histories import Histories
from flowstore.backends.memory.indexes import Index, Listings
from flowstore.backends.memory.items import Items
from flowstore.backends.memory.statistics import Statistics
from flowstore.engine import (
    APPLIED,
    FINAL,
    NAMESPACE,
    STATUSES,
    SWEPT_PER_WRITE,
    Asked,
    Audited,
    Cell,
    Change,
    Counted,
    Engine,
    Entry,
    Expiry,
    Group,
    Hints,
    Item,
    Outcome,
    Owner,
    Purged,
    Put,
    Query,
    Report,
    Section,
    Span,
    Standing,
    StorageFacts,
    Tallied,
    Verdict,
    Write,
)
from flowstore.observing import Place

_CHANGES: Final = {status: Change(status) for status in STATUSES}
_FIRST_CHANGE: Final = itemgetter(0)

_new: Final[Callable[[Any, Any], Any]] = tuple.__new__
"""Makes named tuples, which are made with each write, in a third of the time of their own constructors."""


class MemoryEngine(Engine):
    """One namespace in dicts. ``max_results``: see InMemoryBackend.

    Heads, bodies and values are kept as they come, and given back without a copy. They need not be bytes; a
    body that is not is never cut.
    """

    counts_writes = True
    place = Place("memory")

    def __init__(self, namespace: str = "default", max_results: int | None = None) -> None:
        self._namespace = namespace
        self._max_results = max_results
        self._entries: dict[str, Entry] = {}
        self._tokens: dict[str, str] = {}
        self._listings = Listings(self._entries)
        self._statistics = Statistics()
        self._histories = Histories()
        self._items = Items()
        self._expiries: Index[tuple[int, str]] = Index()
        self._next_expiry: float = inf
        """No record expires before this: most writes need not look for expired ones."""
        self._finished: OrderedDict[str, None] = OrderedDict()
        """With ``max_results``: the first to finish is the first to be evicted."""
        self._hints: Hints

    async def open(self, hints: Hints) -> None:
        self._hints = hints

    async def close(self) -> None:
        for part in (self._entries, self._tokens, self._listings, self._histories, self._items):
            part.clear()
        for rest in (self._expiries, self._finished, self._statistics):
            rest.clear()

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        outcomes = [self._write(write, now) for write in writes]
        if self._hints.is_waiting:
            changes = [
                (_CHANGES[write.entry.status], write.entry.id)
                for write, outcome in zip(writes, outcomes, strict=True)
                if outcome is APPLIED
            ]
            self._tell(changes)
        if now >= self._next_expiry:
            self._sweep(SWEPT_PER_WRITE * len(writes), now)
        if self._max_results is not None:
            self._evict(self._max_results, now)
        return outcomes

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        entries = list(map(self._entries.get, ids))
        if with_body and max_body is None:
            return entries
        return [entry and shortened(entry, max_body if with_body else None) for entry in entries]

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self.read(ids)  # every change is reported, so there is nothing to register

    async def scan(self, query: Query, now: int) -> list[Entry]:
        live = islice((entry for entry in self._listings.scan(query) if not is_over(entry, now)), query.limit)
        if query.with_body and query.max_body is None:
            return list(live)
        most = query.max_body if query.with_body else None
        return [shortened(entry, most) for entry in live]

    async def count(self, queries: Sequence[Query]) -> list[Counted]:
        return list(map(self._listings.count, queries))

    async def facets(self, prefix: str, limit: int | None = None, after: str | None = None) -> list[str]:
        return self._listings.facets(prefix, limit, after)

    async def remove(
        self, ids: Sequence[str], now: int, standing: Sequence[Standing] | None = None
    ) -> list[bool]:
        if standing is None:
            entries = [self._drop(task_id) for task_id in ids]
        else:
            entries = [self._drop_standing(*pair, now) for pair in zip(ids, standing, strict=True)]
        self._tell_removed(filter(None, entries), now)
        return [entry is not None and not is_over(entry, now) for entry in entries]

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        self._statistics.purge(now)
        if not everything:
            expired = self._sweep(limit, now) if now >= self._next_expiry else 0
            return Purged(live=0, expired=expired, is_done=now < self._next_expiry)
        entries = [self._entries[task_id] for task_id in islice(self._entries, limit)]
        for entry in entries:
            self._drop(entry.id)
        self._tell_removed(entries, now)
        expired = sum(is_over(entry, now) for entry in entries)
        return Purged(live=len(entries) - expired, expired=expired, is_done=not self._entries)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        applied = [self._report(report, now) for report in reports]
        self._tell((Change.REPORTED, report.id) for report in compress(reports, applied))
        return applied

    async def expire(self, expiries: Sequence[Expiry], now: int) -> list[bool]:
        changed = [self._expire(expiry, now) for expiry in expiries]
        self._tell((Change.EXPIRED, each.id) for each in compress(expiries, changed))
        return changed

    async def put(self, puts: Sequence[Put], now: int) -> list[Outcome]:
        return [self._put(put, now) for put in puts]

    async def items(self, asked: Sequence[Asked], now: int) -> list[list[Item]]:
        return [self._asked(each, now) for each in asked]

    async def timeline(self, span: Span, now: int) -> list[Item]:
        return self._histories.span(span)

    async def series(self, prefix: str) -> list[str]:
        return self._statistics.series(prefix)

    async def tallies(self, asked: Sequence[Tallied]) -> list[list[Cell]]:
        return list(map(self._statistics.tallies, asked))

    async def totals(self, series: Sequence[str], now: int) -> list[dict[str, int]]:
        return self._statistics.totals(series)

    async def groups(self, ids: Sequence[str] | None = None) -> list[Group]:
        return self._statistics.groups(ids)

    async def drop_namespace(self, limit: int, now: int) -> bool:
        self._statistics.clear()
        return await super().drop_namespace(limit, now)

    async def facts(self) -> StorageFacts:
        return StorageFacts("memory", is_writable=True)

    async def namespaces(self) -> list[str]:
        return [self._namespace]

    async def audit(self, prefix: str, after: object, limit: int, *, repair: Collection[str] = ()) -> Audited:
        rest = (self._histories.by_owner, self._histories.timeline, self._items, self._expiries)
        return audit(Parts(self._entries, self._listings, *rest), prefix, after, limit, repair)

    def _live(self, task_id: str, now: int) -> Entry | None:
        entry = self._entries.get(task_id)
        return None if entry is None or is_over(entry, now) else entry

    def _write(self, write: Write, now: int) -> Outcome:
        entry, token, ceiling, if_version, logged, check, owner, marks, noted = write
        stored = standing = self._entries.get(entry.id)
        if stored is not None:
            # Nothing is sent twice here, but a wrapper may lose an answer, and repeat what it answered.
            if self._tokens[entry.id] == token:
                return APPLIED
            if is_over(stored, now):
                standing = None
        if owner is not None and (refused := self._ownerless(owner, now)) is not None:
            return refused
        version = 0 if standing is None else standing.version
        if if_version is not None:
            is_allowed = version == if_version
            if check is not None and standing is not None:
                is_allowed = is_allowed and standing.check == check
                entry = entry._replace(body=standing.body)
        else:
            is_allowed = standing is None or standing.stage <= ceiling
        if not is_allowed:
            return Outcome(Verdict.STANDING, version)
        if standing is not None and standing.fixed and standing.fixed != entry.fixed:
            return Outcome(Verdict.FIXED, version, fixed=standing.fixed)
        if marks or noted is not None:
            self._statistics.add(write, standing)
        if standing is not None:
            self._unlist(standing)
        elif stored is not None:  # expired: what belonged to it must not pass to the new one
            self._drop(entry.id)
        version += 1
        self._tokens[entry.id] = token
        self._list(_new(Entry, (*entry[:3], version, *entry[4:])))
        if logged is not None:
            self._histories.log(entry, f"{version:016}", logged)
        return APPLIED

    def _ownerless(self, owner: Owner, now: int) -> Outcome | None:
        standing = self._live(owner.id, now)
        if standing is not None and owner.admits(standing.status, standing.stage):
            return None
        return Outcome(Verdict.OWNERLESS, 0 if standing is None else standing.version)

    def _report(self, report: Report, now: int) -> bool:
        entry = self._live(report.id, now)
        if entry is None or entry.status in FINAL or not report.admits(entry.stage):
            return False
        self._entries[entry.id] = entry._replace(progress=report.progress)
        if report.expiry is not None:
            self._expire(report.expiry, now)
        return True

    def _expire(self, expiry: Expiry, now: int) -> bool:
        entry = self._live(expiry.id, now)
        if entry is None or (entry.version, entry.check) != (expiry.version, expiry.standing):
            return False
        self._unlist_expiry(entry)
        changed = entry._replace(expires_at=expiry.expires_at, check=expiry.check)
        self._entries[entry.id] = changed
        self._list_expiry(changed)
        return True

    def _put(self, put: Put, now: int) -> Outcome:
        if put.owner != NAMESPACE and self._live(put.owner, now) is None:
            return Outcome(Verdict.OWNERLESS, key=put.key or "")
        return self._items.put(put, now)

    def _asked(self, asked: Asked, now: int) -> list[Item]:
        if asked.owner != NAMESPACE and self._live(asked.owner, now) is None:
            return []
        is_history = asked.section is Section.HISTORY
        items: Mapping[str, Item] = (
            self._histories.by_owner.get(asked.owner, {})
            if is_history
            else self._items.get((asked.owner, asked.section), {})
        )
        keys = items.keys() if asked.keys is None else sorted(items.keys() & asked.keys)
        skipped = 0 if asked.last is None else max(0, len(keys) - asked.last)
        return [items[key] for key in islice(keys, skipped, None)]

    def _list(self, entry: Entry) -> None:
        self._entries[entry.id] = entry
        self._listings.add(entry)
        self._list_expiry(entry)
        if self._max_results is not None and entry.status in FINAL:
            self._finished[entry.id] = None

    def _unlist(self, entry: Entry) -> None:
        self._listings.remove(entry)
        self._unlist_expiry(entry)
        if self._max_results is not None:
            self._finished.pop(entry.id, None)

    def _list_expiry(self, entry: Entry) -> None:
        if entry.expires_at is not None:
            self._expiries.add((entry.expires_at, entry.id))
            self._next_expiry = min(self._next_expiry, entry.expires_at)

    def _unlist_expiry(self, entry: Entry) -> None:
        if entry.expires_at is not None:
            self._expiries.remove((entry.expires_at, entry.id))

    def _drop(self, task_id: str) -> Entry | None:
        """Remove the record and everything that belongs to it; returns it, None if there was none."""
        entry = self._entries.get(task_id)
        if entry is not None:
            self._unlist(entry)
            del self._entries[task_id], self._tokens[task_id]
            self._histories.drop(task_id)
            if self._items:
                for section in Section:
                    self._items.pop((task_id, section), None)
        return entry

    def _drop_standing(self, task_id: str, standing: Standing, now: int) -> Entry | None:
        entry = self._live(task_id, now)
        is_that = entry is not None and (entry.version, entry.check) == standing
        return self._drop(task_id) if is_that else None

    def _sweep(self, limit: int, now: int) -> int:
        """Remove at most ``limit`` expired records, and find out when the next one expires."""
        due = [task_id for _, task_id in islice(self._expiries.between(None, (now + 1, "")), limit)]
        self._tell_removed([entry for task_id in due if (entry := self._drop(task_id))], now)
        self._next_expiry = next(self._expiries.between(None, None), (inf, ""))[0]
        return len(due)

    def _evict(self, most: int, now: int) -> None:
        evicted = list(islice(self._finished, max(0, len(self._finished) - most)))
        self._tell_removed([entry for task_id in evicted if (entry := self._drop(task_id))], now)

    def _tell_removed(self, entries: Iterable[Entry], now: int) -> None:
        self._tell((Change.EXPIRED if is_over(entry, now) else Change.DELETED, entry.id) for entry in entries)

    def _tell(self, changes: Iterable[tuple[Change, str]]) -> None:
        """Report the changes in order, those alike that follow one another together."""
        for change, group in groupby(changes, _FIRST_CHANGE):
            self._hints.changed([task_id for _, task_id in group], change)
