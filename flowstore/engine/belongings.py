"""What belongs to a record, as engines carry it: progress, history, and values kept under a key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Report(NamedTuple):
    """New progress of a record, JSON. ``stages``: only in these, both included; None: in any."""

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
    """A stretch of the history, from ``start`` to ``end``, both included, in the order of (at, seq).

    At most ``limit`` transitions behind ``after``. ``id`` None: of all tasks; those with equal time and
    seq are in an order that an engine chooses, and keeps.
    ``first_only``: of each task only its first in the stretch; not together with ``id``.
    """

    limit: int
    start: int
    end: int
    id: str | None = None
    after: TransitionRow | None = None
    first_only: bool = False


class Section(StrEnum):
    """What a value is kept as."""

    DATA = "data"
    CHECKPOINT = "checkpoint"
    WORKER = "worker"
    APP = "app"


class Put(NamedTuple):
    """A value to keep for a record under a key, gone when the record goes.

    ``owner`` is the record's id, "" the namespace itself. ``key`` None: the next number of the section,
    16 digits. ``value`` None removes the key. ``if_version`` as in Commit, of this key. ``keep``: no more
    than so many, the last by key, stay in the section; None: all.
    """

    section: Section
    owner: str
    key: str | None
    value: bytes | None
    if_version: int | None = None
    keep: int | None = None


class Asked(NamedTuple):
    """Which values of a section: at ``keys``, the ``last`` ones by key, or with both None all."""

    section: Section
    owner: str
    keys: Sequence[str] | None = None
    last: int | None = None


class Kept(NamedTuple):
    """A value as stored. ``version`` counts the writes of its key from 1, ``at`` is the time of the last."""

    key: str
    version: int
    at: int
    value: bytes


class PutOutcome(NamedTuple):
    """``key``: where the value is. ``version``: of what stands there now, 0: nothing does.

    OWNERLESS: there is no live record to keep it for. UNREADABLE: ``reason`` says what stands in the way.
    """

    is_applied: bool
    key: str
    version: int
    reason: str = ""


OWNERLESS: Final = -3
