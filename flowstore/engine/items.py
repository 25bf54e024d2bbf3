"""What belongs to a record, or to the namespace: history, data, checkpoints, workers, apps; and progress."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Section(StrEnum):
    """The purpose of an item. Keys are unique within the section of an owner."""

    HISTORY = "history"
    DATA = "data"
    CHECKPOINT = "checkpoint"
    WORKER = "worker"
    APP = "app"


OWNED: Final = (Section.HISTORY, Section.DATA, Section.CHECKPOINT)
"""The sections of records; the others have the owner NAMESPACE only, which may have Section.DATA as well."""

OF_NAMESPACE: Final = (Section.DATA, Section.WORKER, Section.APP)
"""The sections of the owner NAMESPACE."""

NAMESPACE: Final = ""
"""The owner of items that belong to no record. They stay when records are removed, all of them included."""


class Item(NamedTuple):
    """An item as stored. ``version`` counts the writes of its key from 1; ``at`` is the time of the last one.

    ``check``: a signed number of 64 bits, as in Entry.
    """

    owner: str
    key: str
    version: int
    at: int
    check: int
    value: bytes


class Stamp(NamedTuple):
    """The version and the time of an item that was read elsewhere, to be stored as it was there."""

    version: int
    at: int


class Put(NamedTuple):
    """An item to store, or to remove. It goes with its owner, which must be a live record or NAMESPACE.

    ``key`` None: the number after the highest key there is now, from 1, in 16 digits; then every key of the
    section of this owner is such a number. ``value`` None removes the key; one that is absent is removed in
    vain: STANDING, version 0. ``if_version`` as in Write, for this key. ``keep``: only so many of the section
    of this owner are kept, those with the highest keys; None: all. ``stamp``: the version and the time that
    the item has then, whatever stood there; None: the next version, and the ``now`` of the call.
    Section.HISTORY is written by writes only.
    """

    section: Section
    owner: str
    key: str | None
    value: bytes | None
    check: int = 0
    if_version: int | None = None
    keep: int | None = None
    stamp: Stamp | None = None


class Asked(NamedTuple):
    """The items to read of one owner, in the order of their keys by code point.

    ``keys``: those at these keys; None: all. Of these the ``last`` ones by key; None: all.
    """

    section: Section
    owner: str
    keys: Sequence[str] | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Span:
    """The history of all records from ``start`` to ``end``, both included, in the order of (at, key, owner).

    At most ``limit`` items after ``after``, the last one of the step before; of this only that order is read.
    ``newest_first``: exactly the reverse order. Items of one owner at one time are in the order of writing,
    since their keys are.
    """

    limit: int
    start: int
    end: int
    after: Item | None = None
    newest_first: bool = False


class Expiry(NamedTuple):
    """When a record expires from now on, None: never; and the ``check`` that it has then.

    Only for a record that has this ``version`` and the check ``standing``: the new check covers the rest of
    what was read with those.
    """

    id: str
    expires_at: int | None
    check: int
    version: int
    standing: int


class Report(NamedTuple):
    """New progress of a record. ``stages``: the lowest and highest stage allowed; None: any.

    ``expiry``, if given, is of the same record, and carried out if the report is and if it still can be.
    """

    id: str
    progress: bytes
    stages: tuple[int, int] | None
    expiry: Expiry | None = None

    def admits(self, stage: int) -> bool:
        return self.stages is None or self.stages[0] <= stage <= self.stages[1]
