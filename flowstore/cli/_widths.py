"""How wide the columns of a table are, and one that is drawn without more ado."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

GAP: Final = 2
_LEAST: Final = 6


class Wanted(NamedTuple):
    """Cells that a column would take, those of its head among them, and whether it may have fewer."""

    cells: int
    head: int
    may_shrink: bool


def widths(columns: Sequence[Wanted], room: int) -> list[int]:
    """The widest of those that may shrink give first, and none becomes narrower than its head.

    Where that is not enough columns are left out, from the right: their width is 0.
    """
    found = [min(column.cells, room) if column.may_shrink else column.cells for column in columns]
    least = [max(column.head, min(column.cells, _LEAST)) for column in columns]
    excess = sum(found) + GAP * (len(columns) - 1) - room
    while excess > 0:
        able = [n for n, column in enumerate(columns) if column.may_shrink and found[n] > least[n]]
        if not able:
            break
        widest = max(able, key=lambda n: found[n])
        found[widest] -= 1
        excess -= 1
    for n in range(len(columns) - 1, 0, -1):
        if excess > 0:
            excess -= found[n] + GAP
            found[n] = 0
    return found


class Place(NamedTuple):
    """How many cells a column takes, and on which side its text stands."""

    cells: int
    is_right: bool


def aligned(rows: Iterable[Sequence[str]], places: Sequence[Place], length: Callable[[str], int]) -> str:
    """A table without colours that is never cut, which rich takes twenty times as long for.

    ``length``: of a text, in cells.
    """
    lines = []
    for row in rows:
        parts = []
        for text, place in zip(row, places, strict=True):
            blanks = " " * (place.cells - length(text))
            parts.append(blanks + text if place.is_right else text + blanks)
        lines.append((" " * GAP).join(parts).rstrip())
    return "\n".join([*lines, ""])
