"""What an audit finds: where a storage's records, indexes, items and counts disagree."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from flowstore.engine.items import OWNED, Section

WHOLE_STORE: Final = ""
"""The id of a flaw that is of no record, such as a wrong count."""


class FlawKind(StrEnum):
    """In what way the parts of a storage disagree.

    DAMAGED: it cannot be read, or is not what was written. MISSING: it must be there, and is not. UNLISTED:
    an index lacks a record. DANGLING: an index has an entry of no record. MISPLACED: an index has an entry
    that its record contradicts. ORPHANED: items without their owner. MISCOUNTED: a count that is kept is
    wrong.
    """

    DAMAGED = "damaged"
    MISSING = "missing"
    UNLISTED = "unlisted"
    DANGLING = "dangling"
    MISPLACED = "misplaced"
    ORPHANED = "orphaned"
    MISCOUNTED = "miscounted"


class Flaw(NamedTuple):
    """``where``: the index or table, in words of the storage. ``id``: the record's, or WHOLE_STORE."""

    kind: FlawKind
    id: str
    where: str
    reason: str
    is_repaired: bool = False


class AuditedRecord(NamedTuple):
    """A record that was met, and the sections in which it may have items."""

    id: str
    sections: tuple[Section, ...] = OWNED


@dataclass(frozen=True, slots=True)
class Audited:
    """One bounded step of an audit. ``next``: what the next step begins with; None: this was the last one."""

    records: tuple[AuditedRecord, ...]
    flaws: tuple[Flaw, ...]
    next: object = None
