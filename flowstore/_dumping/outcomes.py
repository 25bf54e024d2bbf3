"""What came of an export, an import or a copy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from flowstore._dumping.lines import Dumped
from flowstore.fields import Record
from flowstore.models import Unreadable

OnConflict = Literal["raise", "keep", "replace"]

_MOST_NAMED: Final = 1_000


class ImportConflict(Record):
    """A record that was not restored, as another one has its id, and in what way that is another one."""

    task_id: str
    reason: str


class Exported(Record):
    """What is in a file. ``records``: those in it, without the ``unreadable``, which it has the ids of.

    ``digest``: the SHA-256 of its records, as of ``archive.digest``. ``unreadable`` names the first 1,000 of
    those that could not be read, whole or in part; there are ``unreadable_count``.
    """

    records: int
    digest: str
    unreadable: list[Unreadable]
    unreadable_count: int


class Imported(Record):
    """What became of the records of a file. ``restored``: those that are there now and were not before.

    ``replaced``: those among the restored that stand in the place of another one. ``unchanged``: they were
    there already. ``expired``: they would be gone at once, and were left out. ``conflicts`` names the first
    1,000 that were kept out by another record; there are ``conflict_count``. ``unreadable``: as in Exported;
    they could not be read when the file was written. ``is_whole`` False: the file has no end, and what is in
    front of it was restored (``partial=True``).
    """

    restored: int
    replaced: int
    unchanged: int
    expired: int
    conflicts: list[ImportConflict]
    conflict_count: int
    unreadable: list[Unreadable]
    unreadable_count: int
    is_whole: bool = True


class Copied(Imported):
    """What became of the records that were copied, as for an import.

    ``digest``: the SHA-256 of those that were restored or there already, as they were read.
    ``digest_of_copy``: as they were read again where they are now.
    """

    digest: str
    digest_of_copy: str

    @property
    def is_verified(self) -> bool:
        """Whether they are there as they were read, to the last byte."""
        return self.digest == self.digest_of_copy


class Unread:
    """Those that cannot be read: all are counted, the first are named."""

    def __init__(self) -> None:
        self.first: list[Unreadable] = []
        self.count = 0

    def note(self, batch: Iterable[Dumped]) -> None:
        found = [each for each in batch if each.unreadable]
        named = found[: max(0, _MOST_NAMED - len(self.first))]
        self.first += [Unreadable(task_id=each.id, reason="; ".join(each.unreadable)) for each in named]
        self.count += len(found)


class Tally:
    """The counts of an import, while it goes on."""

    def __init__(self) -> None:
        self.restored = self.replaced = self.unchanged = self.expired = 0
        self.conflicts: list[ImportConflict] = []
        self.conflict_count = 0
        self.unread = Unread()

    def conflict(self, task_id: str, reason: str) -> None:
        self.conflict_count += 1
        if len(self.conflicts) < _MOST_NAMED:
            self.conflicts.append(ImportConflict(task_id=task_id, reason=reason))

    def add(self, other: Tally) -> None:
        """Count what another one has counted."""
        for name in ("restored", "replaced", "unchanged", "expired", "conflict_count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.conflicts += other.conflicts[: _MOST_NAMED - len(self.conflicts)]
        self.unread.first += other.unread.first[: _MOST_NAMED - len(self.unread.first)]
        self.unread.count += other.unread.count

    def imported(self, is_whole: bool) -> Imported:
        return Imported(**self._fields, is_whole=is_whole)

    def copied(self, digest: str, digest_of_copy: str) -> Copied:
        return Copied(**self._fields, digest=digest, digest_of_copy=digest_of_copy)

    @property
    def _fields(self) -> dict[str, Any]:
        counts = {name: value for name, value in vars(self).items() if name != "unread"}
        return counts | {"unreadable": self.unread.first, "unreadable_count": self.unread.count}
