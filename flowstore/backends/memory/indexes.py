"""Sorted indexes in memory: the listings of records, and the history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from heapq import merge
from itertools import islice

from sortedcontainers import SortedList

from flowstore.engine import Commit, Position, Query, Row, Span, TransitionRow, Where
from flowstore.engine.facets import EVERYTHING, facets_of, groups_of

_RUN = "run:"


class Listings:
    """The positions of records, sorted, by status and facet."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = rows
        self._index: dict[tuple[str, str], SortedList[Position]] = {}

    def add(self, row: Row) -> None:
        for facet in _facets(row):
            self._index.setdefault((row.status, facet), SortedList()).add(row.position)

    def remove(self, row: Row) -> None:
        for facet in _facets(row):
            index = self._index[row.status, facet]
            index.remove(row.position)
            if not index:
                del self._index[row.status, facet]

    def clear(self) -> None:
        self._index.clear()

    def scan(self, query: Query) -> Iterator[Row]:
        """The rows of a range, in order and without a limit: the caller knows which of them are live."""
        ranges = [
            self._range(index, query)
            for status in query.statuses
            for index in self._ranges(status, query.where)
        ]
        rows = (self._rows[position.id] for position in merge(*ranges, reverse=not query.newest_first))
        return (row for row in rows if _is_within(row, query.where))

    def count(self, where: Where, statuses: Iterable[str]) -> dict[str, int]:
        # With one condition the sizes of its indexes are the answer; with several the rows must be looked at.
        if len(groups_of(where)) <= 1 and where.root is None:
            return {status: sum(map(len, self._ranges(status, where))) for status in statuses}
        queries = {status: Query((status,), 0, where) for status in statuses}
        return {status: sum(1 for _ in self.scan(query)) for status, query in queries.items()}

    def with_parent(self, parent: str, statuses: Iterable[str]) -> list[str]:
        where = Where(parent=parent)
        found = (self._ranges(status, where) for status in statuses)
        return [position.id for indexes in found for index in indexes for position in index]

    def names(self) -> set[str]:
        return {facet.removeprefix(_RUN) for _, facet in self._index if facet.startswith(_RUN)}

    def _ranges(self, status: str, where: Where) -> list[SortedList[Position]]:
        leading = next(iter(groups_of(where)), EVERYTHING)
        indexes = [self._index[status, facet] for facet in leading if (status, facet) in self._index]
        root = None if where.root is None else self._rows.get(where.root)
        if root is not None and root.status == status and leading == (f"root:{root.id}",):
            indexes.append(SortedList([root.position]))
        return indexes

    def _range(self, index: SortedList[Position], query: Query) -> Iterator[Position]:
        if query.newest_first:
            return index.irange(minimum=query.after, inclusive=(False, True))
        return index.irange(maximum=query.after, inclusive=(True, False), reverse=True)


class Log:
    """The history: of all tasks in order of time, and of each task in order of writing."""

    def __init__(self) -> None:
        self._all: SortedList[TransitionRow] = SortedList()
        self._of: dict[str, list[TransitionRow]] = {}

    def append(self, commit: Commit, version: int) -> None:
        if commit.history == 0:
            return
        row = TransitionRow(commit.at, version, commit.id, commit.status, commit.stage, commit.worker)
        self._all.add(row)
        own = self._of.setdefault(commit.id, [])
        own.append(row)
        if commit.history is not None:
            for dropped in own[: -commit.history]:
                self._all.remove(dropped)
            del own[: -commit.history]

    def drop(self, task_id: str) -> None:
        for row in self._of.pop(task_id, ()):
            self._all.remove(row)

    def clear(self) -> None:
        self._all.clear()
        self._of.clear()

    def read(self, span: Span) -> list[TransitionRow]:
        rows = self._all if span.id is None else SortedList(self._of.get(span.id, ()))
        found = rows.irange(span.after or _bound(span.start), _bound(span.end + 1), (False, False))
        if not span.first_only:
            return list(islice(found, span.limit))

        @cache
        def first_of(task_id: str) -> TransitionRow:
            return min(row for row in self._of[task_id] if row.at >= span.start)

        return list(islice((row for row in found if row == first_of(row.id)), span.limit))


def _bound(at: int) -> TransitionRow:
    """A bound before all transitions at this time."""
    return TransitionRow(at, 0, "", "", 0, None)


def _facets(row: Row) -> list[str]:
    return ["", *facets_of(row.name, row.parent, row.root, row.worker, row.labels)]


def _is_within(row: Row, where: Where) -> bool:
    return (
        (where.name is None or (row.name == where.name and not (where.is_root and row.parent)))
        and (where.parent is None or row.parent == where.parent)
        and (where.root is None or where.root in (row.root, row.id))
        and (where.worker is None or row.worker == where.worker)
        and (where.label is None or where.label in row.labels)
    )
