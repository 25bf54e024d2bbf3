"""The ids that are to be read again, oldest first, and how."""

from __future__ import annotations

from collections.abc import Iterable, Set
from itertools import islice


class Stale:
    """Ids, and for each whether a ``read`` is enough: one that is not registered takes a ``watch``."""

    def __init__(self) -> None:
        self._ids: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._ids)

    @property
    def ids(self) -> Set[str]:
        return self._ids.keys()

    def add(self, ids: Iterable[str]) -> None:
        self._ids.update(dict.fromkeys(ids, False))

    def add_finished(self, task_id: str) -> None:
        """A hint says that it is finished, and the storage may have forgotten who waits for it."""
        self._ids.setdefault(task_id, True)

    def discard(self, task_id: str) -> None:
        self._ids.pop(task_id, None)

    def clear(self) -> None:
        self._ids.clear()

    def take(self, size: int) -> tuple[list[str], bool]:
        """Those to be read the same way as the oldest, so that neither way starves the other."""
        is_enough = next(iter(self._ids.values()))
        batch = list(islice((task_id for task_id, read in self._ids.items() if read is is_enough), size))
        for task_id in batch:
            del self._ids[task_id]
        return batch, is_enough
