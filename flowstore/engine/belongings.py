"""What belongs to a record: progress, history, and values under keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Report(NamedTuple):
    """New progress of a record, as JSON. ``stages``: the lowest and highest stage allowed; None: any."""

    id: str
    progress: bytes
    stages: tuple[int, int] | None


class TransitionRow(NamedTuple):
    """A change of status in the history. ``seq`` is the version of the record that was written."""

    at: int
    seq: int
    id: str
    status: str
    stage: int
    worker: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """The history from ``start`` to ``end``, both included, in the order of (at, seq).

    At most ``limit`` transitions after ``after``. ``id`` None: of all tasks; where time and seq are equal,
    the engine chooses an order and sticks to it. ``first_only``: only the first transition of each task in
    this time; never together with ``id``.
    """

    limit: int
    start: int
    end: int
    id: str | None = None
    after: TransitionRow | None = None
    first_only: bool = False


class Section(StrEnum):
    """The purpose of a value. Keys are unique within the section of an owner."""

    DATA = "data"
    CHECKPOINT = "checkpoint"
    WORKER = "worker"
    APP = "app"


class Put(NamedTuple):
    """A value to store for a record under a key. It is removed with the record.

    ``owner`` is the record's id, "" the namespace itself. ``key`` None: the next number of the section, in 16
    digits. ``value`` None removes the key. ``if_version`` as in Commit, for this key. ``keep``: only so many
    of the section are kept, the last ones by key; None: all.
    """

    section: Section
    owner: str
    key: str | None
    value: bytes | None
    if_version: int | None = None
    keep: int | None = None


class Asked(NamedTuple):
    """The values to read: those at ``keys``, the ``last`` ones by key, or all if both are None."""

    section: Section
    owner: str
    keys: Sequence[str] | None = None
    last: int | None = None


class Kept(NamedTuple):
    """A value as stored. ``version`` counts the writes of its key from 1; ``at`` is that of the last one."""

    key: str
    version: int
    at: int
    value: bytes


class PutOutcome(NamedTuple):
    """``key``: that of the value. ``version``: the one that stands there now, 0 if none does.

    Two versions mean a refusal. OWNERLESS: there is no live record to store it for. UNREADABLE: ``reason``
    says why it cannot be stored.
    """

    is_applied: bool
    key: str
    version: int
    reason: str = ""


OWNERLESS: Final = -3
