"""Counters and groups in dicts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from typing import Final

from flowstore.engine import (
    GROUP_KEPT,
    MOST_GROUPS,
    OF_GROUP,
    Cell,
    Entry,
    Group,
    Mark,
    Noted,
    Tallied,
    Tier,
    Write,
)

_MINUTE: Final = Tier.MINUTE.length
_MOST_NEW: Final = 1_000
_PURGE_EVERY: Final = 600_000_000

Series = dict[int, dict[str, int]]
"""By the beginning of a period the buckets, and what is in them."""


class Statistics:
    """What the writes of a namespace have counted."""

    __slots__ = ("_groups", "_new", "_purged_at", "_series", "_totals")

    def __init__(self) -> None:
        self._new: dict[tuple[Mark, int], int] = {}
        """How often a mark counts in a minute, as far as that is not added up yet: one object serves many
        writes, and mostly nobody looks at each of them.
        """
        self._series: dict[Tier, dict[str, Series]] = {tier: {} for tier in Tier}
        self._totals: dict[str, dict[str, int]] = {}
        """By series the buckets, since ever."""
        self._groups: dict[str, Group] = {}
        self._purged_at: float = -inf

    def clear(self) -> None:
        for series in self._series.values():
            series.clear()
        self._totals.clear()
        self._groups.clear()
        self._new.clear()

    def add(self, write: Write, standing: Entry | None) -> None:
        """Count a write that is applied where this stands, a live record."""
        entry = write.entry
        if standing is not None and standing.status == entry.status and standing.stage == entry.stage:
            return
        at = entry.updated_at
        if write.marks:
            minute, new = at - at % _MINUTE, self._new
            for mark in write.marks:
                if standing is None or not mark.is_first:
                    key = (mark, minute)
                    new[key] = new.get(key, 0) + 1
            if len(new) > _MOST_NEW:
                self._settle()
        if write.noted is not None:
            noted = write.noted
            self._note(noted, at)
            self._count(OF_GROUP + noted.group, noted.bucket, at, 1)

    def _settle(self) -> None:
        for (mark, minute), number in self._new.items():
            self._count(mark.series, mark.bucket, minute, number)
            total = self._totals.setdefault(mark.series, {})
            total[mark.bucket] = total.get(mark.bucket, 0) + number
        self._new.clear()

    def _count(self, series: str, bucket: str, at: int, number: int) -> None:
        for tier, of_tier in self._series.items():
            counts = of_tier.setdefault(series, {}).setdefault(tier.start(at), {})
            counts[bucket] = counts.get(bucket, 0) + number

    def _note(self, noted: Noted, at: int) -> None:
        known = self._groups.get(noted.group)
        self._groups[noted.group] = noted.added_to(known, at)
        if known is None and len(self._groups) > MOST_GROUPS:
            del self._groups[min(self._groups.values(), key=_last_seen).id]

    def series(self, prefix: str) -> list[str]:
        self._settle()
        names = {name for of_tier in self._series.values() for name in of_tier} | self._totals.keys()
        return [name for name in names if name.startswith(prefix)]

    def tallies(self, asked: Tallied) -> list[Cell]:
        self._settle()
        periods = self._series[asked.tier].get(asked.series, {})
        sums: defaultdict[tuple[int, str], int] = defaultdict(int)
        for start, counts in _within(periods, asked):
            at = start - (start - asked.start) % asked.every
            for bucket, number in counts.items():
                sums[at, bucket] += number
        return [Cell(*place, number) for place, number in sorted(sums.items())]

    def totals(self, series: Iterable[str]) -> list[dict[str, int]]:
        self._settle()
        return [dict(self._totals.get(one, {})) for one in series]

    def groups(self, ids: Iterable[str] | None) -> list[Group]:
        if ids is None:
            return list(self._groups.values())
        return [self._groups[group] for group in dict.fromkeys(ids) if group in self._groups]

    def purge(self, now: int) -> None:
        """Look through all of it every ten minutes, whichever way the clock has gone."""
        if abs(now - self._purged_at) < _PURGE_EVERY:
            return
        self._purged_at = now
        self._settle()
        for tier, of_tier in self._series.items():
            for name, periods in list(of_tier.items()):
                for start in [start for start in periods if start < now - tier.kept]:
                    del periods[start]
                if not periods:
                    del of_tier[name]
        for group in [group for group in self._groups.values() if group.last_at < now - GROUP_KEPT]:
            del self._groups[group.id]


def _within(periods: Series, asked: Tallied) -> Iterator[tuple[int, dict[str, int]]]:
    number = (asked.end - asked.start) // asked.tier.length + 1
    if number < len(periods):  # mostly the last few of many
        first = asked.start + -asked.start % asked.tier.length
        starts: Sequence[int] = range(first, asked.end, asked.tier.length)
        return ((start, periods[start]) for start in starts if start in periods)
    return ((start, counts) for start, counts in periods.items() if asked.start <= start < asked.end)


def _last_seen(group: Group) -> tuple[int, str]:
    return group.last_at, group.id
