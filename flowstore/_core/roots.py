"""The roots of parents that were looked up a moment ago: children mostly come in crowds.

An answer is used for a second. In that time another process may give the parent a parent of its own; but then
its earlier children have the old root as well, since roots do not move.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import Final

_SECONDS: Final = 1.0
_MOST: Final = 10_000


class Roots:
    """Root by parent, itself for one that has none. What this backend writes and removes is seen at once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, float]] = {}

    @property
    def is_in_use(self) -> bool:
        return bool(self._known)

    def known(self, parents: Iterable[str]) -> dict[str, str]:
        now = monotonic()
        found = ((parent, self._known.get(parent)) for parent in parents)
        return {parent: entry[0] for parent, entry in found if entry is not None and entry[1] > now}

    def learn(self, roots: dict[str, str]) -> None:
        if len(self._known) + len(roots) > _MOST:
            self._known.clear()
        until = monotonic() + _SECONDS
        self._known.update((parent, (root, until)) for parent, root in roots.items())

    def forget(self, ids: Iterable[str]) -> None:
        for task_id in ids:
            self._known.pop(task_id, None)

    def forget_all(self) -> None:
        self._known.clear()
