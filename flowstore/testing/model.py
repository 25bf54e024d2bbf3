"""The model of one record: what every call must return, written independently of the product."""

from __future__ import annotations

from typing import Final, NamedTuple

from flowstore import TaskResult, TaskStatus

_RANK: Final = {status: 2 if status.is_finished else 1 for status in TaskStatus} | {TaskStatus.PENDING: 0}


class Register(NamedTuple):
    """What stands under one id, if anything, and its version, 0 if nothing does."""

    standing: TaskResult | None = None
    version: int = 0

    def stored(self, result: TaskResult, *, overwrite: bool = False) -> Register | None:
        """The register after ``store``; None if the store loses."""
        wins = overwrite or self.standing is None or _advances(self.standing, result)
        return self.written(result) if wins else None

    def written(self, result: TaskResult) -> Register:
        """The register after a write that is applied."""
        return Register(result, self.version + 1)

    def shows(self, read: TaskResult | None) -> bool:
        """Whether ``get`` may return ``read``."""
        if read is None or self.standing is None:
            return read is self.standing
        return (read.status, read.retries, read.result, read.version) == (
            *(self.standing.status, self.standing.retries, self.standing.result),
            self.version,
        )


EMPTY: Final = Register()


def _advances(old: TaskResult, new: TaskResult) -> bool:
    before, after = (old.retries, _RANK[old.status]), (new.retries, _RANK[new.status])
    return after > before or (after == before and not old.is_finished)
