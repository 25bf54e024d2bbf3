"""Times as they are stored: int microseconds since the Unix epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

OF_NO_TASK: Final = -62_135_596_800_000_000
"""The time of submission, in microseconds, of what is no task: the first one that a datetime can have.

Typed results have it. So they are one range of the listing by submission, which has nothing else in it.
"""


def to_micros(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def from_iso(text: object) -> datetime:
    """Raises ValueError for anything but a time in ISO format."""
    try:
        return datetime.fromisoformat(cast(str, text))
    except (TypeError, ValueError):
        raise ValueError(f"expected a time in ISO format, found {text!r:.80}") from None


def from_micros(micros: int) -> datetime:
    return _EPOCH + timedelta(0, 0, micros)  # by position: a third faster, and several times in each read
