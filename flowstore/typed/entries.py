"""What is known of an entry beside its value, and pages of that."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from flowstore.times import from_micros
from flowstore.typed.ids import parts_of
from flowstore.typed.storage import Stored


@dataclass(frozen=True, slots=True)
class EntryInfo:
    """An entry, without its value. Times are aware, in UTC.

    ``version`` counts the writes of the id from 1; after ``delete``, or once it has expired, it begins with 1
    again. ``created_at`` is the time of version 1, ``updated_at`` that of this one. ``expires_at`` None:
    never. ``size``: of the encoded value, in bytes.
    """

    id: str
    model_type: str
    namespace: str
    version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    size: int

    @property
    def parts(self) -> list[str]:
        """The parts of the id."""
        return parts_of(self.id)


@dataclass(frozen=True, slots=True)
class EntryPage:
    """``next_cursor`` is None at the end, and only there."""

    items: list[EntryInfo] = field(default_factory=list)
    next_cursor: str | None = None


def info_of(stored: Stored) -> EntryInfo:
    return EntryInfo(
        id=stored.id,
        model_type=stored.kind.name,
        namespace=stored.kind.namespace,
        version=stored.version,
        created_at=from_micros(stored.created_at),
        updated_at=from_micros(stored.updated_at),
        expires_at=None if stored.expires_at is None else from_micros(stored.expires_at),
        size=stored.size,
    )
