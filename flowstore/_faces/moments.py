"""Durations, moments and sizes as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d|w)?")
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d")
_SIZES: Final = {"": 1, "k": 1_024, "m": 1_024**2, "g": 1_024**3}
_SIZE: Final = re.compile(r"(\d{1,12})\s*([kmg]?)i?b?", re.IGNORECASE)


def duration(name: str, text: str) -> timedelta:
    """``10m``, ``2h``, ``7d``, ``500ms``, or seconds. Raises ValueError naming ``name``."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{name}: expected a duration such as 30s, 10m, 2h or 7d, got {text[:80]!r}")
    try:
        return timedelta(seconds=float(found[1]) * _UNITS[found[2] or "s"])
    except OverflowError:
        raise ValueError(f"{name}: {text[:80]} is too long") from None


def moment(name: str, text: str, now: datetime) -> datetime:
    """A duration ago, ``today``, ``yesterday``, a day in UTC, or a time in ISO 8601 with its zone.

    Raises ValueError naming ``name``.
    """
    text = text.strip()
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if text in ("today", "yesterday"):
        return today - timedelta(days=text == "yesterday")
    try:
        if found := _DURATION.fullmatch(text):
            if found[2]:
                return now - duration(name, text)
        elif _DAY.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
        else:
            at = datetime.fromisoformat(text)
            if at.tzinfo is not None:
                return at
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f"{name}: expected 10m, 2h, today, yesterday, 2026-11-25 or a time with its zone such as "
        f"2026-11-25T10:00Z, got {text[:80]!r}"
    )


def size(name: str, text: str) -> int:
    """Bytes: ``65536``, ``64k``, ``64KiB``, ``1M``. Raises ValueError naming ``name``."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{name}: expected a size such as 65536, 64KiB or 1MiB, got {text[:80]!r}")
    return int(found[1]) * _SIZES[found[2].lower()]
