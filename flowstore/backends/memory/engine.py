"""Results in this process: dicts and sorted indexes.

No verb awaits anything, so each is one step of the event loop, and atomic without a lock. An await inside a
verb would let other calls see half a write.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from sortedcontainers import SortedDict, SortedList

from flowstore.backends.memory.indexes import Listings, Log
from flowstore.engine import (
    ANYWHERE,
    APPLIED,
    FAMILY,
    OWNERLESS,
    SWEPT_PER_COMMIT,
    Asked,
    Change,
    Commit,
    Engine,
    Hints,
    Kept,
    Outcome,
    Purged,
    Put,
    PutOutcome,
    Query,
    Report,
    Row,
    Section,
    Span,
    TransitionRow,
    Where,
)
from flowstore.models import TaskStatus


class MemoryEngine(Engine):
    """One namespace in dicts. ``max_results``: see InMemoryBackend."""

    def __init__(self, namespace: str = "default", max_results: int | None = None) -> None:
        self._namespace = namespace
        self._max_results = max_results
        self._rows: dict[str, Row] = {}
        self._listings = Listings(self._rows)
        self._log = Log()
        self._kept: dict[tuple[str, Section], SortedDict[str, Kept]] = {}
        self._expiries: SortedList[tuple[int, str]] = SortedList()
        self._finished: dict[str, None] = {}  # an ordered set: the first to finish is the first to be evicted
        self._hints: Hints

    async def open(self, hints: Hints) -> None:
        self._hints = hints

    async def close(self) -> None:
        self._rows.clear()
        self._listings.clear()
        self._log.clear()
        self._kept.clear()
        self._expiries.clear()
        self._finished.clear()

    async def commit(self, commits: Sequence[Commit], now: int) -> list[Outcome]:
        outcomes = [self._commit(commit, now) for commit in commits]
        self._sweep(SWEPT_PER_COMMIT * len(commits), now)
        self._evict()
        return outcomes

    async def fetch(self, ids: Sequence[str], *, with_body: bool = True) -> list[Row | None]:
        rows = [self._rows.get(task_id) for task_id in ids]
        return rows if with_body else [row and row._replace(body=None) for row in rows]

    async def watch(self, ids: Sequence[str]) -> list[Row | None]:
        return await self.fetch(ids)

    async def scan(self, query: Query, now: int) -> list[Row]:
        live = islice((row for row in self._listings.scan(query) if not row.is_expired(now)), query.limit)
        return [row if query.with_body else row._replace(body=None) for row in live]

    async def count(self, where: Where = ANYWHERE) -> dict[str, int]:
        return self._listings.count(where, TaskStatus)

    async def names(self) -> list[str]:
        return list(self._listings.names())

    async def remove(self, ids: Sequence[str], now: int) -> list[bool]:
        rows = [self._drop(task_id) for task_id in ids]
        self._tell_removed([row for row in rows if row], now)
        return [row is not None and not row.is_expired(now) for row in rows]

    async def purge(self, limit: int, now: int, *, everything: bool = False) -> Purged:
        if not everything:
            expired = self._sweep(limit, now)
            return Purged(live=0, expired=expired, is_done=expired < limit)
        rows = [row for task_id in list(islice(self._rows, limit)) if (row := self._drop(task_id))]
        self._tell_removed(rows, now)
        expired = sum(row.is_expired(now) for row in rows)
        return Purged(live=len(rows) - expired, expired=expired, is_done=len(rows) < limit)

    async def report(self, reports: Sequence[Report], now: int) -> list[bool]:
        return [self._report(report, now) for report in reports]

    async def history(self, span: Span, now: int) -> list[TransitionRow]:
        return [] if span.id is not None and self._live(span.id, now) is None else self._log.read(span)

    async def put(self, puts: Sequence[Put], now: int) -> list[PutOutcome]:
        return [self._put(put, now) for put in puts]

    async def kept(self, asked: Asked, now: int) -> list[Kept]:
        if asked.owner and self._live(asked.owner, now) is None:
            return []
        values = self._kept.get((asked.owner, asked.section), SortedDict())
        if asked.keys is not None:
            return [values[key] for key in sorted(asked.keys) if key in values]
        return list(values.values() if asked.last is None else values.values()[-asked.last :])

    async def namespaces(self) -> list[str]:
        return [self._namespace]

    def _live(self, task_id: str, now: int) -> Row | None:
        row = self._rows.get(task_id)
        return None if row is None or row.is_expired(now) else row

    def _commit(self, commit: Commit, now: int) -> Outcome:
        standing = self._live(commit.id, now)
        version = standing.version if standing else 0
        if commit.if_version is None:
            is_allowed = standing is None or standing.stage <= commit.ceiling
        else:
            is_allowed = version == commit.if_version
        if not is_allowed:
            return Outcome(is_applied=False, version=version)
        joins = commit.parent is not None and (standing is None or standing.parent != commit.parent)
        if joins and (refusal := self._refusal(commit, standing)):
            return refusal
        row = self._row(commit, standing)
        if standing is None:  # an expired record may be left, whose belongings must not pass to the new one
            self._drop(commit.id)
        else:
            self._unlist(standing)
        self._list(row, commit.is_finished)
        if joins:
            self._move_descendants(row)
        self._log.append(commit, row.version)
        self._hints.changed((commit.id,), Change(commit.status))
        return APPLIED

    def _refusal(self, commit: Commit, standing: Row | None) -> Outcome | None:
        """The refusal of a commit whose parent the record cannot have, else None."""
        other = standing.parent if standing is not None else None
        if other is None and not self._is_ancestor(commit.id, commit.parent):
            return None
        return Outcome(is_applied=False, version=FAMILY, reason=other or "")

    def _is_ancestor(self, task_id: str, descendant: str | None) -> bool:
        """Whether ``task_id`` is ``descendant`` or one of its ancestors."""
        while descendant is not None and descendant != task_id:
            row = self._rows.get(descendant)
            descendant = row.parent if row else None
        return descendant is not None

    def _row(self, commit: Commit, standing: Row | None) -> Row:
        parent = commit.parent or (standing.parent if standing else None)
        above = None if parent is None else self._rows.get(parent)
        if standing is not None and standing.parent == parent:
            root = standing.root
        else:
            root = (above.root if above else None) or parent
            # The parent's root may descend from this record, if what was between them has been deleted.
            if root is not None and self._is_ancestor(commit.id, root):
                root = parent
        return Row(
            id=commit.id,
            status=commit.status,
            stage=commit.stage,
            version=standing.version + 1 if standing else 1,
            name=commit.name,
            submitted_at=commit.submitted_at,
            expires_at=commit.expires_at,
            head=commit.head,
            body=commit.body,
            progress=commit.progress,
            parent=parent,
            root=root,
            worker=commit.worker,
            labels=commit.labels,
        )

    def _move_descendants(self, row: Row) -> None:
        """Give the record's root to all its descendants."""
        found = [row.id]
        for parent in found:
            children = self._listings.with_parent(parent, TaskStatus)
            for child in map(self._rows.__getitem__, children):
                self._listings.remove(child)
                self._rows[child.id] = child._replace(root=row.root)
                self._listings.add(self._rows[child.id])
            found += children

    def _report(self, report: Report, now: int) -> bool:
        row = self._live(report.id, now)
        if row is None or row.id in self._finished:
            return False
        if report.stages is not None and not report.stages[0] <= row.stage <= report.stages[1]:
            return False
        self._rows[row.id] = row._replace(progress=report.progress)
        self._hints.changed((row.id,), Change.REPORTED)
        return True

    def _put(self, put: Put, now: int) -> PutOutcome:
        if put.owner and self._live(put.owner, now) is None:
            return PutOutcome(is_applied=False, key=put.key or "", version=OWNERLESS)
        values = self._kept.setdefault((put.owner, put.section), SortedDict())
        key = put.key
        if key is None:
            key = f"{int(values.peekitem()[0]) + 1 if values else 1:016}"
        standing = values.get(key)
        version = standing.version if standing else 0
        if put.if_version is not None and version != put.if_version:
            return PutOutcome(is_applied=False, key=key, version=version)
        if put.value is None:
            return PutOutcome(is_applied=values.pop(key, None) is not None, key=key, version=0)
        values[key] = Kept(key, version + 1, now, put.value)
        for dropped in [] if put.keep is None else values.keys()[: -put.keep]:
            del values[dropped]
        return PutOutcome(is_applied=True, key=key, version=version + 1)

    def _list(self, row: Row, is_finished: bool) -> None:
        self._rows[row.id] = row
        self._listings.add(row)
        if row.expires_at is not None:
            self._expiries.add((row.expires_at, row.id))
        if is_finished:
            self._finished[row.id] = None

    def _unlist(self, row: Row) -> None:
        del self._rows[row.id]
        self._listings.remove(row)
        if row.expires_at is not None:
            self._expiries.remove((row.expires_at, row.id))
        self._finished.pop(row.id, None)

    def _drop(self, task_id: str) -> Row | None:
        """Remove the record and everything that belongs to it; returns it, None if there was none."""
        row = self._rows.get(task_id)
        if row is not None:
            self._unlist(row)
            self._log.drop(task_id)
            for section in Section:
                self._kept.pop((task_id, section), None)
        return row

    def _sweep(self, limit: int, now: int) -> int:
        # A list: dropping changes the index that it iterates over.
        due = list(islice(self._expiries.irange(maximum=(now + 1, ""), inclusive=(True, False)), limit))
        self._tell_removed([row for _, task_id in due if (row := self._drop(task_id))], now)
        return len(due)

    def _evict(self) -> None:
        if self._max_results is not None:
            for task_id in list(islice(self._finished, max(0, len(self._finished) - self._max_results))):
                self._drop(task_id)

    def _tell_removed(self, rows: Iterable[Row], now: int) -> None:
        for row in rows:
            self._hints.changed((row.id,), Change.EXPIRED if row.is_expired(now) else Change.DELETED)
