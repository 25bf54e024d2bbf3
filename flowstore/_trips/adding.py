"""Statistics of several places as one: counters are added up, and so are groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flowstore.engine import MOST_GROUPS, Cell, Group


def added_cells(of_places: Iterable[Iterable[Cell]]) -> list[Cell]:
    """In the order of (at, bucket)."""
    sums: Counter[tuple[int, str]] = Counter()
    for cells in of_places:
        for cell in cells:
            sums[cell.at, cell.bucket] += cell.number
    return [Cell(*at, number) for at, number in sorted(sums.items())]


def added_totals(of_places: Iterable[dict[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for totals in of_places:
        sums.update(totals)
    return dict(sums)


def added_groups(of_places: Iterable[Iterable[Group]]) -> list[Group]:
    """As many as a namespace keeps, those seen last; the example of each is that of the place seen last."""
    found: dict[str, Group] = {}
    for groups in of_places:
        for group in groups:
            known = found.get(group.id)
            found[group.id] = group if known is None else _added(known, group)
    newest = sorted(found.values(), key=lambda group: group.last_at, reverse=True)
    return newest[:MOST_GROUPS]


def _added(one: Group, other: Group) -> Group:
    last = max(one, other, key=lambda group: group.last_at)
    return last._replace(
        total=one.total + other.total, first_at=min(one.first_at, other.first_at), last_at=last.last_at
    )
