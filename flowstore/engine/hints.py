"""What an engine tells of changes, and to whom."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final, Protocol


class Change(StrEnum):
    """What happened to an id: it was stored in a status, its progress was reported, or it was removed.

    EXPIRED: it was removed as it had expired, or will expire at another time than before.
    """

    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REPORTED = "p"
    DELETED = "d"
    EXPIRED = "e"


ANY_ID: Final = ""
"""To watch this id is to watch all ids: every store in a status is reported, each once."""


class Hints(Protocol):
    """Where an engine reports changes of watched ids, in the event loop that opened it.

    Hints may be lost, late or (but for ANY_ID) doubled, and never invented. Changes of ids that nobody
    watches may be reported as well. After a break in which hints may have been lost: ``look_again``.
    """

    def changed(self, ids: Collection[str], change: Change, at: int | None = None) -> None:
        """``at``: the ``now`` of the call that made the change; None if it cannot have been long ago.

        Where a hint may arrive long after the call that made the change has returned, it has to be given: a
        wait that begins in between is not concerned.
        """

    def interrupted(self, error: Exception) -> None:
        """Hints cannot come, for the time being: for those who observe it. ``look_again`` follows."""

    def look_again(self) -> None:
        """Changes may have been missed: all watched ids must be read again."""

    @property
    def is_waiting(self) -> bool:
        """Whether anyone waits. While False, an engine need not listen."""
