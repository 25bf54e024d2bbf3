"""What a verification has found, as plain data."""

from __future__ import annotations

from typing import Final

from flowstore.engine import FlawKind
from flowstore.fields import Record

MOST_FINDINGS: Final = 1_000


class Finding(Record):
    """Something that is not as it was written, or does not agree with the rest.

    ``kind`` is a str: "damaged" for what cannot be read, or has another checksum than it was stored with;
    "missing" for what must be there; "unlisted" and "dangling" for an index that lacks a record, or lists one
    that is not there; "misplaced" for one that lists it where it does not belong; "orphaned" for values whose
    record is gone; "miscounted" for a wrong count. ``where``: "record", a value of it such as "data 'k'", or
    the index in the words of the storage. ``task_id`` None: it is of no task.
    """

    kind: FlawKind
    task_id: str | None
    where: str
    reason: str
    is_repaired: bool = False


class Verification(Record):
    """``records`` and ``items``: how many were read, where an item is a transition, a checkpoint,
    or one of the data.

    ``found`` and ``repaired`` count all findings, of which ``findings`` has the first 1,000. A record that
    others write or move meanwhile may be counted twice.
    """

    records: int
    items: int
    found: int
    repaired: int
    findings: tuple[Finding, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is left that is damaged or contradicts itself."""
        return self.found == self.repaired
