"""What every call must answer: one record and its rule, apart from the product's own words for it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from flowstore import TaskResult, TaskStatus

_RANK: Final = {status: 2 if status.is_finished else 1 for status in TaskStatus} | {TaskStatus.PENDING: 0}


class Register(NamedTuple):
    """What stands for one id, if anything, and its version: 0 where nothing does."""

    standing: TaskResult[Any] | None = None
    version: int = 0

    def stored(self, result: TaskResult[Any], *, overwrite: bool = False) -> Register | None:
        """As it is after ``store``; None where the store loses."""
        wins = overwrite or self.standing is None or _advances(self.standing, result)
        return self.written(result) if wins else None

    def written(self, result: TaskResult[Any]) -> Register:
        """As it is after a write that nothing stood in the way of."""
        return Register(result, self.version + 1)

    def shows(self, read: TaskResult[Any] | None) -> bool:
        """Whether ``get`` may answer ``read``."""
        if read is None or self.standing is None:
            return read is self.standing
        return (read.status, read.retries, read.result, read.version) == (
            *(self.standing.status, self.standing.retries, self.standing.result),
            self.version,
        )


EMPTY: Final = Register()


def _advances(old: TaskResult[Any], new: TaskResult[Any]) -> bool:
    before, after = (old.retries, _RANK[old.status]), (new.retries, _RANK[new.status])
    return after > before or (after == before and not old.is_finished)
