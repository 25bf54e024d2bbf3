"""The transitions of all records, by record and by time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final

from flowstore.backends.memory.indexes import Index
from flowstore.engine import Entry, Item, Logged, Span

_new: Final[Callable[[Any, Any], Any]] = tuple.__new__


class Histories:
    """``by_owner``: the history of each record by key, in the order of keys, because versions only grow."""

    __slots__ = ("by_owner", "timeline")

    def __init__(self) -> None:
        self.by_owner: dict[str, dict[str, Item]] = {}
        self.timeline: Index[tuple[int, str, str]] = Index()

    def clear(self) -> None:
        self.by_owner.clear()
        self.timeline.clear()

    def log(self, entry: Entry, key: str, logged: Logged) -> None:
        item = _new(Item, (entry.id, key, 1, entry.updated_at, logged.check, logged.value))
        history = self.by_owner.setdefault(entry.id, {})
        history[key] = item
        self.timeline.add((item.at, key, item.owner))
        if logged.keep is not None and len(history) > logged.keep:
            for dropped in list(islice(history, len(history) - logged.keep)):
                self.timeline.remove((history.pop(dropped).at, dropped, entry.id))

    def drop(self, owner: str) -> None:
        for key, item in self.by_owner.pop(owner, {}).items():
            self.timeline.remove((item.at, key, owner))

    def span(self, span: Span) -> list[Item]:
        low, high = (span.start, "", ""), (span.end + 1, "", "")
        if (after := span.after) is not None:
            place = (after.at, after.key, after.owner)
            low, high = (low, min(high, place)) if span.newest_first else (max(low, place), high)
        keys = islice(self.timeline.between(low, high, reverse=span.newest_first), span.limit)
        return [self.by_owner[owner][key] for _, key, owner in keys]
