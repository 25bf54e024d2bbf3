"""Where a task stands."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal


class TaskStatus(StrEnum):
    """Where a task stands. The last three are finished: they do not change within one attempt."""

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_finished(self) -> bool:
        return self in FINISHED


StatusName = Literal["pending", "running", "retrying", "success", "failed", "cancelled"]
Statuses = TaskStatus | StatusName | Iterable[TaskStatus | StatusName] | None
"""One status or several, as members or values; None: all of them."""

FINISHED: Final = frozenset({TaskStatus.SUCCESS, TaskStatus.FAILED, TaskStatus.CANCELLED})
