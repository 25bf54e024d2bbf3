"""What the last word of a query could become, while somebody types it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from flowstore._faces.terms import TERMS
from flowstore._faces.terms import term as term_of
from flowstore.statuses import TaskStatus

if TYPE_CHECKING:  # a shell asks for this between two keys: what it need not load is not loaded
    from flowstore import BaseResultBackend

FIXED: Final = {
    "status": tuple(TaskStatus),
    "is": ("root", "child"),
    "sort": ("submitted", "-submitted", "finished", "-finished"),
    "since": ("10m", "1h", "today", "1d", "7d"),
    "tries": (">1",),
}
"""Values of terms that are the same for every store; of times some that are asked for."""
STORED: Final = ("name", "label", "worker", "error")
"""Terms whose values a store knows."""
_SIMPLE: Final = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:@/+-")


async def suggestions(backend: BaseResultBackend | None, word: str, most: int = 20) -> list[str]:
    """Whole words that begin like this one: terms, then their values, in order.

    Names, labels, workers and error groups are those of the ``backend``; None: of none.
    """
    sign = "-" if word.startswith("-") else ""
    name, colon, value = word.removeprefix("-").partition(":")
    if not colon:
        return [f"{sign}{each}:" for each in TERMS if each.startswith(name)][:most]
    value = value.removeprefix('"')
    known: Iterable[str] = FIXED.get(name, ())
    if not known and backend is not None:
        known = await _stored(backend, name, value, most)
    return [f"{sign}{_said(name, each)}" for each in known if each.startswith(value)][:most]


def _said(name: str, value: str) -> str:
    """In quotes only where it must be."""
    return f"{name}:{value}" if {*value} <= _SIMPLE | {">"} else term_of(name, value)


async def _stored(backend: BaseResultBackend, name: str, prefix: str, most: int) -> list[str]:
    facets = {
        "name": backend.facets.names,
        "label": backend.facets.labels,
        "worker": backend.facets.workers,
    }
    if name in facets:
        return [each.value for each in await facets[name](prefix, limit=most, at_most=1)]
    if name == "error":
        return [group.id for group in await backend.errors.groups(limit=100)]
    return []
